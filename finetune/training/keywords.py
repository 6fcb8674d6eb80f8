"""Values of flags that are given from Python, as ``finetune.train(learning_rate=1e-5, dev_set=["a.tsv", "b.tsv"])``.

keyword_value(entry, ["a.tsv", "b.tsv"])            # "a.tsv,b.tsv", as the command line has it
"""

from __future__ import annotations

import argparse
import os
from dataclasses import Field
from typing import Any

from propeller.errors import UserError

VALUES = {"bool": "True or False", "int": "a whole number", "float": "a number", "str": "a text"}  # of keywords


def keyword_value(entry: Field, value: Any) -> Any:
    """A keyword's value as its flag has it: a path as a text, a whole number as a float where the flag is one.

    Raises:
        UserError: the value is of another type, or none of the flag's choices.
    """
    kind = str(entry.type).removesuffix(" | None")
    value = joined(entry, value)
    kinds: Any = {"bool": (bool,), "int": (int,), "float": (int, float), "str": (str, os.PathLike)}[kind]
    if kind == "str" and isinstance(value, bool):  # use_cuda=True
        value = str(value).lower()
    if not isinstance(value, kinds) or (isinstance(value, bool) and kind != "bool"):
        raise UserError(f"{entry.name} is {value!r}: give {VALUES[kind]}{_or_list(entry)}")
    value = os.fspath(value) if kind == "str" else float(value) if kind == "float" else value
    read, choices = entry.metadata.get("type"), entry.metadata.get("choices")
    if read:
        try:
            value = read(value)
        except argparse.ArgumentTypeError as error:
            raise UserError(f"{entry.name}: {error}") from None
    if choices and value not in choices:
        raise UserError(f"{entry.name} is {value!r}: give one of {', '.join(choices)}")
    return value


def joined(entry: Field, value: Any) -> Any:
    """A keyword's value; a list for a flag that takes several values becomes their text with commas between.

    Raises:
        UserError: a member is neither a text, a path nor a number, or has a comma.
    """
    if not isinstance(value, (list, tuple)) or not _or_list(entry):
        return value
    parts = [os.fspath(part) if isinstance(part, os.PathLike) else part for part in value]
    for part in parts:
        if not isinstance(part, (str, int, float)) or "," in str(part):
            raise UserError(f"{entry.name} has {part!r}: each member is a text without commas, a path or a number")
    return ",".join(map(str, parts))


def _or_list(entry: Field) -> str:
    """What a message adds for a flag that takes several values; nothing for others."""
    return " or a list of them" if entry.metadata.get("facts", {}).get("several") else ""
