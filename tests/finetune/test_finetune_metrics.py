"""The scores against what the 2019 code computed, and against hand-counted cases."""

import json

import numpy as np
import pytest
from sklearn.metrics import f1_score

from finetune import metrics
from finetune.classification.by_metric import score_of
from finetune.classification.classifier import Classifier
from finetune.classification.flags import ClassificationFlags
from finetune.spec import ModelSpec
from propeller.errors import UserError
from tests.helpers.common import GOLDEN


@pytest.fixture(scope="module")
def recorded():
    with open(GOLDEN / "5_metrics" / "classify_metrics.json") as file:
        return json.load(file)


def one_hot(predictions, classes=2):
    return np.eye(classes, dtype="float32")[np.asarray(predictions, int)]


def test_the_first_of_equal_labels_is_taken_whatever_the_last_bits():
    """As they change with padding and neighbours, by under 1e-6."""
    random = np.random.RandomState(3)
    spec = ModelSpec(num_labels=3)
    for _ in range(200):
        noise = random.uniform(-1e-6, 1e-6, 3)
        probs = (np.array([0.2, 0.4, 0.4]) + noise).astype("float32")
        assert metrics.best_class(probs) == 1
        assert metrics.simple_accuracy(probs[None], [1])["acc"] == 1.0
        assert Classifier.decode({"probs": probs}, None, spec)["label_id"] == 1
        assert Classifier.legacy_line({"probs": probs}, {}, spec).startswith("1.0\t")
    assert metrics.best_class([[0.4, 0.4 + 1e-5], [0.4 + 1e-5, 0.4]]).tolist() == [1, 0]


def test_binary_scores_equal_2019(recorded):
    compared = 0
    for case in recorded["binary"]:
        if not case["preds"]:
            continue
        classes = max(1, *case["preds"], *case["labels"]) + 1  # 2019 counted a third class as neither
        probs, labels = one_hot(case["preds"], classes), np.array(case["labels"])
        assert metrics.simple_accuracy(probs, labels)["acc"] == pytest.approx(case["simple_accuracy"])
        # 2019 added 1e-8 to the denominator; where it gave nan ours is 0.
        f1 = 0.0 if case["f1_score"] == "nan" else case["f1_score"]
        assert metrics.acc_and_f1(probs, labels, average="binary")["f1"] == pytest.approx(f1, abs=1e-7)
        compared += 1
        if classes > 2:  # here three classes have macro F1 unless it is asked for, and the Matthews score of all
            continue
        assert metrics.acc_and_f1(probs, labels)["f1"] == pytest.approx(f1, abs=1e-7)
        mcc = 0.0 if case["matthews_corrcoef"] == "nan" else case["matthews_corrcoef"]
        assert metrics.matthews_corrcoef(probs, labels)["matthews_corrcoef"] == pytest.approx(mcc)
    assert compared >= 7


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
        head = ModelSpec(metric=case["metric"])
        computed = metrics.METRICS[case["metric"]].compute(probs, labels)
        line = Classifier.evaluation_line(head, {**scores, **computed}, 0.0)
        assert f"[dev evaluation] {line}" == case["out"]
        seen.append(case["metric"])
    assert seen == ["simple_accuracy", "acc_and_f1", "matthews_corrcoef"]


def test_prediction_lines_equal_2019(recorded):
    case = recorded["predict_classify"]
    probs = [np.array(batch, "float32") for batch in case["probs_in"]]
    plain = [Classifier.legacy_line({"probs": row}, {}, ModelSpec()) for part in probs for row in part]
    assert plain == case["lines_without"]
    ranked = [
        Classifier.legacy_line({"probs": row}, {"qid": str(qid)}, ModelSpec())
        for part, qids in zip(probs, case["qids_in"])
        for row, qid in zip(part, np.ravel(qids))
    ]
    assert ranked == case["lines_with_qid"]


def test_many_classes_stay_on_one_line():
    line = Classifier.legacy_line({"probs": np.full(3000, 1 / 3000, "float32")}, {}, ModelSpec(num_labels=3000))
    assert line.count(" ") >= 2999
    assert "\n" not in line
    assert "..." not in line


def test_macro_f1_for_more_than_two_classes():
    probs, labels = one_hot([0, 1, 2, 2], 3), np.array([0, 1, 1, 2])
    # F1 by class: 1, 2/3, 2/3
    assert metrics.acc_and_f1(probs, labels)["f1"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)


@pytest.mark.parametrize("average", [name for name in metrics.F1_AVERAGES if name != "binary"])
def test_averages_of_f1_are_those_of_scikit_learn(average):
    random = np.random.RandomState(4)
    labels, predicted = random.randint(0, 4, 60), random.randint(0, 3, 60)  # a class that is never predicted
    expected = f1_score(labels, predicted, average=average, zero_division=0.0)
    found = metrics.acc_and_f1(one_hot(predicted, 4), labels[:, None], average)
    assert found["f1"] == pytest.approx(expected)
    assert found["acc_and_f1"] == pytest.approx((found["acc"] + expected) / 2)
    assert len({metrics.acc_and_f1(one_hot(predicted, 4), labels, name)["f1"] for name in metrics.F1_AVERAGES}) == 4


def test_binary_f1_of_three_classes_counts_rows_of_two():
    labels, predicted = np.array([1, 1, 0, 2, 1, 0]), [1, 0, 1, 1, 2, 0]
    # 1 right, 1 missed, 1 too many; the fourth and fifth rows have a third class
    assert metrics.acc_and_f1(one_hot(predicted, 3), labels, "binary")["f1"] == pytest.approx(0.5)
    assert metrics.acc_and_f1(one_hot([2, 2], 3), np.array([0, 1]), "binary")["f1"] == 0.0


@pytest.mark.parametrize("metric", metrics.WITH_F1)
def test_the_flag_chooses_the_average(metric):
    labels, predicted = np.array([0, 1, 1, 0, 0]), [0, 1, 0, 0, 1]
    found = {}
    for average in metrics.F1_AVERAGES:
        spec = ModelSpec(metric=metric, settings=ClassificationFlags(metric=metric, f1_average=average))
        rest = () if metric == "acc_and_f1" else (np.arange(5),)
        found[average] = score_of(spec).compute(one_hot(predicted), labels, *rest)["f1"]
        assert found[average] == pytest.approx(f1_score(labels, predicted, average=average))
    assert len(set(found.values())) >= 3


def test_an_average_without_an_f1():
    spec = ModelSpec(settings=ClassificationFlags(f1_average="micro"))
    with pytest.raises(
        UserError, match="--f1_average micro: --metric simple_accuracy has no F1: give --metric acc_and_f1"
    ):
        Classifier.check(spec)


def test_scores_are_defined_where_2019_gave_nan():
    probs, labels = one_hot([0, 0, 0]), np.array([0, 0, 0])
    assert metrics.acc_and_f1(probs, labels) == {"acc": 1.0, "f1": 0.0, "acc_and_f1": 0.5}
    assert metrics.matthews_corrcoef(probs, labels) == {"matthews_corrcoef": 0.0}


def test_a_class_that_nobody_names_does_not_count():
    """Three classes, the third neither labelled nor predicted: scikit-learn's default, and 1.0 for a perfect model."""
    probs = np.eye(3)[[0, 1, 1, 0]]
    assert metrics.acc_and_f1(probs, np.array([0, 1, 1, 0]))["acc_and_f1"] == 1.0
    found = metrics.acc_and_f1(probs, np.array([0, 1, 0, 0]))
    assert found["f1"] == pytest.approx((0.8 + 2 / 3) / 2)
