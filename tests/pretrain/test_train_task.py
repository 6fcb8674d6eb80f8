"""Masked words and next sentence: losses and logits of 2019, gradients, weights of batches, scores."""

import math
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from ernie.checkpoint import read_params
from ernie.config import ErnieConfig
from ernie.optimization import AdamW, OptimizationConfig
from pretrain import TASKS, declared, task_class
from pretrain.declaration import Declaration
from pretrain.masking_model import MaskingModel, Scores
from pretrain.task import HeadConfig, PretrainTask
from pretrain.tasks.knowledge_masking import KnowledgeMasking
from pretrain.training.reading import mask_units
from propeller.train import program
from propeller.train.model import RunMode
from propeller.train.trainer import Learner, RunConfig
from tests.helpers.common import GOLDEN
from tests.helpers.tiny import CONFIG

TOLERANCE = 1e-5


def head_of(weight_sharing=True):
    return HeadConfig(weight_sharing, settings=KnowledgeMasking.head_settings({}))


def golden_batch(io, name):
    ids = {"src_ids": "src_ids", "sent_ids": "sent_ids", "pos_ids": "pos_ids", "input_mask": "input_mask"}
    batch = {ours: io[f"{name}/in_{theirs}"].squeeze(-1) for ours, theirs in ids.items()}
    batch.update(task_ids=np.zeros_like(batch["src_ids"]), labels=io[f"{name}/next_sent_label"])
    return {**batch, "mask_pos": io[f"{name}/mask_pos"], "mask_label": io[f"{name}/mask_label"]}


@pytest.mark.parametrize("sharing", [1, 0], ids=["tied", "untied"])
@pytest.mark.parametrize("name", ["b0", "b1"])
def test_losses_and_logits_equal_2019(name, sharing):
    folder = GOLDEN / "3_model" / "v1_relu"
    config, io = ErnieConfig(str(folder / "ernie_config.json")), np.load(folder / "io.npz")
    key, batch = f"{name}/ernie_v1_ws{sharing}", golden_batch(io, name)
    learner = Learner(lambda mode: MaskingModel(config, head_of(bool(sharing)), mode), RunConfig())
    learner.write(read_params(folder / "params"))
    scores = MaskingModel.finish_scores(learner.evaluate([(batch, None)]))
    expected = {name: float(io[f"{key}/{name}"][0]) for name in ("mask_lm_loss", "next_sent_loss", "next_sent_acc")}
    for score, value in expected.items():
        assert scores[score] == pytest.approx(value, abs=TOLERANCE), score
    assert scores["loss"] == pytest.approx(float(io[f"{key}/total_loss"][0]), abs=TOLERANCE)
    assert scores["ppl"] == pytest.approx(math.exp(expected["mask_lm_loss"]), rel=1e-4)
    ((predicted, _),) = learner.predict([(batch, None)])
    names = [n for n in ("lm_logits", "next_sent_logits") if f"{key}/{n}" in io]
    assert names
    for entry in names:
        ours = predicted["mask_lm_logits" if entry == "lm_logits" else entry]
        np.testing.assert_allclose(ours, io[f"{key}/{entry}"], atol=TOLERANCE, rtol=1e-5)


def random_batch(config, random, rows=3, length=7, masked=5):
    ids = random.randint(1, config.vocab_size, (rows, length))
    input_mask = np.ones((rows, length), "float32")
    input_mask[0, length - 2 :] = 0
    return {
        "src_ids": ids,
        "sent_ids": np.tile(np.arange(length) > 3, (rows, 1)).astype("int64"),
        "pos_ids": np.tile(np.arange(length), (rows, 1)),
        "task_ids": np.zeros_like(ids),
        "input_mask": input_mask,
        "mask_pos": np.sort(random.choice(np.flatnonzero(input_mask), masked, replace=False)).reshape(-1, 1),
        "mask_label": random.randint(1, config.vocab_size, (masked, 1)),
        "labels": random.randint(0, 2, (rows, 1)),
    }


@pytest.fixture
def float64():
    paddle.disable_static()
    paddle.set_default_dtype("float64")
    yield
    paddle.set_default_dtype("float32")


@pytest.mark.parametrize("sharing", [True, False], ids=["tied", "untied"])
def test_gradients_agree_with_central_differences(float64, sharing):
    """In float64, of one layer, eagerly: the slope along a random direction in each parameter."""
    small = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "vocab_size": 20}
    config = ErnieConfig({**CONFIG, **small, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})
    random = np.random.RandomState(3)
    with paddle.utils.unique_name.guard():  # another eager network of this process may have the same names
        task = MaskingModel(config, head_of(sharing), RunMode.TRAIN)
    for parameter in task.parameters():
        parameter.set_value(random.randn(*parameter.shape) * 0.5)
    arrays = random_batch(config, random)
    batch = {name: paddle.to_tensor(value) for name, value in arrays.items()}
    batch["input_mask"] = batch["input_mask"].astype("float64")
    label = {name: batch[name] for name in ("mask_label", "labels")}

    def loss():
        return task.loss(task(batch), label)

    loss().backward()
    checked = 0
    for parameter in task.parameters():
        assert parameter.grad is not None, parameter.name
        assert parameter.grad.dtype == paddle.float64
        value, direction = parameter.numpy().copy(), random.randn(*parameter.shape)
        slope = float((parameter.grad.numpy() * direction).sum())
        sides = []
        for step in (1e-5, -1e-5):
            parameter.set_value(value + step * direction)
            sides.append(float(loss()))
        parameter.set_value(value)
        assert (sides[0] - sides[1]) / 2e-5 == pytest.approx(slope, rel=1e-5, abs=1e-8), parameter.name
        checked += 1
    assert checked == len(list(task.parameters())) > 20


