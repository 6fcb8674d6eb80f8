"""Pre-train ERNIE 1.0: masked words, phrases and entities, and which sentence follows which.

    python train.py --ernie_config_path MODEL/ernie_config.json --vocab_path MODEL/vocab.txt \
        --train_filelist train_filelist --valid_filelist valid_filelist --batch_size 8192 --in_tokens true
    python train.py ... --init_checkpoint checkpoints/last --predict_mask "北京是中国的[MASK][MASK]。"
"""

import sys

from propeller import runtime
from propeller.errors import exit_on_user_error

if __name__ == "__main__":
    runtime.prepare()
    from pretrain.runner import main

    exit_on_user_error(main, "train.py", sys.argv[1:])
