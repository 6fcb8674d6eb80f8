"""Hooks in 2019's form.

    class Watch(RunHook):
        def before_run(self, state):
            return [self.tensor]                  # fetched in this run besides
        def after_run(self, values, state):
            print(state.gstep, values[0])

``before_run`` sees the steps done so far; ``after_run`` and ``should_stop`` see this one counted.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from propeller.summary import SummaryRecord

log = logging.getLogger("propeller.train")


@dataclass(frozen=True)
class RunState:
    """Where a run is.

    Attributes:
        gstep: steps in all, those before a restart included.
        step: steps of this call; in an evaluation, its batches.
        time: seconds since the epoch when the state was made.
        loss: of the last step, the mean over the examples of all processes.
        learning_rate: of the last step.
    """

    gstep: int = 0
    step: int = 0
    time: float = 0.0
    loss: float | None = None
    learning_rate: float | None = None

    def to_json(self) -> str:
        """2019's form: ``global_step`` and ``time``."""
        return json.dumps({"global_step": self.gstep, "time": self.time})

    @classmethod
    def from_json(cls, text: str) -> RunState:
        """A state of ``to_json``."""
        stored = json.loads(text)
        return cls(gstep=stored["global_step"], time=stored["time"])


class RunHook:
    """Base: does nothing."""

    def before_train(self) -> None:
        """Once, before the first run."""

    def before_run(self, state: RunState) -> Any:
        """Before each run: a tensor or a list of tensors of the Program to fetch besides; or None."""

    def after_run(self, values: list, state: RunState) -> None:
        """After each run that counts as a step: the arrays of what ``before_run`` asked for."""

    def should_stop(self, state: RunState) -> bool:
        """Whether this was the last step."""
        return False

    def after_train(self) -> Any:
        """Once, after the last run: the hook's result."""


class StopAtStepHook(RunHook):
    """Ends a run after so many steps.

    Args:
        stop_global_step: in all; None: no limit.
        stop_step: of this call; None: no limit.
    """

    def __init__(self, stop_global_step: int | None, stop_step: int | None = None) -> None:
        self.stop_global_step, self.stop_step = stop_global_step, stop_step

    def should_stop(self, state: RunState) -> bool:
        return any(
            limit is not None and count >= limit
            for count, limit in ((state.gstep, self.stop_global_step), (state.step, self.stop_step))
        )


class LoggingHook(RunHook):
    """Logs ``step:N steps/sec:X loss:L lr:R name:value…``, separated by tabs, and writes the same to event files.

    Args:
        loss: a tensor to log the mean of; None: the loop's own loss, which is the mean over all processes.
        per_step: a line every so many steps.
        skip_step: none in the first so many steps of a call.
        summary_writer: an ``events.EventFiles``; None: no files.
        summary_record: a ``summary.SummaryRecord``; its tensors are fetched for each line.
    """

    def __init__(
        self,
        loss: Any = None,
        per_step: int = 10,
        skip_step: int = 100,
        summary_writer: Any = None,
        summary_record: SummaryRecord | None = None,
    ) -> None:
        self.loss, self.per_step, self.skip_step = loss, per_step, skip_step
        self.writer, self.record = summary_writer, summary_record or SummaryRecord()

    def before_train(self) -> None:
        self._losses: list[float] = []
        self._begun, self._due = time.monotonic(), False

    def before_run(self, state: RunState) -> list:
        self._due = (state.gstep + 1) % self.per_step == 0 and state.step + 1 > self.skip_step
        tensors = [] if self.loss is None else [self.loss]
        return [*tensors, *self.record.scalar.values(), *self.record.histogram.values()] if self._due else tensors

    def after_run(self, values: list, state: RunState) -> None:
        values = list(values)
        loss = state.loss if self.loss is None else float(np.mean(values.pop(0)))
        if loss is None or not math.isfinite(loss):
            log.warning("step %d: the loss is %s, left out of the log", state.gstep, loss)
        else:
            self._losses.append(loss)
        if not self._due:
            return
        count = len(self.record.scalar)
        curves = {"loss": float(np.mean(self._losses))} if self._losses else {}
        if state.learning_rate is not None:
            curves["lr"] = state.learning_rate
        curves.update({name: float(np.mean(value)) for name, value in zip(self.record.scalar, values[:count])})
        now = time.monotonic()
        speed = self.per_step / max(now - self._begun, 1e-9)
        shown = "\t".join(f"{name}:{value:.5g}" for name, value in curves.items())
        log.info("step:%d\tsteps/sec:%.3f\t%s", state.gstep, speed, shown)
        self._write(state.gstep, {**curves, "steps_per_sec": speed}, dict(zip(self.record.histogram, values[count:])))
        self._losses, self._begun = [], now

    def _write(self, step, curves, histograms):
        if self.writer is None:
            return
        try:
            self.writer.write("train", step, curves, histograms)
        except OSError as error:
            log.warning("%s: not written (%s): make room", self.writer.folder, error.strerror or error)

    def after_train(self) -> None:
        if self.writer is not None:
            self.writer.close()


class CheckpointSaverHook(RunHook):
    """Has a saver of one's own save every so many steps; the loop's own checkpoints need no hook.

    Args:
        saver: has ``save(state)``, as ``parameter_saver.Saver``.
        per_step: every so many steps.
        skip_step: not in the first so many steps of a call; 0 is 0. (In 2019 it became 100.)
    """

    def __init__(self, saver: Any, per_step: int = 10, skip_step: int = 100) -> None:
        self.saver, self.per_step, self.skip_step = saver, per_step, skip_step

    def after_run(self, values: list, state: RunState) -> None:
        if state.gstep % self.per_step == 0 and state.step > self.skip_step:
            self.saver.save(state)


class EvalHook(RunHook):
    """Computes metrics over the batches of a run.

    Args:
        metrics: name -> ``propeller.metrics.Metrics``.
    """

    def __init__(self, metrics: Mapping) -> None:
        self.metrics = dict(metrics)
        self.result: dict | None = None

    def before_train(self) -> None:
        for metric in self.metrics.values():
            metric.reset()

    def before_run(self, state: RunState) -> list:
        return [tensor for metric in self.metrics.values() for tensor in metric.tensor]

    def after_run(self, values: list, state: RunState) -> None:
        arrays = iter(values)
        for metric in self.metrics.values():
            metric.update([next(arrays) for _ in metric.tensor])

    def after_train(self) -> dict:
        self.result = {name: metric.eval() for name, metric in self.metrics.items()}
        return self.result


class TqdmProgressBarHook(RunHook):
    """A bar on the terminal.

    Args:
        max_steps: its end; None: unknown.
        desc: what stands before it.
    """

    def __init__(self, max_steps: int | None, desc: str | None = None) -> None:
        self.max_steps, self.desc = max_steps, desc

    def _bar(self, **options):
        return tqdm(**options)

    def before_train(self) -> None:
        self.bar = self._bar(total=self.max_steps, desc=self.desc, unit="step")

    def after_run(self, values: list, state: RunState) -> None:
        self.bar.update(state.gstep - self.bar.n if state.gstep > self.bar.n else 1)

    def after_train(self) -> None:
        self.bar.close()


class TqdmNotebookProgressBarHook(TqdmProgressBarHook):
    """A bar in a notebook."""

    def _bar(self, **options):
        from tqdm.autonotebook import tqdm as notebook_tqdm

        return notebook_tqdm(**options)


def tensors_of(asked: Any) -> Sequence:
    """What a ``before_run`` returned, as a list."""
    if asked is None:
        return []
    return list(asked) if isinstance(asked, (list, tuple)) else [asked]