def train_learner(accumulate):
    config = ErnieConfig({**CONFIG, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})
    make = lambda mode: MaskingModel(config, head_of(), mode, AdamW(OptimizationConfig(1e-2, 10)))  # noqa: E731
    return config, Learner(make, RunConfig(seed=1, accumulate=accumulate))


class Place(SimpleNamespace):
    def to_dict(self):
        return vars(self)


class Batches(list):
    """What the loop opens."""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass

    @staticmethod
    def queue_size():
        return 0


NO_SAVER = SimpleNamespace(
    restore=lambda: None, save=lambda *a: None, prune=lambda *a: None, link=lambda *a: None, parameters=None
)


def test_two_batches_make_the_step_of_one(monkeypatch):
    """The masked pieces are what a batch weighs; with as many pairs a piece, the step is that of the whole."""
    weights = {}
    for accumulate in (1, 2):
        config, learner = train_learner(accumulate)
        random = np.random.RandomState(7)
        one, two = random_batch(config, random, 2, 7, 4), random_batch(config, random, 4, 7, 8)
        whole = {name: np.concatenate([one[name], two[name]]) for name in one}
        whole["mask_pos"][4:] += one["src_ids"].size
        given = [whole] if accumulate == 1 else [one, two]
        places = [Place(epoch=0, rows=0, ended=i == len(given) - 1) for i in range(len(given))]
        state = learner.train(lambda position: Batches(zip(given, places)), None, NO_SAVER)  # noqa: B023
        assert state.step == 1
        weights[accumulate] = learner.read(program.parameters(learner.graphs.train().gradient.main))
    for name, value in weights[1].items():
        if not name.endswith("key_fc.b_0"):  # its gradient is rounding noise around 0, of which Adam makes steps
            np.testing.assert_allclose(weights[2][name], value, atol=2e-5, err_msg=name)


def test_an_epochs_end_closes_a_step_and_max_steps_is_kept():
    config, learner = train_learner(2)
    random = np.random.RandomState(7)
    given = [random_batch(config, random) for _ in range(3)]
    places = [Place(epoch=0, rows=0, ended=i == 2) for i in range(3)]
    state = learner.train(lambda position: Batches(zip(given, places)), None, NO_SAVER)
    assert (state.step, state.batches) == (2, 3)


def test_scores_are_means_over_pieces_and_pairs():
    """Of two batches with 1 and 3 masked pieces, 2 and 1 pairs."""
    scores = Scores([None] * 5)
    assert scores.eval() == {}
    none, some = np.array([[0]]), np.array([[1], [0], [1]])
    pairs = [np.array([[0.5], [0.1]]), np.array([[1.0, 0], [0, 1]]), np.array([[0], [0]])]
    scores.update([none, np.array([[4.0]]), *pairs])
    scores.update([some, np.array([[1.0], [1.0], [2.0]]), np.array([[0.3]]), np.array([[0.0, 1]]), np.array([[1]])])
    found = scores.eval()
    assert found["mask_lm_loss"] == pytest.approx(2.0)
    assert found["ppl"] == pytest.approx(math.exp(2.0))
    assert found["acc"] == 0.5
    assert found["batch_ppl"] == pytest.approx((math.exp(4.0) + math.exp(4 / 3)) / 2)
    assert found["next_sent_loss"] == pytest.approx(0.3)
    assert found["next_sent_acc"] == pytest.approx(2 / 3)
    scores.update([none, np.array([[1e4]]), np.array([[0.3]]), np.array([[0.0, 1]]), np.array([[1]])])
    assert scores.eval()["batch_ppl"] == math.inf


@pytest.mark.parametrize(
    ("given", "training", "units"),
    [
        ("entity", True, "entity"),
        ("basic:0,phrase:10", False, "phrase"),
        ("basic:0,phrase:10", True, "basic:0,phrase:30"),
    ],
)
def test_stages_count_steps_not_batches(given, training, units):
    assert mask_units(given, 3, training) == units


@pytest.mark.parametrize("name", TASKS)
def test_every_task_keeps_the_contract(name):
    task = task_class(name)
    assert issubclass(task, PretrainTask)
    assert task.name == name
    assert issubclass(task.declared, Declaration)
    assert task.declared is declared(name)
    assert task.__doc__.strip()
    names = [entry.name for entry in task.inputs]
    assert names[:5] == ["src_ids", "sent_ids", "pos_ids", "task_ids", "input_mask"]
    assert any(entry.label for entry in task.inputs)
