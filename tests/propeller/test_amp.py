"""The loss scale on a toy model in fp32 with injected infinities, and what the bf16 Program computes in bf16."""

import contextlib
import dataclasses
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import paddle
import pytest

import propeller.train.precision
from ernie.optimization import learning_rate_at
from finetune.classification.classifier import Classifier
from finetune.training.main import main
from propeller import runtime
from propeller.errors import UserError
from propeller.train import amp, program
from propeller.train.amp import LossScaling, Precision
from propeller.train.args import EngineArgs
from propeller.train.hooks import RunHook
from propeller.train.journal import Journal
from propeller.train.model import RunMode
from propeller.train.saver import Saver
from propeller.train.trainer import Learner, RunConfig
from propeller.variables import read_variable, write_variable
from tests.helpers.amp import classifier, losses
from tests.helpers.runs import read_records
from tests.helpers.tiny import CONFIG, flags
from tests.helpers.trainer import ROWS, Batches, Toy, assert_same, records

SCALING = LossScaling(initial=64.0, incr_every_n_steps=3, decr_every_n_nan_or_inf=2, incr_ratio=4.0, decr_ratio=0.5)
SIZE = 4  # rows a batch: 5 batches an epoch


class Injected(Batches):
    """Batches of which those with the given numbers hold infinities."""

    def __init__(self, bad=(), epochs=3):
        super().__init__(SIZE, epochs)
        self.bad = set(bad)

    def _batches(self, position):
        for batch, after in super()._batches(position):
            number = after.epoch * (ROWS // SIZE) + after.rows // SIZE - 1
            if number in self.bad:
                batch["x"][:] = np.inf
            yield batch, after


def train(folder, bad=(), scaling=SCALING, epochs=3, hooks=(), **config):
    """One run into the folder; returns (learner, state, records of metrics.jsonl)."""
    config = {"log_steps": 1, "save_steps": 2, "seed": 7, "precision": Precision(scaling=scaling), **config}
    learner = Learner(Toy, RunConfig(**config))
    with contextlib.closing(Saver(folder, write_variable, read_variable)) as saver:
        hooks = [Journal(folder), *hooks]
        state = learner.train(Injected(bad, epochs).open, ROWS, saver, hooks=hooks)
    return learner, state, records(folder)


def variables(learner):
    """Everything that outlives a step, by name, but the loss scale and its counters."""
    graph = learner.graphs.train()
    names = [name for part in (graph.gradient, graph.update) if part for name in program.persistables(part.main)]
    kept = [name for name in names if not name.startswith("loss_scaling") and not name.endswith(program.GRADIENT_SUM)]
    return learner.read(sorted(set(kept)))


def expected_scale(bad_steps, scaling):
    """The loss scale after each step, from the rule as it is written down."""
    scale, good, bad, scales = scaling.initial, 0, 0, []
    for is_bad in bad_steps:
        good, bad = (0, bad + 1) if is_bad else (good + 1, 0)
        if bad == scaling.decr_every_n_nan_or_inf:
            scale, bad = max(scale * scaling.decr_ratio, 1.0), 0
        if good == scaling.incr_every_n_steps:
            scale, good = scale * scaling.incr_ratio, 0
        scales.append(scale)
    return scales


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_scale_that_is_a_power_of_two_changes_no_bit(tmp_path, accumulate):
    plain, _, lines = train(tmp_path / "plain", scaling=None, accumulate=accumulate)
    scaled, state, scaled_lines = train(tmp_path / "scaled", accumulate=accumulate)
    assert_same(variables(plain), variables(scaled))
    assert state.skipped == 0
    without = [{k: v for k, v in line.items() if k not in ("loss_scale", "skipped_steps")} for line in scaled_lines]
    assert without == lines
    assert scaled_lines[-1]["loss_scale"] > SCALING.initial


@pytest.mark.parametrize(("accumulate", "good_steps"), [(1, 4), (2, 2)])
def test_a_step_that_is_not_finite_changes_nothing(tmp_path, accumulate, good_steps, caplog):
    """The last step of the epoch is bad: weights, moments and step powers are those of a run that ended before it."""
    ended, _, _ = train(tmp_path / "ended", epochs=1, max_steps=good_steps, accumulate=accumulate)
    with caplog.at_level("WARNING", "propeller.train"):
        skipped, state, _ = train(tmp_path / "skipped", bad=[4], epochs=1, accumulate=accumulate)
    assert_same(variables(ended), variables(skipped))
    assert (state.step, state.skipped) == (good_steps, 1)
    assert f"step {good_steps + 1} skipped" in caplog.text
    powers = [array for name, array in variables(skipped).items() if "beta1_pow" in name]
    assert powers
    for power in powers:
        np.testing.assert_allclose(power, 0.9 ** (good_steps + 1), rtol=1e-6)
    if accumulate == 2:
        sums = [name for name in program.persistables(skipped.graphs.train().update.main) if "GRADIENT_SUM" in name]
        assert all(np.all(array == 0) for array in skipped.read(sums).values()), "the infinities are not kept"


@pytest.mark.parametrize(
    ("bad", "expected"), [([], [5, 10, 15]), ([4], [5, 9, 14]), ([4, 5], [5, 8, 13]), ([9, 14], [5, 10])]
)
def test_an_epoch_whose_last_step_is_skipped_ends_with_the_next_step(tmp_path, bad, expected):
    class Ends(RunHook):
        steps = []

        def after_step(self, learner, state):
            if state.ended_epoch:
                self.steps.append(state.step)

    train(tmp_path, bad=bad, hooks=[Ends()])
    assert Ends.steps == expected


def test_a_skipped_step_is_not_counted_for_the_learning_rate(tmp_path):
    learner, state, lines = train(tmp_path, bad=[1, 2, 7])
    assert state.step == 15 - 3
    assert [line["step"] for line in lines] == list(range(1, 13))
    schedule = learner.graphs.train().optimizer.config
    assert [line["learning_rate"] for line in lines] == [float(learning_rate_at(schedule, i)) for i in range(12)]
    assert [line["skipped_steps"] for line in lines] == [0, *[2] * 4, *[3] * 7]
    assert all(np.isfinite(line["loss"]) for line in lines), "a skipped batch is in no mean"


@pytest.mark.parametrize(
    ("bad", "scaling"),
    [
        ([], SCALING),
        ([3], SCALING),
        ([0, 1, 2, 3, 6, 7], SCALING),
        ([1, 3, 5, 7, 9], SCALING),
        (list(range(14)), dataclasses.replace(SCALING, initial=20.0, decr_every_n_nan_or_inf=1)),
        ([2, 4, 5, 8], dataclasses.replace(SCALING, incr_every_n_steps=1, decr_every_n_nan_or_inf=1)),
        ([2, 3, 4, 5], LossScaling()),
    ],
)
def test_the_scale_follows_its_rule(tmp_path, bad, scaling):
    learner, _, lines = train(tmp_path, bad=bad, scaling=scaling)
    batches = [number in bad for number in range(15)]
    scales = expected_scale(batches, scaling)
    good = [scale for scale, is_bad in zip(scales, batches) if not is_bad]
    np.testing.assert_allclose([line["loss_scale"] for line in lines], good, rtol=1e-6)
    np.testing.assert_allclose(learner.read([amp.SCALE])[amp.SCALE], [scales[-1]], rtol=1e-6)


def test_a_scale_that_is_not_dynamic_stays(tmp_path):
    _, state, lines = train(tmp_path, bad=[1, 2, 3], scaling=dataclasses.replace(SCALING, dynamic=False))
    assert {line["loss_scale"] for line in lines} == {64.0}
    assert state.skipped == 3


@pytest.mark.parametrize(("stop_after", "accumulate"), [(3, 1), (4, 1), (5, 1), (8, 1), (2, 2), (3, 2), (5, 2)])
def test_a_run_stopped_among_skipped_steps_ends_the_same(tmp_path, stop_after, accumulate):
    class Die(RunHook):
        def after_step(self, learner, state):
            if state.step == stop_after:
                raise KeyboardInterrupt

    bad = [2, 4, 5, 6, 11]
    whole, whole_state, lines = train(tmp_path / "whole", bad=bad, accumulate=accumulate)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", bad=bad, accumulate=accumulate, hooks=[Die()])
    resumed, state, resumed_lines = train(tmp_path / "cut", bad=bad, accumulate=accumulate)
    assert_same(variables(whole), variables(resumed))
    names = [amp.SCALE, amp.GOOD_STEPS, amp.BAD_STEPS]
    assert_same(whole.read(names), resumed.read(names))
    assert resumed_lines == lines
    assert (state.step, state.skipped, state.batches) == (whole_state.step, whole_state.skipped, whole_state.batches)


@pytest.mark.parametrize(
    ("scaling", "words"),
    [
        (dataclasses.replace(SCALING, initial=4.0), "with loss scale 1: lower the learning rate; "),
        (
            dataclasses.replace(SCALING, dynamic=False),
            "with loss scale 64: .* or the initial loss scale, or give",
        ),
    ],
)
def test_a_run_without_a_finite_gradient_is_given_up(tmp_path, scaling, words):
    with pytest.raises(UserError, match=rf"step 3 \(epoch \d\): gradients are non-finite 20 times.*{words}"):
        train(tmp_path, bad=range(2, 100), scaling=scaling, epochs=20)
    assert np.isfinite(read_variable(tmp_path / "last" / "toy_w")).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"initial": 0.5},
        {"initial": float("inf")},
        {"incr_ratio": 1.0},
        {"decr_ratio": 1.0},
        {"incr_every_n_steps": 0},
        {"decr_every_n_nan_or_inf": 0},
    ],
)
def test_senseless_scales(changes):
    (name,) = changes
    with pytest.raises(UserError, match=f"^{'the initial loss scale' if name == 'initial' else name} must be"):
        LossScaling(**changes)
    flag = "init_loss_scaling" if name == "initial" else name
    args = EngineArgs(use_fp16=True, **{flag: changes[name]})
    with pytest.raises(UserError, match=f"^--{flag} must be"):
        args.precision(paddle.CPUPlace())


