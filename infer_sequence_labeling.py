"""Tag new sentences, tokenised or running text, and save the model for inference.

    python infer_sequence_labeling.py --init_checkpoint output/ner/best --vocab_path MODEL/vocab.txt \
        --predict_set test.tsv --output entities.tsv --save_inference_model_path output/saved
    python infer_sequence_labeling.py --inference_model output/saved --predict_set new.tsv --tokenized false
"""

import sys

from finetune.prediction.main import main
from propeller.errors import exit_on_user_error

if __name__ == "__main__":
    exit_on_user_error(main, "infer_sequence_labeling.py", ("sequence_label", "sequence_label_crf"), sys.argv[1:])
