"""How a run ended.

result_of(folder)                       # RunResult of a folder that a run has finished in
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from propeller.train.saver import read_json


class RunResult(NamedTuple):
    """How a run ended.

    Attributes:
        scores: of the best evaluation (the latest without training), name -> number, or {}, of several tasks such a
            dict for each.
        folder: of the run.
        step: the last one.
        best_step: the one with the best score, or None.
    """

    scores: dict[str, Any]
    folder: Path
    step: int
    best_step: int | None


def result_of(folder: Path) -> RunResult:
    """How the run of a folder ended."""
    record = read_json(folder / "run.json")
    steps, best = record.get("steps", 0), record.get("best_step")
    return RunResult(dev_scores(folder, steps if best is None else best), folder, steps, best)


def dev_scores(folder: Path, step: int, task: str | None = None) -> dict[str, float]:
    """The scores of the first dev set at a step, from the run's ``metrics.jsonl``; {} where there was no evaluation.

    Args:
        folder: of the run.
        step: where it was evaluated.
        task: of a run of several tasks, whose dev set.
    """
    path = folder / "metrics.jsonl"
    for line in path.read_text(encoding="utf8").splitlines() if path.is_file() else []:
        record = json.loads(line)
        if record.get("event") == "dev" and record.get("step") == step and record.get("task") == task:
            return numbers_of(record)
    return {}


def numbers_of(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a record of scores, but for where and when it was made."""
    places = ("step", "epoch", "elapsed", "time")
    return {name: value for name, value in record.items()
            if isinstance(value, (int, float)) and name not in places}  # fmt: skip