def dtypes(graph):
    """operator -> the dtypes of its first results, each with how often."""
    found = {}
    for op in graph.main.global_block().ops:
        dtype = next((value.dtype for value in op.results() if value.is_dense_tensor_type()), None)
        if dtype is not None:  # not a list of tensors
            found.setdefault(op.name().split(".")[1], Counter())[str(dtype).split(".")[1]] += 1
    return found


@pytest.mark.parametrize(("device", "elementwise"), [("cpu", "float32"), ("gpu:0", "bfloat16")])
def test_what_runs_in_bf16(monkeypatch, device, elementwise):
    paddle.enable_static()
    monkeypatch.setattr(paddle, "get_device", lambda: device)
    graph = program.build_train(classifier, precision=Precision("bfloat16")).gradient
    found = dtypes(graph)
    layers = CONFIG["num_hidden_layers"]
    # three of attention and two of the feed-forward layer, its scores and its values in one count; pooler and output
    assert found["matmul"] == {"bfloat16": 6 * layers + 2}
    assert found["matmul_grad"] == {"bfloat16": 6 * layers + 2}
    assert found["gelu"] == {elementwise: layers}
    for name in ("layer_norm", "softmax", "cross_entropy_with_softmax", "layer_norm_grad", "softmax_grad",
                 "cross_entropy_with_softmax_grad", "mean", "adamw_", "squared_l2_norm", "embedding"):  # fmt: skip
        assert set(found[name]) == {"float32"}, name
    assert graph.fetches["loss"].dtype == paddle.float32
    kept = [op.result(0) for op in graph.main.global_block().ops if op.name() == "builtin.parameter"]
    assert {value.dtype for value in kept} == {paddle.float32}
    assert len(kept) == found["adamw_"]["float32"]


