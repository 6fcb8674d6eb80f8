"""Means of weights over the steps: their values, where they are used, and that a run goes on exactly.

python -m pytest tests/propeller/test_averaging.py
"""

import numpy as np
import pytest
from safetensors.numpy import load_file

import tests.helpers.trainer as toy
from propeller.train import amp
from propeller.train.averaging import MEAN, TRAINED, Averaged, ema_rate, swa_rate
from propeller.train.hooks import EarlyStopping, RunHook
from propeller.train.model import RunMode
from propeller.variables import read_variable
from tests.helpers.trainer import assert_same, train

RATES = {"ema": ema_rate(0.6), "swa": swa_rate(4, 2)}


class Weights(RunHook):
    """The weights after each step."""

    def __init__(self):
        self.seen, self.scored = [], []

    def before_evaluation(self, learner, state, evaluation):
        self.learner, score = learner, learner.evaluate

        def evaluate(*args, **more):
            self.scored.append((len(self.seen), learner.read(["toy_w"])["toy_w"]))
            return score(*args, **more)

        learner.evaluate = evaluate

    def after_step(self, learner, state):
        if "evaluate" in vars(learner):
            del learner.evaluate
        self.seen.append(learner.read(["toy_w"])["toy_w"])


def mean_by_hand(kind, seen):
    if kind == "swa":  # before update 4 the last weights, then every second set
        taken = seen[4::2] or seen[-1:]
        return np.mean(taken, axis=0)
    mean = seen[0]
    for step, weights in enumerate(seen[1:], start=1):
        decay = min(0.6, step / (step + 10))
        mean = decay * mean + (1 - decay) * weights
    return mean


@pytest.fixture
def averaged(monkeypatch, request):
    class AveragedToy(toy.Toy):
        def __init__(self, mode):
            super().__init__(mode)
            if mode is RunMode.TRAIN:
                self.optimizer = Averaged(self.optimizer, RATES[request.param])

    monkeypatch.setattr(toy, "Toy", AveragedToy)
    return request.param


@pytest.mark.parametrize("averaged", RATES, indirect=True)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_mean_is_evaluated_and_stored(averaged, accumulate, tmp_path):
    hook = Weights()
    state, arrays, _ = train(tmp_path, hooks=[hook], accumulate=accumulate)
    assert state.step == len(hook.seen)
    expected = mean_by_hand(averaged, hook.seen)
    assert np.abs(expected - hook.seen[-1]).max() > 1e-4
    np.testing.assert_allclose(arrays["toy_w"], expected, rtol=1e-5)
    folder = tmp_path / "last"
    np.testing.assert_allclose(read_variable(folder / "toy_w"), expected, rtol=1e-5)
    kept = load_file(folder / "training_state" / "optimizer.safetensors")
    np.testing.assert_array_equal(kept[f"toy_w{TRAINED}"], hook.seen[-1])
    assert not [name for name in kept if name.endswith(MEAN)]
    assert len(hook.scored) > 1
    for count, weights in hook.scored:  # an evaluation comes before the hook of its step: one more has been made
        seen = hook.seen[: count + 1]
        np.testing.assert_allclose(weights, mean_by_hand(averaged, seen), rtol=1e-5)


@pytest.mark.parametrize("averaged", RATES, indirect=True)
def test_a_run_that_was_cut_goes_on_exactly(averaged, tmp_path):
    whole = train(tmp_path / "whole")
    train(tmp_path / "cut", max_steps=5)
    again = train(tmp_path / "cut")
    assert_same(whole[1], again[1])
    last = [line for line in whole[2] if line["step"] > 6]
    assert [line for line in again[2] if line["step"] > 6] == last


@pytest.mark.parametrize("averaged", ["ema"], indirect=True)
def test_a_skipped_step_changes_no_mean(averaged, tmp_path):
    """With a loss scale, a batch of infinities makes no step: the means are those of a run without it."""
    scaling = amp.Precision(scaling=amp.LossScaling(initial=8.0, dynamic=False))
    means = []

    class Watch(RunHook):
        def after_step(self, learner, state):
            means.append((state.step, learner.read([f"toy_w{MEAN}"])[f"toy_w{MEAN}"]))

    hook = Weights()
    train(tmp_path, batches=toy.Batches(spoil=(1, 6)), hooks=[hook, Watch()], precision=scaling, evaluations=[])
    assert len(hook.seen) == 11, "one of the 12 batches made no step"
    for count, (_, mean) in enumerate(means, start=1):
        np.testing.assert_allclose(mean, mean_by_hand(averaged, hook.seen[:count]), rtol=1e-5)


def test_rates():
    assert [ema_rate(0.5)(step) for step in (0, 1, 10, 99)] == [1.0, 1 - 1 / 11, 0.5, 0.5]
    assert [swa_rate(2, 3)(step) for step in range(9)] == [1, 1, 1, 0, 0, 1 / 2, 0, 0, 1 / 3]


class Scores(RunHook):
    def __init__(self, scores):
        self.scores = iter(scores)

    def before_train(self, learner, state):
        learner.evaluate = lambda batches, task=None: {"loss": 1.0, "data_num": 1, "acc": next(self.scores)}


def test_a_least_gain(tmp_path):
    """Evaluations at 3, 6, 9, 12: gains of 0.05 each are none beside 0.5, and yet make the best checkpoint."""
    scores = (0.50, 0.55, 0.60, 0.65)
    state, _, _ = train(tmp_path / "a", hooks=[Scores(scores), EarlyStopping(2)], least_gain=0.5)
    assert (state.step, state.best_step, state.waited) == (9, 9, 2)
    state, _, _ = train(tmp_path / "b", hooks=[Scores(scores), EarlyStopping(2)], least_gain=0.07)
    assert (state.step, state.best_step, state.waited) == (12, 12, 1), "two small gains are one"
    state, _, _ = train(tmp_path / "c", hooks=[Scores(scores), EarlyStopping(2)])
    assert (state.step, state.waited) == (12, 0)
