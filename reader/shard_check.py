"""How often each class stands in the shards of a list, and whether every one does: asked before the first step.

    check_classes("train/sentence_distance/filelist", ("adjacent", "near", "far"), "sentence")   # {0: 812, 1: 790, ...}

Counted are instances, or where tokens have classes, tokens. `python -m pretrain.build_data` wrote the counts beside the
list, as "classes" in stats.json; without them all shards are read.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from propeller.errors import UserError
from reader.shards import SPECIAL, Limits, parse_lines, read_filelist, read_shard


def check_classes(filelist, classes, kind: str, on_bad: str = "error") -> dict[int, int]:
    """class -> how many instances (kind "sentence") or tokens ("token") of the list have it, none of them 0.

    Args: classes: how many, or their names in order; on_bad: "skip" passes over lines and files that cannot be read.

    Raises UserError: nothing has one of the classes; there are others, which the head does not have; a bad shard.
    """
    names = None if isinstance(classes, int) else tuple(classes)
    count = classes if names is None else len(names)
    unit = {"sentence": "instance", "token": "token"}[kind]
    found = _stored(filelist)
    where = Path(filelist).parent / "stats.json"
    if found is None:
        found, where = _counted(filelist, count, kind, on_bad), filelist
    beyond = [number for number in range(count, len(found)) if found[number]]
    if beyond:
        raise UserError(
            f"{where}: {found[beyond[0]]} {unit}s have class {beyond[0]}, but the head has {count}, from 0 on; give it "
            "as many as the shards were made with"
        )
    for number in range(count):
        if number >= len(found) or not found[number]:
            name = "" if names is None else f" ({names[number]})"
            raise UserError(
                f"filelist {filelist}: no {unit} of class {number}{name}; build shards of more text, or give the head "
                "only the classes that there are"
            )
    return dict(enumerate(found[:count]))


def _stored(filelist):
    """Counts of the classes in their order, from stats.json; None: it does not have them."""
    path = Path(filelist).parent / "stats.json"
    try:
        stats = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); remove it, and the shards are counted") from error
    counts = stats.get("classes") if isinstance(stats, dict) else None
    if counts is None:
        return None
    if not isinstance(counts, dict) or any(type(count) is not int or count < 0 for count in counts.values()):
        raise UserError(f'{path}: "classes" are no counts by name; remove the file, and the shards are counted')
    return list(counts.values())


def _counted(filelist, classes, kind, on_bad):
    """As `_stored`, by reading all shards. A class that the head does not have is a bad line, which is named."""
    limits = Limits(**{"classes" if kind == "sentence" else "token_classes": classes})
    total = np.zeros(classes, np.int64)
    for shard in read_filelist(filelist):
        try:
            for first, lines in read_shard(shard.path):
                rows, problems = parse_lines(lines, limits)
                if problems and on_bad == "error":
                    raise UserError(f"{shard.path}, line {first + problems[0][0] + 1}: {problems[0][1]}")
                found = rows.labels if kind == "sentence" else rows.units[rows.units & SPECIAL == 0] >> 1
                total += np.bincount(found, minlength=classes)
        except UserError:
            if on_bad == "error":
                raise
    return total.tolist()
