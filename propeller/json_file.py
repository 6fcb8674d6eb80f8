"""JSON files: what is wrong with one is told in a line, with what to do.

content = read_json("label_map.json", absent="check the path", remedy="give an object of labels and numbers")
tasks = read_tasks("tasks.json", absent="give a list of tasks")
beside("lists/tasks.json", "train.tsv")         # "train.tsv" where that is there, else "lists/train.tsv"
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from propeller import encoding
from propeller.errors import UserError


def what_is_wrong(error: Exception) -> str:
    """What ``json.loads`` says of one line of a file, its line end perhaps among it, with the place in it."""
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    before = error.doc[: error.pos].rstrip("\r\n")
    return f"{error.msg} at column {len(before) + 1}"


def read_json(
    path: str | os.PathLike[str],
    *,
    absent: str,
    remedy: str,
    name: str | None = None,
    is_object: bool = False,
    once: bool = False,
    encoded: Callable[[str | os.PathLike[str], bytes], str] = encoding.remedy,
) -> Any:
    """The content of a file.

    Args:
        path: the file; a byte-order mark is taken off.
        absent: what to do where it cannot be read.
        remedy: what to do where it is no JSON, or not an object although one is wanted.
        name: how messages call it, the path if None.
        is_object: whether it has to be an object.
        once: whether a key that is given twice is an error, since one of the two would be lost in silence.
        encoded: what to do where it is no UTF-8, of the path and its bytes.

    Raises:
        UserError: it cannot be read, is not UTF-8 or no JSON, which names the line, or not what is wanted.
    """
    name = str(path) if name is None else name
    try:
        content = json.loads(encoding.read_text(path), object_pairs_hook=partial(_once, name) if once else None)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror}): {absent}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: not UTF-8 text at byte {error.start}: {encoded(path, error.object)}") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{name}: line {error.lineno}: not JSON ({error.msg}): {remedy}") from error
    except ValueError as error:
        raise UserError(f"{name}: not JSON ({error}): {remedy}") from error
    if is_object and not isinstance(content, dict):
        raise UserError(f"{name}: holds no JSON object: {remedy}")
    return content


def _once(name, pairs):
    keys = [key for key, _ in pairs]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise UserError(f"{name}: key {twice[0]!r} is given twice: remove one")
    return dict(pairs)


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
