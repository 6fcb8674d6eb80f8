"""Predict with a checkpoint or an inference model of any task.

python -m finetune.prediction --init_checkpoint output/sst2/best --predict_set new.tsv --output predictions.tsv
"""

import sys
from pathlib import Path

if not __package__:  # run as a file, as recipes print it
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from finetune.prediction.main import main
from propeller.errors import exit_on_user_error

if __name__ == "__main__":
    exit_on_user_error(main, "python -m finetune.prediction", (), sys.argv[1:])
