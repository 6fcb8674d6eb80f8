"""Fine-tune, evaluate and predict: extractive reading comprehension.

python run_mrc.py --model MODEL --train_set train.json --dev_set dev.json
"""

import sys

from finetune.training.main import main
from propeller.errors import exit_on_user_error

if __name__ == "__main__":
    exit_on_user_error(main, "run_mrc.py", "mrc", sys.argv[1:])
