"""An iterator that runs ahead in a process of its own.

for element in in_a_process(lambda: iter(rows), 100): ...
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import queue
import signal
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from multiprocessing.reduction import ForkingPickler
from typing import Callable

from propeller.errors import UserError

LOOK = 1.0  # seconds between looks whether the other process is still there
ELEMENT, END, USER_ERROR, ERROR = range(4)


def in_a_process(open_elements: Callable[[], Iterable], ahead: int) -> Iterator:
    """The elements, made in a forked process that starts at once.

    Args:
        open_elements: called there; what it gives is iterated over there.
        ahead: how many elements may wait.

    Raises:
        UserError: raised there.
        RuntimeError: another error there, with its traceback; or the process was killed.
    """
    context = multiprocessing.get_context("fork")  # what is run is made of closures, which cannot be sent
    elements = context.Queue(ahead)
    process = context.Process(target=_produce, args=(open_elements, elements, os.getpid()), daemon=True)
    collecting = gc.isenabled()
    gc.disable()  # there, what the collector would free may need threads that a fork does not copy: Paddle's executors
    try:
        process.start()
    finally:
        if collecting:
            gc.enable()
    return _drained(elements, process)


def _drained(elements, process):
    try:
        while True:
            kind, value = _next(elements, process)
            if kind == END:
                return
            if kind == USER_ERROR:
                raise UserError(value)
            if kind == ERROR:
                raise RuntimeError(f"the process that reads ahead failed:\n{value}")
            yield ForkingPickler.loads(value)
    finally:
        process.kill()
        process.join()
        elements.close()


def _next(elements, process):
    while True:
        with contextlib.suppress(queue.Empty):
            return elements.get(timeout=LOOK)
        if not process.is_alive():
            with contextlib.suppress(queue.Empty):  # it may have ended after its last word
                return elements.get(timeout=LOOK)
            raise RuntimeError(f"the process that reads ahead ended with exit status {process.exitcode}")


def _produce(open_elements, elements, parent):
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        for element in open_elements():
            # Sent by the queue itself, an element that cannot be sent would be lost without an error.
            elements.put((ELEMENT, bytes(ForkingPickler.dumps(element))))
        elements.put((END, None))
    except UserError as error:
        elements.put((USER_ERROR, str(error)))
    except BaseException:  # noqa: B036 whatever it is, the parent must hear of it
        elements.put((ERROR, traceback.format_exc()))


def _end_with(parent):
    while os.getppid() == parent:
        time.sleep(LOOK)
    os._exit(1)
