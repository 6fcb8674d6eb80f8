"""The queue, padding and JSON arrays of the server, without processes or sockets."""

import json
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propeller.errors import UserError
from propeller.service.arrays import DTYPES, compact, decode, encode, rows_of
from propeller.service.batching import BatchQueue
from propeller.service.errors import BadRequest, DeadlineExceeded, Overloaded, TooLarge, WorkerLost
from propeller.service.limits import Limits
from propeller.service.padding import InputSpec, sequence_outputs, split
from tests.helpers.service_toys import INPUTS, Toy, wait_until


class Clock:
    """Time that goes on only when it is told to."""

    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def queue(clock):
    return BatchQueue(size=10, max_batch_size=4, max_wait_s=0.0, clock=clock)


def rows(*lengths):
    return [({"ids": np.arange(length)}, length) for length in lengths]


def lengths(batch):
    return [instance.length for instance in batch]


def test_outputs_come_back_in_order_from_several_batches(queue):
    ticket = queue.submit(rows(1, 2, 3, 4, 5, 6), deadline=200)
    while not ticket.future.done():
        batch = queue.take(0)
        queue.finish(batch, [instance.length * 10 for instance in batch])
    assert ticket.future.result() == [10, 20, 30, 40, 50, 60]
    assert len(queue) == 0


def test_requests_share_a_batch(queue):
    tickets = [queue.submit(rows(3), 200), queue.submit(rows(4, 5), 200)]
    batch = queue.take(0)
    assert lengths(batch) == [3, 4, 5]
    queue.finish(batch, "abc")
    assert [ticket.future.result() for ticket in tickets] == [["a"], ["b", "c"]]


def test_a_full_queue_refuses_a_request_whole(queue):
    queue.submit(rows(*[1] * 8), 200)
    with pytest.raises(Overloaded) as error:
        queue.submit(rows(1, 1, 1), 200)
    assert error.value.status == 503
    assert error.value.retry_after
    assert len(queue) == 8
    with pytest.raises(TooLarge):
        queue.submit(rows(*[1] * 11), 200)


def test_what_cannot_be_done_in_time_is_refused_at_once(queue, clock):
    queue.submit(rows(1, 1, 1, 1), 1000)
    batch = queue.take(0)
    clock.now += 40  # ten seconds a row, of which a quarter is believed at first
    queue.finish(batch, "abcd")
    queue.submit(rows(1, 1, 1), deadline=clock.now + 5)
    queue.submit(rows(1, 1), deadline=clock.now + 5)
    with pytest.raises(Overloaded, match="not be done in time"):
        queue.submit(rows(1), deadline=clock.now + 14)
    queue.submit(rows(1), deadline=clock.now + 16)


def test_the_longest_waiting_leads_and_its_likes_go_with_it(queue):
    queue.submit(rows(50), 200)
    queue.submit(rows(7, 300, 48, 9, 52, 47), 200)
    assert sorted(lengths(queue.take(0))) == [47, 48, 50, 52]
    assert queue.take(0)[0].length == 7


def test_a_batch_is_what_saves_most(queue, clock):
    """Less padding against fewer batches; on a GPU a batch is dearer."""
    queue.submit(rows(8, 500, 9), 200)
    assert lengths(queue.take(0)) == [8, 9], "1500 places for 517 tokens"
    assert lengths(queue.take(0)) == [500]
    queue.submit(rows(8, 30), 200)
    assert lengths(queue.take(0)) == [8], "22 places of padding cost more than another batch"
    assert lengths(queue.take(0)) == [30]
    queue.submit(rows(20, 24, 8, 26, 5), 200)
    assert lengths(queue.take(0)) == [20, 24, 26]
    gpu = BatchQueue(size=10, max_batch_size=4, max_wait_s=0.0, clock=clock, batch_places=1024)
    gpu.submit(rows(8, 200), 200)
    assert lengths(gpu.take(0)) == [8, 200]


