"""Metrics that give one number: means, binary classification, points of the precision-recall curve.

    metric = Precision(label, predicted_class)
    metric.update([labels, classes])
    metric.eval()

``label`` and ``pred`` have one entry per example, ``[batch]`` or ``[batch, 1]``. Where ``pred`` is a score and has
several columns, the last one counts. With several processes the training loop gathers the arrays of all of them before
``update``, so every process computes the score of the whole data set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from propeller.errors import UserError


class Metrics:
    """Base: ``tensor`` is fetched with every batch and given to ``update``; ``eval`` returns the score.

    Args:
        *tensors: what to fetch; the first axis is the batch.
    """

    def __init__(self, *tensors: Any) -> None:
        self._tensors = tensors
        self.reset()

    @property
    def tensor(self) -> tuple:
        """The tensors to fetch with every batch."""
        return self._tensors

    def reset(self) -> None:
        """Forget all batches."""
        self._batches: list[tuple] = []

    def update(self, values: Sequence[np.ndarray]) -> None:
        """Take one batch.

        Args:
            values: one array per tensor, in the order of ``tensor``.

        Raises:
            UserError: the arrays do not have one entry per example each.
        """
        columns = tuple(self._column(np.asarray(value)) for value in values)
        if len({len(column) for column in columns}) > 1:
            sizes = ", ".join(str(len(column)) for column in columns)
            raise UserError(f"{type(self).__name__}: arrays of {sizes} entries: each must have one entry per example")
        self._batches.append(columns)

    def eval(self) -> float:
        """The score over all batches since the last reset."""
        if not self._batches:
            return math.nan
        return float(self._score(*(np.concatenate(column) for column in zip(*self._batches))))

    def _column(self, value: np.ndarray) -> np.ndarray:
        return value.reshape(-1)

    def _score(self, *columns: np.ndarray) -> float:
        raise NotImplementedError


class Mean(Metrics):
    """The mean over all values of all batches.

    Args:
        tensor: of any shape.
    """

    def __init__(self, tensor: Any) -> None:
        super().__init__(tensor)

    def reset(self) -> None:
        self._total, self._count = 0.0, 0

    def update(self, values: Sequence[np.ndarray]) -> None:
        (value,) = values
        value = np.asarray(value, dtype=np.float64)
        self._total, self._count = self._total + value.sum(), self._count + value.size

    def eval(self) -> float:
        return float(self._total / self._count) if self._count else math.nan


class Ppl(Mean):
    """Perplexity: the exponential of the mean over all values, which are cross-entropies in nats."""

    def eval(self) -> float:
        return float(np.exp(super().eval()))


class _Pair(Metrics):
    """A metric of a label and a prediction."""

    def __init__(self, label: Any, pred: Any) -> None:
        super().__init__(label, pred)


class Acc(_Pair):
    """Accuracy: the share of examples whose predicted class equals the label."""

    def _score(self, label, pred):
        return np.mean(label == pred)


class MSE(_Pair):
    """Mean squared error."""

    def _score(self, label, pred):
        return np.mean((label.astype(np.float64) - pred) ** 2)


class Cosine(_Pair):
    """The mean cosine between the rows of ``label`` and of ``pred``, both ``[batch, width]``; 0 for a row of zeros."""

    def _column(self, value):
        value = value.reshape(len(value), -1).astype(np.float64)
        return value / np.maximum(np.linalg.norm(value, axis=1, keepdims=True), 1e-12)

    def _score(self, label, pred):
        return np.mean(np.sum(label * pred, axis=1))


class _Binary(_Pair):
    """A metric of two classes; class 1, and whatever else is above 0, is the positive one."""

    def _score(self, label, pred):
        label, pred = label > 0, pred > 0
        return self._of(np.sum(label & pred), np.sum(label), np.sum(pred))

    def _of(self, both, labelled, predicted):
        raise NotImplementedError


class Precision(_Binary):
    """True positives per predicted positive; 0 where none is predicted.

    In 2019 this class divided by the labelled positives, which is the recall.
    """

    def _of(self, both, labelled, predicted):
        return _ratio(both, predicted)


class Recall(_Binary):
    """True positives per labelled positive; 0 where none is labelled."""

    def _of(self, both, labelled, predicted):
        return _ratio(both, labelled)


class F1(_Binary):
    """The harmonic mean of precision and recall; 0 where both are 0."""

    def _of(self, both, labelled, predicted):
        return _ratio(2 * both, labelled + predicted)


class _Scored(_Pair):
    """A metric of a binary label and a score."""

    def update(self, values: Sequence[np.ndarray]) -> None:
        label, pred = values
        super().update([label, last_column(pred)])


class Auc(_Scored):
    """The area under the ROC curve; nan where there is only one class."""

    def _score(self, label, pred):
        from sklearn.metrics import roc_auc_score

        positive = label > 0
        return math.nan if positive.all() or not positive.any() else roc_auc_score(positive, pred)


class RecallAtPrecision(_Scored):
    """The highest recall at a threshold whose precision exceeds a bound; 0 where none does.

    Args:
        label: 0 or 1 per example.
        pred: the score of class 1, ``[batch]``, or of all classes, ``[batch, classes]``.
        precision: the bound, from 0 to 1.
    """

    def __init__(self, label: Any, pred: Any, precision: float = 0.9) -> None:
        self.precision = precision
        super().__init__(label, pred)

    def _score(self, label, pred):
        from sklearn.metrics import precision_recall_curve

        if not (label > 0).any():
            return 0.0
        precisions, recalls, _ = precision_recall_curve(label > 0, pred)  # recall falls along the curve
        above = precisions > self.precision
        return recalls[np.argmax(above)] if above.any() else 0.0


class PrecisionAtThreshold(_Scored):
    """The share of positives among the examples whose score is above a threshold; 0 where there is none.

    Args:
        label: 0 or 1 per example.
        pred: the score of class 1, or of all classes.
        threshold: of the score.
    """

    def __init__(self, label: Any, pred: Any, threshold: float = 0.5) -> None:
        self.threshold = threshold
        super().__init__(label, pred)

    def _score(self, label, pred):
        above = pred > self.threshold
        return _ratio(np.sum(above & (label > 0)), np.sum(above))


def last_column(scores: np.ndarray) -> np.ndarray:
    """One score per example: the array itself, or its last column where it has several.

    Args:
        scores: ``[batch]`` or ``[batch, columns]``.

    Returns:
        ``[batch]``.
    """
    scores = np.asarray(scores)
    return scores.reshape(len(scores), -1)[:, -1] if scores.ndim > 1 else scores.reshape(-1)


def _ratio(count, of):
    return count / of if of else 0.0
