"""Predict new data with a fine-tuned classifier or regression, and save it as an inference model.

    python infer_classifyer.py --init_checkpoint output/pairs/best --vocab_path MODEL/vocab.txt \
        --predict_set test.tsv --output predictions.tsv --save_inference_model_path output/saved
    python infer_classifyer.py --inference_model output/saved --predict_set test.tsv --output predictions.tsv
"""

import sys

from finetune.prediction.main import main
from propeller.errors import exit_on_user_error

if __name__ == "__main__":
    exit_on_user_error(
        main, "infer_classifyer.py", ("classify", "regression", "multi_label_classification"), sys.argv[1:]
    )
