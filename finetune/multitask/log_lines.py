"""The log of a run of several tasks.

# step: 60/200, loss: 0.512345, speed: 8.412150 steps/s
# task: sentiment, ave loss: 0.612345, ave acc: 0.687500
# [dev evaluation] task: sentiment, ave loss: 0.5, acc: 0.91, ..., file: sst2/dev.tsv, steps: 60
# best: step 60, sentiment acc 0.91, pairs acc 0.66
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from propeller.train.hooks import RunHook

if TYPE_CHECKING:
    from finetune.multitask.task_run import TaskRun
    from finetune.training.result import RunResult
    from propeller.train.state import TrainState
    from propeller.train.trainer import Learner

log = logging.getLogger("ernie.finetune")


def log_best(result: RunResult, metrics: Mapping[str, str]) -> None:
    """The step that became ``best``, with the score of each task that chose it; nothing without an evaluation.

    Args:
        result: of the run.
        metrics: task -> the score by which its evaluations count (``--best_metric``).
    """
    if result.best_step is None:
        return
    found = {name: result.scores.get(name, {}).get(metric) for name, metric in metrics.items()}
    scores = [f"{name} {metrics[name]} {score:.6g}" for name, score in found.items() if score is not None]
    log.info("best: %s", ", ".join([f"step {result.best_step}", *scores]))


class TaskLines(RunHook):
    """A line of the run, and one for each task that was trained since the last.

    Args:
        tasks: name -> ``TaskRun``.
        total: steps of the run.
    """

    def __init__(self, tasks: Mapping[str, TaskRun], total: int) -> None:
        self.tasks, self.total = tasks, total

    def on_record(self, learner: Learner, state: TrainState, record: dict[str, Any]) -> None:
        if record["event"] == "train":
            self._train(record)
            return
        run = self.tasks[record["task"]]
        line = run.task.evaluation_line(run.spec, record, record["elapsed"])
        where = f"file: {record['file']}, steps: {record['step']}"
        log.info("[%s evaluation] task: %s, %s, %s", record["event"], record["task"], line, where)

    def _train(self, record):
        log.info(
            "step: %d/%d, loss: %f, speed: %f steps/s", record["step"], self.total, record["loss"], record["speed"]
        )
        for name, run in self.tasks.items():
            own = {key.partition("/")[2]: value for key, value in record.items() if key.startswith(f"{name}/")}
            if own:
                log.info("task: %s, %s", name, run.task.training_line(own))
        if "loss_scale" in record:
            log.info("loss scale: %g, skipped steps: %d", record["loss_scale"], record["skipped_steps"])