def test_evaluation_and_fp32_have_no_casts():
    paddle.enable_static()
    for graph in (program.build(classifier, RunMode.EVAL), program.build_train(classifier).gradient):
        assert set().union(*dtypes(graph).values()) <= {"float32", "int64", "int32", "bool"}


def test_what_paddle_cannot_do_in_bf16_on_a_cpu_is_an_error():
    """The toy's batch needs no gradient: Paddle's kernel would end the process with a segmentation fault."""
    paddle.enable_static()
    with pytest.raises(UserError, match="bf16 on a CPU"):
        program.build_train(Toy, precision=Precision("bfloat16"))


def test_training_in_bf16_follows_fp32(model, data, tmp_path):
    if not runtime.cpu_has_bf16():
        pytest.skip("this CPU has no bf16")
    given = {"skip_steps": 1, "learning_rate": 1e-3, "fused_encoder": "false"}  # the fused ones are of float32 alone
    main("run_classifier.py", "classify", flags(model, data, tmp_path / "fp32", **given))
    main("run_classifier.py", "classify", flags(model, data, tmp_path / "bf16", use_bf16="true", **given))
    exact, half = losses(tmp_path / "fp32"), losses(tmp_path / "bf16")
    assert exact != half
    np.testing.assert_allclose(half, exact, atol=0.02)
    for folder in ("fp32", "bf16"):
        weight = read_variable(tmp_path / folder / "last" / "pooled_fc.w_0")
        assert weight.dtype == np.float32
    assert (weight != weight.astype("float16")).any(), "the stored weights are those of fp32, not rounded ones"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"use_fp16": "true"}, ["--use_fp16 true needs a GPU", "--use_bf16"]),
        ({"use_fp16": "true", "use_bf16": "true"}, ["--use_fp16", "--use_bf16", "one of them"]),
    ],
)
def test_precisions_that_cannot_be(model, data, tmp_path, changes, words):
    command = [sys.executable, "run_classifier.py", *flags(model, data, tmp_path / "run", **changes)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[2], check=False)
    assert done.returncode == 2
    for word in words:
        assert word in done.stderr.splitlines()[-1]


