"""Reads and writes ``params/`` directories, of released ERNIE models and of our own, byte for byte; no Paddle needed.

    from ernie.checkpoint import load_params, write_params
    arrays, report = load_params("ERNIE_Base_en/params", {"word_embedding": (30522, 768), ...})
    write_params("output/params", arrays)

A directory holds one file per variable, named as the variable, in the format of ``propeller.variables``.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from propeller.errors import UserError
from propeller.files import atomic_directory, file_digest
from propeller.train.checkpoints import instead_of, verify_checkpoint
from propeller.variables import Variable, read_header, to_float32, write_variable

if TYPE_CHECKING:
    from ernie.config import ErnieConfig

log = logging.getLogger("ernie.checkpoint")

_ENCODER = re.compile(
    r"(word|pos|sent|task)_embedding|pre_encoder_layer_norm_(scale|bias)|pooled_fc\.[wb]_0|encoder_layer_\d+_.+"
)
# What 2019 checkpoints hold beside parameters: Adam's state, fp16 master copies, counters, temporaries of the program.
_LEFTOVER = re.compile(
    r".+_(moment1|moment2|beta1_pow_acc|beta2_pow_acc)_\d+|.+\.master|@LR_DECAY_COUNTER@|loss_scaling_\d+"
    r"|scheduled_learning_rate|learning_rate_\d+|tmp_.+|.+\.tmp_\d+|__model__"
)
_OURS = {"checkpoint.json", "training_state"}  # what our own checkpoints keep beside the parameters
_COPIED = {"vocab.txt", "added_tokens.json", "sentencepiece.model", "word_dict.txt"}  # beside those, they too


def is_encoder_name(name: str) -> bool:
    """Whether ``name`` is a weight of the encoder (embeddings, layers, pooler) and not of a task's head."""
    return _ENCODER.fullmatch(name) is not None and not is_training_leftover(name)


def is_training_leftover(name: str) -> bool:
    """Whether ``name`` is what 2019 training left beside the parameters: optimiser state, counters, temporaries."""
    return _LEFTOVER.fullmatch(name) is not None


def list_params(directory: str | os.PathLike[str]) -> tuple[list[str], list[str]]:
    """The variables in a params directory, by name.

    Returns:
        (parameter names, training leftovers' names), each sorted. What our own checkpoints keep beside
        the parameters (``checkpoint.json``, ``training_state/``, the vocabulary) is in neither.

    Raises:
        UserError: no such directory, it cannot be read, holds no parameter or another directory, or is a Hugging Face
            model.
    """
    directory = Path(directory)
    try:
        entries = sorted((entry.name, entry.is_dir()) for entry in os.scandir(directory))
    except OSError as error:
        remedy = instead_of(directory) or "give a params directory"
        raise UserError(f"{directory}: cannot be read ({error.strerror}): {remedy}") from error
    if ("config.json", False) in entries:
        raise UserError(
            f"{directory}: a Hugging Face model, no params directory: give it with --model, or convert it with "
            "python -m ernie.convert --from hf --to params"
        )
    names: list[str] = []
    leftovers: list[str] = []
    ours = _OURS | _COPIED if any(name in _OURS for name, _ in entries) else _OURS
    for name, is_folder in entries:
        if name in ours:
            continue
        if is_folder:
            raise UserError(f"{directory}: no params directory, since it holds {name!r}: {_weights_below(directory)}")
        (leftovers if is_training_leftover(name) else names).append(name)
    if not names:
        raise UserError(f"{directory}: holds no parameter: give the params directory of a model or checkpoint")
    return names, leftovers


def _weights_below(directory):
    """What to give where weights are looked for and folders are found: the one below that has them."""
    found = [path for depth in ("*", "*/*") for path in sorted(directory.glob(f"{depth}/word_embedding"))]
    places = list(dict.fromkeys(path.parent for path in found))
    best = [place for place in places if place.name in ("params", "best")]
    if len(best) == 1 or len(places) == 1:
        return f"did you mean {(best or places)[0]}?"
    if places:
        return f"give one of those below it, such as {(best or places)[0]}"
    return "give the params directory of a model, or a checkpoint"


def has_pooler(directory: str | os.PathLike[str]) -> bool:
    """Whether weights have the dense layer over [CLS]: those of 2019's tasks over tokens have none.

    Raises:
        UserError: see ``list_params``.
    """
    return any(name.startswith("pooled_fc.") for name in list_params(directory)[0])


