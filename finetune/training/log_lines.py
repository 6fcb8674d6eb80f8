"""The log lines of the 2019 scripts, which scrapers read: their wording and fields stay.

log_arguments(settled, args)
learner.train(..., hooks=[LegacyLogLines(task, spec, num_examples, verbose=True)])
# epoch: 3, progress: 22456/67349, step: 3500, ave loss: 0.015862, ave acc: 0.984375, speed: 1.328810 steps/s
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from finetune.training.args import GROUPS, Args, ignored_flags
from finetune.training.effects import without_effect
from propeller.flags import changed, log_values
from propeller.train.hooks import RunHook

if TYPE_CHECKING:
    from finetune.spec import ModelSpec
    from finetune.task import FinetuneTask
    from finetune.training.result import RunResult
    from propeller.train.journal import Journal
    from propeller.train.state import Evaluation, TrainState
    from propeller.train.trainer import Learner


log = logging.getLogger("ernie.finetune")


def all_flags(args: Args) -> dict[str, Any]:
    """name -> value of every flag, the task's own too."""
    groups = [getattr(args, name) for name in (*GROUPS, "task")]
    return {name: value for group in groups if group for name, value in dataclasses.asdict(group).items()}


def log_arguments(args: Args, given: Args) -> None:
    """All flags, those that were given, and which of these have no effect.

    Args:
        args: the flags as the model and the run settled them.
        given: the flags before.
    """
    task_flags = type(args.task) if args.task else None
    reasons = ignored_flags(task_flags)
    shown = changed(all_flags(given), (*GROUPS.values(), task_flags))
    idle = {name: why for name, why in without_effect(given).items() if name in shown}
    log_values(log, all_flags(args), {**idle, **{name: reasons[name] for name in args.ignored}}, shown)


def log_best(result: RunResult, names: Sequence[str]) -> None:
    """The step that became ``best``, with its scores on the first dev set; nothing without an evaluation.

    Args:
        result: of the run.
        names: the scores that are shown, as far as there are such.
    """
    scores = [f"{name} {result.scores[name]:.6g}" for name in names if name in result.scores]
    if result.best_step is not None:
        log.info("best: %s", ", ".join([f"step {result.best_step}", *scores]))


class LegacyLogLines(RunHook):
    """The log lines of the 2019 scripts, for scrapers that read them, word for word."""

    def __init__(
        self,
        task: type[FinetuneTask],
        spec: ModelSpec,
        num_examples: int,
        verbose: bool,
        journal: Journal | None = None,
    ) -> None:
        self.task, self.spec, self.num_examples = task, spec, num_examples
        self.verbose, self.journal = verbose, journal

    def before_evaluation(self, learner: Learner, state: TrainState, evaluation: Evaluation) -> None:
        log.info("validation result of dataset %s:", evaluation.file)

    def on_record(self, learner: Learner, state: TrainState | None, record: dict[str, Any]) -> None:
        if record["event"] == "train":
            self._train(learner, state, record)
            return
        line = self.task.evaluation_line(self.spec, record, record["elapsed"])
        where = f"file: {record['file']}, epoch: {record['epoch']}, steps: {record['step']}"
        log.info("[%s evaluation] %s, %s", record["event"], line, where)
        if self.journal:
            self.journal.write(record)

    def _train(self, learner, state, record):
        if self.verbose:
            log.info("train pyreader queue size: %d, learning rate: %f", learner.queue_size(), record["learning_rate"])
        log.info(
            "epoch: %d, progress: %d/%d, step: %d, %s, speed: %f steps/s",
            record["epoch"],
            state.rows,
            self.num_examples,
            record["step"],
            self.task.training_line(record),
            record["speed"],
        )
        if "waiting" in record:
            log.info("waited for batches in %.1f%% of the time", 100.0 * record["waiting"])
        if "loss_scale" in record:
            log.info("loss scale: %g, skipped steps: %d", record["loss_scale"], record["skipped_steps"])
