"""Fine-tune, evaluate and predict: sentence classification.

python run_classifier.py --model MODEL --train_set train.tsv --dev_set dev.tsv --num_labels 2
"""

import sys

from finetune.training.main import main
from propeller.errors import exit_on_user_error

if __name__ == "__main__":
    exit_on_user_error(main, "run_classifier.py", "classify", sys.argv[1:])
