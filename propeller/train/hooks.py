"""Callbacks for the training loop.

class MyHook(RunHook):
    def after_step(self, learner, state): ...
learner.train(batches, epoch_size, hooks=[MyHook()])
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    import numpy as np

    from propeller.train.state import Evaluation, TrainState
    from propeller.train.trainer import Learner


log = logging.getLogger("propeller.train")


class RunHook:
    """Called by the loop; a method does nothing unless overridden. Setting ``state.stop`` to a reason ends the run."""

    def before_train(self, learner: Learner, state: TrainState) -> None:
        """Once, after the variables are there and before the first step."""

    def before_run(self, learner: Learner, state: TrainState | None) -> Mapping[str, Any] | None:
        """Before each run of a train Program, or in an evaluation of an evaluation Program, whose state is None.

        Returns:
            name -> tensor of that Program to fetch in this run besides; or None.
        """
        return None

    def after_run(self, learner: Learner, state: TrainState | None, values: dict[str, np.ndarray]) -> None:
        """After that run: name -> array of what was asked for."""

    def after_step(self, learner: Learner, state: TrainState) -> None:
        """After every update."""

    def on_record(self, learner: Learner, state: TrainState, record: dict[str, Any]) -> None:
        """A report: a dict with ``event`` (``train``, ``dev``), ``step``, ``epoch``, ``loss`` and further numbers."""

    def before_evaluation(self, learner: Learner, state: TrainState, evaluation: Evaluation) -> None:
        """Before each ``Evaluation``."""

    def after_evaluation(self, learner: Learner, state: TrainState, score: float, improved: bool) -> None:
        """After an evaluation; ``score`` picks the best checkpoint, ``improved`` says whether it is the best so far."""

    def after_train(self, learner: Learner, state: TrainState) -> None:
        """Once, after the last step."""


class EarlyStopping(RunHook):
    """Ends the run after ``patience`` evaluations in a row without a better score."""

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def before_train(self, learner: Learner, state: TrainState) -> None:
        self._stop(state)  # the run was killed between its end and that of the program

    def after_evaluation(self, learner: Learner, state: TrainState, score: float, improved: bool) -> None:
        self._stop(state)

    def _stop(self, state):
        if state.waited >= self.patience:
            state.stop = f"no better score in {self.patience} evaluations"


class ProgressBar(RunHook):
    """A tqdm bar on a terminal; nothing where standard error goes to a file."""

    def __init__(self, total: int, shown: bool) -> None:
        self.total, self.shown = total, shown
        self.bar = None

    def before_train(self, learner: Learner, state: TrainState) -> None:
        if self.shown:
            self.bar = tqdm(total=self.total, initial=state.step, unit="step", dynamic_ncols=True, leave=False)

    def after_step(self, learner: Learner, state: TrainState) -> None:
        if self.bar is not None:
            self.bar.set_postfix(loss=f"{state.last_loss:.4f}", refresh=False)
            self.bar.update(1)

    def after_train(self, learner: Learner, state: TrainState) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
