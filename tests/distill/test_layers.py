"""Transformer students that learn hidden states and attention relations; the loss against numpy, and whole runs."""

import numpy as np
import paddle
import pytest

from distill import shrink
from distill.layers import LayerTeacher
from distill.students.flags import StudentFlags
from ernie.checkpoint import read_params
from ernie.config import ErnieConfig
from ernie.modeling import ErnieEncoder
from propeller.errors import UserError
from tests.helpers.runs import read_records
from tests.helpers.students import stopped_and_whole, train_student, weights_of, write_shape
from tests.helpers.tiny import CONFIG, make_model


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("teacher") / "model", num_hidden_layers=4)


@pytest.fixture(scope="module")
def small(teacher, tmp_path_factory):
    """Two of the teacher's layers."""
    folder = tmp_path_factory.mktemp("small") / "model"
    shrink.main([str(teacher), str(folder), "--layers", "0,1"])
    return folder


def networks(teacher, **changes):
    """An eager student with random weights, the teacher's object, and a batch with padding."""
    paddle.disable_static()
    config = ErnieConfig({**CONFIG, "num_hidden_layers": 2, **changes})
    settings = StudentFlags(layer_teacher=str(teacher), hidden_weight=1.0, relation_weight=1.0)
    with paddle.utils.unique_name.guard():
        paddle.seed(1)
        student = ErnieEncoder(config)
        made = LayerTeacher(config, settings)
    student.eval()
    ids = np.array([[1, 5, 6, 7, 2], [1, 8, 2, 0, 0]])
    mask = (ids > 0).astype("float32")
    names = {"src_ids": ids, "sent_ids": ids * 0, "pos_ids": np.arange(5) * (ids > 0), "task_ids": ids * 0}
    features = {name: paddle.to_tensor(array.astype("int64")) for name, array in names.items()}
    return student, made, {**features, "input_mask": paddle.to_tensor(mask)}, mask


def with_weights(made, **changes):
    made.settings = StudentFlags(**{"hidden_weight": 0.0, "relation_weight": 0.0, **changes})
    return made


def test_hidden_states_are_compared_layer_by_layer(teacher):
    """Embeddings with the teacher's, layer 1 with its second, layer 2 with its fourth; padding counts for nothing."""
    student, made, features, mask = networks(teacher)
    ours = [state.numpy() for state in student.all_states(features)]
    theirs = [state.numpy() for state in made.encoder.all_states(features)]
    found = with_weights(made, hidden_weight=0.5).loss(student, student.all_states(features), features).numpy()
    wanted = 0
    for one, other in zip(ours, (theirs[0], theirs[2], theirs[4])):
        wanted = wanted + (((one - other) ** 2).mean(-1) * mask).sum(1) / mask.sum(1)
    np.testing.assert_allclose(found, 0.5 * wanted / 3, rtol=1e-4)


def test_relations_are_those_of_queries_keys_and_values(teacher):
    student, made, features, mask = networks(teacher)

    def relations(layer, states):
        vectors = states @ layer.weight.numpy() + layer.bias.numpy()
        heads = vectors.reshape(2, 5, 4, 8).transpose(0, 2, 1, 3)
        scores = heads @ heads.transpose(0, 1, 3, 2) / 8**0.5
        scores = scores + (mask[:, None, None, :] * mask[:, None, :, None] - 1) * 10000
        scores = scores - scores.max(-1, keepdims=True)
        return np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)

    mine, other = student.all_states(features)[-2].numpy(), made.encoder.all_states(features)[-2].numpy()
    wanted = 0
    for name in ("query", "key", "value"):
        ours = relations(getattr(student.layers[-1].attention, name), mine)
        theirs = relations(getattr(made.encoder.layers[-1].attention, name), other)
        apart = (theirs * (np.log(theirs + 1e-30) - np.log(ours + 1e-30))).sum(-1).mean(1)
        wanted = wanted + (apart * mask).sum(1) / mask.sum(1)
    found = with_weights(made, relation_weight=2.0).loss(student, student.all_states(features), features).numpy()
    np.testing.assert_allclose(found, 2 * wanted, rtol=1e-3, atol=1e-6)


