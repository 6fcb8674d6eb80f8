"""What may be hung into the training loop.

class MyHook(RunHook):
    def after_step(self, learner, state): ...
learner.train(batches, epoch_size, hooks=[MyHook()])
"""

from __future__ import annotations

import logging

from tqdm import tqdm

log = logging.getLogger("propeller.train")


class RunHook:
    """Called by the loop; a method does nothing unless overridden. Setting ``state.stop`` to a reason ends the run."""

    def before_train(self, learner, state):
        """Once, after the variables are there and before the first step."""

    def after_step(self, learner, state):
        """After every update."""

    def on_record(self, learner, state, record):
        """A report: a dict with ``event`` (``train``, ``dev``), ``step``, ``epoch``, ``loss`` and further numbers."""

    def before_evaluation(self, learner, state, evaluation):
        """Before each ``Evaluation``."""

    def after_evaluation(self, learner, state, score, improved):
        """After an evaluation; ``score`` picks the best checkpoint, ``improved`` says whether it is the best so far."""

    def after_train(self, learner, state):
        """Once, after the last step."""


class EarlyStopping(RunHook):
    """Ends the run after ``patience`` evaluations in a row without a better score."""

    def __init__(self, patience):
        self.patience = patience

    def before_train(self, learner, state):
        self._stop(state)  # the run was killed between its end and that of the program

    def after_evaluation(self, learner, state, score, improved):
        state.waited = 0 if improved else state.waited + 1
        self._stop(state)

    def _stop(self, state):
        if state.waited >= self.patience:
            state.stop = f"no better score in {self.patience} evaluations"


class ProgressBar(RunHook):
    """A tqdm bar on a terminal; nothing where standard error goes to a file."""

    def __init__(self, total, shown):
        self.total, self.shown = total, shown
        self.bar = None

    def before_train(self, learner, state):
        if self.shown:
            self.bar = tqdm(total=self.total, initial=state.step, unit="step", dynamic_ncols=True, leave=False)

    def after_step(self, learner, state):
        if self.bar is not None:
            self.bar.set_postfix(loss=f"{state.last_loss:.4f}", refresh=False)
            self.bar.update(1)

    def after_train(self, learner, state):
        if self.bar is not None:
            self.bar.close()
            self.bar = None
