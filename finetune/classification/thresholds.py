"""From probabilities to label sets: thresholds, the scores of label sets, and thresholds tuned on a dev set.

thresholds = read_thresholds("0.5", num_labels=3)               # float64 [3]
set_scores(probs >= thresholds, labels)                         # {"micro_f1": ..., "macro_f1": ..., ...}
tuned = tune(probs, labels, "per_label")                        # float64 [3]
write_thresholds(tuned)                                         # "0.31,0.52,0.47"
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from propeller.errors import UserError

DEFAULT = 0.5
SCORES = ("micro_f1", "macro_f1", "sample_f1", "exact_match")
EDGE = 1e-9  # thresholds lie between it and 1 minus it


def read_thresholds(text: str | None, num_labels: int) -> np.ndarray:
    """The thresholds of the labels, float64 [num_labels], from ``--threshold``.

    Args:
        text: one number for all labels or one per label, with commas between; None: 0.5 for all.
        num_labels: how many labels there are.

    Raises:
        UserError: a part is not a number between 0 and 1, or there are neither one nor ``num_labels`` of them.
    """
    if text is None:
        return np.full(num_labels, DEFAULT)
    values = []
    for part in text.split(","):
        try:
            values.append(float(part))
        except ValueError:
            raise UserError(f"--threshold {text}: {part.strip()!r} is not a number; give numbers like 0.5") from None
        if not 0 < values[-1] < 1:
            raise UserError(f"--threshold {text}: give numbers between 0 and 1, not {values[-1]:g}")
    if len(values) not in (1, num_labels):
        raise UserError(
            f"--threshold {text}: has {len(values)} numbers for {num_labels} labels; give one, or one per label"
        )
    return np.resize(np.array(values), num_labels)


def write_thresholds(thresholds: np.ndarray) -> str:
    """The form of ``--threshold``: one number where all are equal, else one per label."""
    different = np.unique(thresholds)
    return ",".join(f"{value:.9g}" for value in (different if len(different) == 1 else thresholds))


def f1_of_counts(hits: np.ndarray, predicted: np.ndarray, labelled: np.ndarray, empty: float = 0.0) -> np.ndarray:
    """F1 from counts, 2 hits / (predicted + labelled); ``empty`` where nothing is predicted and nothing labelled.

    Args:
        hits: how many are predicted and labelled, int of any shape.
        predicted, labelled: how many are predicted, and how many labelled.
    """
    total = np.asarray(predicted) + np.asarray(labelled)
    return np.where(total > 0, 2 * np.asarray(hits) / np.maximum(total, 1), empty)


def set_scores(chosen: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Scores of label sets, as scikit-learn computes them.

    ``micro_f1`` is over all decisions, ``macro_f1`` the mean over the labels, where a label that is neither predicted
    nor labelled counts 0 (``zero_division=0``), ``sample_f1`` the mean over the texts, where a text that rightly has no
    label counts 1 (``zero_division=1``), and ``exact_match`` the share of texts whose set is right.

    Args:
        chosen, labels: bool or 0 and 1, [texts, labels].
    """
    chosen, labels = np.asarray(chosen) > 0.5, np.asarray(labels) > 0.5
    hits = chosen & labels
    per_label, per_text = (
        f1_of_counts(hits.sum(axis=axis), chosen.sum(axis=axis), labels.sum(axis=axis), empty)
        for axis, empty in ((0, 0.0), (1, 1.0))
    )
    return {
        "micro_f1": float(f1_of_counts(hits.sum(), chosen.sum(), labels.sum())),
        "macro_f1": float(per_label.mean()),
        "sample_f1": float(per_text.mean()),
        "exact_match": float((chosen == labels).all(axis=1).mean()),
    }


def best_threshold(probs: np.ndarray, labels: np.ndarray) -> float:
    """The threshold with the highest F1 of decisions; of equal ones the highest. 0.5 where nothing is labelled.

    It lies half-way between two probabilities that occur, so small differences between engines change no decision.

    Args:
        probs: float [n].
        labels: bool [n].
    """
    order = np.argsort(-probs, kind="stable")
    falling, right = np.asarray(probs, np.float64)[order], np.asarray(labels, bool)[order]
    if not right.any():
        return DEFAULT
    last = np.append(falling[1:] < falling[:-1], True)  # of equal probabilities all or none are chosen
    hits, chosen = np.cumsum(right)[last], np.flatnonzero(last) + 1
    best = int(np.argmax(f1_of_counts(hits, chosen, np.full(len(chosen), right.sum()))))
    edges = np.append(falling[last], 0.0)
    return float(np.clip((edges[best] + edges[best + 1]) / 2, EDGE, 1 - EDGE))


def tune(probs: np.ndarray, labels: np.ndarray, how: str) -> np.ndarray:
    """Thresholds that fit a dev set, float64 [labels].

    Args:
        probs: float [texts, labels].
        labels: bool [texts, labels].
        how: ``one``, with the best micro F1; ``per_label``, each with the best F1 of its label.
    """
    if how == "one":
        return np.full(probs.shape[1], best_threshold(probs.ravel(), labels.ravel()))
    return np.array([best_threshold(*columns) for columns in zip(probs.T, labels.T)])


def shown(tuned: Mapping[str, str]) -> str:
    """What the log says of tuned settings: ``, threshold: 0.31``; "" for none."""
    return "".join(f", {name}: {value}" for name, value in tuned.items())
