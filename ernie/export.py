"""A trained ERNIE model as one bundle: Program, weights, network, vocabulary, and what its task needs to know.

    export_bundle(learner, "saved/step_100_inference_model", facts, config, "vocab.txt")

The directory is written by `propeller.bundle` and read by `paddle.inference`. With ``onnx`` a ``model.onnx`` for other
runtimes lies in it too (``ernie.onnx_export``), with ``check_int8`` a ``model.int8.onnx`` (``ernie.onnx_int8``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ernie.onnx_export import CONFIG, check_installed, write_onnx
from ernie.onnx_int8 import check_int8_installed, write_int8
from propeller.bundle import ONNX
from tokenization import ADDED_TOKENS

if TYPE_CHECKING:
    from ernie.config import ErnieConfig
    from propeller.train.trainer import Learner


VOCAB = "vocab.txt"
WORD_DICT = "word_dict.txt"  # where tokenization.WSSPTokenizer looks for it, beside the vocabulary


def export_bundle(
    learner: Learner,
    folder: str | os.PathLike[str],
    facts: Mapping[str, Any],
    config: ErnieConfig,
    vocab_path: str | os.PathLike[str],
    sp_model: str | os.PathLike[str] | None = None,
    word_dict: str | os.PathLike[str] | None = None,
    added_tokens: str | os.PathLike[str] | None = None,
    onnx: bool = False,
    overwrite: bool = False,
    check_int8: Callable[[Path, list[str]], None] | None = None,
) -> Path:
    """Write a model in its present state as a bundle.

    Args:
        learner: ``propeller.Learner`` over a model whose parameters are in its scope.
        folder: the new directory.
        facts: JSON-able dict; ``task`` is the bundle's task, all of it becomes ``meta``.
        config: ``ErnieConfig``.
        vocab_path: copied as ``vocab.txt``.
        sp_model: a sentencepiece model, copied under its name, or None.
        word_dict: a dictionary of words, copied as ``word_dict.txt``, or None.
        added_tokens: the added tokens of the vocabulary, copied as ``added_tokens.json``, or None.
        onnx: whether to add ``model.onnx``.
        overwrite: whether a directory that is there is replaced.
        check_int8: adds ``model.int8.onnx``, unless this raises when it is called with the unfinished directory, which
            has ``model.onnx`` too, and the names of the outputs.

    Returns:
        the directory.

    Raises:
        UserError: ``folder`` exists or cannot be written; ``onnx`` without its packages, or the
            file could not be made or computes something else.
    """
    if onnx:
        check_installed()
    if check_int8:
        check_int8_installed()
    files = _files(vocab_path, sp_model, word_dict, added_tokens)
    meta = {**facts, "sp_model": Path(sp_model).name if sp_model else None}

    def extend(temporary, outputs):
        config.save(temporary / CONFIG)
        if onnx or check_int8:
            write_onnx(temporary, outputs)
        if check_int8:
            write_int8(temporary)
            check_int8(temporary, outputs)
            if not onnx:
                (temporary / ONNX).unlink()

    learner.export(Path(folder), facts["task"], meta, files, overwrite, extend)
    return Path(folder)


def _files(vocab_path, sp_model, word_dict, added_tokens) -> dict[str, str | Path]:
    """Name in the bundle -> the file of a vocabulary."""
    pieces = Path(sp_model).name if sp_model else ""
    files = {VOCAB: vocab_path, pieces: sp_model, WORD_DICT: word_dict, ADDED_TOKENS: added_tokens}
    return {name: Path(path) for name, path in files.items() if path}
