"""Which weights of a Hugging Face or PaddleNLP directory are the encoder's, whatever stands before their names.

    from ernie.foreign_names import plain_names
    plain_names(["module.bert.embeddings.word_embeddings.weight", ...], Path("model"))

A class that has an encoder as a part puts the part's name before those of its weights: ``bert.`` in
BertForSequenceClassification, ``module.`` in DataParallel, ``0.auto_model.`` in a SentenceTransformer, ``_orig_mod.``
in a compiled model, and any other in people's own classes.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from propeller.errors import UserError

log = logging.getLogger("ernie.convert")

_WORDS = "embeddings.word_embeddings.weight"  # every encoder has it, under this name in both libraries
_USUAL = ("", "bert.", "ernie.")
_LISTED = 3


class PlainNames(NamedTuple):
    """names: name without the prefix -> name in the file. prefix: what stood before the encoder's, with its dot."""

    names: dict[str, str]
    prefix: str

    @property
    def is_usual(self) -> bool:
        """Whether it is a prefix, or none, that the libraries' own classes have."""
        return self.prefix in _USUAL


def plain_names(names: Iterable[str], source: Path, prefix: str | None = None) -> PlainNames:
    """Names without what stands before the encoder's, and with today's words for TensorFlow's.

    A weight beside the encoder, such as ``module.classifier.weight`` beside ``module.bert.``, loses what it shares with
    the encoder's prefix. Where two encoders lie within each other, as ``bert.`` and ``bert.bert.``, they are two.

    Args:
        names: of all weights.
        source: their directory, for messages.
        prefix: of the encoder to take, where there are several; a dot at its end may be left out.

    Raises:
        UserError: there is no encoder, not the one asked for, or several; two names become the same.
    """
    todays = {name: _todays(name) for name in names}
    found = sorted({name[: -len(_WORDS)] for name in todays.values() if f".{name}".endswith(f".{_WORDS}")})
    if not found:
        raise UserError(
            f"{source}: no encoder of BERT's or ERNIE's kind: none of its {len(todays)} weights is called {_WORDS}, "
            f"they are {listed(todays)}: give a model that was saved whole, with transformers or PaddleNLP"
        )
    if prefix is not None:
        wanted = prefix if not prefix or prefix.endswith(".") else f"{prefix}."
        if wanted not in found:
            raise UserError(f"--prefix {prefix}: {source} has no encoder there: give {' or '.join(map(_shown, found))}")
        found = [wanted]
    if len(found) > 1:
        raise UserError(
            f"{source}: has {len(found)} encoders, under {', '.join(map(_shown, found))}: --prefix {_shown(found[0])} "
            "--ignore_unexpected takes this one alone"
        )
    return PlainNames(_stripped(todays, found[0], source), found[0])


def _shown(prefix):
    return prefix or "''"


def _todays(name):
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        if name.endswith(old):
            return name[: -len(old)] + new
    return name


def _stripped(todays, prefix, source):
    """Plain name -> name in the file."""
    parts = prefix.split(".")[:-1]
    fronts = [".".join(parts[:count]) + "." for count in range(len(parts), 0, -1)]  # the longest first
    plain: dict[str, str] = {}
    for name, todays_name in todays.items():
        front = next((front for front in fronts if todays_name.startswith(front)), "")
        short = todays_name[len(front) :]
        if short in plain:
            raise UserError(f"{source}: weights {name!r} and {plain[short]!r} are the same one: save the model again")
        plain[short] = name
    return plain


def listed(names: Iterable[str]) -> str:
    """The first few of some names, and how many more there are."""
    names = sorted(names)
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def refuse_unexpected(source: Path, names: Sequence[str], ignore: bool) -> None:
    """Refuse weights that the other form has no place for, or say in the log that they are left out.

    Raises:
        UserError: there are some, and ``ignore`` is false.
    """
    if not names:
        return
    told = listed(names)
    if not ignore:
        raise UserError(f"{source}: no place for {len(names)} weights: {told}: --ignore_unexpected leaves them out")
    log.info("%s: left out %d weights: %s", source, len(names), told)


def check_library(source_format: str, names: Iterable[str], source: Path) -> None:
    """Refuse a directory of the other library, whose layers have other names.

    Raises:
        UserError: ``names``, plain ones, are the other library's.
    """
    for other, prefix in (("hf", "encoder.layer."), ("paddlenlp", "encoder.layers.")):
        if other != source_format and any(name.startswith(prefix) for name in names):
            raise UserError(f"{source}: its weights have the names of the other library: give --from {other}")


def check_layers(names: Iterable[str], layers: int, config_path: Path, ignore: bool) -> None:
    """Refuse weights of more or fewer layers than the configuration has.

    Args:
        names: plain ones.
        layers: ``num_hidden_layers``.
        config_path: its file, for messages.
        ignore: whether more are left out instead.

    Raises:
        UserError: the numbers differ.
    """
    numbers = {int(match[1]) for match in map(re.compile(r"encoder\.layers?\.(\d+)\.").match, names) if match}
    count = max(numbers, default=-1) + 1
    if count != layers and not (ignore and count > layers):
        also = ", or leave the other layers out with --ignore_unexpected" if count > layers else ""
        raise UserError(
            f"{config_path}: 'num_hidden_layers' is {layers}, the weights have {count} layers: make it {count}{also}"
        )


def check_shapes(
    found: Mapping[str, Sequence[int]],
    wanted: Mapping[str, Sequence[int]],
    foreign: Mapping[str, str],
    config_path: Path,
) -> None:
    """Refuse an encoder that is not complete or not of its configuration's sizes.

    Args:
        found: params name -> shape.
        wanted: likewise, by the configuration.
        foreign: params name -> name in the file, for messages.
        config_path: the configuration's file, for messages.

    Raises:
        UserError: a weight is missing, or has another shape.
    """
    lost = sorted(set(wanted) - set(found))
    if lost:
        raise UserError(
            f"{config_path.parent}: {len(lost)} weights of the encoder are missing, here called {listed(lost)}: copy "
            "the model again from its source, with all its weights"
        )
    rows, told = found["word_embedding"][0], wanted["word_embedding"][0]
    if rows != told:
        raise UserError(
            f"{config_path}: 'vocab_size' is {told}, {foreign['word_embedding']} has {rows} rows: make it {rows}"
        )
    for name, shape in wanted.items():
        if tuple(found[name]) != tuple(shape):
            raise UserError(
                f"{config_path}: its sizes make {foreign[name]} {list(shape)}, which is {list(found[name])}: give the "
                "config.json that was saved with these weights"
            )
