"""Metrics of answers ranked per question: reciprocal rank, ordered pairs, the best k.

    metric = Mrr(qid, label, score)
    metric.update([qids, labels, scores])       # [batch] or [batch, 1] each; of several columns of scores the last one
    metric.eval()

The answers of a question may lie in different batches. Answers with equal scores are ranked in the order they came in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from propeller.metrics.scores import Metrics, last_column


class _Ranking(Metrics):
    """A metric of answers that are grouped by question.

    Args:
        qid: the question's number per answer.
        label: how good the answer is.
        pred: the answer's score.
    """

    def __init__(self, qid: Any, label: Any, pred: Any) -> None:
        super().__init__(qid, label, pred)

    def update(self, values: Sequence[np.ndarray]) -> None:
        qid, label, pred = values
        super().update([qid, label, last_column(pred)])

    @staticmethod
    def _questions(qid, label, pred) -> Iterator[tuple]:
        """(labels, scores) of every question, in the order the answers came in."""
        order = np.argsort(qid, kind="stable")
        begins = np.flatnonzero(np.diff(qid[order])) + 1
        yield from zip(np.split(label[order], begins), np.split(pred[order], begins))


class Mrr(_Ranking):
    """Mean reciprocal rank: over questions, 1 / rank of the best right answer (label above 0), 0 without one."""

    def _score(self, qid, label, pred):
        return np.mean([self._reciprocal(*question) for question in self._questions(qid, label, pred)])

    @staticmethod
    def _reciprocal(label, pred):
        ranked = label[np.argsort(-pred, kind="stable")] > 0
        return 1.0 / (np.argmax(ranked) + 1) if ranked.any() else 0.0


class PNRatio(_Ranking):
    """Rightly ordered pairs per wrongly ordered pair, over all pairs of one question with different labels.

    Pairs with equal scores count in neither. 0 where no pair is wrong.
    """

    def _score(self, qid, label, pred):
        right = wrong = 0
        for labels, scores in self._questions(qid, self._grades(label), pred):
            better = labels[:, None] > labels[None, :]  # [answers, answers]
            right += np.sum(better & (scores[:, None] > scores[None, :]))
            wrong += np.sum(better & (scores[:, None] < scores[None, :]))
        return right / wrong if wrong else 0.0

    def _grades(self, label):
        return label


class BinaryPNRatio(PNRatio):
    """``PNRatio`` over pairs of an answer with label 1 and one with another label."""

    def _grades(self, label):
        return (label == 1).astype(np.int64)


class PrecisionAtK(_Ranking):
    """The share of questions that have an answer with label 1 among the k best scored.

    Args:
        qid: the question's number per answer.
        label: 1 for a right answer.
        pred: the answer's score.
        k: how many answers of a question count.
    """

    def __init__(self, qid: Any, label: Any, pred: Any, k: int = 1) -> None:
        self.k = k
        super().__init__(qid, label, pred)

    def _score(self, qid, label, pred):
        hits = [
            (labels[np.argsort(-scores, kind="stable")][: self.k] == 1).any()
            for labels, scores in self._questions(qid, label, pred)
        ]
        return np.mean(hits)
