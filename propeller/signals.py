"""A program that unwinds when it is told to end, so that what is temporary goes with it.

with ended_by_signals():
    ...             # SIGTERM, SIGHUP: SystemExit(128 + number), through every ``with`` and ``finally``
with kept_handlers():
    import library_that_installs_its_own
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
PATIENCE_S = 5.0  # after which a second signal ends the process as it would any other


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into ``SystemExit(128 + number)`` in the main thread; what is ignored stays ignored.

    A second signal within 5 seconds changes nothing, since schedulers and launchers may each send one; a later one
    ends the process at once. Processes forked meanwhile end at once, too: what is temporary is not theirs.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone may have handlers
        yield
        return
    owner = os.getpid()
    asked: list[float] = []  # when the first signal came

    def handle(number, frame):
        if os.getpid() != owner or (asked and time.monotonic() - asked[0] > PATIENCE_S):
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif not asked:
            asked.append(time.monotonic())
            raise SystemExit(128 + number)

    before = {number: signal.getsignal(number) for number in ENDING}
    ours = [number for number, handler in before.items() if handler is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])


@contextlib.contextmanager
def kept_handlers() -> Iterator[None]:
    """Put back the handlers of SIGTERM and SIGHUP after something that sets others, as importing Paddle does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # None: set by something that is not Python, before
                signal.signal(number, handler)
