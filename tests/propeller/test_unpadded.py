"""Rows that are to be computed without padding share a batch with rows of their own length alone."""

import numpy as np

from propeller.service.batching import BatchQueue


def rows(*lengths):
    return [({"ids": np.zeros(length, np.int64)}, length) for length in lengths]


def taken(queue):
    return [(instance.length, instance.unpadded) for instance in queue.take(0.0) or ()]


def test_unpadded_rows_are_batched_by_length():
    queue = BatchQueue(16, 8, 0.0)
    queue.submit(rows(3, 4, 3, 5, 3), float("inf"), unpadded=True)
    assert taken(queue) == [(3, True)] * 3
    assert taken(queue) == [(4, True)]
    assert taken(queue) == [(5, True)]
    assert not taken(queue)


def test_they_do_not_mix_with_others_of_their_length():
    queue = BatchQueue(16, 8, 0.0)
    queue.submit(rows(3, 4), float("inf"))
    queue.submit(rows(3, 4), float("inf"), unpadded=True)
    assert sorted(taken(queue)) == [(3, False), (4, False)]
    assert taken(queue) == [(3, True)]
    assert taken(queue) == [(4, True)]


def test_a_batch_is_no_larger_than_before():
    queue = BatchQueue(16, 2, 0.0)
    queue.submit(rows(3, 3, 3), float("inf"), unpadded=True)
    assert [len(taken(queue)), len(taken(queue))] == [2, 1]
