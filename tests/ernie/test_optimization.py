"""The optimiser against the 2019 trajectories: rates, losses, weights, what decays."""

import json

import numpy as np
import paddle
import pytest

from ernie.config import ErnieConfig
from ernie.optimization import AdamW, OptimizationConfig, decays, learning_rate_at
from finetune.classification.classifier import Classifier
from finetune.spec import ModelSpec
from propeller.errors import UserError
from propeller.train import program
from tests.helpers.common import GOLDEN
from tests.helpers.operators import load_or_skip

CASES = ("linear_wd", "noam_wd", "const_nowarmup_wd", "linear_wd_pastend")
FOLDER = GOLDEN / "4_optim"


def recorded(case):
    with open(FOLDER / "trajectories.json") as file:
        return json.load(file)[case]


def config_of(case):
    return OptimizationConfig(
        learning_rate=case["learning_rate"],
        num_train_steps=case["num_train_steps"],
        warmup_steps=case["warmup_steps"],
        weight_decay=case["weight_decay"],
        scheduler=case["scheduler"],
        clip_norm=case["clip_norm"],
    )


class Run:
    """A training run on the recorded batches, stepped by hand."""

    def __init__(self, case, accumulate, fused=False):
        paddle.enable_static()
        config = ErnieConfig(str(FOLDER / "ernie_config.json"))
        head = ModelSpec(num_labels=3, dropout=0.0)

        def make_model(mode):
            model = Classifier(config, head, mode, AdamW(config_of(case), fused))
            model.encoder.packed = fused
            return model

        self.graph = program.build_train(make_model, accumulate=accumulate)
        self.place, self.scope = paddle.CPUPlace(), paddle.static.Scope()
        self.executor = paddle.static.Executor(self.place)
        program.write(self.scope, self.place, dict(np.load(FOLDER / "init_params.npz")))
        for graph in filter(None, (self.graph.gradient, self.graph.update)):
            program.initialise(self.executor, self.scope, graph.startup, self.place, seed=1)

    def run(self, graph, feed):
        fetches = [graph.fetches["loss"]] if graph.fetches else []
        return self.executor.run(graph.main, feed=feed, fetch_list=fetches, scope=self.scope)

    def step(self, i, batch):
        update = self.graph.optimizer.feed(i)
        if not self.graph.update:
            return float(self.run(self.graph.gradient, {**batch, **update})[0])
        losses, total = [], len(batch["labels"])
        for rows in (slice(0, 3), slice(3, total)):  # uneven parts
            part = {name: array[rows] for name, array in batch.items()}
            size = len(part["labels"])
            fed = {**part, "examples": np.array([size], "float32")}
            losses.append(float(self.run(self.graph.gradient, fed)[0]) * size)
        self.run(self.graph.update, {**update, "example_share": np.array([1 / total], "float32")})
        return sum(losses) / total


def batches():
    stored = np.load(FOLDER / "batches.npz")
    for i in range(20):
        fields = {key.split("/")[1]: stored[key] for key in stored.files if key.startswith(f"{i}/")}
        wanted = ("src_ids", "sent_ids", "pos_ids", "task_ids", "input_mask")
        batch = {name: fields[name].squeeze(-1) for name in wanted}
        batch["labels"] = fields["labels"].reshape([-1, 1])
        yield batch


@pytest.mark.parametrize("fused", [False, True], ids=["paddle's", "fused"])
@pytest.mark.parametrize("accumulate", [False, True], ids=["plain", "accumulated"])
@pytest.mark.parametrize("name", CASES)
def test_trajectory_equals_2019(name, accumulate, fused):
    if fused:
        load_or_skip()
    case = recorded(name)
    run = Run(case, accumulate, fused)
    losses = [run.step(i, batch) for i, batch in enumerate(batches())]
    np.testing.assert_allclose(losses, [step["loss"] for step in case["steps"]], atol=1e-6, rtol=0)
    stored = np.load(FOLDER / f"{name}.npz")
    finals = [key for key in stored.files if key.startswith("final/")]
    assert len(finals) == len(program.parameters(run.graph.gradient.main))
    for key in finals:
        weight = key.split("/", 1)[1]
        # The gradient of a key bias is 0 in theory: what Adam sees there is rounding noise.
        noise = 1e-3 if fused else 1e-4
        tolerance = noise if weight.endswith("_key_fc.b_0") else 1e-5
        got = program.read(run.scope, weight)
        np.testing.assert_allclose(got, stored[key], atol=tolerance, rtol=0, err_msg=weight)


