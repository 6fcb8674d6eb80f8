"""reader.ordered: every row once, windows sorted by length, results back in the file's order, memory of one window."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from propeller.errors import UserError
from reader.ordered import STEP_ROWS, in_file_order, ordered_batches
from reader.pyreader import PyReader
from reader.task_reader import TaskReader
from tests.fixtures.reader_toy import ToyTokenizer

generated = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def rows_file(path, lengths):
    """Row i has qid i and lengths[i] words."""
    lines = ["text_a\tqid", *("w " * length + f"\t{i}" for i, length in enumerate(lengths))]
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    return path


def reader_of(path, **flags):
    flags = {"tokenizer": ToyTokenizer(), "max_seq_len": 12, "batch_size": 4, "label_kind": None, **flags}
    return TaskReader(path, flags.pop("tokenizer"), **flags)


def tokens_of(item):
    """The ids of each row of a batch, without padding."""
    return [row[: int(mask.sum())].tolist() for row, mask in zip(item.batch["src_ids"], item.batch["input_mask"])]


@generated
@given(st.lists(st.integers(0, 14), min_size=1, max_size=200), st.booleans(), st.integers(1, 5))
def test_every_row_once_in_full_batches_of_like_length(tmp_path, lengths, in_tokens, window):
    path = rows_file(tmp_path / "rows.tsv", lengths)
    size = 30 if in_tokens else 4
    reader = reader_of(path, in_tokens=in_tokens, batch_size=size)
    items = list(ordered_batches(reader, window))
    rows = np.concatenate([item.rows for item in items])
    assert sorted(rows.tolist()) == list(range(len(lengths)))
    counts = np.minimum(np.array(lengths), 10) + 2
    starts = np.concatenate([[0], np.cumsum(counts)])[:-1]
    for item in items:
        assert item.batch["qids"].ravel().tolist() == item.rows.tolist()
        assert item.lengths.tolist() == counts[item.rows].tolist()
        assert item.starts.tolist() == starts[item.rows].tolist()
        assert item.batch["input_mask"].sum(axis=1).tolist() == item.lengths.tolist()
        assert item.batch["src_ids"].shape[1] == item.lengths.max()
        assert (item.batch["src_ids"].size if in_tokens else len(item.rows)) <= size
    assert reader.stats["rows"] == len(lengths)
    assert reader.stats["truncated"] == sum(length > 10 for length in lengths)
    if not in_tokens:  # windows apart, sorted in themselves, one short batch in all
        assert [row // (4 * window) for row in rows] == sorted(row // (4 * window) for row in rows)
        for _, own in itertools.groupby(rows.tolist(), lambda row: row // (4 * window)):
            assert (np.diff(counts[list(own)]) <= 0).all()
        assert [len(item.rows) for item in items[:-1]] == [4] * (len(items) - 1)


@generated
@given(st.lists(st.integers(0, 14), min_size=1, max_size=300), st.booleans(), st.integers(1, 5))
def test_results_come_back_in_the_files_order_and_no_more_than_a_window_is_held(tmp_path, lengths, in_tokens, window):
    path = rows_file(tmp_path / "rows.tsv", lengths)
    reader = reader_of(path, in_tokens=in_tokens, batch_size=30 if in_tokens else 4)
    given_in, most = 0, (window * 15 + STEP_ROWS) if in_tokens else window * 4  # a row of text has 2 tokens at least

    def results():
        nonlocal given_in
        for item in ordered_batches(reader, window):
            given_in += len(item.rows)
            yield item.rows, tokens_of(item)

    given_out, plain = 0, [ids for batch in _plain(path) for ids in batch]
    for row, ids in enumerate(in_file_order(results(), len(lengths))):
        given_out += 1
        assert given_in - given_out < most
        assert ids == plain[row]
    assert given_out == len(lengths)


def _plain(path):
    for batch, _ in reader_of(path, batch_size=1).batches():
        yield [row[: int(mask.sum())].tolist() for row, mask in zip(batch["src_ids"], batch["input_mask"])]


def test_rows_twice_missing_or_without_item_are_found():
    with pytest.raises(ValueError, match="twice"):
        list(in_file_order([([0, 1], "ab"), ([1], "b")], 2))
    with pytest.raises(ValueError, match="twice"):
        list(in_file_order([([2, 2], "ab")], 3))
    with pytest.raises(ValueError, match="without an item"):
        list(in_file_order([([0, 1], "a")], 2))
    with pytest.raises(ValueError, match="1 rows came in their order, 1 out of it: of 3"):
        list(in_file_order([([0, 2], "ac")], 3))
    assert list(in_file_order([([2, 0], "ca"), ([], ""), ([1], "b")], 3)) == ["a", "b", "c"]


def test_workers_and_cache_change_nothing(tmp_path):
    path = rows_file(tmp_path / "rows.tsv", [(7 * i) % 13 for i in range(1500)])
    plain = list(ordered_batches(reader_of(path), 8))
    cached = {"token_cache_dir": str(tmp_path / "cache")}
    for flags in ({"num_workers": 2}, cached, cached):
        with PyReader(lambda flags=flags: ordered_batches(reader_of(path, **flags), 8), 3) as queue:
            found = list(queue)
        assert len(found) == len(plain)
        for item, other in zip(found, plain):
            np.testing.assert_array_equal(item.rows, other.rows)
            for name in other.batch:
                np.testing.assert_array_equal(item.batch[name], other.batch[name])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_row_ends_it_with_its_line_when_its_window_is_due(tmp_path, workers):
    path = rows_file(tmp_path / "rows.tsv", [3] * 20)
    lines = path.read_text().splitlines()
    lines[14] = "one field"
    path.write_text("\n".join(lines))
    taken = []
    with pytest.raises(UserError, match=r"rows.tsv, line 15: 1 fields"):
        taken.extend(item.rows.max() for item in ordered_batches(reader_of(path, num_workers=workers), 2))
    assert max(taken) == 7


def test_memory_does_not_grow_with_the_file(tmp_path):
    peaks = []
    for count in (2000, 40000):
        path = rows_file(tmp_path / f"{count}.tsv", [8] * count)
        reader = reader_of(path)
        tracemalloc.start()
        for _ in in_file_order(((item.rows, tokens_of(item)) for item in ordered_batches(reader, 8)), count):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1] - reader.table.starts.nbytes)
        tracemalloc.stop()
    # What grows is the list of row numbers, 8 bytes a row; rows held would take 38,000 * 100 bytes.
    assert peaks[1] < peaks[0] + 38000 * 16 + 100000


@pytest.mark.parametrize("flags", [{"shuffle": True}, {"rank": 0, "world_size": 2}])
def test_readers_of_another_order_are_refused(tmp_path, flags):
    path = rows_file(tmp_path / "rows.tsv", [3])
    with pytest.raises(ValueError, match="in the file's order"):
        ordered_batches(reader_of(path, **flags))
    with pytest.raises(ValueError, match="window is 0"):
        ordered_batches(reader_of(path), 0)
