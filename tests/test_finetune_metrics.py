"""The scores against what the 2019 code computed, and against hand-counted cases."""

import json

import numpy as np
import pytest

from finetune import metrics
from finetune.classifier import Classifier
from finetune.task import HeadConfig
from tests.common import GOLDEN, needs_shared


@pytest.fixture(scope="module")
def recorded():
    with open(GOLDEN / "5_metrics" / "classify_metrics.json") as file:
        return json.load(file)


def one_hot(predictions, classes=2):
    return np.eye(classes, dtype="float32")[np.asarray(predictions, int)]


@needs_shared
def test_binary_scores_equal_2019(recorded):
    compared = 0
    for case in recorded["binary"]:
        if not case["preds"] or max(case["preds"] + case["labels"]) > 1:
            continue  # 2019 counted a third class as neither; here three classes have macro F1
        probs, labels = one_hot(case["preds"]), np.array(case["labels"])
        assert metrics.simple_accuracy(probs, labels)["acc"] == pytest.approx(case["simple_accuracy"])
        # 2019 added 1e-8 to the denominator; where it gave nan ours is 0.
        f1 = 0.0 if case["f1_score"] == "nan" else case["f1_score"]
        assert metrics.acc_and_f1(probs, labels)["f1"] == pytest.approx(f1, abs=1e-7)
        mcc = 0.0 if case["matthews_corrcoef"] == "nan" else case["matthews_corrcoef"]
        assert metrics.matthews_corrcoef(probs, labels)["matthews_corrcoef"] == pytest.approx(mcc)
        compared += 1
    assert compared >= 5


@needs_shared
def test_evaluation_lines_equal_2019(recorded):
    inputs = recorded["evaluate_classify_inputs"]
    sizes = [batch[4][0] for batch in inputs]  # a batch: loss, accuracy, probs, labels, size, qids
    scores = {
        "loss": sum(batch[0][0] * size for batch, size in zip(inputs, sizes)) / sum(sizes),
        "data_num": sum(sizes),
    }
    probs = np.concatenate([np.array(batch[2], "float32") for batch in inputs])
    labels = np.concatenate([np.ravel(batch[3]) for batch in inputs])
    seen = []
    for case in recorded["evaluate_classify"]:
        if case["metric"] not in ("simple_accuracy", "acc_and_f1", "matthews_corrcoef") or not case["with_qids"]:
            continue
        head = HeadConfig(metric=case["metric"])
        computed = metrics.METRICS[case["metric"]].compute(probs, labels)
        line = Classifier.evaluation_line(head, {**scores, **computed}, 0.0)
        assert f"[dev evaluation] {line}" == case["out"]
        seen.append(case["metric"])
    assert seen == ["simple_accuracy", "acc_and_f1", "matthews_corrcoef"]


@needs_shared
def test_prediction_lines_equal_2019(recorded):
    case = recorded["predict_classify"]
    probs = [np.array(batch, "float32") for batch in case["probs_in"]]
    plain = [line for part in probs for line in Classifier.prediction_lines({"probs": part}, {})]
    assert plain == case["lines_without"]
    ranked = [
        line
        for part, qids in zip(probs, case["qids_in"])
        for line in Classifier.prediction_lines({"probs": part}, {"qids": np.array(qids)})
    ]
    assert ranked == case["lines_with_qid"]


def test_many_classes_stay_on_one_line():
    line = Classifier.prediction_lines({"probs": np.full([1, 3000], 1 / 3000, "float32")}, {})
    assert len(line) == 1
    assert "\n" not in line[0]
    assert "..." not in line[0]


def test_macro_f1_for_more_than_two_classes():
    probs, labels = one_hot([0, 1, 2, 2], 3), np.array([0, 1, 1, 2])
    # F1 by class: 1, 2/3, 2/3
    assert metrics.acc_and_f1(probs, labels)["f1"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)


def test_scores_are_defined_where_2019_gave_nan():
    probs, labels = one_hot([0, 0, 0]), np.array([0, 0, 0])
    assert metrics.acc_and_f1(probs, labels) == {"acc": 1.0, "f1": 0.0, "acc_and_f1": 0.5}
    assert metrics.matthews_corrcoef(probs, labels) == {"matthews_corrcoef": 0.0}