def scan_params(directory: str | os.PathLike[str], names: Iterable[str] | None = None) -> dict[str, Variable]:
    """Headers of a directory's parameters (or of ``names``), every file checked for size: dict of name -> Variable."""
    directory = Path(directory)
    return {name: read_header(directory / name) for name in (list_params(directory)[0] if names is None else names)}


def iter_params(
    directory: str | os.PathLike[str], names: Iterable[str] | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (name, array) one by one, all headers checked before the first: no more than one array is held here."""
    for name, variable in scan_params(directory, names).items():
        yield name, variable.read()


def read_params(directory: str | os.PathLike[str], names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """Read a directory's parameters, or those in ``names``: dict of name -> array. Raises UserError as its parts do."""
    return dict(iter_params(directory, names))


def params_digest(directory: str | os.PathLike[str]) -> str:
    """sha256 over the names and bytes of a directory's parameters, as hex."""
    total = hashlib.sha256()
    for name, variable in sorted(scan_params(directory).items()):
        total.update(f"{name} {file_digest(variable.path)}\n".encode())
    return total.hexdigest()


def write_params(directory: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], overwrite: bool = False) -> None:
    """Write ``arrays``, a dict of name -> array, as a params directory that appears whole or not at all.

    Raises:
        UserError: the directory exists and ``overwrite`` is false; a name cannot be a file's name.
    """
    for name in arrays:
        if not name or name in _OURS | _COPIED or name.startswith(".") or "/" in name or "\0" in name:
            raise UserError(f"{directory}: {name!r} cannot be a variable's file name: rename the variable")
    with atomic_directory(Path(directory), overwrite) as temporary:
        for name, array in arrays.items():
            write_variable(temporary / name, array)


# ---------------------------------------------------------------- found against wanted


@dataclass(frozen=True)
class LoadReport:
    """What a network wanted against what a directory held; names sorted.

    ``mismatched`` holds (name, shape found, shape wanted); ``training_leftovers`` were skipped by name.
    """

    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    training_leftovers: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """One line for a log: counts, and the names of what is missing (to be initialised) and unexpected (unused)."""
        parts = [f"{len(self.loaded)} parameters loaded"]
        if self.missing:
            parts.append(f"{len(self.missing)} not there, initialised: {', '.join(self.missing)}")
        if self.unexpected:
            parts.append(f"{len(self.unexpected)} not used: {', '.join(self.unexpected)}")
        if self.mismatched:
            parts.append(
                f"{len(self.mismatched)} of another shape: {', '.join(name for name, _, _ in self.mismatched)}"
            )
        if self.training_leftovers:
            parts.append(f"{len(self.training_leftovers)} files of old training state skipped")
        return "; ".join(parts)


def compare_params(
    found: Mapping[str, Any], wanted: Mapping[str, Sequence[int]], leftovers: Iterable[str] = ()
) -> LoadReport:
    """A LoadReport of ``found`` (name -> anything with .shape) against ``wanted`` (name -> shape); raises nothing."""
    leftovers = set(leftovers) | {name for name in found if name not in wanted and is_training_leftover(name)}
    common = sorted(set(found) & set(wanted))
    shapes = [(name, tuple(found[name].shape), tuple(wanted[name])) for name in common]
    return LoadReport(
        loaded=[name for name, has, wants in shapes if has == wants],
        missing=sorted(set(wanted) - set(found)),
        unexpected=sorted(set(found) - set(wanted) - leftovers),
        mismatched=[(name, has, wants) for name, has, wants in shapes if has != wants],
        training_leftovers=sorted(leftovers),
    )


