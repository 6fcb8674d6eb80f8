"""Where the build of a large input file stands, so that the same command goes on within it after a stop.

    milestone = read(path, known, tasks=1)                  # None: from the beginning
    writers[0].go_on(milestone.shards[0])
    write(path, known, milestone)

A milestone stands between two blocks: how many are done, what was counted in them, and how long each shard that is not
complete was then. It is written every ``EVERY`` seconds, after the shards were flushed to the disk, and removed when
the file is done. What a shard got after it is cut off again, so the bytes are those of a build without a stop.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from propeller.files import write_file

EVERY = 30.0  # seconds
FORMAT = 1


@dataclass(frozen=True)
class Milestone:
    """Between two blocks of an input file.

    Attributes:
        blocks: how many are done.
        stats: counts of the text.
        counts: those of each task.
        shards: of each task, see ``ShardWriter.state``.
    """

    blocks: int
    stats: Counter
    counts: list[Counter]
    shards: list[dict[str, Any]]


def place(folder: Path, name: str) -> Path:
    """The file of a milestone, in the folder of the first task's shards."""
    return folder / f".{name}.milestone.json"


def write(path: Path, known: Mapping[str, Any], milestone: Milestone) -> None:
    """Write it, atomically. Raises OSError.

    Args:
        known: what the input file and how it is read are known by; another one later has no milestone.
    """
    value = {
        "format": FORMAT,
        "input": dict(known),
        "blocks": milestone.blocks,
        "stats": list(milestone.stats.items()),  # some keys are numbers
        "counts": [list(counts.items()) for counts in milestone.counts],
        "shards": milestone.shards,
    }
    write_file(path, json.dumps(value).encode())


def read(path: Path, known: Mapping[str, Any], tasks: int) -> Milestone | None:
    """The milestone of an input file that is still the one it was; None where there is none.

    Args:
        known: see ``write``.
        tasks: of how many tasks it must be.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["format"] != FORMAT or value["input"] != dict(known) or len(value["shards"]) != tasks:
            return None
        return Milestone(
            value["blocks"],
            Counter(dict(map(tuple, value["stats"]))),
            [Counter(dict(map(tuple, counts))) for counts in value["counts"]],
            value["shards"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