def test_workers_that_are_free_together_share(clock):
    queue = BatchQueue(size=10, max_batch_size=8, max_wait_s=0.0, clock=clock)
    batches = []
    threads = [threading.Thread(target=lambda: batches.append(queue.take(1e9))) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: queue._free == 2, 10)
    queue.submit(rows(*[5] * 6), 2e9)
    for thread in threads:
        thread.join(10)
    assert sorted(map(len, batches)) == [3, 3]
    queue.submit(rows(*[5] * 6), 2e9)
    assert len(queue.take(0)) == 6, "one alone takes all"


@given(st.lists(st.integers(1, 600), min_size=1, max_size=40))
def test_every_instance_leaves_once(sizes):
    queue = BatchQueue(size=64, max_batch_size=8, max_wait_s=0.0)
    queue.submit(rows(*sizes), float("inf"))
    seen = []
    while batch := queue.take(0):
        assert len(batch) <= 8
        seen += lengths(batch)
    assert sorted(seen) == sorted(sizes)


def test_one_client_does_not_wait_for_company(clock):
    queue = BatchQueue(size=10, max_batch_size=4, max_wait_s=1000.0, clock=clock)
    for _ in range(3):
        ticket = queue.submit(rows(3), 2000)
        batch = queue.take(0)
        assert lengths(batch) == [3], "taken at once, though a batch may wait long"
        queue.finish(batch, "a")
        assert ticket.future.result() == ["a"]


def test_a_late_request_is_dropped(queue, clock):
    early, late = queue.submit(rows(1), 150), queue.submit(rows(2), 300)
    clock.now = 160
    assert lengths(queue.take(0)) == [2]
    with pytest.raises(DeadlineExceeded):
        early.future.result(0)
    assert not late.future.done()


def test_a_cancelled_request_makes_room(queue):
    ticket = queue.submit(rows(*[1] * 10), 200)
    queue.cancel(ticket)
    queue.submit(rows(*[2] * 10), 200)
    assert lengths(queue.take(0)) == [2, 2, 2, 2]


def test_a_lost_batch_is_retried_row_by_row_and_once(queue):
    good, bad = queue.submit(rows(1), 200), queue.submit(rows(2, 3), 200)
    queue.put_back(queue.take(0), alone=True, died=True)
    first = queue.take(0)
    assert lengths(first) == [1], "alone, and first again"
    queue.finish(first, "a")
    assert good.future.result() == ["a"]
    queue.put_back(queue.take(0), alone=True, died=True)
    with pytest.raises(WorkerLost) as error:
        bad.future.result(0)
    assert (error.value.status, error.value.retry_after) == (503, 1)
    assert queue.take(0) is None, "what else the request had is gone"


def test_a_failing_row_is_looked_for_without_counting_deaths(queue):
    queue.submit(rows(1, 2), 200)
    for _ in range(2):
        batch = queue.take(0)
        queue.put_back(batch, alone=True)
    assert lengths(queue.take(0)) == [1]


def test_a_request_that_met_a_death_is_told_to_try_again_when_it_is_late(queue, clock):
    ticket = queue.submit(rows(1), 150)
    queue.put_back(queue.take(0), alone=True, died=True)
    clock.now = 160
    assert queue.take(0) is None
    with pytest.raises(WorkerLost):
        ticket.future.result(0)


def test_a_closed_queue_takes_no_more_and_gives_what_it_has(queue):
    ticket = queue.submit(rows(1), 200)
    queue.close()
    with pytest.raises(WorkerLost):
        queue.submit(rows(1), 200)
    assert lengths(queue.take(0)) == [1]
    assert queue.take(100) is None
    assert not ticket.future.done()


def test_an_abandoned_queue_tells_all_to_try_again(queue):
    ticket = queue.submit(rows(1, 2), 200)
    queue.abandon()
    with pytest.raises(WorkerLost):
        ticket.future.result(0)