def match_params(
    found: Mapping[str, Any],
    wanted: Mapping[str, Sequence[int]],
    heads_optional: bool = True,
    source: str | os.PathLike[str] = "params",
    leftovers: Iterable[str] = (),
    unused: Collection[str] = (),
) -> tuple[dict[str, Any], LoadReport]:
    """Pick from ``found`` what a network wants, strictly.

    Args:
        found: name -> array or Variable.
        wanted: name -> shape.
        heads_optional: a missing weight that is not the encoder's is reported, for the caller to initialise; false
            makes it an error too.
        source: the directory, for messages.
        leftovers: names of training leftovers skipped already, for the report.
        unused: names that the network has and computes nothing from, such as the pooler's in tagging: one that is
            missing is reported, too. Checkpoints of 2019 do not have them.

    Returns:
        (dict of the wanted entries found, arrays as float32, others as they are; LoadReport).

    Raises:
        UserError: a shape differs, an encoder weight is missing, or a weight is not of a float type.
    """
    report = compare_params(found, wanted, leftovers)
    for name, has, wants in report.mismatched[:1]:
        more = f" ({len(report.mismatched) - 1} more differ)" if len(report.mismatched) > 1 else ""
        what = "ernie_config.json" if is_encoder_name(name) else "number of labels or the head"
        raise UserError(
            f"{source}: {name} has shape {list(has)}, the network wants {list(wants)}{more}: "
            f"give the {what} these weights were made with"
        )
    wanting = [name for name in report.missing if name not in unused]
    lost = [name for name in wanting if not heads_optional or is_encoder_name(name)]
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        remedy = "give a complete params directory and the ernie_config.json that belongs to it"
        if all(name.startswith("mask_lm_") for name in lost):
            remedy = "give a model with the head that fills masks, or pre-train this one further with train.py"
        elif not any(map(is_encoder_name, lost)):
            remedy = "it has no head for the task: fine-tune it first, or name the task that it was fine-tuned for"
        raise UserError(f"{source}: {lost[0]} (shape {list(wanted[lost[0]])}){more} missing: {remedy}")
    chosen = {}
    for name in report.loaded:
        value = found[name]
        if value.dtype.kind != "f" and value.dtype != np.uint16:
            raise UserError(f"{source}: {name} is {value.dtype.name}, not a float type: copy it again from its source")
        chosen[name] = to_float32(value) if isinstance(value, np.ndarray) else value
    return chosen, report


def load_params(
    directory: str | os.PathLike[str],
    wanted: Mapping[str, Sequence[int]],
    heads_optional: bool = True,
    unused: Collection[str] = (),
) -> tuple[dict[str, np.ndarray], LoadReport]:
    """Read from ``directory`` just what ``wanted`` (name -> shape) names; all is checked before any data is read.

    What may be missing: ``heads_optional`` and ``unused`` are those of ``match_params``.

    Returns:
        (dict of name -> float32 array, LoadReport).

    Raises:
        UserError: as ``scan_params`` and ``match_params``; a file of one of our checkpoints is not what was written; a
            weight is not finite.
    """
    names, leftovers = list_params(directory)
    found, report = match_params(scan_params(directory, names), wanted, heads_optional, directory, leftovers, unused)
    verify_checkpoint(Path(directory), parameters_only=True)
    arrays = {name: to_float32(variable.read()) for name, variable in found.items()}
    for name, array in arrays.items():
        # It need not show in the outputs: relu of NaN is 0 in Paddle 3.3.1, and in OpenVINO 2026.4.1.
        if not np.isfinite(array).all():
            raise UserError(
                f"{directory}: {name} holds NaN or infinity, so what the network computes means nothing: give an "
                "earlier checkpoint, or copy the weights again from their source"
            )
    return arrays, report


def check_vocab(
    vocab_size_of_file: int, config: ErnieConfig, arrays: Mapping[str, Any], source: str | os.PathLike[str] = "params"
) -> None:
    """Check that a vocabulary, a config and a word embedding belong together.

    Args:
        vocab_size_of_file: the vocabulary's largest id + 1. It may be below the embedding's rows (released Chinese
            models: 17,964 of 18,000), never above.
        config: an ErnieConfig.
        arrays: name -> array, Variable or anything with .shape; word_embedding is looked at if there.

    Raises:
        UserError: they do not.
    """
    if vocab_size_of_file > config.vocab_size:
        raise UserError(
            f"the vocabulary has ids up to {vocab_size_of_file - 1}, the word embedding only {config.vocab_size} rows "
            f"(vocab_size in {config.source}): give the vocab.txt that belongs to the model"
        )
    rows = arrays["word_embedding"].shape[0] if "word_embedding" in arrays else config.vocab_size
    if rows != config.vocab_size:
        raise UserError(
            f"{source}: word_embedding has {rows} rows, vocab_size in {config.source} is {config.vocab_size}: "
            "give the ernie_config.json and vocab.txt that belong to the model"
        )
    if vocab_size_of_file < config.vocab_size:
        log.info("the vocabulary uses %d of the %d rows of word_embedding", vocab_size_of_file, config.vocab_size)
