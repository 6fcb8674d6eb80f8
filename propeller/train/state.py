"""How a run goes and where it is: what the loop is told, and what it knows and stores in checkpoints.

config = RunConfig(seed=1, accumulate=2, log_steps=10)
state = TrainState(**stored)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Callable, NamedTuple

from propeller.train import amp
from propeller.train.distribution import Ranks, add_numbers
from propeller.train.names import DEFAULT_NAMES, SettingNames


@dataclass(frozen=True)
class RunConfig:
    """How a run goes.

    Args:
        seed: of initial weights and dropout.
        accumulate: batches whose gradients make one step.
        log_steps, eval_steps, save_steps: every so many steps; 0: only at the end.
        eval_epochs, save_epochs: at the end of every epoch, too.
        skip_steps: nothing is reported, evaluated or saved in the first so many steps of a call, but at its end.
        best_by: the score of the first evaluation set that picks the best checkpoint: the higher the better, but for
            losses, perplexities and errors (``evaluating.lower_is_better``).
        least_gain: an evaluation counts as better, for ``TrainState.waited``, if its score is by more than this.
        max_steps: end after this step; None: when the batches end.
        precision: of training, see ``amp.Precision``.
        recompute: compute the model's segments twice and keep little of them, see ``recompute``.
        place: a Paddle place; None: the CPU.
        ranks: the processes that train together, a ``distribution.Ranks``; None: this one alone.
        save_at_error: write a checkpoint of the steps before a batch that cannot be read, for runs that may go on
            without it; others have nothing to lose in their folder then, once the data are mended.
        bucket_mb: megabytes of gradients that go to the other processes at once; None: what suits their backend.
        tell_waiting: report ``waiting``, the share of the time in which no batch was ready; ``open_batches`` then has
            ``waited()``, in seconds.
        names: what errors call the settings, see ``names``.
    """

    seed: int = 0
    accumulate: int = 1
    log_steps: int = 10
    eval_steps: int = 0
    save_steps: int = 0
    eval_epochs: bool = False
    save_epochs: bool = False
    skip_steps: int = 0
    best_by: str = "loss"
    least_gain: float = 0.0
    max_steps: int | None = None
    precision: amp.Precision = amp.FP32
    recompute: bool = False
    place: object = None
    ranks: Ranks | None = None
    save_at_error: bool = False
    bucket_mb: float | None = None
    tell_waiting: bool = False
    names: SettingNames = DEFAULT_NAMES


class Evaluation(NamedTuple):
    """A data set to evaluate on.

    ``kind`` (``dev``), ``file``, a function that opens its batches, and one that makes the final scores of those that
    ``Learner.evaluate`` returns, with the ``step``. Where several tasks are learnt, ``task``, and its ``weight`` in the
    sum of scores that picks the best checkpoint. ``hooks``: ``RunHook`` objects around its batches.
    """

    kind: str
    file: str
    open_batches: Callable
    finish: Callable = dict
    task: str | None = None
    weight: float = 1.0
    hooks: tuple = ()


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
    waited: int = 0  # evaluations since the last one with a gain
    gained_score: float | None = None  # its score; None: the best one
    stop: str | None = None
    skipped: int = 0  # steps without an update, since a gradient was no number
    skipped_in_a_row: int = 0
    last_loss: float = 0.0
    ended_epoch: bool = False  # whether the step was the last one of an epoch
    window: dict = field(default_factory=dict)  # sums over examples since the last report; of a task as task/name
    window_examples: int = 0
    window_steps: int = 0
    window_tasks: dict = field(default_factory=dict)  # task -> its examples

    def means(self) -> dict[str, float]:
        """name -> mean over the examples since the last report."""
        return {
            name: total / (self.window_tasks[name.rpartition("/")[0]] if "/" in name else self.window_examples)
            for name, total in self.window.items()
        }

    def clear_window(self) -> None:
        """Begin the next report."""
        self.window, self.window_examples, self.window_steps, self.window_tasks = {}, 0, 0, {}


class StepSums:
    """The batches of one step: examples, and loss and scores summed over them."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self.examples = self.batches = self.micro_batches = 0
        self.weight: float = 0
        self.totals: dict[str, float] = {}
        self.skipped = False

    def add(self, size: int, weight: float, loss: float, scores: Mapping[str, float]) -> None:
        """A batch: its examples, what its loss is the mean over, its mean loss and scores."""
        self.micro_batches += 1
        self.examples, self.weight, self.batches = self.examples + size, self.weight + weight, self.batches + 1
        self.totals["loss"] = self.totals.get("loss", 0.0) + loss * weight
        for name, value in scores.items():
            self.totals[name] = self.totals.get(name, 0.0) + value * size

    def share(self, ranks: Ranks, stop_requested: str | None) -> str | None:
        """Make the sums those of all ranks; returns why one of them was asked to stop, or None."""
        if ranks.size == 1:
            return stop_requested
        shares = ranks.all_gather([self.examples, self.weight, self.batches, self.totals, stop_requested])
        self.examples, self.weight, self.batches = (sum(column) for column in list(zip(*shares))[:3])
        self.totals = add_numbers(entry[3] for entry in shares)
        return next((entry[4] for entry in shares if entry[4]), None)

    def close(self, state: TrainState, task: str | None = None) -> None:
        """Add the step to the window of the next report, and begin the next step."""
        for name, value in self.totals.items():
            if name == "loss":  # summed over its own weight, shown as a mean over examples
                value *= self.examples / self.weight
            shown = [name] if task is None else ["loss", f"{task}/loss"] if name == "loss" else [f"{task}/{name}"]
            for each in shown:
                state.window[each] = state.window.get(each, 0.0) + value
        if task is not None:
            state.window_tasks[task] = state.window_tasks.get(task, 0) + self.examples
        state.window_examples += self.examples
        state.window_steps += 1
        state.last_loss = self.totals["loss"] / self.weight
        self.drop(state)

    def drop(self, state: TrainState) -> None:
        """Count the batches, and begin the next step."""
        state.batches += self.batches
        self.reset()