@pytest.mark.parametrize("name", CASES)
def test_learning_rates_equal_2019_exactly(name):
    case = recorded(name)
    config = config_of(case)
    rates = [float(learning_rate_at(config, i)) for i in range(len(case["steps"]))]
    assert rates == [step["lr"] for step in case["steps"]]


def test_decay_exclusions_equal_2019():
    case = recorded("linear_wd")
    names = case["decayed_params"] + case["not_decayed_params"]
    assert [name for name in names if decays(name)] == case["decayed_params"]


def test_schedule_shapes():
    linear = OptimizationConfig(learning_rate=1.0, num_train_steps=10, warmup_steps=4)
    rates = [float(learning_rate_at(linear, i)) for i in range(12)]
    np.testing.assert_allclose(rates, [0, 0.25, 0.5, 0.75, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0, 0], atol=1e-6)
    noam = OptimizationConfig(learning_rate=0.5, num_train_steps=10, warmup_steps=4, scheduler="noam_decay")
    rates = [float(learning_rate_at(noam, i)) for i in range(16)]
    assert max(rates) == rates[3] == pytest.approx(0.5)
    assert rates[15] == pytest.approx(0.25)
    assert float(learning_rate_at(OptimizationConfig(0.1, 10), 9)) == pytest.approx(0.1), "no warm-up: constant"


def first_step(gradient, **settings):
    """A weight of 0 after one update at rate 1 with this gradient."""
    paddle.enable_static()
    place, scope = paddle.CPUPlace(), paddle.static.Scope()
    executor = paddle.static.Executor(place)
    optimizer = AdamW(OptimizationConfig(learning_rate=1.0, num_train_steps=1, clip_norm=1e9, **settings))
    with program._program() as (main, startup):
        attr = paddle.ParamAttr(name="w", initializer=paddle.nn.initializer.Constant(0.0))
        weight = paddle.static.create_parameter([1], "float32", attr=attr)
        optimizer.apply(paddle.static.append_backward((weight * gradient).sum()))
    executor.run(startup, scope=scope)
    executor.run(main, feed=optimizer.feed(0), fetch_list=[], scope=scope)
    return program.read(scope, "w")[0]


def test_adam_epsilon_is_outside_the_bias_correction():
    """One weight, gradient g: the recorded steps of the 2019 kernel, whose epsilon is not scaled."""
    for gradient, expected in ((1e-9, -0.0031523), (1e-8, -0.0306532), (1e-6, -0.7597457)):
        assert first_step(gradient) == pytest.approx(expected, rel=1e-4)


def test_torch_epsilon_is_inside_the_bias_correction():
    """With torch's form the first step is -g / (|g| + epsilon), since the corrected moments are g and g squared."""
    for gradient in (1e-9, -1e-8, 1e-6):
        expected = -gradient / (abs(gradient) + 1e-8)
        assert first_step(gradient, epsilon_form="torch") == pytest.approx(expected, rel=1e-4)


BAD = [{"scheduler": "sine"}, {"learning_rate": 0.0}, {"learning_rate": -1.0}, {"epsilon_form": "inside"}]


@pytest.mark.parametrize("bad", BAD)
def test_bad_settings_are_named(bad):
    with pytest.raises(UserError, match=list(bad)[0].replace("scheduler", "lr_scheduler")):
        OptimizationConfig(**{"learning_rate": 1e-3, "num_train_steps": 1, **bad})
