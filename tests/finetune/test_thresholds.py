"""Scores of label sets, and the thresholds that they are decided by."""

import numpy as np
import pytest
from sklearn import metrics as sk

from finetune.classification import thresholds as cuts
from finetune.reporting.label_sets import suspects


@pytest.mark.parametrize("seed", range(20))
def test_scores_equal_scikit_learn(seed):
    random = np.random.RandomState(seed)
    shape = random.randint(1, 40), random.randint(1, 7)
    labels, chosen = (random.rand(*shape) < random.rand() for _ in range(2))
    found = cuts.set_scores(chosen, labels)
    for name, average, empty in (("micro_f1", "micro", 0), ("macro_f1", "macro", 0), ("sample_f1", "samples", 1.0)):
        if shape[1] == 1 and average != "samples":  # one column is no label indicator to scikit-learn
            wanted = sk.f1_score(labels.ravel(), chosen.ravel(), zero_division=empty)
        elif shape[1] == 1:
            continue
        else:
            wanted = sk.f1_score(labels, chosen, average=average, zero_division=empty)
        assert found[name] == pytest.approx(wanted, abs=1e-12), name
    assert found["exact_match"] == pytest.approx(sk.accuracy_score(labels, chosen))


@pytest.mark.parametrize("seed", range(20))
def test_no_threshold_is_better_than_the_tuned_one(seed):
    """Beside all thresholds that make a difference, with equal probabilities among them."""
    random = np.random.RandomState(seed)
    probs = random.rand(30, 3).round(2).astype("float32")
    labels = random.rand(30, 3) < probs * random.rand()
    every = [cuts.EDGE, *np.unique(probs.astype("float64")), 1 - cuts.EDGE]
    (one,) = set(cuts.tune(probs, labels, "one"))
    best = max(cuts.set_scores(probs >= value, labels)["micro_f1"] for value in every)
    assert cuts.set_scores(probs >= one, labels)["micro_f1"] == pytest.approx(best)
    for column, tuned in enumerate(cuts.tune(probs, labels, "per_label")):
        part = slice(column, column + 1)
        best = max(cuts.set_scores(probs[:, part] >= value, labels[:, part])["micro_f1"] for value in every)
        if labels[:, part].any():
            assert cuts.set_scores(probs[:, part] >= tuned, labels[:, part])["micro_f1"] == pytest.approx(best)
        else:
            assert tuned == 0.5


def test_thresholds_are_read_as_they_were_written():
    tuned = np.array([0.25, 0.123456789, 0.9])
    assert cuts.write_thresholds(tuned) == "0.25,0.123456789,0.9"
    assert cuts.read_thresholds("0.25,0.123456789,0.9", 3).tolist() == tuned.tolist()
    assert cuts.write_thresholds(np.full(3, 0.25)) == "0.25"
    assert cuts.read_thresholds("0.25", 3).tolist() == [0.25] * 3
    assert cuts.read_thresholds(None, 2).tolist() == [0.5, 0.5]


def test_decisions_that_are_probably_wrong_by_hand():
    """Means of label 0: 0.8 of the rows that have it, 0.2 of those that lack it; label 1 is everywhere."""
    probs = np.array([[0.9, 0.9], [0.7, 0.9], [0.1, 0.9], [0.3, 0.9], [0.1, 0.9], [0.95, 0.9]])
    given = np.array([[1, 1], [1, 1], [0, 1], [0, 1], [1, 1], [0, 1]], bool)
    rows, labels, gaps = suspects(probs, given, probs >= 0.5)
    assert list(zip(rows.tolist(), labels.tolist())) == [(4, 0), (5, 0)]
    assert gaps == pytest.approx([0.8, 0.9])
    rows, labels, _ = suspects(probs, given, probs >= 0.99)
    assert list(zip(rows.tolist(), labels.tolist())) == [(4, 0)], "no row lacks a label that is never predicted"
