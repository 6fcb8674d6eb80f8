"""JSON files that people write: what is wrong with one is told in a line, with what to do.

content = read_json("label_map.json", absent="check the path", remedy="give an object of labels and numbers")
tasks = read_tasks("tasks.json", absent="give a list of tasks")
beside("lists/tasks.json", "train.tsv")         # "train.tsv" where that is there, else "lists/train.tsv"
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from propeller import encoding
from propeller.errors import UserError


def read_json(path: str | os.PathLike[str], *, absent: str, remedy: str, name: str | None = None) -> Any:
    """The content of a file.

    Args:
        path: the file; a byte-order mark is taken off.
        absent: what to do where it cannot be read.
        remedy: what to do where it is no JSON.
        name: how messages call it, the path if None.

    Raises:
        UserError: it cannot be read, is not UTF-8 or no JSON.
    """
    name = str(path) if name is None else name
    try:
        return json.loads(encoding.read_text(path))
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: not UTF-8; {encoding.remedy(path, error.object)}") from None
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror}); {absent}") from None
    except ValueError as error:
        raise UserError(f"{name}: no JSON ({error}); {remedy}") from None


def read_tasks(path: str | os.PathLike[str], *, absent: str, name: str | None = None) -> list[Any]:
    """What a file ``{"tasks": [...], "comment": ...}`` lists, one or more.

    Args:
        the same as those of ``read_json``.

    Raises:
        UserError: the file is not such a one.
    """
    content = read_json(path, absent=absent, remedy="correct it there", name=name)
    tasks = content.get("tasks") if isinstance(content, dict) else None
    if not isinstance(tasks, list) or not tasks or set(content) - {"tasks", "comment"}:
        raise UserError(f'{path}: give an object {{"tasks": [a task, ...]}}, with a "comment" if you like')
    return tasks


def beside(path: str | os.PathLike[str], name: str) -> str:
    """Where the file that another one names lies: as named, or counted from the folder of the one at ``path``."""
    there = Path(path).parent / name
    return str(there) if not Path(name).exists() and there.exists() else name
