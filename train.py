"""Pre-train ERNIE 1.0: masked words, phrases and entities, and which sentence follows which.

    python train.py --ernie_config_path MODEL/ernie_config.json --vocab_path MODEL/vocab.txt \
        --train_filelist train_filelist --valid_filelist valid_filelist --batch_size 8192 --in_tokens true
    python train.py ... --init_checkpoint checkpoints/last --predict_mask "北京是中国的[MASK][MASK]。"
"""

import sys

from propeller import runtime
from propeller.errors import exit_on_user_error


def main(prog, argv):
    """Run the command; --help and a wrong flag end it before Paddle is loaded. Returns its exit status."""
    from pretrain.training.args import DESCRIPTION, parse

    args = parse(prog, DESCRIPTION, argv)
    runtime.one_heap()
    runtime.prepare()
    from pretrain.training.runner import run

    return run(args)


if __name__ == "__main__":
    exit_on_user_error(main, "train.py", sys.argv[1:])
