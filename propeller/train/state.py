"""How a run goes and where it is: what the loop is told, and what it knows and stores in checkpoints.

config = RunConfig(seed=1, accumulate=2, log_steps=10)
state = TrainState(**stored)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, NamedTuple

from propeller.train import amp
from propeller.train.distribution import Ranks, add_numbers


@dataclass(frozen=True)
class RunConfig:
    """How a run goes.

    Args:
        seed: of initial weights and dropout.
        accumulate: batches whose gradients make one step.
        log_steps, eval_steps, save_steps: every so many steps; 0: only at the end.
        best_by: the score of the first evaluation set that picks the best checkpoint, the higher the better.
        max_steps: end after this step; None: when the batches end.
        precision: of training, see ``amp.Precision``.
        recompute: compute the model's segments twice and keep little of them, see ``recompute``.
        place: a Paddle place; None: the CPU.
        ranks: the processes that train together, a ``distribution.Ranks``; None: this one alone.
        save_at_error: write a checkpoint of the steps before a batch that cannot be read, for runs that may go on
            without it; others have nothing to lose in their folder then, once the data are mended.
        bucket_mb: megabytes of gradients that go to the other processes at once; None: what suits their backend.
    """

    seed: int = 0
    accumulate: int = 1
    log_steps: int = 10
    eval_steps: int = 0
    save_steps: int = 0
    best_by: str = "loss"
    max_steps: int | None = None
    precision: amp.Precision = amp.FP32
    recompute: bool = False
    place: object = None
    ranks: Ranks | None = None
    save_at_error: bool = False
    bucket_mb: float | None = None


class Evaluation(NamedTuple):
    """A data set to evaluate on.

    ``kind`` (``dev``), ``file``, a function that opens its batches, and one that makes the final scores of those that
    ``Learner.evaluate`` returns, with the ``step``. Where several tasks are learnt, ``task``, and its ``weight`` in the
    sum of scores that picks the best checkpoint.
    """

    kind: str
    file: str
    open_batches: Callable
    finish: Callable = dict
    task: str | None = None
    weight: float = 1.0


@dataclass
class TrainState:
    """Where a run is; all of it goes into checkpoints."""

    step: int = 0
    batches: int = 0
    epoch: int = 0
    rows: int = 0
    position: dict | None = None
    best_score: float | None = None
    best_step: int | None = None
    best_epoch: int | None = None
    evaluated_step: int | None = None
    saved_step: int | None = None
    waited: int = 0
    stop: str | None = None
    skipped: int = 0  # steps without an update, since a gradient was no number
    skipped_in_a_row: int = 0
    last_loss: float = 0.0
    window: dict = field(default_factory=dict)  # sums over examples since the last report; of a task as task/name
    window_examples: int = 0
    window_steps: int = 0
    window_tasks: dict = field(default_factory=dict)  # task -> its examples

    def means(self):
        """name -> mean over the examples since the last report."""
        return {
            name: total / (self.window_tasks[name.rpartition("/")[0]] if "/" in name else self.window_examples)
            for name, total in self.window.items()
        }

    def clear_window(self):
        """Begin the next report."""
        self.window, self.window_examples, self.window_steps, self.window_tasks = {}, 0, 0, {}


class StepSums:
    """The batches of one step: examples, and loss and scores summed over them."""

    def __init__(self):
        self.examples = self.weight = self.batches = self.turns = 0
        self.sums, self.skipped = {}, False

    def add(self, size, weight, loss, scores):
        """A batch: its examples, what its loss is the mean over, its mean loss and scores."""
        self.turns += 1
        self.examples, self.weight, self.batches = self.examples + size, self.weight + weight, self.batches + 1
        self.sums["loss"] = self.sums.get("loss", 0.0) + loss * weight
        for name, value in scores.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * size

    def share(self, ranks, asked):
        """Make the sums those of all ranks; returns why one of them was asked to stop, or None."""
        if ranks.size == 1:
            return asked
        found = ranks.all_gather([self.examples, self.weight, self.batches, self.sums, asked])
        self.examples, self.weight, self.batches = (sum(column) for column in list(zip(*found))[:3])
        self.sums = add_numbers(entry[3] for entry in found)
        return next((entry[4] for entry in found if entry[4]), None)

    def close(self, state, task=None):
        """Add the step to the window of the next report, and begin the next step."""
        for name, value in self.sums.items():
            if name == "loss":  # summed over its own weight, shown as a mean over examples
                value *= self.examples / self.weight
            shown = [name] if task is None else ["loss", f"{task}/loss"] if name == "loss" else [f"{task}/{name}"]
            for each in shown:
                state.window[each] = state.window.get(each, 0.0) + value
        if task is not None:
            state.window_tasks[task] = state.window_tasks.get(task, 0) + self.examples
        state.window_examples += self.examples
        state.window_steps += 1
        state.last_loss = self.sums["loss"] / self.weight
        self.clear(state)

    def clear(self, state):
        """Begin the next step."""
        state.batches += self.batches
        self.__init__()
