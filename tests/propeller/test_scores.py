"""The metrics that give one number: against scikit-learn, seqeval, or a case worked out by hand."""

import math
import subprocess
import sys

import numpy as np
import pytest
import seqeval.metrics
import sklearn.metrics

from propeller import metrics
from propeller.errors import UserError
from tests.helpers.common import ROOT

random = np.random.RandomState(3)
LABEL = random.randint(0, 2, [90, 1])
GUESS = np.where(random.rand(90, 1) < 0.25, 1 - LABEL, LABEL)
SCORE = np.clip(0.5 * LABEL + random.rand(90, 1), 0, 1.5).astype("float32")
REAL, OTHER = random.randn(90, 5).astype("float32"), random.randn(90, 5).astype("float32")


def scored(metric, *columns, size=7):
    """The score when the columns come in batches."""
    for begin in range(0, len(columns[0]), size):
        metric.update([column[begin : begin + size] for column in columns])
    return metric.eval()


def recall_at(precision):
    curve = sklearn.metrics.precision_recall_curve(LABEL.ravel(), SCORE.ravel())
    return next(recall for exact, recall in zip(*curve[:2]) if exact > precision)


@pytest.mark.parametrize(
    ("metric", "columns", "wanted"),
    [
        (metrics.Acc("l", "p"), (LABEL, GUESS), sklearn.metrics.accuracy_score(LABEL, GUESS)),
        (
            metrics.MSE("l", "p"),
            (REAL[:, :1], OTHER[:, :1]),
            sklearn.metrics.mean_squared_error(REAL[:, 0], OTHER[:, 0]),
        ),
        (
            metrics.Cosine("l", "p"),
            (REAL, OTHER),
            np.mean(np.diag(sklearn.metrics.pairwise.cosine_similarity(REAL, OTHER))),
        ),
        (metrics.Precision("l", "p"), (LABEL, GUESS), sklearn.metrics.precision_score(LABEL, GUESS)),
        (metrics.Recall("l", "p"), (LABEL, GUESS), sklearn.metrics.recall_score(LABEL, GUESS)),
        (metrics.F1("l", "p"), (LABEL, GUESS), sklearn.metrics.f1_score(LABEL, GUESS)),
        (metrics.Auc("l", "p"), (LABEL, SCORE), sklearn.metrics.roc_auc_score(LABEL, SCORE)),
        (metrics.RecallAtPrecision("l", "p"), (LABEL, SCORE), recall_at(0.9)),
        (metrics.RecallAtPrecision("l", "p", 0.7), (LABEL, np.hstack([1 - SCORE, SCORE])), recall_at(0.7)),
        (
            metrics.PrecisionAtThreshold("l", "p", 0.6),
            (LABEL, SCORE),
            sklearn.metrics.precision_score(LABEL, SCORE > 0.6),
        ),
        (metrics.Mean("t"), (REAL,), REAL.mean(dtype="float64")),
        (metrics.Ppl("t"), (REAL,), math.exp(REAL.mean(dtype="float64"))),
    ],
)
def test_a_score_is_that_of_scikit_learn_over_the_whole_data_set(metric, columns, wanted):
    assert scored(metric, *columns) == pytest.approx(float(wanted), rel=1e-6)
    metric.reset()
    assert scored(metric, *columns, size=1000) == pytest.approx(float(wanted), rel=1e-6), "whatever the batches"


def test_precision_is_not_the_recall():
    """One of two labelled positives is found, nothing else is: precision 1, recall 0.5; in 2019 both were 0.5."""
    columns = (np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0]))
    assert scored(metrics.Precision("l", "p"), *columns) == 1.0
    assert scored(metrics.Recall("l", "p"), *columns) == 0.5


QID = np.array([7, 3, 7, 3, 7, 9])
RIGHT = np.array([0, 1, 1, 0, 2, 0])
RANK = np.array([0.9, 0.1, 0.5, 0.8, 0.5, 0.4])
# 7: scores .9 (label 0), .5 (1), .5 (2); 3: .8 (0), .1 (1); 9: one answer, wrong


