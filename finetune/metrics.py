"""The scores of fine-tuning, by the names of the 2019 ``--metric`` flag, over scikit-learn.

METRICS["acc_and_f1"].compute(probs, labels)        # {"acc": 0.91, "f1": 0.88, "acc_and_f1": 0.895}
"""

from __future__ import annotations

from typing import Callable, NamedTuple

import numpy as np
from sklearn import metrics as sk


class Score(NamedTuple):
    """One choice of ``--metric``: how it is computed, how the log shows it, which value picks the best checkpoint."""

    compute: Callable
    text: str
    best_by: str


def _classes(probs, labels):
    return np.argmax(probs, axis=1), np.asarray(labels).ravel()


def simple_accuracy(probs, labels):
    """probs: [n, classes]; labels: [n] or [n, 1] -> ``acc``."""
    predicted, labels = _classes(probs, labels)
    return {"acc": float(sk.accuracy_score(labels, predicted))}


def acc_and_f1(probs, labels):
    """``acc``, ``f1`` and their mean. F1 is that of class 1 for two classes (GLUE's MRPC and QQP), macro F1 for more.

    2019 gave nan where nothing was predicted or labelled positive; here that is 0.0, as in scikit-learn.
    """
    predicted, labels = _classes(probs, labels)
    if probs.shape[1] > 2:
        f1 = sk.f1_score(labels, predicted, average="macro", labels=range(probs.shape[1]), zero_division=0.0)
    else:
        f1 = sk.f1_score(labels, predicted, pos_label=1, zero_division=0.0)
    acc = sk.accuracy_score(labels, predicted)
    return {"acc": float(acc), "f1": float(f1), "acc_and_f1": float(acc + f1) / 2}


def matthews_corrcoef(probs, labels):
    """``matthews_corrcoef`` (Matthews 1975), GLUE's score for CoLA; 0.0 where it is undefined."""
    predicted, labels = _classes(probs, labels)
    if len(set(labels) | set(predicted)) < 2:
        return {"matthews_corrcoef": 0.0}
    return {"matthews_corrcoef": float(sk.matthews_corrcoef(labels, predicted))}


METRICS = {
    "simple_accuracy": Score(simple_accuracy, "acc:{acc:f}", "acc"),
    "acc_and_f1": Score(acc_and_f1, "ave_acc: {acc:f}, f1: {f1:f}", "acc_and_f1"),
    "matthews_corrcoef": Score(matthews_corrcoef, "matthews_corrcoef: {matthews_corrcoef:f}", "matthews_corrcoef"),
}
