"""Batch helpers for the training loop.

groups_of(batches, run), ends_epoch(position, epoch_size), blank(inputs), size_of(batch)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from propeller.metrics import Metric
    from propeller.train.model import Input
    from propeller.train.program import Graph


class Outcome(NamedTuple):
    """What came of one batch: a result, or why this rank was asked to stop before it.

    Attributes:
        stop_reason: None where there is a result.
        result: what the Program's run gave.
    """

    stop_reason: str | None
    result: Any


def groups_of(batches: Iterable[tuple[Any, Any]], run: Callable[[Any], Any]) -> Iterator[list[Any]]:
    """What ``run`` makes of the batches, in lists that belong together: the windows of one rank's long sentences."""
    group = []
    for batch, position in batches:
        group.append(run(batch))
        if not getattr(position, "done", 0):
            yield group
            group = []
    if group:
        yield group


def ends_epoch(position: Any, epoch_size: int | None) -> bool:
    """Whether an epoch ends at a position: by its rows, or, where their number is not known, as the position says."""
    return position.ended if epoch_size is None else position.rows >= epoch_size


def blank(inputs: Iterable[Input]) -> dict[str, np.ndarray]:
    """A batch of zeros, one by one, for a process that never had another."""
    return {entry.name: np.zeros([size or 1 for size in entry.shape], entry.dtype) for entry in inputs}


def size_of(batch: dict[str, np.ndarray]) -> int:
    """The number of examples of a batch."""
    return len(next(iter(batch.values())))


def metric_arrays(graph: Graph, fetched: dict[str, np.ndarray]) -> Iterator[tuple[Metric, list[np.ndarray]]]:
    """(metric, its arrays) of what a run of a Program fetched."""
    for name, metric in graph.metrics.items():
        yield metric, [fetched[f"{name}/{i}"] for i in range(len(metric.tensors))]
