"""What the readers of fine-tuning share: the order of an epoch, its batches, a rank's share, and going on from a place.

    class TaskReader(BatchReader):      # sets `table`, and says where rows come from by `open_source`
        ...
    for batch, position in reader.batches():            # position.to_dict() goes into the checkpoint
        ...
    reader.batches(start=position)                      # the batches that follow

An epoch is an order of row numbers. Rows are read when they are due.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Protocol

import numpy as np

from propeller.errors import UserError
from reader.batching import EncodedRows, all_cuts, concat_rows, first_cut, make_batch
from reader.row_stream import RowStream
from reader.tables.form import PLAIN, TableForm

if TYPE_CHECKING:
    from reader.survey import Survey
    from reader.tokenizer import Tokenizer

log = logging.getLogger("ernie.reader")


@dataclass(frozen=True)
class ReaderPosition:
    """Where to continue. `to_dict` and `ReaderPosition.of` turn it into JSON and back.

    Attributes:
        epoch: counted from 0.
        rows: rows given out in it by all ranks together.
        row: how many rows of the epoch's order were taken up before the current bucketing window (without bucketing:
            rows).
        window: its number.
        done: batches of it given out.
        carry: places in the epoch's order of the rows it got from the window before.
    """

    epoch: int = 0
    rows: int = 0
    row: int = 0
    window: int = 0
    done: int = 0
    carry: tuple[int, ...] = ()

    def to_dict(self) -> dict:
        """Plain ints and a list."""
        return {**dataclasses.asdict(self), "carry": list(self.carry)}

    @staticmethod
    def of(value: ReaderPosition | dict[str, Any] | None, num_rows: int) -> ReaderPosition:
        """From None (the beginning), a position or its dict; of a file of num_rows rows. Raises UserError."""
        if isinstance(value, ReaderPosition):
            value = value.to_dict()
        try:
            position = ReaderPosition(**{**(value or {}), "carry": tuple((value or {}).get("carry", ()))})
            numbers = [*dataclasses.astuple(position)[:-1], *position.carry]
            good = all(type(number) is int and number >= 0 for number in numbers)
        except TypeError:
            good = False
        if not good or max(position.rows, position.row, *position.carry, 0) > num_rows:
            raise UserError(
                f"reader position {value} does not belong to a file of {num_rows} rows; start from the beginning"
            )
        return position


class RowSource(Protocol):
    """Where the rows of an epoch come from: ``reader.sources.Source``, or a reader that makes them itself."""

    def rows(
        self,
        order: np.ndarray,
        start: int,
        carry: Sequence[int] = (),
        own: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> Iterator[EncodedRows]:
        """See ``reader.sources.Source.rows``."""


class BatchReader:
    """What all readers of fine-tuning share: the order of an epoch, its batches, a rank's share, restarting.

    A subclass sets `table` (with path, size, sha256, num_rows) and by `open_source` says where the rows of an epoch
    come from.

    Args:
        tokenizer: encode_batch(texts) -> lists of ids; pad_id, cls_id, sep_id; fingerprint.
        max_seq_len: longest row in tokens, special ones counted; longer rows are cut and counted in `stats`.
        batch_size: examples, or with in_tokens the most that rows * longest row may reach.
        in_tokens: whether batch_size counts tokens, padding among them.
        task_id: what task_ids holds.
        shuffle: as in 2019, one RandomState(seed) shuffles the order of the epoch before once more each epoch.
        seed: of the order, from 0 to below 2**32.
        epochs: how many times every row is given.
        bucket_window: rows within which rows of like length come together, 0: off. Rows that fill no batch go on to the
            next window, so only the last batch of an epoch is short. With shuffle its batches come in random order.
        rank, world_size: of each group of world_size batches, batch `rank` is given out here.
        even: where a rank has no batch, give out None in its place: for training.
        num_workers: 0: tokenise in the calling thread; n: in n processes.
        form: how the file is stored, and which columns count.
        max_rows: read so many rows, drawn by the seed.

    Raises:
        UserError: for a bad argument here, for a bad row where the batch with it would come.
    """

    table: Any  # where the rows are: its num_rows, path, size and sha256

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        max_seq_len: int,
        batch_size: int,
        in_tokens: bool = False,
        task_id: int = 0,
        shuffle: bool = False,
        seed: int = 0,
        epochs: int = 1,
        bucket_window: int = 0,
        rank: int = 0,
        world_size: int = 1,
        even: bool = False,
        num_workers: int = 0,
        form: TableForm = PLAIN,
        max_rows: int | None = None,
    ) -> None:
        self.form, self.max_rows = form, max_rows
        self.tokenizer, self.max_seq_len, self.task_id = tokenizer, max_seq_len, task_id
        self.batch_size, self.in_tokens, self.bucket_window = batch_size, in_tokens, bucket_window
        self.shuffle, self.seed, self.epochs = shuffle, seed, epochs
        self.rank, self.world_size, self.even = rank, world_size, even
        self.num_workers = num_workers
        self._check_numbers()
        self.stats = dict.fromkeys(("rows", "truncated", "tokens", "padding"), 0)

    def survey(self, allow_blank: bool = False) -> Survey:
        """What is in the file, before anything is made of it; `allow_blank`: whether a row may have no text."""
        raise NotImplementedError

    def leave_out(self, found: Survey) -> None:
        """Read the file without the bad rows of a survey of it. Nothing to do where they were left out on opening."""

    def prepare(self) -> None:
        """What takes long and must be there before the first batch; called once the files are found to be good."""

    def open_source(self) -> AbstractContextManager[RowSource]:
        """Opens where the rows come from; closing it ends what was started for them."""
        raise NotImplementedError

    def _check_numbers(self):
        least = {
            "batch_size": 1,
            "seed": 0,
            "epochs": 1,
            "bucket_window": 0,
            "rank": 0,
            "world_size": 1,
            "num_workers": 0,
        }
        for name, low in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < low:
                raise UserError(f"{name} is {value!r}; give an integer from {low} on")
        if self.seed >= 2**32:
            raise UserError(f"seed is {self.seed}; give one below 2**32")
        if self.rank >= self.world_size:
            raise UserError(f"rank {self.rank} of {self.world_size} processes; ranks count from 0")
        if self.in_tokens and self.batch_size < self.max_seq_len:
            raise UserError(
                f"in_tokens with batch_size {self.batch_size} tokens, less than max_seq_len {self.max_seq_len}: "
                "a long row would fit no batch; raise batch_size or turn in_tokens off"
            )

    @property
    def num_examples(self) -> int:
        """Rows in the file."""
        return self.table.num_rows

    def fingerprint(self) -> dict:
        """path, size (bytes), sha256 of the content, rows: what a resumed run compares."""
        return {
            "path": self.table.path,
            "size": self.table.size,
            "sha256": self.table.sha256,
            "rows": self.table.num_rows,
        }

    def batches(
        self, start: ReaderPosition | dict[str, Any] | None = None
    ) -> Iterator[tuple[dict[str, np.ndarray], ReaderPosition]]:
        """(batch, position after it) for every batch from `start` (None, a position or its dict) on, over all epochs.

        Fields, shapes and dtypes of a batch: reader.batching.make_batch; labels are absent with label_kind None, qids
        without a qid column. With several ranks the position is the one after the whole group of batches,
        the same for all of them; with `even` the batch is None for ranks that a last, short group has none for.
        """
        return self._batches(ReaderPosition.of(start, self.num_examples))

    def _batches(self, place):
        with contextlib.ExitStack() as stack:
            source = stack.enter_context(self.open_source())
            random = np.random.RandomState(self.seed)
            order = np.arange(self.num_examples, dtype=np.int32 if self.num_examples < 2**31 else np.int64)
            for epoch in range(self.epochs):
                if self.shuffle:
                    random.shuffle(order)
                if epoch < place.epoch:
                    continue
                begin = place if epoch == place.epoch else ReaderPosition(epoch)
                for rows, after in self._rank_share(self._epoch(order, begin, source)):
                    if rows is None:
                        yield None, after
                        continue
                    batch, places = self._finish(rows), getattr(rows, "places", None)
                    if places is not None:
                        self.on_batch(batch, order[places])
                    yield batch, after
                self.on_epoch_read(epoch)

    def on_batch(self, batch: dict[str, np.ndarray], numbers: np.ndarray) -> None:
        """Called with each batch and the numbers of its rows in the file (int [batch]); may add fields to the batch."""

    def notes(self) -> list[str]:
        """Lines of the log after training, on what a reader does besides reading."""
        return []

    def on_epoch_read(self, epoch: int) -> None:
        """Called after the last batch of an epoch."""
        log.debug("%s: epoch %d read, so far %s", self.table.path, epoch, self.stats)

    def _finish(self, rows: EncodedRows):
        batch = self.make_batch(rows)
        self.count(batch, len(rows), int(rows.cut.sum()), int(rows.offsets[-1]))
        return batch

    def count(self, batch: dict[str, np.ndarray], rows: int, truncated: int, tokens: int) -> None:
        """Add a batch to ``stats``."""
        counts = {"rows": rows, "truncated": truncated, "tokens": tokens, "padding": batch["src_ids"].size - tokens}
        for name, count in counts.items():
            self.stats[name] += count

    def make_batch(self, rows: EncodedRows) -> dict[str, np.ndarray]:
        """The named, padded batch of rows."""
        return make_batch(rows, self.tokenizer.pad_id, self.task_id)

    def _rank_share(self, batches):
        """Of each group of world_size batches this rank's own, with the place after the group.

        A last group that is not full gives its batches to the first ranks and none to the others, so that every row is
        read once; with `even` the others get None, since all must take the same number of steps.
        """
        group = []
        for batch in batches:
            group.append(batch)
            if len(group) == self.world_size:
                yield group[self.rank][0], group[-1][1]
                group = []
        if len(group) > self.rank:
            yield group[self.rank][0], group[-1][1]
        elif group and self.even:
            yield None, group[-1][1]

    def _epoch(
        self, order: np.ndarray, place: ReaderPosition, source: RowSource
    ) -> Iterator[tuple[EncodedRows | None, ReaderPosition]]:
        """(rows of a batch or None where another rank's were not read, place after it), for all ranks' batches."""
        if self.bucket_window:
            return self._bucketed(order, place, source)
        if self.in_tokens:
            return self._by_tokens(order, place, source)
        return self._by_examples(order, place, source)

    def _by_examples(self, order, place, source):
        """Batches of batch_size rows: which rows a rank has is known beforehand, so it reads no others."""
        total = len(order)

        def own(places):
            return (places - place.row) // self.batch_size % self.world_size == self.rank

        stream = RowStream(source.rows(order, place.row, own=own if self.world_size > 1 else None))
        for begin in range(place.row, total, self.batch_size):
            end = min(begin + self.batch_size, total)
            rows = stream.pull(end - begin) if own(begin) else None
            yield rows, dataclasses.replace(place, rows=end, row=end)

    def _by_tokens(self, order, place, source):
        stream = RowStream(source.rows(order, place.row))
        row = place.row
        while row < len(order):
            size = first_cut(stream.held.lengths, self.batch_size, True) if stream.held is not None else None
            while size is None:
                if not stream.more():
                    size = len(stream.held)
                    break
                size = first_cut(stream.held.lengths, self.batch_size, True)
            row += size
            yield stream.pull(size), dataclasses.replace(place, rows=row, row=row)

    def _bucketed(self, order, place, source):
        """Windows of rows sorted by length and cut; what fills no batch joins the next window.

        Every second window is sorted the other way round: else the longest rows of all would be put off to the end.
        """
        total = len(order)
        stream = RowStream(source.rows(order, place.row, place.carry))
        carried = stream.pull(len(place.carry)) if place.carry else None
        while place.row < total or place.carry:
            fresh = min(self.bucket_window, total - place.row)
            block = stream.pull(fresh) if fresh else None
            block = concat_rows([part for part in (carried, block) if part is not None])
            by_length = block.lengths if place.window % 2 == 0 else -block.lengths
            block = block.take(np.argsort(by_length, kind="stable"))
            last = place.row + fresh == total
            borders = all_cuts(block.lengths, self.batch_size, self.in_tokens, last)
            carried = block.slice(borders[-1], len(block)) if borders[-1] < len(block) else None
            following = dataclasses.replace(
                place,
                row=place.row + fresh,
                window=place.window + 1,
                done=0,
                carry=() if carried is None else tuple(carried.places.tolist()),
            )
            yield from self._window(block, borders, place, following)
            place = dataclasses.replace(following, rows=following.row - len(following.carry))

    def _window(self, block, borders, place, following):
        """The batches of one window from number place.done on; after the last one comes `following`."""
        count = len(borders) - 1
        turn = np.arange(count)
        if self.shuffle:
            turn = np.random.RandomState([self.seed, place.epoch, place.window]).permutation(count)
        rows = place.rows
        for done in range(place.done, count):
            begin, end = borders[turn[done]], borders[turn[done] + 1]
            rows += end - begin
            after = following if done + 1 == count else dataclasses.replace(place, done=done + 1)
            yield block.slice(begin, end), dataclasses.replace(after, rows=rows)


def drawn(total: int, count: int, seed: int) -> np.ndarray:
    """int64 [count]: numbers of rows, rising, drawn from ``total`` without replacement."""
    return np.sort(np.random.RandomState([seed, total]).permutation(total)[:count])
