"""The terms of a student's loss, against numpy."""

import numpy as np
import paddle
import pytest

from distill.losses import distillation_loss, number_loss, soft_loss
from distill.students.teaching import Weights

RANDOM = np.random.RandomState(1)
LOGITS, TEACHER = RANDOM.randn(4, 3).astype("float32"), RANDOM.randn(4, 3).astype("float32")
LABELS = np.array([[0], [2], [1], [0]])
IS_LABELLED, IS_TAUGHT = (np.array(values, "float32").reshape(4, 1) for values in ([1, 1, 0, 0], [0, 1, 1, 0]))


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def batch():
    paddle.disable_static()
    arrays = {"labels": LABELS, "teacher_logits": TEACHER, "is_labelled": IS_LABELLED, "is_taught": IS_TAUGHT}
    return {name: paddle.to_tensor(array) for name, array in arrays.items()}


def terms(temperature):
    log = np.log(softmax(LOGITS))
    theirs, ours = softmax(TEACHER / temperature), softmax(LOGITS / temperature)
    return {
        "gold_weight": -log[np.arange(4), LABELS[:, 0]] * IS_LABELLED[:, 0],
        "soft_weight": temperature**2 * (theirs * np.log(theirs / ours)).sum(1) * IS_TAUGHT[:, 0],
        "mse_weight": ((LOGITS - TEACHER) ** 2).mean(1) * IS_TAUGHT[:, 0],
        "hard_weight": -log[np.arange(4), TEACHER.argmax(1)] * IS_TAUGHT[:, 0],
    }


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("name", ["gold_weight", "soft_weight", "mse_weight", "hard_weight"])
def test_each_term(name, temperature):
    weights = Weights(0, 0, 0, 0, temperature)._replace(**{name: 0.7})
    found = distillation_loss(paddle.to_tensor(LOGITS), batch(), weights).numpy()
    np.testing.assert_allclose(found, 0.7 * terms(temperature)[name], rtol=1e-5, atol=1e-6)


def test_they_add_up():
    weights = Weights(1, 2, 3, 4, 2.0)
    wanted = sum(getattr(weights, name) * term for name, term in terms(2.0).items())
    found = distillation_loss(paddle.to_tensor(LOGITS), batch(), weights).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert found[3] == 0  # neither labelled nor taught


def test_a_student_that_says_the_same_has_no_soft_loss():
    same = paddle.to_tensor(LOGITS)
    np.testing.assert_allclose(soft_loss(same, same + 3.0, 2.0).numpy(), 0, atol=1e-6)


def test_numbers():
    given = {**batch(), "labels": paddle.to_tensor(RANDOM.randn(4, 1).astype("float32")),
             "teacher_logits": paddle.to_tensor(TEACHER[:, :1])}  # fmt: skip
    ours = LOGITS[:, :1]
    found = number_loss(paddle.to_tensor(ours), given, Weights(0.5, 0, 2.0, 0, 1)).numpy()
    wanted = 0.5 * (ours - given["labels"].numpy()) ** 2 * IS_LABELLED + 2 * (ours - TEACHER[:, :1]) ** 2 * IS_TAUGHT
    np.testing.assert_allclose(found, wanted[:, 0], rtol=1e-5)
