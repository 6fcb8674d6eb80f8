"""Data sets: each step, reading again, errors, the process that reads ahead, the side of Paddle."""

import gzip
import itertools
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from propeller.data import Dataset
from propeller.data.dataset import write_records
from propeller.errors import UserError
from tests.helpers.common import ROOT

TEN = list(range(10))


def numbers(n=10):
    ds = Dataset.from_list(list(range(n)))
    ds.name = "numbers"
    return ds


def test_steps_keep_the_name_and_nothing_is_read_before_its_time():
    read = []
    ds = Dataset.from_generator_func(lambda: (read.append(i) or i for i in range(5)))
    ds.name = "train"
    made = ds.map(lambda x: x + 1).filter(lambda x: x % 2).shuffle(2).shard(2, 0).repeat(2).take(3).padded_batch(2)
    made = made.buffered(1).apply(lambda each: each.map(lambda x: x))
    assert made.name == "train"
    assert read == []


def test_map_and_filter_spread_tuples():
    pairs = Dataset.from_list([(1, 2), (3, 4), (5, 6)])
    assert list(pairs.map(lambda a, b: a * b)) == [2, 12, 30]
    assert list(pairs.filter(lambda a, b: b > 2)) == [(3, 4), (5, 6)]


def test_shuffle_is_seeded_and_every_pass_has_its_own_order():
    ds = numbers(100).shuffle(30, seed=5)
    once, again = list(ds), list(ds)
    assert once == again
    assert sorted(once) == list(range(100))
    assert once != list(range(100))
    assert list(numbers(100).shuffle(30, seed=6)) != once
    two = list(numbers(100).shuffle(30, seed=5).repeat(2))
    assert sorted(two[:100]) == sorted(two[100:]) == list(range(100))
    assert two[:100] != two[100:]
    assert max(once.index(i) - i for i in range(100)) > 0
    assert all(once.index(i) >= i - 30 for i in range(100)), "nothing comes more than a buffer early"


def test_repeat_reads_again_and_keeps_nothing():
    opened = []

    def generate():
        opened.append(None)
        return iter(TEN)

    ds = Dataset.from_generator_func(generate).repeat()
    assert list(itertools.islice(ds, 25)) == TEN + TEN + TEN[:5]
    assert len(opened) == 3
    assert list(numbers(3).repeat(2)) == [0, 1, 2, 0, 1, 2]


def test_what_cannot_be_repeated_says_so():
    with pytest.raises(UserError, match="data set numbers is empty: it cannot be repeated"):
        list(numbers(0).repeat())
    once = iter(TEN)
    with pytest.raises(UserError, match="cannot be read twice"):
        list(Dataset.from_generator_func(lambda: once).repeat())


def test_shards_divide_the_elements():
    parts = [list(numbers().shard(3, i)) for i in range(3)]
    assert parts == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]
    with pytest.raises(UserError, match="shard 3 of 3: give an index from 0 to 2"):
        numbers().shard(3, 3)


def test_interleave_takes_blocks_by_turns():
    ds = Dataset.from_list([0, 10, 20]).interleave(lambda first: Dataset.from_list([first + i for i in range(3)]), 2, 2)
    assert list(ds) == [0, 1, 10, 11, 2, 12, 20, 21, 22]


def test_padded_batches():
    rows = [(np.array([1, 2, 3]), 0.5, 7), (np.array([4]), 1.5, 8), (np.array([5, 6]), 2.5, 9)]
    first, last = Dataset.from_list(rows).padded_batch(2, pad_value=[-1, 0, 0])
    np.testing.assert_array_equal(first[0], [[1, 2, 3], [4, -1, -1]])
    assert first[1].dtype == np.float32
    np.testing.assert_array_equal(last[2], [9])
    ((ids, *_),) = Dataset.from_list(rows).padded_batch(3, max_seqlen=2)
    np.testing.assert_array_equal(ids, [[1, 2], [4, 0], [5, 6]])
    with pytest.raises(UserError, match="2 pad values for 3 columns"):
        list(Dataset.from_list(rows).padded_batch(3, pad_value=[0, 0]))
    with pytest.raises(UserError, match="a row of 2 columns among rows of 1"):
        list(Dataset.from_list([(1,), (1, 2)]).padded_batch(2))


def test_lines_and_records_of_files(tmp_path):
    (tmp_path / "text").write_bytes("a\n\u4f60 b\r\nc".encode())
    (tmp_path / "text.gz").write_bytes(gzip.compress(b"x\ny\n"))
    assert list(Dataset.from_file(tmp_path / "text")) == [b"a", "\u4f60 b".encode(), b"c"]
    assert list(Dataset.from_file(tmp_path / "text.gz", "GZIP")) == [b"x", b"y"]
    with gzip.open(tmp_path / "records", "wb") as file:
        assert write_records(file, [b"one", b"", b"three"]) == 3
    assert list(Dataset.from_record_file(tmp_path / "records")) == [b"one", b"", b"three"]
    assert gzip.decompress((tmp_path / "records").read_bytes())[:7] == b"\x03\x00\x00\x00one"


@pytest.mark.parametrize("cut", [1, 6, 40])
def test_a_record_file_that_is_cut_short_is_an_error(tmp_path, cut):
    with gzip.open(tmp_path / "records", "wb") as file:
        write_records(file, [os.urandom(100)])
    whole = (tmp_path / "records").read_bytes()
    (tmp_path / "records").write_bytes(whole[:-cut])
    with pytest.raises(UserError, match="records: (cannot be read|cut short)"):
        list(Dataset.from_record_file(tmp_path / "records"))
    (tmp_path / "records").write_bytes(gzip.compress(gzip.decompress(whole)[:-cut]))
    with pytest.raises(UserError, match="records: cut short"):
        list(Dataset.from_record_file(tmp_path / "records"))


