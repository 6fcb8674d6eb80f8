"""What the scores of pre-training tasks are made of."""

from __future__ import annotations

import math

import numpy as np


def perplexity(mean: float) -> float:
    """``math.exp`` of a mean cross entropy; infinity where that is beyond a float, as a run that diverges shows."""
    return math.exp(mean) if mean < 700 else math.inf


class ClassCounts:
    """How many things of each class there were, and how many were told right.

    Args:
        classes: how many classes.
    """

    def __init__(self, classes: int) -> None:
        self.all, self.right = np.zeros(classes, np.int64), np.zeros(classes, np.int64)

    def add(self, told: np.ndarray, labels: np.ndarray) -> None:
        """Count what was told. Args: told, labels: int [things]."""
        classes = len(self.all)
        self.all += np.bincount(labels, minlength=classes)
        self.right += np.bincount(labels[told == labels], minlength=classes)

    @property
    def total(self) -> int:
        """Things counted."""
        return int(self.all.sum())

    def accuracies(self) -> dict[str, float]:
        """``acc``, the share told right; ``balanced_acc``, the mean of that share over the classes that occur."""
        occur = self.all > 0
        return {
            "acc": float(self.right.sum() / max(self.total, 1)),
            "balanced_acc": float(np.mean(self.right[occur] / self.all[occur])) if occur.any() else 0.0,
        }