@pytest.fixture
def fp16_in_fp32(monkeypatch):
    """--use_fp16 with its loss scale, in fp32: a CPU computes no fp16."""
    monkeypatch.setattr(propeller.train.precision, "FP16", "float32")
    monkeypatch.setattr(propeller.train.precision, "check_fp16", lambda place, names: None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "other"),
    [
        ({"init_loss_scaling": 2048.0}, {}),
        ({"incr_every_n_steps": 2}, {}),
        ({"incr_ratio": 3.0}, {"incr_every_n_steps": 2}),
        ({"use_dynamic_loss_scaling": "false"}, {"incr_every_n_steps": 2}),
        ({"decr_every_n_nan_or_inf": 1}, {"init_loss_scaling": 1e37}),
        ({"decr_ratio": 0.001}, {"init_loss_scaling": 1e37}),
    ],
)
def test_flags_of_the_loss_scale(fp16_in_fp32, monkeypatch, model, data, tmp_path, changes, other):
    """What each does to the scales of a run; a scale near the largest float32 makes a loss of many units infinite."""
    plain_loss = Classifier.loss
    monkeypatch.setattr(Classifier, "loss", lambda self, *given: plain_loss(self, *given) * 64.0)
    seen = []
    for number, given in enumerate(({}, changes)):
        folder = tmp_path / str(number)
        command = flags(model, data, folder, use_fp16="true", skip_steps=1, do_test="false", **{**other, **given})
        main("run_classifier.py", "classify", command)
        lines = read_records(folder)
        seen.append([(line["loss_scale"], line["skipped_steps"]) for line in lines if line["event"] == "train"])
    assert seen[0] != seen[1]
    assert seen[0], "some steps were made"
