"""Teachers of numbers and of pairs of texts, and what a server says to a request for logits."""

import numpy as np
import pytest

import finetune
from distill import label
from distill.rows import open_table
from distill.soft_labels import SoftLabels, folder_of
from finetune.serving.handler import open_handler
from finetune.training.main import main
from propeller.errors import UserError
from propeller.service.errors import BadRequest
from propeller.service.limits import Limits
from tests.helpers.served import make_bundle
from tests.helpers.students import train_student, weights_of, write_shape
from tests.helpers.tiny import flags, sentences, write_tsv


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    """Pairs with a number: 1 where both texts have a good word."""
    folder = tmp_path_factory.mktemp("numbers")
    for name, seed in (("train", 1), ("dev", 2)):
        pairs = zip(sentences(40, seed), sentences(40, seed + 10))
        rows = [(float(one[0] * other[0]), one[1], other[1]) for one, other in pairs]
        write_tsv(folder / f"{name}.tsv", rows, ("label", "text_a", "text_b"))
    pairs = [(one, other) for (_, one), (_, other) in zip(sentences(30, 5), sentences(30, 6))]
    write_tsv(folder / "unlabelled.tsv", pairs, ("text_a", "text_b"))
    return folder


@pytest.fixture(scope="module")
def teacher(model, numbers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher") / "run"
    changes = {
        "is_regression": "true",
        "num_labels": 1,
        "metric": "pearson_and_spearman",
        "do_test": "false",
        "epoch": 1,
    }
    main("run_classifier.py", "classify", flags(model, numbers, folder, **changes))
    label.main([str(folder / "last"), str(numbers / "unlabelled.tsv"), "--use_cuda", "false"])
    return folder / "last"


def student(model, numbers, folder, **changes):
    shape = write_shape(folder, "cnn", pairs=True)
    given = {"do_test": "false", "epoch": 1, "unlabelled_set": numbers / "unlabelled.tsv", **changes}
    return train_student(shape, model, numbers, folder / "run", "student_regression", **given)


def test_the_labels_are_the_teachers_numbers_of_pairs(teacher, numbers):
    path = str(numbers / "unlabelled.tsv")
    table = open_table(path)
    found = SoftLabels.read(folder_of(path), table.sha256, path).logits
    pairs = [(one, other) for (_, one), (_, other) in zip(sentences(30, 5), sentences(30, 6))]
    predictor = finetune.load(teacher, use_cuda="false")
    np.testing.assert_array_equal(found, predictor.logits(pairs))
    np.testing.assert_allclose(found[:, 0], [each["score"] for each in predictor(pairs)], atol=2e-5)
    other = predictor.logits([(one, "good") for one, _ in pairs])
    assert not np.array_equal(found, other)


def test_a_student_of_numbers_learns_from_them(teacher, model, numbers, tmp_path):
    for name in ("alone", "taught", "weighed"):
        (tmp_path / name).mkdir()
    alone = student(model, numbers, tmp_path / "alone", unlabelled_set=None)
    taught = student(model, numbers, tmp_path / "taught")
    weighed = student(model, numbers, tmp_path / "weighed", mse_weight=3)
    assert len({str(weights_of(each)) for each in (alone, taught, weighed)}) == 3
    assert isinstance(finetune.load(taught)([("a good film", "fine")])[0]["score"], float)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"soft_weight": 1}, "--soft_weight and --hard_weight are for classes"),
        ({"hard_weight": 1}, "--soft_weight and --hard_weight are for classes"),
        ({"mse_weight": 0}, "all weights of the teacher are 0"),
        ({"metric": "simple_accuracy"}, "--metric simple_accuracy is for classes"),
        ({"num_labels": 2}, "--num_labels of a regression is 1"),
    ],
    ids=["soft", "hard", "none", "metric", "labels"],
)
def test_flags_of_numbers(changes, told, teacher, model, numbers, tmp_path):
    with pytest.raises(UserError) as caught:
        student(model, numbers, tmp_path, **changes)
    assert told in str(caught.value)


def test_a_teacher_of_numbers_teaches_no_classes(teacher, model, numbers, data, tmp_path):
    with pytest.raises(UserError, match="the teacher is of the task 'regression', the student 'student'"):
        train_student(write_shape(tmp_path, "bow"), model, data, tmp_path / "run",
                      unlabelled_set=numbers / "unlabelled.tsv")  # fmt: skip


@pytest.mark.parametrize(
    ("task", "payload", "told"),
    [
        ("classify", {"texts": ["good"], "logits": 1}, "logits must be true or false, not a number"),
        ("sequence_label", {"texts": ["good"], "logits": "yes"}, "logits must be true or false, not a string"),
        ("embed", {"texts": ["good"], "logits": True}, "unknown key 'logits'"),
    ],
    ids=["number", "tags", "vectors"],
)
def test_requests_for_logits_that_cannot_be_answered(task, payload, told, model, tmp_path):
    handler = open_handler(make_bundle(tmp_path / task, model, task))
    with pytest.raises(BadRequest, match=told):
        handler.parse(payload, Limits())


def test_a_model_without_logits_says_so(model, tmp_path):
    with pytest.raises(ValueError, match="unknown key 'logits'"):
        finetune.load(make_bundle(tmp_path / "mrc", model, "mrc")).logits([("good ?", "fine")])
    with pytest.raises(ValueError, match="give a list of texts"):
        finetune.load(make_bundle(tmp_path / "b", model, "classify")).logits("good")