def test_a_missing_file_and_an_unknown_format_are_errors(tmp_path):
    with pytest.raises(UserError, match="nowhere: cannot be read"):
        list(Dataset.from_file(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="format 'ZIP' is unknown"):
        Dataset.from_file(tmp_path / "x", "ZIP")


def test_shapes_and_types_are_inferred_or_set_and_no_element_is_lost():
    once = iter([(np.zeros([2, 3], "float32"), 1), (np.ones([2, 3], "float32"), 2)])
    ds = Dataset.from_generator_func(lambda: once)
    assert ds.data_shapes == [[-1, 3], []]
    assert ds.data_types == ["float32", "int64"]
    assert [label for _, label in ds] == [1, 2], "the source has no second beginning"
    padded = Dataset.from_list([([1, 2], 0)]).padded_batch(1).map(lambda ids, label: (ids[:, :, None], label))
    assert padded.data_shapes == [[-1, -1, -1], [-1]]
    padded.data_shapes = [[-1, -1, 1], [-1]]
    assert padded.shuffle(2).data_shapes == [[-1, -1, 1], [-1]]
    rows = Dataset.from_list([])
    rows.data_shapes, rows.data_types = [[4], [-1], []], ["float32", "int64", "int64"]
    assert rows.padded_batch(2).data_shapes == [[-1, 4], [-1, -1], [-1]]
    assert rows.padded_batch(2, max_seqlen=9).data_shapes == [[-1, 9], [-1, 9], [-1]]
    assert rows.padded_batch(2).data_types == ["float32", "int64", "int64"]
    with pytest.raises(UserError, match="is empty: its shapes are not known"):
        numbers(0).data_shapes  # noqa: B018


@pytest.mark.parametrize(("kind", "wider"), [("uint16", "int32"), ("uint32", "int64")])
def test_unsigned_ids_reach_the_network_as_they_are(kind, wider):
    """Paddle takes uint16 for the bits of bfloat16."""
    largest = int(np.iinfo(kind).max)
    ds = Dataset.from_list([np.array([5, largest], kind), np.array([7], kind)]).padded_batch(2)
    assert ds.data_types == [wider]
    ((feed,),) = (each.values() for each in ds.start())
    assert feed.dtype == wider
    assert feed.tolist() == [[5, largest], [7, 0]]
    ds.data_types = [kind]
    assert ds.data_types == [wider]


def test_equal_are_those_of_one_name_and_form():
    assert numbers(3) == numbers(7)
    other = numbers()
    other.name = "others"
    assert numbers() != other
    assert numbers() != numbers().map(float)
    assert numbers() != 3


def test_a_process_reads_ahead():
    ds = numbers().map(lambda x: (x, os.getpid())).buffered(3)
    found = list(ds)
    assert [x for x, _ in found] == TEN
    assert {pid for _, pid in found}.isdisjoint({os.getpid()})
    assert list(numbers().buffered(2).repeat(2)) == TEN + TEN


def bad(x):
    if x == 4:
        raise UserError("row 4: no label: give one")
    return x


def test_an_error_there_is_an_error_here_and_not_the_end_of_data():
    elements = iter(numbers().map(bad).buffered(2))
    assert list(itertools.islice(elements, 4)) == [0, 1, 2, 3]
    with pytest.raises(UserError, match="row 4: no label: give one"):
        next(elements)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        list(numbers().map(lambda x: 1 / (x - 2)).buffered(2))
    with pytest.raises(RuntimeError, match="ended with exit status -9"):
        list(numbers().map(lambda x: os.kill(os.getpid(), signal.SIGKILL)).buffered(2))
    with pytest.raises(RuntimeError, match="pickle"):
        list(numbers().map(lambda x: lambda: x).buffered(2))


def test_a_process_that_is_not_read_to_the_end_ends():
    iterator = iter(numbers(10**6).map(lambda x: os.getpid()).buffered(2))
    pid = next(iterator)
    iterator.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_process_ends_with_its_parent(tmp_path):
    code = (
        "import os, signal, sys; from propeller.data import Dataset\n"
        "ds = Dataset.from_list(range(10**6)).map(lambda x: os.getpid()).buffered(2)\n"
        "print(next(iter(ds)), flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    pid, end = int(done.stdout), time.monotonic() + 10
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("it goes on")


def test_placeholders_are_named_and_fed():
    import paddle

    paddle.enable_static()
    ds = Dataset.from_list([(np.ones(2, "float32"), 1), (np.zeros(2, "float32"), 0), (np.ones(2, "float32"), 3)])
    ds = ds.padded_batch(2)
    ds.name = "dev"
    main = paddle.static.Program()
    with paddle.static.program_guard(main, paddle.static.Program()):
        x, label = ds.features()
        total = (x.sum(axis=1) * label.astype("float32")).sum()
    assert [x.name, label.name] == ["dev_placeholder_0", "dev_placeholder_1"]
    executor = paddle.static.Executor(paddle.CPUPlace())
    found = [float(executor.run(main, feed=feed, fetch_list=[total])[0]) for feed in ds.start([paddle.CPUPlace()])]
    assert found == [2.0, 6.0]
