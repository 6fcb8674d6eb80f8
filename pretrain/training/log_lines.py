"""The log lines of the 2019 train.py, which scrapers read: their wording and fields stay.

learner.train(..., hooks=[LegacyLogLines(task, reader.num_files)])         # of one task; TaskLines of a task list
# epoch: 1, progress: 1/1, step: 30, loss: 10.540648, ppl: 19106.925781, next_sent_acc: 0.625000, speed: 0.849662
#   steps/s, file: ./data/demo_train_set.gz, mask_type: mask_word
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pretrain.task import PretrainTask
from pretrain.training.schedule import StepPlan
from propeller.train.hooks import RunHook
from propeller.train.trainer import Learner, TrainState

log = logging.getLogger("ernie.pretrain")


class LegacyLogLines(RunHook):
    """The log lines of the 2019 train.py, word for word. Loss, ppl and accuracy are means since the last line.

    Args:
        task: the ``PretrainTask`` class.
        num_files: shards in the training list.
        stats: the reader's counters, for ``verbose``; None: no such line.
    """

    def __init__(self, task: type[PretrainTask], num_files: int, stats: dict[str, int] | None = None) -> None:
        self.task, self.num_files, self.stats = task, num_files, stats

    def on_record(self, learner: Learner, state: TrainState, record: dict[str, Any]) -> None:
        if record["event"] == "train":
            self._train(learner, state, record)
        else:
            speed = record["batch_num"] / max(record["elapsed"], 1e-9)
            line = self.task.evaluation_line(record)
            where = (record["epoch"] + 1, record["step"])
            log.info("[validation_set] epoch: %d, step: %d, %s, speed: %f steps/s", *where, line, speed)

    def _train(self, learner, state, record):
        place = state.position
        _begin(learner, record)
        log.info(
            "epoch: %d, progress: %d/%d, step: %d, %s, speed: %f steps/s, file: %s, mask_type: %s",
            record["epoch"] + 1,
            place["progress"] + 1,
            self.num_files,
            record["step"],
            self.task.training_line(record),
            record["speed"],
            place["path"],
            place["mask_type"],
        )
        _end(record)
        if self.stats is not None:
            self._more(record)

    def _more(self, record):
        losses = ", ".join(f"{name}: {record[name]:f}" for name in sorted(record) if name.endswith("_loss"))
        stats = self.stats
        share = 100.0 / max(stats["tokens"] + stats["padding"], 1)
        log.info(
            "%s; read so far: %d instances, %d tokens, %.1f%% masked, %.1f%% of the batches padding",
            losses,
            stats["rows"],
            stats["tokens"],
            100.0 * stats["masked"] / max(stats["tokens"], 1),
            share * stats["padding"],
        )


class TaskLines(RunHook):
    """The same for several tasks: a line of the run, and one for each task that was trained since the last.

    # step: 600/2000, stage: 2/4, loss: 3.217411, speed: 8.412150 steps/s
    # task: sentence_distance, loss: 0.912345, acc: 0.587500

    Args:
        tasks: name -> ``PretrainTask`` class.
        plan: the ``StepPlan``.
    """

    def __init__(self, tasks: Mapping[str, type[PretrainTask]], plan: StepPlan) -> None:
        self.tasks, self.plan = tasks, plan

    def before_train(self, learner: Learner, state: TrainState) -> None:
        for number, stage in enumerate(self.plan.stages, 1):
            counts = ", ".join(f"{name} {count}" for name, count in stage.counts.items())
            log.info("stage %d/%d from step %d: %s", number, len(self.plan.stages), stage.first, counts)

    def on_record(self, learner: Learner, state: TrainState, record: dict[str, Any]) -> None:
        if record["event"] == "train":
            self._train(learner, record)
        else:
            speed = record["batch_num"] / max(record["elapsed"], 1e-9)
            line = self.tasks[record["task"]].evaluation_line(record)
            where = (record["task"], record["step"], line, speed)
            log.info("[validation_set] task: %s, step: %d, %s, speed: %f steps/s", *where)

    def _train(self, learner, record):
        _begin(learner, record)
        step, stages = record["step"], len(self.plan.stages)
        where = (step, self.plan.total, self.plan.stage(step - 1) + 1, stages, record["loss"], record["speed"])
        log.info("step: %d/%d, stage: %d/%d, loss: %f, speed: %f steps/s", *where)
        for name, task in self.tasks.items():
            own = {key.partition("/")[2]: value for key, value in record.items() if key.startswith(f"{name}/")}
            if own:
                log.info("task: %s, %s", name, task.training_line(own))
        _end(record)


def _begin(learner, record):
    log.info("feed_queue size %d", learner.queue_size())
    log.info("current learning_rate:%f", record["learning_rate"])


def _end(record):
    if "loss_scale" in record:
        log.info("loss scale: %g, skipped steps: %d", record["loss_scale"], record["skipped_steps"])
