"""Converts encoders between ``params/`` directories and Hugging Face ones, and from PaddleNLP.

    python -m ernie.convert --from hf --to params bert-base-uncased/ converted/
    python -m ernie.convert --from params --to hf ERNIE_Base_en/ converted/
    python -m ernie.convert --from paddlenlp --to params ernie-2.0-base-en/ converted/

A params model is a directory with ``params/``, ``ernie_config.json``, ``vocab.txt`` and, if it was converted,
``ernie_model.json``, the facts of ernie/facts.py; a fine-tuned checkpoint is one too, with ``--vocab_path``. A Hugging
Face one (BertModel, ErnieModel and their heads) has ``config.json``, ``model.safetensors`` or ``pytorch_model.bin``,
whole or in shards, and ``vocab.txt`` or ``tokenizer.json``; a PaddleNLP one ``model.safetensors`` or
``model_state.pdparams``, ``config.json`` or ``model_config.json``, ``vocab.txt``, and ERNIE tiny's sentencepiece model
and word dictionary. Neither torch nor PaddleNLP is needed, and nothing that is pickled is executed.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from ernie.foreign_to_params import to_params
from ernie.params_to_hf import to_hf
from propeller.errors import exit_on_user_error

__all__ = ["main", "to_hf", "to_params"]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m ernie.convert", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--from", dest="source_format", required=True, choices=("hf", "params", "paddlenlp"))
    parser.add_argument("--to", dest="target_format", required=True, choices=("params", "hf"))
    parser.add_argument("source", help="the model's directory")
    parser.add_argument("target", help="the directory to make; it must not exist")
    parser.add_argument("--init_pooler", action="store_true", help="draw the pooler of a model saved without one")
    parser.add_argument("--ignore_unexpected", action="store_true", help="leave out weights that have no place")
    parser.add_argument("--prefix", help="of several encoders in the weights, the one whose names begin with this")
    parser.add_argument("--model_type", default="auto", choices=("auto", "bert", "ernie"), help="to hf: its kind")
    parser.add_argument("--vocab_path", help="to hf: the vocabulary of a source without vocab.txt, as a checkpoint is")
    parser.add_argument("--half", action="store_true", help="to hf: weights in float16, which takes half the room")
    args = parser.parse_args(arguments)
    if args.half and args.target_format != "hf":
        parser.error("--half is about --to hf: params are float32")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    if (args.source_format == "params") != (args.target_format == "hf"):
        parser.error("one side is params: --from hf or paddlenlp --to params, or --from params --to hf")
    if args.target_format == "hf":
        to_hf(args.source, args.target, args.model_type, args.ignore_unexpected, args.vocab_path, args.half)
    else:
        to_params(args.source_format, args.source, args.target, args.init_pooler, args.ignore_unexpected,
                  args.prefix)  # fmt: skip
    return 0


if __name__ == "__main__":
    exit_on_user_error(main)
