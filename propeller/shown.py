"""Names that a user knows for paths that a program makes: messages and log lines have these.

show_as({"/tmp/ernie-model-0-1f/content/params": "bert-base-uncased"})
shown("/tmp/ernie-model-0-1f/content/params: no such file")             # bert-base-uncased: no such file
"""

from __future__ import annotations

import os
from collections.abc import Mapping

_names: dict[str, str] = {}


def show_as(names: Mapping[str | os.PathLike[str], str | os.PathLike[str]]) -> None:
    """From now on ``shown`` has other names for paths, and for the same paths with their links resolved.

    Args:
        names: path -> what is shown for it.
    """
    for path, name in names.items():
        name = shown(os.fspath(name))
        for form in (os.fspath(path), os.path.realpath(path)):  # noqa: PTH116 - of text, whatever is there
            _names[form] = name


def temporary_model(folder: str | os.PathLike[str]) -> str:
    """What is shown for an inference model that is made of weights and removed."""
    return f"{os.fspath(folder)} (temporary inference model)"


def shown(text: str) -> str:
    """A text with the names for the paths in it; of two that begin alike the longer path counts."""
    for path in sorted(_names, key=len, reverse=True):
        text = text.replace(path, _names[path])
    return text
