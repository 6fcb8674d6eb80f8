"""Losses over classes and their divergence, against numpy.

python -m pytest tests/finetune/test_losses.py
"""

import numpy as np
import paddle
import pytest

from finetune.losses import PLAIN, LossOptions, balanced_weights, class_losses, divergence, mean_class_loss
from propeller.errors import UserError


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def by_hand(logits, labels, weights, smoothing, gamma):
    losses = []
    for row, label in zip(logits.reshape([-1, logits.shape[-1]]), labels.ravel()):
        p, classes = softmax(row.astype("float64")), len(row)
        target = np.full(classes, smoothing / classes)
        target[label] += 1 - smoothing
        losses.append(weights[label] * (1 - p[label]) ** gamma * -(target * np.log(p)).sum())
    return np.array(losses).reshape(labels.shape)


CASES = {
    "weights": ((0.5, 2.0, 1.5), 0.0, 0.0),
    "smoothing": (None, 0.2, 0.0),
    "focal": (None, 0.0, 2.0),
    "focal below 1": (None, 0.0, 0.5),
    "all": ((0.5, 2.0, 1.5), 0.1, 1.5),
    "none": (None, 0.0, 0.0),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", [(5,), (2, 4)], ids=["rows", "places"])
def test_losses(case, shape):
    random = np.random.RandomState(1)
    logits = random.randn(*shape, 3).astype("float32")
    labels = random.randint(3, size=(*shape, 1))
    weights, smoothing, gamma = CASES[case]
    options = LossOptions(weights, smoothing, gamma)
    found = class_losses(paddle.to_tensor(logits), paddle.to_tensor(labels), options)
    expected = by_hand(logits, labels, weights or np.ones(3), smoothing, gamma)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
    mean = mean_class_loss(paddle.to_tensor(logits), paddle.to_tensor(labels), options)
    assert float(mean) == pytest.approx(expected.mean(), rel=1e-5)
    assert options.changes == (case != "none")


def test_the_focal_loss_of_a_certain_place_has_a_finite_slope():
    logits = paddle.to_tensor(np.array([[60.0, 0.0]], "float32"), stop_gradient=False)
    class_losses(logits, paddle.zeros([1, 1], "int64"), LossOptions(focal_gamma=0.5)).sum().backward()
    assert np.isfinite(logits.grad.numpy()).all()


def test_divergence():
    random = np.random.RandomState(2)
    one, other = (random.randn(4, 3).astype("float32") for _ in "12")
    p, q = softmax(one.astype("float64")), softmax(other.astype("float64"))
    expected = ((p * np.log(p / q)).sum(-1) + (q * np.log(q / p)).sum(-1)) / 2
    np.testing.assert_allclose(divergence(paddle.to_tensor(one), paddle.to_tensor(other)).numpy(), expected, rtol=1e-4)


def test_balanced_weights():
    weights = balanced_weights(np.array([6, 3, 1]), ("a", "b", "c"), "train.tsv")
    np.testing.assert_allclose(weights, [10 / 18, 10 / 9, 10 / 3])
    assert np.dot(weights, [6, 3, 1]) == pytest.approx(10), "1 on average"
    with pytest.raises(
        UserError, match="--class_weights balanced: no row of train.tsv that is trained on has the class b: give"
    ):
        balanced_weights(np.array([6, 0, 1]), ("a", "b", "c"), "train.tsv")
    assert not PLAIN.changes