@pytest.fixture
def spec():
    return InputSpec(INPUTS, pad={"ids": 9}, bounds={"ids": (0, 100)}, max_length=20)


@given(st.lists(st.lists(st.integers(0, 100), min_size=1, max_size=20), min_size=1, max_size=8))
def test_padding_and_splitting_give_the_rows_back(texts):
    spec = InputSpec(INPUTS, pad={"ids": 9})
    checked = [spec.check({"ids": text, "mask": [1.0] * len(text)}) for text in texts]
    batch = spec.pad([arrays for arrays, _ in checked])
    assert batch["ids"].shape == (len(texts), max(map(len, texts)))
    assert batch["ids"].dtype == np.int64
    assert batch["mask"].dtype == np.float32
    assert (batch["ids"][batch["mask"] == 0] == 9).all()
    outputs = split(Toy().run(batch), [length for _, length in checked], {"doubled"})
    for text, row in zip(texts, outputs):
        assert row["total"].tolist() == [sum(text)]
        assert row["doubled"].tolist() == [2 * value for value in text]
        assert row["seven"].shape == (7,)


@pytest.mark.parametrize("longest", [None, 100, 11, 8, 7, 3, 2])
def test_outputs_along_the_sequence_are_found_by_running(longest):
    spec = InputSpec(INPUTS, max_length=longest)
    assert sequence_outputs(Toy().run, spec) == {"doubled"}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"ids": [1]}, "mask is missing"),
        ({"ids": [1], "mask": [1, 1]}, "1 in another input"),
        ({"ids": [], "mask": []}, "empty"),
        ({"ids": [1.5], "mask": [1]}, "float64 given"),
        ({"ids": [True], "mask": [1]}, "bool given"),
        ({"ids": ["1"], "mask": [1]}, "rows of numbers"),
        ({"ids": [None], "mask": [1]}, "rows of numbers"),
        ({"ids": [[1], [1, 2]], "mask": [1]}, "rows of numbers"),
        ({"ids": [[1]], "mask": [1]}, "2 axes"),
        ({"ids": 1, "mask": [1]}, "0 axes"),
        ({"ids": [-1], "mask": [1]}, "-1 is outside of 0 to 100"),
        ({"ids": [101], "mask": [1]}, "101 is outside"),
        ({"ids": [10**30], "mask": [1]}, "rows of numbers"),
        ({"ids": [1], "mask": [float("nan")]}, "not finite"),
        ({"ids": [1], "mask": [1e300]}, "not finite"),
        ({"ids": [1] * 21, "mask": [1] * 21}, "21 tokens"),
    ],
    ids=str,
)
def test_bad_rows(spec, row, words):
    with pytest.raises(BadRequest) as error:
        spec.check(row)
    assert words in error.value.message


def test_inputs_of_a_fixed_size():
    spec = InputSpec([*INPUTS, {"name": "task", "shape": [None, 1], "dtype": "int64"}])
    row = {"ids": [1, 2], "mask": [1, 1], "task": [4]}
    batch = spec.pad([spec.check(row)[0], spec.check({**row, "ids": [1], "mask": [1]})[0]])
    assert batch["task"].tolist() == [[4], [4]]
    with pytest.raises(BadRequest):
        spec.check({**row, "task": [1, 2]})
    with pytest.raises(ValueError, match="two axes"):
        InputSpec([{"name": "x", "shape": [None, None, 3], "dtype": "int64"}])


