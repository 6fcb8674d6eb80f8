"""Batches of several tasks' files: which task each step trains, and readers that go on for ever.

counts = shares({"sentiment": 300, "names": 100}, {"sentiment": 1.0, "names": 1.0}, total=400)
order = step_order(counts, seed=1)                  # order(step) -> the task of a step
Mixture({name: Endless(reader) for ...}, order)     # reader.pretraining.mixture.Mixture
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from reader.batch_reader import BatchReader

FOREVER = 2**31  # epochs


def shares(steps: Mapping[str, int], weights: Mapping[str, float] | None, total: int) -> dict[str, int]:
    """name -> how many of ``total`` steps are a task's, in the ratio of the weights, at least one each.

    Args:
        steps: name -> steps that the task's rows make, the weights where none are given.
        weights: name -> weight, or None.
        total: steps of the run; no fewer than there are tasks.
    """
    given = np.array([(weights or steps)[name] for name in steps], float)
    exact = given / given.sum() * total
    counts = np.maximum(np.floor(exact).astype(int), 1)
    while counts.sum() > total:
        counts[np.argmax(counts - exact)] -= 1
    for _ in range(total - int(counts.sum())):
        counts[np.argmax(exact - counts)] += 1
    return dict(zip(steps, counts.tolist()))


def step_order(counts: Mapping[str, int], seed: int) -> Callable[[int], str]:
    """What says whose a step is: the steps of the tasks in a random order that depends on the seed alone."""
    names = list(counts)
    steps = np.repeat(np.arange(len(names), dtype=np.int16), list(counts.values()))
    turn = np.random.Generator(np.random.PCG64([seed, len(steps)])).permutation(steps)
    # A step skipped for its loss scale is made up for after the last one.
    return lambda step: names[turn[min(step, len(turn) - 1)]]


@dataclass(frozen=True)
class Place:
    """A position of a task's reader as ``Mixture`` takes it: ``reader`` is the reader's own, ``steps`` counts batches
    of all ranks."""

    reader: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 0
    epoch: int = 0
    rows: int = 0
    file: int = 0
    path: str = ""
    mask_type: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"reader": dict(self.reader), "steps": self.steps}


class Endless:
    """A reader of fine-tuning among those of a ``Mixture``: it is opened with ``FOREVER`` epochs."""

    def __init__(self, reader: BatchReader) -> None:
        self.reader = reader

    @property
    def stats(self) -> dict[str, int]:
        """What it counted."""
        return self.reader.stats

    def batches(self, start: Mapping[str, Any] | None = None) -> Iterator[tuple[Any, Place]]:
        """(batch, position after it) from a position on."""
        begin = dict(start or {})
        steps = int(begin.get("steps", 0))
        for batch, position in self.reader.batches(begin.get("reader")):
            steps += self.reader.world_size
            yield batch, Place(position.to_dict(), steps, position.epoch, position.rows, path=self.reader.table.path)
