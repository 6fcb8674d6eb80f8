"""The scores of fine-tuning, by the names of the 2019 ``--metric`` flag, over scikit-learn and scipy.

Both are imported when a score is computed: the flags need the names alone.

METRICS["acc_and_f1"].compute(probs, labels)        # {"acc": 0.91, "f1": 0.88, "acc_and_f1": 0.895}
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


TIE = 2e-6  # probabilities that differ by less are equal: twice what padding was seen to change


class Score(NamedTuple):
    """One choice of ``--metric``.

    Attributes:
        compute: its function.
        text: how the log shows it.
        best_by: which value picks the best checkpoint.
        names: of all values.
    """

    compute: Callable
    text: str
    best_by: str
    names: tuple[str, ...]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits, float32 [..., classes]."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (shifted / shifted.sum(axis=-1, keepdims=True)).astype(np.float32)


def best_class(probs: ArrayLike) -> np.ndarray:
    """The class of each row: the first of those whose probability is the highest, or below it by ``TIE`` at most.

    The length to which a batch is padded, and the rows beside one, change the last bits of its probabilities, so the
    highest of equal ones would change with them.

    Args:
        probs: [..., classes].

    Returns:
        int64 [...].
    """
    probs = np.asarray(probs)
    return np.argmax(~(probs < probs.max(axis=-1, keepdims=True) - TIE), axis=-1)


def _classes(probs, labels):
    return best_class(probs), np.asarray(labels).ravel()


def simple_accuracy(probs: np.ndarray, labels: ArrayLike) -> dict[str, float]:
    """probs: [n, classes]; labels: [n] or [n, 1] -> ``acc``."""
    from sklearn import metrics as sk

    predicted, labels = _classes(probs, labels)
    return {"acc": float(sk.accuracy_score(labels, predicted))}


def acc_and_f1(probs: np.ndarray, labels: ArrayLike, average: str | None = None) -> dict[str, float]:
    """``acc``, ``f1`` and their mean.

    Args:
        probs: float [n, classes].
        labels: int [n] or [n, 1].
        average: ``binary``, the F1 of class 1 over the rows whose label and prediction are the classes 0 and 1, as in
            2019, which left a third class out; ``macro``, the mean over the classes; ``weighted``, that mean weighted
            by how often each class is labelled; ``micro``, over all decisions together. None: binary for two classes
            (GLUE's MRPC and QQP), macro for more.

    F1 is 0.0 where nothing is predicted or labelled positive, as in scikit-learn; the 2019 code gave nan. A class
    that is neither labelled nor predicted does not count, as in scikit-learn: a model without a fault has 1.0.
    """
    from sklearn import metrics as sk

    predicted, gold = _classes(probs, labels)
    if (average or ("binary" if probs.shape[1] == 2 else "macro")) == "binary":
        told = (gold < 2) & (predicted < 2)
        f1 = sk.f1_score(gold[told], predicted[told], zero_division=0.0) if told.any() else 0.0
    else:
        f1 = sk.f1_score(gold, predicted, average=average or "macro", zero_division=0.0)
    acc = sk.accuracy_score(gold, predicted)
    return {"acc": float(acc), "f1": float(f1), "acc_and_f1": float(acc + f1) / 2}


def matthews_corrcoef(probs: np.ndarray, labels: ArrayLike) -> dict[str, float]:
    """``matthews_corrcoef`` (Matthews 1975), GLUE's score for CoLA; 0.0 where it is undefined."""
    from sklearn import metrics as sk

    predicted, classes = _classes(probs, labels)
    if len(set(classes) | set(predicted)) < 2:
        return {"matthews_corrcoef": 0.0}
    return {"matthews_corrcoef": float(sk.matthews_corrcoef(classes, predicted))}


def mean_reciprocal_rank(qids: ArrayLike, scores: ArrayLike, labels: ArrayLike) -> float:
    """MRR: the mean over the questions of 1 / rank of the first right answer, 0 for a question without one.

    qids, scores and labels are arrays [n] with one candidate answer per place; right answers have a label other than 0.
    The candidates of a question are ranked by falling score; equal scores keep their order, as in the 2019 code.
    """
    return _mean_over_questions(_reciprocal_rank, qids, scores, labels)


def mean_average_precision(qids: ArrayLike, scores: ArrayLike, labels: ArrayLike) -> float:
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


def acc_and_f1_and_mrr(
    probs: np.ndarray, labels: ArrayLike, qids: ArrayLike, average: str | None = None
) -> dict[str, float]:
    """``acc``, ``f1``, ``mrr`` and ``map`` of ranked answers (NLPCC2016-DBQA); the score of a row is class 1's.

    probs: [n, 2]; labels, qids: [n] or [n, 1]; average: of F1, see ``acc_and_f1``. The log has no ``map``, as in 2019;
    metrics.jsonl has it.
    """
    scored = acc_and_f1(probs, labels, average)
    ranked = (qids, probs[:, 1], labels)
    return {
        "acc": scored["acc"],
        "f1": scored["f1"],
        "mrr": mean_reciprocal_rank(*ranked),
        "map": mean_average_precision(*ranked),
    }


def pearson_and_spearman(predicted: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """``pearson``, ``spearmanr`` (ties by mean rank) and their mean ``corr``, GLUE's score for STS-B.

    predicted and labels are [n] or [n, 1]. The scores are 0.0 where they are undefined (fewer than two rows, or one
    side constant); there the 2019 code gave nan or stopped.
    """
    from scipy import stats

    predicted, labels = (np.asarray(array, np.float64).ravel() for array in (predicted, labels))
    if len(labels) < 2 or np.ptp(predicted) == 0 or np.ptp(labels) == 0:
        return {"pearson": 0.0, "spearmanr": 0.0, "corr": 0.0}
    pearson = float(stats.pearsonr(predicted, labels)[0])
    spearman = float(stats.spearmanr(predicted, labels)[0])
    return {"pearson": pearson, "spearmanr": spearman, "corr": (pearson + spearman) / 2}


def f1_score(inferred: int, labelled: int, correct: int) -> dict[str, float]:
    """F1, precision and recall from numbers of entities; 0 where they are undefined, as in 2019."""
    precision = correct / inferred if inferred else 0.0
    recall = correct / labelled if labelled else 0.0
    f1 = 2 * precision * recall / (precision + recall) if correct else 0.0
    return {"f1": f1, "precision": precision, "recall": recall}


REGRESSION = ("pearson_and_spearman",)
RANKING = ("acc_and_f1_and_mrr",)
WITH_F1 = ("acc_and_f1", "acc_and_f1_and_mrr")
F1_AVERAGES = ("binary", "macro", "micro", "weighted")
METRICS = {
    "simple_accuracy": Score(simple_accuracy, "acc:{acc:f}", "acc", ("acc",)),
    "acc_and_f1": Score(acc_and_f1, "ave_acc: {acc:f}, f1: {f1:f}", "acc_and_f1", ("acc", "f1", "acc_and_f1")),
    "matthews_corrcoef": Score(
        matthews_corrcoef, "matthews_corrcoef: {matthews_corrcoef:f}", "matthews_corrcoef", ("matthews_corrcoef",)
    ),
    "pearson_and_spearman": Score(
        pearson_and_spearman,
        "pearson:{pearson:f}, spearman:{spearmanr:f}, corr:{corr:f}",
        "corr",
        ("pearson", "spearmanr", "corr"),
    ),
    "acc_and_f1_and_mrr": Score(
        acc_and_f1_and_mrr, "acc: {acc:f}, f1: {f1:f}, mrr: {mrr:f}", "mrr", ("acc", "f1", "mrr", "map")
    ),
}
