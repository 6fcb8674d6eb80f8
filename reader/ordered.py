"""Batches of rows of like length for prediction, and their results back in the file's order.

    for item in ordered_batches(TaskReader("rows.tsv", tokenizer, label_kind=None, max_seq_len=128, batch_size=32)):
        probs = predictor.run(item.batch)["probs"]      # row i of it is row item.rows[i] of the file
    results = ((item.rows, lines_of(predictor.run(item.batch))) for item in ordered_batches(reader))
    for line in in_file_order(results, reader.num_examples): ...

Rows are taken up in windows, a window is sorted by length and cut into batches: little padding, and whatever the file's
length no more than a window is ever out of order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from reader.batch_reader import BatchReader
from reader.batching import EncodedRows, all_cuts, concat_rows, offsets_of
from reader.row_stream import RowStream

WINDOW = 64  # batches sorted together: enough that a batch's rows are of one length but for a token or two
STEP_ROWS = 64  # rows taken up at once where a window is counted in tokens


class OrderedBatch(NamedTuple):
    """A padded batch and where its rows are in the file.

    Attributes:
        batch: dict of named arrays, see reader.batching.make_batch.
        rows: int64 [batch], the number of each row in the file, from 0.
        lengths: int32 [batch], its tokens, special ones included.
        starts: int64 [batch], where its first token is when the tokens of all rows lie end to end in the file's order.
    """

    batch: dict[str, np.ndarray]
    rows: np.ndarray
    lengths: np.ndarray
    starts: np.ndarray


def ordered_batches(reader: BatchReader, window: int = WINDOW) -> Iterator[OrderedBatch]:
    """Every row of the reader's file once, longest first within each window.

    A window is `window` batches of rows, or with in_tokens rows of `window * batch_size` tokens. It is emptied before
    the next one begins, so only a window's last batch is short. Workers, token cache, `stats` and errors are the
    reader's; an error comes when the window with the bad row is due.

    Args:
        reader: a TaskReader or SquadReader that reads without shuffling, in one process.
        window: at least 1.

    Raises:
        UserError: a bad row.
        ValueError: a reader of another order than the file's.
    """
    if window < 1:
        raise ValueError(f"window is {window}; it holds one batch at least")
    if reader.shuffle or reader.world_size != 1 or getattr(reader, "windows", None) is True:
        raise ValueError("rows come in the file's order and whole: no shuffling, no ranks, no windows over sentences")
    return _ordered_batches(reader, window)


def _ordered_batches(reader, window):
    total, row, token = reader.num_examples, 0, 0
    with reader.open_source() as source:
        stream = RowStream(source.rows(np.arange(total), 0))
        while row < total:
            block = _take_window(stream, reader, window, total - row)
            starts = token + offsets_of(block.lengths)
            turn = np.argsort(-block.lengths, kind="stable")  # memory that does not suffice is seen at once
            borders = all_cuts(block.lengths[turn], reader.batch_size, reader.in_tokens, last=True)
            for begin, end in zip(borders, borders[1:]):
                own = turn[begin:end]
                rows = block.take(own)
                yield OrderedBatch(reader._finish(rows), row + own, rows.lengths, starts[own])
            row, token = row + len(block), int(starts[-1])


def _take_window(stream, reader, window, left) -> EncodedRows:
    """The next rows of the file, `left` of which are not taken yet."""
    most = window * reader.batch_size
    if not reader.in_tokens:
        return stream.pull(min(most, left))
    parts, tokens = [], 0
    while left and tokens < most:
        parts.append(stream.pull(min(STEP_ROWS, left)))
        tokens += int(parts[-1].offsets[-1])
        left -= len(parts[-1])
    return concat_rows(parts)


def in_file_order(results: Iterable[tuple[np.ndarray, Iterable]], total: int) -> Iterator:
    """The items of all results in the order of their rows, each as soon as it is due.

    What came early is held: with `ordered_batches`, no more than a window of items. An item that is a view of a
    batch's array holds the whole array, so make of it what is to be kept before.

    Args:
        results: (rows, items) pairs: int [n], numbers of rows from 0, and n items.
        total: rows there are.

    Raises:
        ValueError: a row twice, or `total` rows did not come.
    """
    held: dict[int, Any] = {}
    due = 0
    for rows, items in results:
        before, rows = len(held), np.asarray(rows).tolist()
        held.update(zip(rows, items))
        if len(held) != before + len(rows) or min(rows, default=due) < due:
            raise ValueError(f"rows {min(rows)}..{max(rows)}: a row came twice, or without an item")
        while due in held:
            yield held.pop(due)
            due += 1
    if due != total:
        raise ValueError(f"{due} rows came in their order, {len(held)} out of it: of {total}")
