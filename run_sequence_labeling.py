"""Fine-tune, evaluate and predict: sequence labelling.

    python run_sequence_labeling.py --model MODEL --train_set train.tsv --dev_set dev.tsv --num_labels 7 \
        --label_map_config label_map.json --chunk_scheme IOB
"""

import sys

from finetune.training.main import main
from propeller.errors import exit_on_user_error

if __name__ == "__main__":
    exit_on_user_error(main, "run_sequence_labeling.py", "sequence_label", sys.argv[1:])
