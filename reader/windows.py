"""Texts longer than a model reads, as several rows each: windows that overlap.

    reader = WindowReader("train.tsv", tokenizer, windows=Windows(pooling="mean"), max_seq_len=128, batch_size=8)
    batch, _ = next(reader.batches())
    batch["src_ids"]                # int64 [windows, seq]: those of 8 texts
    batch["window_weights"]         # float32 [8, windows]: which windows a text has, and what each counts
    batch["labels"]                 # int64 [8, 1]

Of a pair the first text is in every window and the windows move over the second one.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reader.batching import NO_LIMIT, EncodedRows, offsets_of, ragged_arange
from reader.parted import PartedReader, PartedRows
from reader.row_encoder import LabelRule, RowEncoder

if TYPE_CHECKING:
    from reader.tokenizer import Tokenizer

log = logging.getLogger("ernie.reader")

POOLINGS = ("mean", "max", "first")


@dataclasses.dataclass(frozen=True)
class Windows:
    """How long texts are read.

    Attributes:
        stride: tokens from the beginning of one window to that of the next; 0: half of what a window has room for.
        most: windows a text has at most; what is beyond is cut.
        pooling: what the windows of a text come to: their mean, the greatest value of each class, or the first window.
    """

    stride: int = 0
    most: int = 16
    pooling: str = "mean"


class Plan(NamedTuple):
    """The windows of rows, int [rows] each.

    Attributes:
        first, second: tokens of the first text kept, and of the second one there are.
        pair: whether there is a second one (bool).
        room: tokens that move in a window.
        stride: tokens from the beginning of one window to that of the next.
        counts: windows of the row.
        cut: whether something of the row is in no window (bool).
    """

    first: np.ndarray
    second: np.ndarray
    pair: np.ndarray
    room: np.ndarray
    stride: np.ndarray
    counts: np.ndarray
    cut: np.ndarray


def plan(rows: EncodedRows, max_seq_len: int, windows: Windows) -> Plan:
    """How rows that were not cut are parted into windows of ``max_seq_len`` ids; nothing is made yet."""
    pair = rows.first < rows.lengths
    first = rows.first.astype(np.int64) - 2
    second = np.where(pair, rows.lengths - rows.first - 1, 0).astype(np.int64)
    kept = np.where(pair, np.minimum(first, np.maximum((max_seq_len - 3) // 2, max_seq_len - 3 - second)), first)
    moving = np.where(pair, second, first)
    room = np.where(pair, max_seq_len - 3 - kept, max_seq_len - 2)
    stride = np.minimum(windows.stride or np.maximum(room // 2, 1), room)
    wanted = 1 + -(-np.maximum(moving - room, 0) // stride)
    counts = np.minimum(wanted, windows.most)
    return Plan(kept, second, pair, room, stride, counts, (counts < wanted) | (kept < first))


def in_windows(rows: EncodedRows, max_seq_len: int, found: Plan) -> EncodedRows:
    """The windows of rows that were not cut, one after the other, as ``plan`` found them.

    The last window of a row ends with its text, unless that is cut. Labels and qids are not of windows.
    """
    if (rows.lengths <= max_seq_len).all():
        return dataclasses.replace(rows, labels=None, qids=None)
    owner = np.repeat(np.arange(len(rows)), found.counts)
    number = np.arange(len(owner)) - np.repeat(offsets_of(found.counts)[:-1], found.counts)
    moving = np.where(found.pair, found.second, found.first)[owner]
    room, kept, pair = found.room[owner], found.first[owner], found.pair[owner]
    size = np.minimum(room, moving)
    begin = np.minimum(number * found.stride[owner], moving - size)
    row = rows.offsets[:-1][owner]
    # [CLS], the first text of a pair with its [SEP], the part that moves, the last [SEP] of the row
    heads = np.where(pair, kept + 1, 0)
    lengths = 1 + heads + size + 1
    starts = offsets_of(lengths)[:-1]
    index = np.empty(int(lengths.sum()), np.int64)
    index[starts] = row
    for at, source, count in (
        (starts + 1, row + 1, np.where(pair, kept, 0)),
        (starts + 1 + kept, rows.offsets[:-1][owner] + rows.first[owner] - 1, pair.astype(np.int64)),
        (starts + 1 + heads, np.where(pair, row + rows.first[owner], row + 1) + begin, size),
        (starts + 1 + heads + size, row + rows.lengths[owner] - 1, np.ones_like(size)),
    ):
        index[ragged_arange(at, count)] = ragged_arange(source, count)
    return EncodedRows(
        ids=rows.ids[index],
        offsets=offsets_of(lengths),
        lengths=lengths.astype(np.int32),
        first=np.where(pair, kept + 2, lengths).astype(np.int32),
        cut=found.cut[owner],
    )


def weights_of(counts: np.ndarray, pooling: str) -> np.ndarray:
    """What each window counts for a row, float32 [rows, windows]: 1 / windows for the mean, 1 for its own or first."""
    ends = np.cumsum(counts)
    numbers, begins = np.arange(int(ends[-1])), (ends - counts)[:, None]
    own = (numbers >= begins) & (numbers < ends[:, None])
    if pooling == "first":
        own = numbers == begins
    return (own / counts[:, None] if pooling == "mean" else own).astype(np.float32)


def pool(values: np.ndarray, counts: np.ndarray, pooling: str) -> np.ndarray:
    """What the windows of rows come to, float32 [rows, ...].

    Args:
        values: of the windows, [windows, ...].
        counts: windows of each row, int [rows], at least 1.
        pooling: one of ``POOLINGS``.
    """
    begins = offsets_of(np.asarray(counts))[:-1]
    if pooling == "first":
        return values[begins]
    if pooling == "max":
        return np.maximum.reduceat(values, begins, axis=0)
    sums = np.add.reduceat(values.astype(np.float64), begins, axis=0)
    return (sums / np.asarray(counts).reshape(-1, *[1] * (values.ndim - 1))).astype(np.float32)


class WindowReader(PartedReader):
    """A ``PartedReader`` that reads long texts in windows. A batch has ``batch_size`` texts with all their windows.

    The owners of rows are ``window_weights``, float32 [batch, windows], and ``window_counts``, int64 [batch, 1].

    Args:
        windows: ``Windows``.
        the others: as ``TaskReader``.

    Raises:
        UserError: batches are counted in tokens; the settings leave no room.
    """

    several = ("with windows over long texts", "texts")

    def __init__(self, path: str | Path, tokenizer: Tokenizer, *, windows: Windows, **others: Any) -> None:
        self.windows_of_texts = windows
        super().__init__(path, tokenizer, **others)
        self.stats.update(long=0, windows=0)
        self.told = False

    def make_encoder(self, labels: LabelRule) -> RowEncoder:
        """Rows are encoded whole, and become windows with their batch."""
        super().make_encoder(labels)  # checks the length
        table = self.table
        return RowEncoder(table.path, table.columns, self.tokenizer, NO_LIMIT, labels, table.layout)

    def part(self, rows: EncodedRows) -> PartedRows:
        found = plan(rows, self.max_seq_len, self.windows_of_texts)
        owners = {
            "window_weights": weights_of(found.counts, self.windows_of_texts.pooling),
            "window_counts": found.counts.astype(np.int64).reshape(-1, 1),
        }
        return PartedRows(in_windows(rows, self.max_seq_len, found), owners, found.cut)

    def _finish(self, rows):
        batch = super()._finish(rows)
        windows = batch["window_counts"][batch["window_counts"] > 1]
        self.stats["long"] += len(windows)
        self.stats["windows"] += int(windows.sum())
        return batch

    def on_epoch_read(self, epoch: int) -> None:
        """Says once how many texts are long."""
        super().on_epoch_read(epoch)
        if self.stats["long"] and not self.told:
            log.info(
                "%s: %d of %d texts are longer than max_seq_len %d: read in %d windows",
                self.table.path, self.stats["long"], self.stats["rows"], self.max_seq_len, self.stats["windows"],
            )  # fmt: skip
        self.told = True
