"""reader.pyreader: order, bound, errors in their place, and no thread left behind."""

import itertools
import threading
import time
from types import SimpleNamespace

import pytest

from reader import pyreader
from reader.pyreader import PyReader


@pytest.fixture(autouse=True)
def no_thread_left():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


def wait_until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "nothing happened for ten seconds"
        time.sleep(0.001)


class Source:
    """Counts how far it was read and whether it was closed; fails at item `fails_at`."""

    def __init__(self, fails_at=None):
        self.fails_at, self.made, self.closed = fails_at, 0, 0

    def __call__(self):
        try:
            for item in itertools.count():
                if item == self.fails_at:
                    raise KeyError("bad row")
                self.made += 1
                yield item
        finally:
            self.closed += 1


def test_items_come_in_order_and_again():
    queue = PyReader(lambda: range(100), capacity=3)
    assert list(queue) == list(range(100))
    assert list(queue) == list(range(100))
    assert queue.queue_size() == 0


def test_the_producer_is_at_most_capacity_ahead_and_queue_size_says_the_fill():
    source = Source()
    with PyReader(source, capacity=4) as queue:
        items = iter(queue)
        wait_until(lambda: queue.queue_size() == 4)
        time.sleep(0.02)
        assert source.made == 5  # four lie in the queue, one is in the producer's hand
        assert next(items) == 0
        wait_until(lambda: queue.queue_size() == 4)
        assert source.made <= 6


def test_the_seconds_that_a_consumer_waits_are_counted(monkeypatch):
    """By a clock that goes on only while the consumer waits for the second item."""
    clock = [0.0]
    monkeypatch.setattr(pyreader, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def items():
        yield 0
        wait_until(lambda: taken.is_set() and queue._run.changed._waiters)
        clock[0] = 3.0
        yield 1

    taken = threading.Event()
    with PyReader(items, capacity=2) as queue:
        assert queue.waited() == 0
        given = iter(queue)
        assert next(given) == 0
        taken.set()
        assert next(given) == 1
        assert queue.waited() == 3.0
        assert list(given) == []
        assert queue.waited() == 3.0


def test_an_error_comes_behind_the_items_before_it():
    queue = PyReader(Source(fails_at=7), capacity=50)
    items = iter(queue)
    wait_until(lambda: queue.queue_size() == 7)
    assert [next(items) for _ in range(7)] == list(range(7))
    with pytest.raises(KeyError, match="bad row"):
        next(items)


def test_an_error_of_making_the_iterator_is_raised():
    def broken():
        raise OSError("no file")

    with pytest.raises(OSError, match="no file"):
        list(PyReader(broken))


def test_close_while_the_producer_waits_for_room():
    source = Source()
    queue = PyReader(source, capacity=1)
    items = iter(queue)
    wait_until(lambda: source.made == 2)
    queue.close()
    queue.close()
    assert source.closed == 1
    assert list(items) == []


def test_leaving_the_loop_ends_the_thread_and_closes_the_iterator():
    source = Source()
    for item in PyReader(source, capacity=2):
        if item == 3:
            break
    wait_until(lambda: source.closed == 1)


def test_starting_again_ends_the_run_before():
    source = Source()
    with PyReader(source, capacity=2) as queue:
        first = iter(queue)
        assert next(first) == 0
        second = iter(queue)
        assert source.closed == 1
        assert [next(second), next(second)] == [0, 1]
        assert list(first) == []
        assert next(second) == 2  # ending the old run left the new one alone


def test_close_wakes_a_consumer_that_waits():
    go = threading.Event()

    def slow():
        yield 0
        go.wait(10)

    queue = PyReader(slow)
    seen = []
    consumer = threading.Thread(target=lambda: seen.extend(queue))
    consumer.start()
    wait_until(lambda: seen or queue.queue_size() == 0 and queue._run is not None)
    closer = threading.Thread(target=queue.close)
    closer.start()
    go.set()
    closer.join(10)
    consumer.join(10)
    assert not consumer.is_alive()


def test_a_queue_without_room_is_refused():
    with pytest.raises(ValueError, match="capacity is 0"):
        PyReader(list, capacity=0)
