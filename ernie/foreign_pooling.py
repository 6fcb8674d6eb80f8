"""How a sentence-transformers directory makes the vector of a text.

    from ernie.foreign_pooling import read_modules
    read_modules(Path("bge-small-zh"))          # {"pooling": "first", "normalize": True}

Such a directory is a Hugging Face one with ``modules.json`` beside it: the steps from a text to its vector. What the
steps do and this project cannot do is logged, and then the pooling stays unknown.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ernie.foreign import read_json, read_json_list
from ernie.pooling import FIRST, MAX, MEAN, NORMALIZE, POOLING, Pooling

log = logging.getLogger("ernie.convert")

_POOLING_FOLDER = "1_Pooling"
MODULES, TEXT_SIDE = "modules.json", "sentence_bert_config.json"
# Its names for what is done with the tokens' states; its "cls" takes the state of [CLS] as it is, without a pooler.
_MODES = {"cls": FIRST, "mean": MEAN, "max": MAX}
_KEYS = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean", "pooling_mode_max_tokens": "max"}


def read_modules(source: Path) -> dict[str, Any]:
    """``pooling`` and ``normalize`` by a model's ``modules.json``, see ``ernie.facts``.

    Args:
        source: the Hugging Face directory; the list is in it or, with the layout of early versions, beside it.

    Returns:
        {} where there is no list, or where a step is none that this project has.

    Raises:
        UserError: a file is missing, or not what it should be.
    """
    root = next((place for place in (source, source.parent) if (place / MODULES).is_file()), None)
    if root is None:
        return {}
    steps = read_json_list(root / MODULES)
    if root != source and all(step.get("path") != source.name for step in steps):
        return {}  # a list of another model
    kinds = [str(step.get("type", "")).rpartition(".")[2] for step in steps]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        log.warning(
            "%s: the steps %s have no counterpart: the pooling is not recorded", root / MODULES, ", ".join(kinds)
        )
        return {}
    path = root / str(steps[1].get("path", "")) / "config.json"
    mode = _mode(read_json(path))
    if mode not in _MODES:
        log.warning("%s: pooling %s has no counterpart: it is not recorded", path, mode)
        return {}
    return {POOLING: _MODES[mode], NORMALIZE: len(kinds) == 3}


def _mode(values: Mapping[str, Any]) -> str:
    """Its one word for the pooling, or several joined, whose vectors are put side by side."""
    if isinstance(values.get("pooling_mode"), str):
        return values["pooling_mode"]
    chosen = [key for key, value in values.items() if key.startswith("pooling_mode_") and value is True]
    return " and ".join(_KEYS.get(key, key) for key in chosen) or "none"


def modules_to_hf(pooling: Pooling | None, hidden: int) -> dict[str, Any]:
    """File -> content of what sentence-transformers reads beside a model; {} for a pooling it has no step for.

    Args:
        pooling: what the model was trained with, or None.
        hidden: length of a state.
    """
    mode = next((mode for mode, name in _MODES.items() if pooling is not None and name == pooling.name), None)
    if pooling is None or mode is None:
        return {}
    steps = [("", "Transformer"), (_POOLING_FOLDER, "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(steps[: 3 if pooling.normalize else 2])
    ]
    modes = {key: word == mode for key, word in _KEYS.items()}
    return {MODULES: modules, f"{_POOLING_FOLDER}/config.json": {"word_embedding_dimension": hidden, **modes}}


def longest_text(source: Path) -> Any:
    """``max_seq_length`` of its ``sentence_bert_config.json``; None without."""
    path = source / TEXT_SIDE
    return read_json(path).get("max_seq_length") if path.is_file() else None
