"""Sentence and token embeddings of a file of rows.

python ernie_encoder.py --model MODEL --data_set rows.tsv --output_dir embeddings
"""

import sys

from finetune.embedding.main import main
from propeller.errors import exit_on_user_error

if __name__ == "__main__":
    exit_on_user_error(main, "ernie_encoder.py", sys.argv[1:])
