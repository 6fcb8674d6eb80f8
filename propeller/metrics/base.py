"""Metrics over a data set: what to fetch from a Program, how to collect it batch by batch, what it comes to.

metric = Collected([predictions["probs"], label["labels"]], lambda probs, labels: {"acc": ...})
metric.update([probs, labels])          # arrays of one batch
metric.eval()                           # {"acc": 0.91}
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Callable

import numpy as np


class Metric:
    """Base: ``tensors`` are fetched with every batch and given to ``update``; ``eval`` returns name -> float."""

    def __init__(self, tensors: Iterable[Any]) -> None:
        self.tensors = list(tensors)
        self.reset()

    def reset(self) -> None:
        """Forget what was collected."""
        raise NotImplementedError

    def update(self, arrays: Sequence[np.ndarray]) -> None:
        """Take one batch: an array for each tensor."""
        raise NotImplementedError

    def eval(self) -> dict[str, float]:
        """dict of name -> float over all batches since the last reset."""
        raise NotImplementedError


class Collected(Metric):
    """Keeps the arrays and computes over all of them at the end, so that no batch boundary shows in the result.

    Args:
        tensors: what to fetch, first axis the batch.
        compute: called with one concatenated array for each tensor; returns name -> float.
    """

    def __init__(self, tensors: Iterable[Any], compute: Callable[..., dict[str, float]]) -> None:
        self.compute = compute
        super().__init__(tensors)

    def reset(self) -> None:
        self._batches: list[list[np.ndarray]] = []

    def update(self, arrays: Sequence[np.ndarray]) -> None:
        self._batches.append([np.asarray(array) for array in arrays])

    def eval(self) -> dict[str, float]:
        if not self._batches:
            return {}
        return self.compute(*(np.concatenate(column) for column in zip(*self._batches)))
