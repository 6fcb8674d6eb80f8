"""Serve the vectors of an encoder: a pre-trained model, a checkpoint or an inference model of embeddings.

    python -m finetune.embedding.server --model MODEL -p 8888 --encode_layer pooler
    python -m finetune.embedding.client -i rows.tsv -o vectors.npy --vocab_file MODEL/vocab.txt -p 8888

``MODEL`` holds ``params/``, ``ernie_config.json`` and ``vocab.txt``. The flags besides ``--encode_layer`` are those of
``python -m propeller.tools.start_server``, and so is the server: it takes texts too, and has a page.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ernie.pooling import CLS
from propeller import log as log_setup
from propeller import runtime
from propeller.bundle import holds_bundle
from propeller.errors import UserError, exit_on_user_error
from propeller.files import temporary_directory
from propeller.service.engines import runs_onnx
from propeller.shown import show_as, temporary_model
from propeller.tools.start_server import build_parser, parse, serve_bundle

if TYPE_CHECKING:
    from finetune.prediction.export import Checkpoint

PORT = 8888
POOLER = "pooler"


def main(argv: Sequence[str]) -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = build_parser(
        "python -m finetune.embedding.server",
        "Serve the vectors of an encoder over HTTP.",
        "a model (params/, ernie_config.json, vocab.txt), a checkpoint, or an inference model of embeddings",
        PORT,
        f"--model MODEL -p {PORT}",
    )
    parser.add_argument(
        "--encode_layer",
        metavar="pooler|layerN",
        help="pooler: a vector a row, the pooled [CLS], or the pooling of a model of sentence vectors; layer1, ...: "
        "the states of that layer for each token [pooler; an inference model has its own]",
    )
    args = parse(list(argv), parser)
    layer = _number(args.encode_layer)
    log_setup.setup(verbose=args.verbose)
    runtime.prepare()  # before Paddle is imported; the workers set their own threads
    folder = Path(args.model)
    if holds_bundle(folder):
        if args.encode_layer:
            raise UserError(f"--encode_layer with {folder}, an inference model, which has its own layer: leave it out")
        serve_bundle(args, folder)
        return
    if args.precision == "int8":
        raise UserError(
            f"{folder}: --precision int8 is of inference models that were saved so (ernie_encoder.py --help)"
        )
    with temporary_directory("ernie-encoder-") as scratch:
        onnx = runs_onnx(args.engine)
        show_as({scratch / "model": temporary_model(folder)})
        serve_bundle(args, _write_bundle(folder, layer, scratch / "model", args.use_cuda, onnx))


def _number(text):
    """The number of the layer that --encode_layer names; None: the pooler."""
    if text in (None, POOLER):
        return None
    found = re.fullmatch(r"layer([1-9]\d*)", text)
    if not found:
        raise UserError(f"--encode_layer {text}: give pooler, or layer1, layer2, ...: the layer to take states from")
    return int(found.group(1))


def _write_bundle(folder, layer, target, use_cuda, onnx):
    """Write the encoder in ``folder`` as a bundle whose main output is what --encode_layer asks for."""
    from finetune.prediction.export import export_checkpoint
    from finetune.sources import embedding_checkpoint, open_weights

    weights = open_weights(folder, None, None, CLS)
    if weights is None:
        raise UserError(f"{folder}: an inference model: give it without --encode_layer")
    checkpoint = weights.checkpoint
    if checkpoint.task.trains:  # fine-tuned: its encoder
        checkpoint = embedding_checkpoint(checkpoint, CLS)
    return export_checkpoint(target, with_layer(checkpoint, layer), runtime.place(use_cuda), onnx)


def with_layer(checkpoint: Checkpoint, layer: int | None) -> Checkpoint:
    """An encoder whose main output is the pooled vector, or the states of one layer.

    Args:
        checkpoint: a model of embeddings, see ``finetune.sources.embedding_checkpoint``.
        layer: from 1 to the number of layers; None: the pooled vector.

    Raises:
        UserError: there is no such layer.
    """
    layers = checkpoint.config.num_hidden_layers
    if layer is not None and layer > layers:
        raise UserError(f"--encode_layer layer{layer}: the model has {layers} layers: give layer1 to layer{layers}")
    trained = "objective" in checkpoint.spec.facts  # for sentence vectors: it keeps its pooling
    if layer is None and not trained and not checkpoint.spec.facts.get("pooler", True):
        raise UserError(f"{checkpoint.folder}: has no pooled [CLS]: give --encode_layer layer1 to layer{layers}")
    facts = {**checkpoint.spec.facts, "layer": layer or layers, "states": layer is not None}
    if not trained:
        facts["pooling"] = CLS
    facts["main"] = facts["pooling"] if layer is None else "states"
    return dataclasses.replace(checkpoint, spec=checkpoint.spec.replace(facts=facts))


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
