"""The scores of fine-tuning, by the names of the 2019 ``--metric`` flag, over scikit-learn and scipy.

METRICS["acc_and_f1"].compute(probs, labels)        # {"acc": 0.91, "f1": 0.88, "acc_and_f1": 0.895}
"""

from __future__ import annotations

from typing import Callable, NamedTuple

import numpy as np
from scipy import stats
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


def mean_reciprocal_rank(qids, scores, labels):
    """MRR: the mean over the questions of 1 / rank of the first right answer, 0 for a question without one.

    qids, scores, labels: [n], a candidate answer each; right ones have a label that is not 0. The candidates of a
    question are ranked by falling score; equal scores keep their order, as in 2019.
    """
    return _mean_over_questions(_reciprocal_rank, qids, scores, labels)


def mean_average_precision(qids, scores, labels):
    """MAP: the mean over the questions of the average precision at the ranks of the right answers; as MRR otherwise."""
    return _mean_over_questions(_average_precision, qids, scores, labels)


def _mean_over_questions(value, qids, scores, labels):
    qids, scores, labels = (np.asarray(array).ravel() for array in (qids, scores, labels))
    order = np.lexsort((-scores, qids))  # stable: by question, then by falling score
    begins = np.flatnonzero(np.diff(qids[order], prepend=qids[order][:1] - 1))
    questions = np.split(labels[order] != 0, begins[1:])
    return float(np.mean([value(right) for right in questions]))


def _reciprocal_rank(right):
    return 1.0 / (np.argmax(right) + 1) if right.any() else 0.0


def _average_precision(right):
    ranks = np.flatnonzero(right) + 1
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks)) if len(ranks) else 0.0


def acc_and_f1_and_mrr(probs, labels, qids):
    """``acc``, ``f1``, ``mrr`` and ``map`` of ranked answers (NLPCC2016-DBQA); the score of a row is class 1's.

    probs: [n, 2]; labels, qids: [n] or [n, 1]. The log has no ``map``, as in 2019; metrics.jsonl has it.
    """
    scored = acc_and_f1(probs, labels)
    ranked = (qids, probs[:, 1], labels)
    return {
        "acc": scored["acc"],
        "f1": scored["f1"],
        "mrr": mean_reciprocal_rank(*ranked),
        "map": mean_average_precision(*ranked),
    }


def pearson_and_spearman(predicted, labels):
    """``pearson``, ``spearmanr`` (ties by mean rank) and their mean ``corr``, GLUE's score for STS-B.

    predicted, labels: [n] or [n, 1]. 0.0 where they are undefined (fewer than two rows, or one side constant), where
    2019 gave nan or stopped.
    """
    predicted, labels = (np.asarray(array, np.float64).ravel() for array in (predicted, labels))
    if len(labels) < 2 or np.ptp(predicted) == 0 or np.ptp(labels) == 0:
        return {"pearson": 0.0, "spearmanr": 0.0, "corr": 0.0}
    pearson = float(stats.pearsonr(predicted, labels)[0])
    spearman = float(stats.spearmanr(predicted, labels)[0])
    return {"pearson": pearson, "spearmanr": spearman, "corr": (pearson + spearman) / 2}


REGRESSION = ("pearson_and_spearman",)
RANKING = ("acc_and_f1_and_mrr",)
METRICS = {
    "simple_accuracy": Score(simple_accuracy, "acc:{acc:f}", "acc"),
    "acc_and_f1": Score(acc_and_f1, "ave_acc: {acc:f}, f1: {f1:f}", "acc_and_f1"),
    "matthews_corrcoef": Score(matthews_corrcoef, "matthews_corrcoef: {matthews_corrcoef:f}", "matthews_corrcoef"),
    "pearson_and_spearman": Score(
        pearson_and_spearman, "pearson:{pearson:f}, spearman:{spearmanr:f}, corr:{corr:f}", "corr"
    ),
    "acc_and_f1_and_mrr": Score(acc_and_f1_and_mrr, "acc: {acc:f}, f1: {f1:f}, mrr: {mrr:f}", "mrr"),
}
