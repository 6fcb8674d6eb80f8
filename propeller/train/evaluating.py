"""The evaluations of a run while it trains: what they come to, and which checkpoint is the best.

evaluator = Evaluator(learner, evaluations, checkpoints, hooks)
evaluator.run(state)                                # True: it was evaluated, and a better score is saved
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from propeller.errors import UserError
from propeller.train.averaging import averaged
from propeller.train.faults import Stopped

if TYPE_CHECKING:
    from propeller.train.checkpointing import Checkpointer
    from propeller.train.hooks import RunHook
    from propeller.train.state import Evaluation, TrainState
    from propeller.train.trainer import Learner


NOT_SCORES = ("step", "epoch", "data_num", "batch_num", "question_num")  # numbers that say how much was scored, or when
_LOWER = re.compile(r"(.+_)?(loss|ppl|perplexity|error|mse|rmse|mae)")


def lower_is_better(name: str) -> bool:
    """Whether the smallest value of a score is the best one, by its name: losses, perplexities and errors."""
    return _LOWER.fullmatch(name) is not None


def names_of_scores(scores: dict[str, Any]) -> list[str]:
    """The names of the scores that may pick the best checkpoint."""
    return [
        name
        for name, value in scores.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and name not in NOT_SCORES
    ]


class Evaluator:
    """Evaluates on all sets and keeps the best checkpoint.

    Args:
        learner: what is evaluated.
        evaluations: ``Evaluation`` sets; the first one's score picks the best checkpoint.
        checkpoints: where a better score is saved.
        hooks: ``RunHook`` objects.
    """

    def __init__(
        self,
        learner: Learner,
        evaluations: Sequence[Evaluation],
        checkpoints: Checkpointer,
        hooks: Sequence[RunHook],
    ) -> None:
        self.learner, self.evaluations, self.checkpoints, self.hooks = learner, evaluations, checkpoints, hooks

    def run(self, state: TrainState, kept: bool = False) -> bool:
        """Evaluate once per step, unless the run is to stop; a better score makes a checkpoint.

        A checkpoint is written before. It stays where the score is better, where ``kept``, or where the evaluation
        fails.

        Args:
            state: where the run is.
            kept: whether a checkpoint of the step is due, whatever the score.

        Returns:
            whether anything was evaluated.

        Raises:
            UserError: a batch cannot be read; there is no score of the name that is to pick the best checkpoint.
        """
        learner = self.learner
        if learner.stop_reason or not self.evaluations or state.evaluated_step == state.step:
            return False
        self.checkpoints.hold(state)
        try:
            score = self._scores(state)
        except Stopped as stopped:
            learner.stop_reason = stopped.reason
            return False
        except UserError:
            self.checkpoints.save_alone(state)
            raise
        state.evaluated_step = state.step
        improved, gained_before = state.best_score is None or score > state.best_score, state.gained_score
        self._count_waiting(state, score)
        if improved:
            before = state.best_score, state.best_step, state.best_epoch
            state.best_score, state.best_step, state.best_epoch = score, state.step, state.epoch
            if self.checkpoints.save(state):
                self.checkpoints.saver.link("best", state.step)
            else:  # the disk is full: the best one is the best of those that are there
                (state.best_score, state.best_step, state.best_epoch), state.gained_score = before, gained_before
        if not kept:
            self.checkpoints.let_go(state)
        learner.notify(self.hooks, "after_evaluation", state, score, improved)
        return True

    def _count_waiting(self, state, score):
        """How many evaluations in a row had no better score, by more than the least gain."""
        before = state.best_score if state.gained_score is None else state.gained_score
        if before is None or score > before + self.learner.config.least_gain:
            state.waited, state.gained_score = 0, score
        else:
            state.waited += 1

    def _scores(self, state):
        """Evaluate on all sets; the score that picks the best checkpoint, the higher the better.

        What the first evaluation gives as ``tuned`` belongs to the model: the checkpoint's record gets it.
        """
        score = None
        for entry in self.evaluations:
            begin = time.monotonic()
            self.learner.notify(self.hooks, "before_evaluation", state, entry)
            with averaged(self.learner):
                scores = self.learner.score(entry, state.step)
            record = {"event": entry.kind, "step": state.step, "epoch": state.epoch, "file": entry.file, **scores}
            if entry.task is not None:
                record["task"] = entry.task
            self.learner.notify(self.hooks, "on_record", state, {**record, "elapsed": time.monotonic() - begin})
            if entry is self.evaluations[0] and scores.get("tuned"):
                self.checkpoints.note(state, scores["tuned"])
            if entry.task is not None:  # of several tasks all count
                score = (score or 0.0) + entry.weight * self._value(scores, entry)
            elif score is None:
                score = self._value(scores, entry)
        return score

    def _value(self, scores, entry):
        config = self.learner.config
        if config.best_by not in scores:
            there = ", ".join(names_of_scores(scores))
            raise UserError(
                f"{config.names.best_by} {config.best_by}: the evaluation of {entry.file} has no score of that name; "
                f"give one of {there}"
            )
        value = scores[config.best_by]
        return -value if lower_is_better(config.best_by) else value
