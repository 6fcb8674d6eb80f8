"""A bounded queue between the reader and the device: batches are made while the device computes.

with PyReader(reader.batches, capacity=50) as queue:
    for batch, position in queue:
        ...                             # queue.queue_size() batches are ready, queue.waited() seconds were waited
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Callable


class PyReader:
    """Runs an iterator in a thread, at most `capacity` items ahead.

    Args:
        make_iterator: called without arguments in the thread, once for each `iter()`.
        capacity: items, at least 1.

    Each `iter()` starts again, ending what ran before. An exception of the iterator is raised to the consumer
    after the items that came before it. Leaving the loop early, `close()` or the end of a `with` ends the thread and
    closes the iterator (and with it the worker processes of a TaskReader).
    """

    def __init__(self, make_iterator: Callable[[], Iterator], capacity: int = 50) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}; a queue needs room for one item")
        self.make_iterator, self.capacity = make_iterator, capacity
        self._run: _Run | None = None

    def __iter__(self) -> Iterator:
        self.close()
        self._run = run = _Run(self.make_iterator, self.capacity)
        return run.items()

    def queue_size(self) -> int:
        """Items ready to be taken."""
        run = self._run
        return 0 if run is None else len(run.queue)

    def waited(self) -> float:
        """Seconds that the consumer has waited for items since `iter()`."""
        run = self._run
        return 0.0 if run is None else run.waited

    def close(self) -> None:
        """Ends the thread and waits for it; items not taken are dropped. Safe to call again and from any thread."""
        run, self._run = self._run, None
        if run is not None:
            run.close()

    def __enter__(self) -> PyReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Run:
    """One pass: the thread, its queue, and how it ended."""

    def __init__(self, make_iterator, capacity) -> None:
        self.make_iterator, self.capacity = make_iterator, capacity
        self.queue: deque = deque()
        self.changed = threading.Condition()
        self.finished = self.stopped = False
        self.waited = 0.0
        self.error = None
        self.thread = threading.Thread(target=self._produce, name="pyreader", daemon=True)
        self.thread.start()

    def _produce(self):
        iterator = None
        try:
            iterator = iter(self.make_iterator())
            for item in iterator:
                if not self._put(item):
                    break
        except BaseException as error:
            self.error = error
        finally:
            try:
                if hasattr(iterator, "close"):
                    iterator.close()  # here, in the thread that ran it
            except BaseException as error:
                self.error = self.error or error
            with self.changed:
                self.finished = True
                self.changed.notify_all()

    def _put(self, item):
        """Whether the item was taken up; False once the run is stopped."""
        with self.changed:
            self.changed.wait_for(lambda: self.stopped or len(self.queue) < self.capacity)
            if not self.stopped:
                self.queue.append(item)
                self.changed.notify_all()
            return not self.stopped

    def items(self):
        try:
            while True:
                with self.changed:
                    begun = time.monotonic()
                    self.changed.wait_for(lambda: self.queue or self.finished or self.stopped)
                    self.waited += time.monotonic() - begun
                    if self.stopped or not self.queue:
                        break
                    item = self.queue.popleft()
                    self.changed.notify_all()
                yield item
            if self.error is not None and not self.stopped:
                raise self.error
        finally:
            self.close()

    def close(self):
        with self.changed:
            self.stopped = True
            self.queue.clear()
            self.changed.notify_all()
        if self.thread is not threading.current_thread():
            self.thread.join()
