"""Answer the questions of a SQuAD 1.1 JSON file, whose answers are not needed, and save the model for inference.

    python infer_mrc.py --init_checkpoint output/mrc/best --vocab_path MODEL/vocab.txt \
        --predict_set questions.json --output output/answers --save_inference_model_path output/saved
    python infer_mrc.py --inference_model output/saved --predict_set questions.json --output output/answers
"""

import sys

from finetune.prediction.main import main
from propeller.errors import exit_on_user_error

if __name__ == "__main__":
    exit_on_user_error(main, "infer_mrc.py", ("mrc",), sys.argv[1:])
