"""A trained ERNIE model as one bundle: Program, weights, network, vocabulary, and what its task needs to know.

    export_bundle(learner, "saved/step_100_inference_model", facts, config, "vocab.txt")

The directory is written by `propeller.bundle` and read by `paddle.inference`. With ``onnx`` a ``model.onnx`` for other
runtimes lies in it too, made by paddle2onnx: ``pip install -r requirements-onnx.txt``.
"""

from __future__ import annotations

import contextlib
import io
import logging
from pathlib import Path

from propeller.bundle import MODEL, WEIGHTS
from propeller.errors import UserError

log = logging.getLogger("ernie.export")

CONFIG, VOCAB, ONNX = "ernie_config.json", "vocab.txt", "model.onnx"
OPSET = 17  # the first with LayerNormalization


def export_bundle(learner, folder, facts, config, vocab_path, sp_model=None, onnx=False, overwrite=False):
    """Write a model in its present state as a bundle.

    Args:
        learner: ``propeller.Learner`` over a model whose parameters are in its scope.
        folder: the new directory.
        facts: JSON-able dict; ``task`` is the bundle's task, all of it becomes ``meta``.
        config: ``ErnieConfig``.
        vocab_path: copied as ``vocab.txt``.
        sp_model: a sentencepiece model, copied under its name, or None.
        onnx: whether to add ``model.onnx``.
        overwrite: whether a directory that is there is replaced.

    Returns:
        the directory.

    Raises:
        UserError: ``folder`` exists or cannot be written; ``onnx`` without paddle2onnx, or it failed.
    """
    if onnx:
        _paddle2onnx()
    files = {VOCAB: vocab_path}
    if sp_model:
        files[Path(sp_model).name] = sp_model
    meta = {**facts, "sp_model": Path(sp_model).name if sp_model else None}

    def extend(temporary, outputs):
        config.save(temporary / CONFIG)
        if onnx:
            write_onnx(temporary, outputs)

    learner.export(folder, facts["task"], meta, files, overwrite, extend)
    log.info("saved the inference model to %s", folder)
    return Path(folder)


def write_onnx(folder, outputs):
    """Make ``model.onnx`` of the ``model.json`` and ``model.pdiparams`` in a directory; ``outputs`` are named as given.

    Raises:
        UserError: paddle2onnx is not installed, or cannot convert the Program.
    """
    model = _paddle2onnx()
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            model.export(
                str(folder / MODEL),
                str(folder / WEIGHTS),
                str(folder / ONNX),
                opset_version=OPSET,
                auto_upgrade_opset=False,
                enable_onnx_checker=False,
            )
    except (RuntimeError, ValueError) as error:
        raise UserError(f"paddle2onnx cannot convert this model: {str(error).splitlines()[-1]}") from error
    if not (folder / ONNX).is_file():
        last = said.getvalue().strip().rsplit("\n", 1)[-1]
        raise UserError(f"paddle2onnx wrote no model: {last}")
    _name_outputs(folder / ONNX, outputs)


def _name_outputs(path, names):
    """Give the outputs their names of the Program: saving it calls them ``fetch_name_0`` and so on."""
    import onnx

    model = onnx.load(str(path))
    new = {entry.name: name for entry, name in zip(model.graph.output, names)}
    for entry in model.graph.output:
        entry.name = new[entry.name]
    for node in model.graph.node:
        for ends in (node.input, node.output):
            ends[:] = [new.get(name, name) for name in ends]
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _paddle2onnx():
    try:
        import paddle2onnx
    except ImportError as error:
        raise UserError(
            f"an ONNX file needs paddle2onnx ({error}): python -m pip install -r requirements-onnx.txt"
        ) from error
    return paddle2onnx