def test_a_narrow_student_is_projected(teacher):
    student, made, features, _ = networks(teacher, hidden_size=16)
    assert made.projection.weight.shape == [16, 32]
    assert made.loss(student, student.all_states(features), features).shape == [2]


def layered(small, teacher, data, folder, **changes):
    given = {"init_pretraining_params": small / "params", "tokenizer": None, "learning_rate": 1e-3, "epoch": 1,
             "do_test": "false", "layer_teacher": teacher, "hidden_weight": 1.0, **changes}  # fmt: skip
    return train_student(small / "ernie_config.json", small, data, folder, **given)


@pytest.mark.parametrize(
    "changes",
    [{"hidden_weight": 3}, {"relation_weight": 1}, {"relation_weight": 1, "relation_heads": 2}],
    ids=["hidden", "relations", "heads"],
)
def test_every_flag_changes_the_student(changes, small, teacher, data, tmp_path):
    base = {"relation_weight": 1} if "relation_heads" in changes else {}
    plain = layered(small, teacher, data, tmp_path / "plain", **base)
    assert weights_of(layered(small, teacher, data, tmp_path / "other", **changes)) != weights_of(plain)
    names = set(read_params(plain))
    assert not any("FROZEN" in name for name in names)
    assert names == set(read_params(small / "params")) | {"_cls_out_w", "_cls_out_b"}


def test_states_come_nearer_to_the_teachers(small, teacher, data, tmp_path):
    """The loss of a run that learns hidden states alone falls."""
    layered(small, teacher, data, tmp_path / "run", epoch=8, hidden_weight=10, learning_rate=5e-3)
    lines = read_records(tmp_path / "run")
    losses = [line["loss"] for line in lines if line["event"] == "train"]
    assert losses[-1] < 0.7 * losses[0]


def test_an_interrupted_run_ends_with_the_same_weights(small, teacher, data, tmp_path):
    given = {"init_pretraining_params": small / "params", "tokenizer": None, "epoch": 2, "do_test": "false",
             "layer_teacher": teacher, "hidden_weight": 1.0, "learning_rate": 1e-3}  # fmt: skip
    cut, whole = stopped_and_whole(small / "ernie_config.json", small, data, tmp_path, 7, **given)
    assert cut == whole


def test_another_teacher_is_another_run(small, teacher, data, tmp_path):
    layered(small, teacher, data, tmp_path / "run")
    other = make_model(tmp_path / "other", num_hidden_layers=6)
    with pytest.raises(UserError, match="layer_teacher"):
        layered(small, other, data, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"hidden_weight": 0}, "--layer_teacher without a weight"),
        ({"layer_teacher": None}, "need --layer_teacher"),
        ({"hidden_weight": -1}, "--hidden_weight must be 0 or more"),
        ({"relation_weight": -1}, "--relation_weight must be 0 or more"),
        ({"relation_weight": 1, "relation_heads": 5}, "--relation_heads 5: must divide"),
        ({"relation_heads": 0}, "--relation_heads must be at least 1"),
        ({"layer_teacher": "nowhere"}, "nowhere: no such directory"),
    ],
    ids=["no weight", "no teacher", "hidden", "relation", "heads", "no head", "nowhere"],
)
def test_flags_that_do_not_go_together(changes, told, small, teacher, data, tmp_path):
    with pytest.raises(UserError) as caught:
        layered(small, teacher, data, tmp_path / "run", **changes)
    assert told in str(caught.value)


def test_students_and_teachers_that_do_not_go_together(model, small, teacher, data, tmp_path):
    with pytest.raises(UserError, match="has no layers like a teacher's"):
        train_student(write_shape(tmp_path, "bow"), model, data, tmp_path / "a", layer_teacher=teacher, hidden_weight=1)
    words = make_model(tmp_path / "words", pieces=("zebra",))
    with pytest.raises(UserError, match="reads text otherwise than the student"):
        layered(small, words, data, tmp_path / "b")
    shallow = make_model(tmp_path / "shallow", num_hidden_layers=1)
    with pytest.raises(UserError, match="has 1 layers, the student 2"):
        layered(small, shallow, data, tmp_path / "c")
    short = make_model(tmp_path / "short", num_hidden_layers=4, max_position_embeddings=30)
    with pytest.raises(UserError, match="has 30 positions, the student 40"):
        layered(small, short, data, tmp_path / "d")
