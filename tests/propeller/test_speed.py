"""The speed in the log: steps over the time of steps, whatever is evaluated or continued between two lines."""

import types

import pytest

from propeller.train import clock as step_clock
from propeller.train.hooks import RunHook
from propeller.train.state import Evaluation
from tests.helpers.trainer import Batches, train

STEP, EVALUATION = 2.0, 100.0  # seconds


@pytest.fixture
def clock(monkeypatch):
    """A clock that the batches move; the time of everything else is none."""
    now = types.SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(step_clock, "time", types.SimpleNamespace(monotonic=lambda: now.seconds))
    return now


class Timed(Batches):
    """Batches that each take so many seconds."""

    def __init__(self, clock, seconds, **given):
        super().__init__(**given)
        self.clock, self.seconds = clock, seconds

    def _batches(self, position):
        for batch in super()._batches(position):
            self.clock.seconds += self.seconds
            yield batch


class Speeds(RunHook):
    def __init__(self, stop_after=None):
        self.found, self.stop_after = [], stop_after

    def on_record(self, learner, state, record):
        if record["event"] == "train":
            self.found.append(record["speed"])

    def after_step(self, learner, state):
        if state.step == self.stop_after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("eval_steps", [0, 3, 5])
def test_an_evaluation_neither_slows_nor_speeds_the_line_after_it(tmp_path, clock, eval_steps):
    evaluations = [Evaluation("dev", "dev.tsv", Timed(clock, EVALUATION, epochs=1).open)]
    speeds = Speeds()
    train(tmp_path, Timed(clock, STEP), [speeds], evaluations, eval_steps=eval_steps, eval_epochs=True)
    assert speeds.found == [1 / STEP] * 6
    assert clock.seconds > 12 * STEP + 3 * EVALUATION


def test_a_continued_run_counts_its_own_steps(tmp_path, clock):
    """The checkpoint of step 3 holds a window of one step, which took none of this run's time."""
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, Timed(clock, STEP), [Speeds(stop_after=3)], [], save_steps=3)
    speeds = Speeds()
    train(tmp_path, Timed(clock, STEP), [speeds], [], save_steps=3)
    assert speeds.found == [1 / STEP] * 5
