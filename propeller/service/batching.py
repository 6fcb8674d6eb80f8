"""Instances of many requests wait here and leave as batches.

    queue = BatchQueue(size=1024, max_batch_size=32, max_wait_s=0.005)
    ticket = queue.submit([{"src_ids": ids}], deadline=time.monotonic() + 30)    # the front: raises Overloaded at once
    batch = queue.take(timeout=0.5)                                              # a worker's thread
    queue.finish(batch, outputs)                                                 # ticket.future has its result

The queue is bounded in instances. A batch holds the instance that waits longest and those neighbours in length with
which each saves most: fewer batches against less padding. Workers that are free together share what waits.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable

import numpy as np

from propeller.service.errors import DeadlineExceeded, Overloaded, TooLarge, WorkerLost

if TYPE_CHECKING:
    from propeller.service.errors import ServiceError


ATTEMPTS = 2  # workers an instance may meet their end with
# What a batch costs besides its places, padding too, counted in places: with 6 layers of 384 on one core a place takes
# 0.23 ms, a batch of one row of 8 places 4.1 to 8.8. A GPU computes hundreds of places in the time of a few.
BATCH_PLACES, GPU_BATCH_PLACES = 16, 1024
RECENT_S = 1.0  # how long it is remembered how many came at once


@dataclass(eq=False)
class Ticket:
    """One request's instances. ``future`` gives the list of their outputs, in order, or the request's error."""

    size: int
    deadline: float
    future: Future = field(default_factory=Future)
    outputs: list[Any] = field(default_factory=list)
    left: int = 0
    met_loss: bool = False

    def __post_init__(self) -> None:
        self.left, self.outputs = self.size, [None] * self.size


@dataclass(eq=False)
class Instance:
    """One row for the model.

    Attributes:
        arrays: name -> 1-D array.
        length: of those whose length varies.
        place: its number in the ticket.
        wanted: names of the outputs to give, None for all.
        since: when it came.
        alone: whether it must not share a batch again.
        attempts: workers that had it and died.
        taken: when a worker took it.
        unpadded: whether only rows of its own length, that are unpadded too, may share a batch with it.
    """

    arrays: dict
    length: int
    ticket: Ticket
    place: int
    wanted: frozenset | None
    since: float
    alone: bool = False
    attempts: int = 0
    taken: float = 0.0
    unpadded: bool = False


class BatchQueue:
    """The bounded queue between requests and workers; every method may be called from any thread.

    Args:
        size: instances that may wait.
        max_batch_size: instances of a batch.
        max_wait_s: seconds that a free worker waits for a batch to fill, while others are expected to come.
        clock: seconds, monotonic.
        batch_places: what a batch costs besides its places, counted in places.
    """

    def __init__(
        self,
        size: int,
        max_batch_size: int,
        max_wait_s: float,
        clock: Callable[[], float] = time.monotonic,
        batch_places: float = BATCH_PLACES,
    ) -> None:
        self.batch_places = batch_places
        self.size, self.max_batch_size, self.max_wait_s, self.clock = size, max_batch_size, max_wait_s, clock
        self._pending: deque[Instance] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._running = self._batches = 0  # instances, and batches of them, that workers have
        self._seconds = 0.0  # that a row takes of late, over all workers
        self._free = 0  # workers that want a batch
        self._open = 0  # waiting or running
        self._peaks = [0, 0]  # most open at once: since the time below, and in the span before
        self._peak_since = clock()

    def __len__(self) -> int:
        """Instances that wait."""
        return len(self._pending)

    def submit(
        self,
        instances: Sequence[tuple[dict[str, np.ndarray], int]],
        deadline: float,
        wanted: frozenset[str] | None = None,
        unpadded: bool = False,
    ) -> Ticket:
        """Take all instances of a request, or none.

        Args:
            instances: list of (dict of 1-D arrays, length).
            deadline: when the answer is too late, by the queue's clock.
            wanted: names of the outputs to give, None for all.
            unpadded: whether they are to be computed without padding.

        Raises:
            Overloaded: they do not fit now, or would not be done by the deadline. TooLarge: they never fit.
        """
        if len(instances) > self.size:
            raise TooLarge(f"the request makes {len(instances)} rows, the server takes {self.size}: split it")
        ticket, now = Ticket(len(instances), deadline), self.clock()
        if not instances:
            ticket.future.set_result([])
            return ticket
        with self._changed:
            if self._closed:
                raise WorkerLost("the server is stopping: try again")
            if len(self._pending) + len(instances) > self.size:
                raise Overloaded("the server has more to do than its queue holds: try again later")
            ahead = len(self._pending) + self._running + len(instances)
            if len(self._pending) >= self.max_batch_size and now + self._seconds * ahead > deadline:
                raise Overloaded("what the server has to do first will not be done in time: try again later")
            for place, (arrays, length) in enumerate(instances):
                self._pending.append(Instance(arrays, length, ticket, place, wanted, now, unpadded=unpadded))
            self._open += len(instances)
            first = len(self._pending) == len(instances)
            if first or len(self._pending) >= self._expected(now):  # who waits for company looks at its clock too
                self._changed.notify_all()
        return ticket

    def take(self, timeout: float) -> list[Instance] | None:
        """The next batch, a list of ``Instance``; None after ``timeout`` seconds without one, or at the queue's end."""
        with self._changed:
            self._free += 1
            try:
                return self._take(timeout)
            finally:
                self._free -= 1

    def _take(self, timeout):
        begun = self.clock()
        while True:
            now = self.clock()
            self._drop_expired(now)
            if self._pending:
                head = self._pending[0]
                due = max(head.since, begun) + self.max_wait_s
                if now >= due or head.alone or self._closed or len(self._pending) >= self._expected(now):
                    return self._pick(now)
                wait = due - now
            else:
                wait = begun + timeout - now
                if wait <= 0 or self._closed:
                    return None
            self._changed.wait(wait)

    def finish(self, batch: list[Instance], outputs: Sequence[Any]) -> None:
        """Give a batch its outputs: a list, one entry an instance."""
        with self._changed:
            seconds = (self.clock() - batch[0].taken) / len(batch) / max(1, self._batches)
            self._seconds += (seconds - self._seconds) / 4
        for instance, value in zip(batch, outputs):
            ticket = instance.ticket
            with self._changed:
                ticket.outputs[instance.place] = value
                ticket.left -= 1
                done = ticket.left == 0
            if done:
                _settle(ticket.future, result=ticket.outputs)
        self._release(len(batch))

    def fail(self, batch: list[Instance], error: Exception) -> None:
        """Give the requests of a batch an error; what else of them waits is dropped."""
        self._release(len(batch))
        for ticket in {instance.ticket for instance in batch}:
            _settle(ticket.future, error=error)
            self.cancel(ticket)

    def put_back(self, batch: list[Instance], alone: bool = False, died: bool = False) -> None:
        """Return a batch that gave nothing: its instances come next.

        Args:
            alone: whether each comes alone, since one of them may be the cause.
            died: whether the worker died of it; with the second one an instance's request is told to try again.
        """
        lost = []
        with self._changed:
            self._running -= len(batch)
            self._batches -= 1
            for instance in reversed(batch):
                instance.alone |= alone
                instance.attempts += died
                instance.ticket.met_loss |= died
                if instance.attempts >= ATTEMPTS:
                    lost.append(instance.ticket)
                    self._open -= 1
                elif instance.ticket.future.done():
                    self._open -= 1
                else:
                    self._pending.appendleft(instance)
            self._changed.notify_all()
        for ticket in set(lost):
            _settle(ticket.future, error=WorkerLost("the worker that had the request died, twice: try again"))
            self.cancel(ticket)

    def cancel(self, ticket: Ticket) -> None:
        """Drop what waits of a request that nobody waits for."""
        ticket.future.cancel()
        with self._changed:
            self._drop(lambda instance: instance.ticket is ticket)

    def close(self) -> None:
        """Take no more, and end ``take`` when nothing waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether it takes no more."""
        return self._closed

    def abandon(self, why: str = "the server is stopping: try again") -> None:
        """Tell all that wait to try again: there will be no worker, or none for a while."""
        with self._changed:
            tickets = {instance.ticket for instance in self._pending}
        for ticket in tickets:
            _settle(ticket.future, error=WorkerLost(why))
            self.cancel(ticket)

    def _release(self, count):
        with self._changed:
            self._running -= count
            self._batches -= 1
            self._open -= count

    def _remember_peak(self, now):
        if now - self._peak_since > RECENT_S:
            self._peaks = [0, self._peaks[0] if now - self._peak_since < 2 * RECENT_S else 0]
            self._peak_since = now
        self._peaks[0] = max(self._peaks[0], self._open)

    def _expected(self, now):
        """With how many waiting instances a batch leaves at once: one client alone does not wait for company."""
        self._remember_peak(now)
        return min(self.max_batch_size, max(1, max(self._peaks) - self._running))

    def _drop_expired(self, now):
        late = {instance.ticket for instance in self._pending if instance.ticket.deadline <= now}
        for ticket in late:
            _settle(ticket.future, error=too_late(ticket))
        if late:
            self._drop(lambda instance: instance.ticket in late)

    def _drop(self, unwanted):
        wanted = deque(instance for instance in self._pending if not unwanted(instance))
        self._open -= len(self._pending) - len(wanted)
        self._pending = wanted

    def _pick(self, now):
        head = self._pending[0]
        batch = [head] if head.alone else self._likes(head)
        taken = set(map(id, batch))
        self._pending = deque(instance for instance in self._pending if id(instance) not in taken)
        self._running += len(batch)
        self._batches += 1
        for instance in batch:
            instance.taken = now
        return batch

    def _likes(self, head):
        """The neighbours in length, ``head`` among them, with which each saves most; shortest first.

        Against each alone, n rows save what n - 1 batches cost besides their places, and lose their padding.
        """
        others = (one for one in self._pending if one is head or _may_share(head, one))
        rows = sorted(others, key=lambda one: one.length)
        most = min(self.max_batch_size, -(-len(rows) // max(1, self._free)))
        at, sums = rows.index(head), [0, *itertools.accumulate(instance.length for instance in rows)]
        best, most_saved = (at, at + 1), 0.0  # alone
        for begin in range(max(0, at - most + 1), at + 1):
            for end in range(at + 1, min(len(rows), begin + most) + 1):
                count, padded = end - begin, rows[end - 1].length * (end - begin) - (sums[end] - sums[begin])
                saved = (self.batch_places * (count - 1) - padded) / count
                if saved > most_saved:
                    best, most_saved = (begin, end), saved
        return rows[slice(*best)]


def _may_share(head, other):
    """Whether an instance may be in the batch of another."""
    if other.alone or other.unpadded != head.unpadded:
        return False
    return not head.unpadded or other.length == head.length


def too_late(ticket: Ticket) -> ServiceError:
    """The error of a request whose deadline has passed: to try again, where a worker's end is the reason."""
    if ticket.met_loss:
        return WorkerLost("the worker that had the request died, and no other was free in time: try again")
    return DeadlineExceeded("no answer within the server's deadline")


def _settle(future, result=None, error=None):
    """Give a future its end, if it has none: the front may give up in this moment."""
    with contextlib.suppress(InvalidStateError):
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
