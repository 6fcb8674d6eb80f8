"""What ends a run from outside, and a run that ends no more: signals to stop, and a watch for steps that never come.

with guarded(learner, hang_timeout=1800):
    learner.train(...)          # SIGTERM: the step is finished, a checkpoint written, exit status 143

Used by the runners, around training and what follows it. Signal handlers are put back at the end.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from propeller.train.state import TrainState
    from propeller.train.trainer import Learner


log = logging.getLogger("propeller.train")

LOG = 2  # the descriptor of standard error: the stream itself may be anything
HUNG = 124  # exit status, as that of timeout(1)
GROUP_TIMEOUT = 1800.0  # seconds without a step before a group is ended, unless the caller says else
ALONE_TIMEOUT = 7200.0  # of a process that trains alone, where a slow source of rows holds nobody else up
STACKS = getattr(signal, "SIGUSR1", None)  # prints the stacks of all threads to the log
TOGETHER = 2.0  # seconds that a hung rank waits before it ends, for the others to print their stacks as well
LATER = 10.0  # seconds after which the C timer ends a process whose interpreter cannot


class Stopped(Exception):
    """The run was asked to stop (``Learner.ask_to_stop``) and did: what there is to keep is in its last checkpoint.

    Attributes:
        reason: what ``ask_to_stop`` was given.
        state: the ``TrainState``, None after the training.
    """

    def __init__(self, reason: str, state: TrainState | None = None) -> None:
        super().__init__(reason)
        self.reason, self.state = reason, state


@contextlib.contextmanager
def guarded(learner: Learner, hang_timeout: float | None = None) -> Iterator[None]:
    """Stop after a checkpoint at SIGTERM or Ctrl-C; end a run in which nothing goes on.

    Args:
        learner: a ``Learner``.
        hang_timeout: seconds without a batch of training, evaluation or prediction after which the process prints
            the stacks of its threads to standard error and ends with status 124; 0: never; None: GROUP_TIMEOUT in a
            group, ALONE_TIMEOUT for one process.

    Raises:
        SystemExit: 143 after SIGTERM, 130 after Ctrl-C; all ranks of a group alike, whichever got the signal.
    """
    if hang_timeout is None:
        hang_timeout = GROUP_TIMEOUT if learner.ranks.size > 1 else ALONE_TIMEOUT
    try:
        with _signals(learner), _stacks_on_demand(), _watch(learner, hang_timeout):
            yield
    except Stopped as stopped:
        number = signal.Signals.__members__.get(stopped.reason)
        if number is None:
            raise
        log.warning("preempted by %s, run again to continue", stopped.reason)
        raise SystemExit(128 + number) from None


@contextlib.contextmanager
def _signals(learner):
    """Ask the learner to stop at SIGTERM and SIGINT; a second Ctrl-C does not wait."""
    asked = []

    def handle(number, frame):
        # The kernel, a scheduler and the launcher may all send one: only a second key stroke is a second wish.
        if number == signal.SIGINT and asked and time.monotonic() - asked[0] > 1:
            raise SystemExit(128 + number)
        if not asked:
            asked.append(time.monotonic())
            learner.ask_to_stop(signal.Signals(number).name)
            hint = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
            # Not through logging: this may have come in the middle of a log line.
            os.write(LOG, f"\n{signal.Signals(number).name}: stopping after this step{hint}\n".encode())

    if threading.current_thread() is not threading.main_thread():  # which has no handlers
        yield
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _stacks_on_demand():
    """At SIGUSR1 print all stacks and go on; done in C, so that a process that hangs in there answers too."""
    if STACKS is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    faulthandler.register(STACKS, file=LOG, all_threads=True, chain=False)
    try:
        yield
    finally:
        faulthandler.unregister(STACKS)


@contextlib.contextmanager
def _watch(learner, seconds):
    if not seconds:
        yield
        return
    ended = threading.Event()
    learner.progress += 1
    thread = threading.Thread(target=_wait_for_hang, args=(learner, seconds, ended), name="hang-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        faulthandler.cancel_dump_traceback_later()


def _wait_for_hang(learner, seconds, ended):
    """Look at the learner's progress until ``ended``; end the process when there was none for so many seconds.

    Looks are counted, not the clock: the time in which a process was stopped and continued is not counted.
    """
    pause = min(seconds / 10, 5.0)
    seen, quiet = None, 0.0
    while not ended.wait(pause):
        if learner.progress != seen:
            seen, quiet = learner.progress, 0.0
        else:
            quiet += pause
        faulthandler.dump_traceback_later(seconds - quiet + LATER, exit=True, file=LOG)
        if quiet >= seconds:
            ranks, limit = learner.ranks, learner.config.names.hang_timeout
            who = f"rank {ranks.rank} of {ranks.size}" if ranks.size > 1 else "this process"
            sys.stderr.flush()
            os.write(LOG, f"no step for {seconds:g} s ({limit}): {who} hangs, or waits for one that does. "
                        "What its threads are doing:\n".encode())  # fmt: skip
            faulthandler.dump_traceback(file=LOG, all_threads=True)
            os.write(LOG, b"ended; run again to continue from the last checkpoint\n")
            time.sleep(TOGETHER)
            os._exit(HUNG)