@pytest.mark.parametrize(
    ("metric", "wanted"),
    [
        (metrics.Mrr("q", "l", "p"), (1 / 2 + 1 / 2 + 0) / 3),
        (metrics.PNRatio("q", "l", "p"), 0 / 3),  # 7: two wrong, one tie; 3: one wrong
        (metrics.PrecisionAtK("q", "l", "p"), 0.0),
        (metrics.PrecisionAtK("q", "l", "p", 2), 2 / 3),
    ],
)
def test_ranking_by_hand(metric, wanted):
    assert scored(metric, QID[:, None], RIGHT[:, None], RANK[:, None], size=2) == pytest.approx(wanted)
    assert len(metric.tensor) == 3


def test_ordered_pairs_by_hand():
    qid, label, pred = np.zeros(4), np.array([0, 1, 2, 1]), np.array([0.1, 0.6, 0.3, 0.2])
    # of 5 pairs: 0<1a, 0<2, 0<1b, 1b<2 right; 1a above 2 wrong
    assert scored(metrics.PNRatio("q", "l", "p"), qid, label, pred) == 4
    # label 1 against others: both above 0 right, 1a above 2 right, 1b below 2 wrong
    assert scored(metrics.BinaryPNRatio("q", "l", "p"), qid, label, pred) == 3
    assert scored(metrics.PNRatio("q", "l", "p"), qid, label, label) == 0, "none is wrong"


def test_chunk_f1_is_that_of_seqeval_between_cls_and_sep():
    names = ["B-PER", "I-PER", "B-ORG", "I-ORG", "O"]
    label, pred = random.randint(0, 5, [40, 12, 1]), random.randint(0, 5, [40, 12, 1])
    pred = np.where(random.rand(40, 12, 1) < 0.7, label, pred)
    lengths = random.randint(2, 13, [40, 1])

    def inner(tags):
        return [[names[int(tag)] for tag in row[1 : n - 1, 0]] for row, n in zip(tags, lengths[:, 0])]

    metric = metrics.ChunkF1("l", "p", "n", 5)
    wanted = seqeval.metrics.f1_score(inner(label), inner(pred))
    assert scored(metric, label, pred, lengths) == pytest.approx(wanted)
    assert 0.3 < wanted < 1


def test_a_chunk_is_right_only_as_a_whole():
    label = np.array([[4, 0, 1, 4, 2, 4]])  # [CLS] PER PER outside ORG [SEP]
    metric = metrics.ChunkF1("l", "p", "n", 5)
    metric.update([label, np.array([[4, 0, 4, 4, 2, 0]]), np.array([6])])
    assert metric.eval() == 0.5, "ORG of two labelled and two predicted; what stands at [SEP] does not count"


@pytest.mark.parametrize("name", ["Acc", "Auc", "F1", "Mean", "Mrr", "PNRatio", "Ppl"])
def test_no_batch_no_number(name):
    tensors = {"Mean": 1, "Ppl": 1, "Mrr": 3, "PNRatio": 3}.get(name, 2)
    assert math.isnan(getattr(metrics, name)(*"abc"[:tensors]).eval())


def test_one_class_has_no_area_and_nothing_predicted_no_precision():
    ones, zeros = np.ones(3), np.zeros(3)
    assert math.isnan(scored(metrics.Auc("l", "p"), ones, np.array([0.1, 0.2, 0.3])))
    assert scored(metrics.Precision("l", "p"), ones, zeros) == 0.0
    assert scored(metrics.F1("l", "p"), zeros, zeros) == 0.0
    assert scored(metrics.RecallAtPrecision("l", "p"), zeros, ones) == 0.0


def test_columns_of_different_length_are_an_error():
    with pytest.raises(UserError, match="Acc: arrays of 3, 6 entries: each must have one entry per example"):
        metrics.Acc("l", "p").update([np.zeros(3), np.zeros([3, 2])])


def test_metrics_need_no_paddle():
    code = "import sys; sys.modules['paddle'] = None; from propeller import metrics; print(len(metrics.__all__))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "19\n", "the 17, and the loop's own two"
