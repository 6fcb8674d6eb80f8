"""One trial of a sweep: a run of its task that tells of its evaluations, in this process or on a Ray cluster.

outcome = run_trial("classify", flags, lambda epoch, score: False)       # True ends the run there
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple

from finetune import flags_of, task_class
from propeller import runtime
from propeller.errors import UserError

BUSY_SECONDS = 60  # in which the process of a sweep that was killed gives its folder free

Tell = Callable[["int | None", float], bool]  # (epoch that has ended or None, score, the higher the better) -> stop


class Outcome(NamedTuple):
    """How a trial ended. pruned: before its time, as it was told to; error: what was wrong with it, or None; busy:
    whether that is another process in its folder."""

    pruned: bool = False
    error: str | None = None
    busy: bool = False


def run_trial(task: str, flags: Mapping[str, Any], tell: Tell) -> Outcome:
    """Run a trial to its end, or go on with it.

    Args:
        task: name in ``finetune.TASKS``.
        flags: name -> value of its flags.
        tell: called after every evaluation.
    """
    from finetune.training.args import from_keywords
    from finetune.training.runner import run
    from propeller.train.saver import FolderBusy

    hook = _hook(tell)
    try:
        run(task_class(task), from_keywords(flags, flags_of(task).task), hooks=[hook])
    except UserError as error:
        return Outcome(error=str(error), busy=isinstance(error, FolderBusy))
    return Outcome(hook.pruned)


def _hook(tell):
    """What tells of evaluations and ends the run where the answer says so."""
    from propeller.train.hooks import RunHook

    class Report(RunHook):
        pruned = False

        def after_evaluation(self, learner, state, score, improved):
            # Steps do not compare where batches differ in size: only epochs have a number.
            if tell(state.epoch + 1 if state.ended_epoch else None, score):
                self.pruned, state.stop = True, "below the median of earlier trials"

    return Report()


class Desk:
    """Where trials of other processes ask whether to go on; a Ray actor, whose methods share one event loop."""

    def __init__(self) -> None:
        self._said: asyncio.Queue | None = None
        self._answers: dict[int, asyncio.Future] = {}

    def _queue(self):
        self._said = self._said or asyncio.Queue()  # made in the loop that uses it, which Python 3.9 needs
        return self._said

    async def ask(self, number: int, epoch: int | None, score: float) -> bool:
        """What ``answer`` says to the evaluation of trial ``number``."""
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._queue().put((number, epoch, score))
        return await answer

    async def heard(self) -> tuple[int, int | None, float]:
        """(number, epoch, score) of the next evaluation."""
        return await self._queue().get()

    async def answer(self, number: int, stop: bool) -> None:
        """Answer a trial."""
        waiting = self._answers.pop(number, None)
        if waiting and not waiting.done():
            waiting.set_result(stop)


def remote_trial(task: str, number: int, flags: Mapping[str, Any], folder: str, desk: Any) -> Outcome:
    """``run_trial`` in a process of a Ray cluster.

    Args:
        task, flags: as above.
        number: the trial's.
        folder: the working directory of the sweep, from which its paths count.
        desk: handle of a ``Desk``.
    """
    import ray

    try:
        os.chdir(folder)
    except OSError as error:
        return Outcome(error=f"{socket.gethostname()} cannot enter {folder} ({error.strerror}): every machine of the "
                       "cluster must see the directories of the sweep")  # fmt: skip
    runtime.prepare()
    from propeller import log
    from propeller.train.args import log_path

    file = log_path("off" if flags.get("log_file") == "off" else "auto", flags["checkpoints"])
    log.setup(file, everything=bool(flags.get("verbose")))
    return _when_free(
        lambda: run_trial(task, flags, lambda epoch, score: ray.get(desk.ask.remote(number, epoch, score)))
    )


def _when_free(trial: Callable[[], Outcome]) -> Outcome:
    """Wait for a process of an earlier call that has not ended yet, with its folder."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        outcome = trial()
        if not outcome.busy or time.monotonic() > end:
            return outcome
        time.sleep(2)