@pytest.mark.parametrize("as_base64", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_survive_json(dtype, as_base64):
    array = np.array([[0, 1, 1], [1, 0, 0]]).astype(dtype)
    value = json.loads(json.dumps(encode(array, as_base64)))
    if dtype == "bool" and not as_base64:
        with pytest.raises(BadRequest):
            decode("x", value)
        return
    again = decode("x", value)
    assert again.tolist() == array.tolist()
    assert not as_base64 or again.dtype == dtype


def test_whole_numbers_travel_small():
    assert compact(np.array([0, 255])).dtype == np.uint8
    assert compact(np.array([-1, 300])).dtype == np.int16
    assert compact(np.array([0, 30000])).dtype == np.uint16
    assert compact(np.array([-(2**40)])).dtype == np.int64
    assert compact(np.array([0.5])).dtype == np.float64
    assert compact(np.array([-5, 2**33])).tolist() == [-5, 2**33]


GOOD = {"ids": [[1, 2]], "mask": [[1, 1]]}
ENCODED = {"dtype": "int64", "shape": [1, 1], "base64": "AQAAAAAAAAA="}


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({}, "give inputs"),
        ({"inputs": []}, "give inputs"),
        ({"inputs": {}}, "give inputs"),
        ({"inputs": {"other": [[1]]}}, "give inputs"),
        ({"inputs": GOOD, "extra": 1}, "unknown: extra"),
        ({"inputs": GOOD, "outputs": "total"}, "list of names"),
        ({"inputs": GOOD, "outputs": [1]}, "list of names"),
        ({"inputs": {"ids": [[1, 2]]}}, "mask is missing"),
        ({"inputs": {**GOOD, "ids": [1, 2]}}, "1 axes"),
        ({"inputs": {**GOOD, "ids": []}}, "1 axes"),
        ({"inputs": {**GOOD, "ids": [[1, 2], [3]]}}, "differ in length"),
        ({"inputs": {**GOOD, "ids": [[1, 2], [3, 4]]}}, "differ in their number"),
        ({"inputs": {**GOOD, "ids": [["a", "b"]]}}, "other than numbers"),
        ({"inputs": {**GOOD, "ids": "text"}}, "nested lists"),
        ({"inputs": {**GOOD, "ids": {"dtype": "int64"}}}, "dtype, shape and base64"),
        ({"inputs": {**GOOD, "ids": {**ENCODED, "dtype": "object"}}}, "dtype must be"),
        ({"inputs": {**GOOD, "ids": {**ENCODED, "shape": [-1]}}}, "none below 0"),
        ({"inputs": {**GOOD, "ids": {**ENCODED, "shape": [True, 1]}}}, "none below 0"),
        ({"inputs": {**GOOD, "ids": {**ENCODED, "shape": [1, 2]}}}, "shape and dtype make 16"),
        ({"inputs": {**GOOD, "ids": {**ENCODED, "shape": [0, 10**30], "base64": ""}}}, "no array has this shape"),
        ({"inputs": {**GOOD, "ids": {**ENCODED, "base64": "é"}}}, "not base64"),
        ({"inputs": {**GOOD, "ids": {**ENCODED, "base64": 5}}}, "not base64"),
        ({"inputs": {"ids": {**ENCODED, "shape": [0, 5], "base64": ""}, "mask": GOOD["mask"]}}, "no rows"),
    ],
    ids=str,
)
def test_bad_requests_for_arrays(spec, payload, words):
    with pytest.raises(BadRequest) as error:
        rows_of(payload, spec, 4)
    assert words in error.value.message


def test_good_requests_for_arrays(spec):
    instances, wanted, as_base64 = rows_of({"inputs": GOOD, "outputs": ["total"]}, spec, 4)
    assert [length for _, length in instances] == [2]
    assert wanted == {"total"}
    assert not as_base64
    assert rows_of({"inputs": {"ids": ENCODED, "mask": [[1]]}}, spec, 4)[1:] == (None, True)
    with pytest.raises(TooLarge):
        rows_of({"inputs": {"ids": [[1]] * 5, "mask": [[1]] * 5}}, spec, 4)


def test_limits_that_cannot_be():
    with pytest.raises(UserError, match="--queue_size"):
        Limits(max_texts=2000)
    for name, value in (("deadline_s", 0), ("max_batch_size", 0), ("max_wait_ms", -1), ("keep_alive_s", float("nan"))):
        with pytest.raises(UserError, match=f"--{name}"):
            Limits(**{name: value})
