"""Whether the shards of a list suit a task: asked before the first step.

    check_shards("train/sentence_distance/filelist", "sentence", 3, task="sentence_distance", max_seq_len=512)

`python -m pretrain.build_data` wrote a record after the shards of an input file, `shards/NAME.json`: how many
instances have each length, how often each class occurs, of which task they are. Shards without one are read, and so are
those whose record does not go with what the list names.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from propeller.errors import UserError
from reader.pretraining.shard_files import read_filelist, read_shard
from reader.pretraining.shards import SPECIAL, Limits, of_kind, parse_lines

SHARD = re.compile(r"(.+)-\d{5}\.gz")  # of the input file NAME
UNITS = {"sentence": "instance", "token": "token"}


@dataclass
class Found:
    """What is known of shards: lengths: tokens -> instances; classes: class -> instances, or tokens; their names."""

    lengths: Counter = field(default_factory=Counter)
    classes: Counter = field(default_factory=Counter)
    names: tuple = ()


def check_shards(
    filelist: str | Path,
    kind: str,
    classes: int | Sequence[str] = 0,
    *,
    task: str | None = None,
    max_seq_len: int | None = None,
    every_class: bool = True,
    on_bad: str = "error",
    remedy: str = "lower their number",
) -> dict[int, int]:
    """class -> how many instances (kind "sentence") or tokens ("token") of the list have it; {} of other kinds.

    Args:
        kind: one of batches.KINDS. Shards to be masked are only checked by their records; those of other kinds are read
            if they have none.
        classes: how many the head has, or their names in order.
        task: name of the task; None: any.
        max_seq_len: of the run: longer instances are left out; None: none is.
        every_class: whether each of the classes has to occur.
        on_bad: "skip" passes over lines and files that cannot be read.
        remedy: what may be done where a class does not occur, beside building shards of more text.

    Raises:
        UserError: shards of another task; no instance that is short enough; a class that the head does not have, or one
            that nothing has; a bad shard.
    """
    names = () if isinstance(classes, int) else tuple(classes)
    count = classes if isinstance(classes, int) else len(names)
    found = _found(filelist, kind, count, task, on_bad)
    fit = sum(number for length, number in found.lengths.items() if max_seq_len is None or length <= max_seq_len)
    if found.lengths and not fit:
        raise UserError(
            f"filelist {filelist}: all {sum(found.lengths.values())} instances are longer than --max_seq_len "
            f"{max_seq_len}, the shortest has {min(found.lengths)} tokens; build them with that, or raise it"
        )
    if kind not in UNITS:
        return {}
    beyond = sorted(number for number in found.classes if number >= count)
    if beyond and on_bad == "error":  # as of bad lines, "skip" leaves them out
        raise UserError(
            f"filelist {filelist}: {found.classes[beyond[0]]} {UNITS[kind]}s have class {beyond[0]}, but the head has "
            f"{count}, from 0 on; give it as many as the shards were made with"
        )
    missing = [number for number in range(count) if not found.classes[number]]
    if missing and every_class:
        told = _shown(missing, names or found.names, count)
        raise UserError(f"filelist {filelist}: no {UNITS[kind]} of {told}; build shards of more text, or {remedy}")
    return {number: found.classes[number] for number in range(count)}


def _shown(missing, names, count):
    """`class 2 (near)`, or `3 of the 9 classes: ...`."""
    told = [f"{number} ({names[number]})" if number < len(names) else str(number) for number in missing[:5]]
    if len(missing) == 1:
        return f"class {told[0]}"
    more = ", ..." if len(missing) > 5 else ""
    return f"{len(missing)} of the {count} classes: {', '.join(told)}{more}"


def record_of(shard: str | Path) -> tuple[Path, dict[str, Any]]:
    """(path of the record that the shard's build wrote, what it says: "task", "classes" and more; {} without one)."""
    path = Path(shard)
    match = SHARD.fullmatch(path.name)
    record = path.with_name(f"{match[1]}.json") if match else path
    try:
        found = json.loads(record.read_bytes()) if match else {}
    except (OSError, ValueError):
        found = {}
    return record, found if isinstance(found, dict) else {}


def of_other_tokens(filelist: str | Path, fingerprint: str) -> Path | None:
    """The record of a build whose pieces are not those of a tokenizer; None: none is known to be.

    Args:
        filelist: of the shards; the record, ``build.json``, is in the folder that the build was given, above theirs.
        fingerprint: of the tokenizer.
    """
    folders = dict.fromkeys(Path(shard.path).parent for shard in read_filelist(filelist))
    for folder in folders:
        for record in (folder.parent / "build.json", folder.parent.parent / "build.json"):
            try:
                known = json.loads(record.read_bytes())["tokenizer_sha256"]
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if known != fingerprint:
                return record
    return None


def _found(filelist, kind, count, task, on_bad):
    total, groups = Found(), {}
    for shard in read_filelist(filelist):
        match = SHARD.fullmatch(Path(shard.path).name)
        groups.setdefault((Path(shard.path).parent, match[1] if match else shard.path), []).append(Path(shard.path))
    for paths in groups.values():
        known = _recorded(paths, task)
        if known is None:
            known = Found() if kind == "masking" else _counted(paths, kind, count, on_bad)
        total.lengths.update(known.lengths)
        total.classes.update(known.classes)
        total.names = total.names or known.names
    return total


def _recorded(shards, task):
    """What the record of shards of one input file says; None: there is none, or not of just these.

    Raises:
        UserError: they are of another task.
    """
    path, record = record_of(shards[0])
    try:
        sizes = {each["path"]: each["bytes"] for each in record["shards"]}
        if sizes != {shard.name: shard.stat().st_size for shard in shards}:
            return None
        stats, of, names = record["stats"], record.get("task"), tuple(record.get("classes") or ())
        found = Found(names=names)
        found.lengths.update({int(length): number for length, number in stats["lengths"].items()})
        found.classes.update({int(key[6:]): number for key, number in stats.items() if key.startswith("class_")})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if task and of and of != task:
        raise UserError(f"{path}: these are shards of {of}, not of {task}; give each task the list of its own")
    return found if of else None  # shards that were built before records named their task are read


def _counted(paths, kind, count, on_bad):
    """By reading the shards. A class that the head does not have is a bad line, which is named."""
    limits, found = Limits(**of_kind(kind, count)), Found()
    for path in paths:
        try:
            for first, lines in read_shard(path):
                rows, problems = parse_lines(lines, limits)
                if problems and on_bad == "error":
                    raise UserError(f"{path}, line {first + problems[0][0] + 1}: {problems[0][1]}")
                _count(found.lengths, rows.lengths)
                if kind == "sentence":
                    _count(found.classes, rows.labels)
                elif kind == "token":
                    _count(found.classes, rows.units[rows.units & SPECIAL == 0] >> 1)
        except UserError:
            if on_bad == "error":
                raise
    return found


def _count(counts, values):
    numbers, times = np.unique(values, return_counts=True)
    counts.update(dict(zip(numbers.tolist(), times.tolist())))
