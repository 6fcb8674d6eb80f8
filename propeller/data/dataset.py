"""Lazy data sets: each step returns a new one, nothing is read until one is iterated over.

    ds = Dataset.from_file("train.txt").map(parse).shuffle(1000, seed=1).repeat().padded_batch(32)
    ds.name = "train"
    for ids, label in ds: ...

Iterating twice reads twice, and gives the same elements in the same order: ``shuffle`` is seeded, by its seed and by
the number of the pass where ``repeat`` makes several. That is how a run that continues finds its place again.
"""

from __future__ import annotations

import gzip
import itertools
import random
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Callable

import numpy as np

from propeller.data.buffering import in_a_process
from propeller.data.padding import padded
from propeller.errors import UserError

_LENGTH = struct.Struct("<i")
# Paddle 3.3.1 takes uint16 for the bits of bfloat16, so that 5 becomes 5e-40, and has no uint32.
_WIDER = {"uint16": "int32", "uint32": "int64"}


class Dataset:
    """A sequence of elements that can be read again and again; an element is a value or a tuple of columns.

    Args:
        open_pass: called with the numbers of the passes of the ``repeat``s around it, outermost first; returns an
            iterator over the elements.
        name: what evaluations, log lines and placeholders call it.
        data_shapes, data_types: per column, its shape (-1 where it varies) and its dtype; None: inferred from the first
            element.
    """

    def __init__(
        self,
        open_pass: Callable[[tuple], Iterator],
        name: str = "",
        data_shapes: list | None = None,
        data_types: list | None = None,
    ) -> None:
        self.name = name
        self._open_pass, self._shapes, self._types = open_pass, data_shapes, data_types
        self._padded = False  # whether the lengths in a batch differ from those in the next one
        self._peeked: Iterator | None = None

    # ---------------------------------------------------------------- where elements come from

    @classmethod
    def from_list(cls, values: Sequence) -> Dataset:
        """The elements of a list."""
        return cls(lambda passes: iter(values))

    @classmethod
    def from_generator_func(
        cls, generate: Callable[[], Iterable], data_shapes: list | None = None, data_types: list | None = None
    ) -> Dataset:
        """What a function yields; it is called again for every pass."""
        return cls(lambda passes: iter(generate()), "", data_shapes, data_types)

    @classmethod
    def from_file(cls, path: str, format: str | None = None) -> Dataset:
        """The lines of a file, as bytes without their end.

        Args:
            path: the file.
            format: None, or ``"GZIP"`` where it is compressed.

        Raises:
            UserError: when it is read: the file cannot be read or decompressed. At once: another ``format``.
        """
        if format not in (None, "GZIP"):
            raise UserError(f"{path}: format {format!r} is unknown: give None or 'GZIP'")
        return cls(lambda passes: _lines(path, format))

    @classmethod
    def from_record_file(cls, path: str) -> Dataset:
        """The records of a gzip file, as bytes; each is preceded by its length, a little-endian int32.

        Raises:
            UserError: when it is read: the file cannot be read, or is cut short.
        """
        return cls(lambda passes: _records(path))

    # ---------------------------------------------------------------- steps

    def map(self, function: Callable) -> Dataset:
        """Each element replaced by ``function`` of it; a tuple is spread over the arguments."""
        return self._then(lambda elements, passes: (_call(function, element) for element in elements), keep=False)

    def filter(self, function: Callable) -> Dataset:
        """The elements for which ``function`` is true; a tuple is spread over the arguments."""
        return self._then(lambda elements, passes: (each for each in elements if _call(function, each)))

    def shuffle(self, buffer_size: int, seed: int = 0) -> Dataset:
        """The elements in random order, drawn from a buffer.

        Args:
            buffer_size: elements in the buffer; the larger, the better mixed.
            seed: of the order; each pass of ``repeat`` has another order.
        """
        _positive(buffer_size, "shuffle(buffer_size)")
        return self._then(lambda elements, passes: _shuffled(elements, buffer_size, f"{seed} {passes}"))

    def repeat(self, n: int = -1) -> Dataset:
        """The data set ``n`` times in a row, for ever with -1; every pass reads it anew, nothing is kept.

        Raises:
            UserError: when it is read: a pass has no elements.
        """

        def open_pass(passes):
            for number in itertools.count() if n < 0 else range(n):
                empty = True
                for element in self._open_pass((*passes, number)):
                    empty = False
                    yield element
                if empty:
                    again = "cannot be read twice" if number else "is empty"
                    raise UserError(f"data set {self.name or 'without a name'} {again}: it cannot be repeated")

        return self._like(open_pass)

    def shard(self, num_shards: int, index: int) -> Dataset:
        """Every ``num_shards``-th element, beginning with the one at ``index``.

        Raises:
            UserError: ``index`` is not from 0 to ``num_shards`` - 1.
        """
        if not 0 <= index < num_shards:
            raise UserError(f"shard {index} of {num_shards}: give an index from 0 to {num_shards - 1}")
        return self._then(lambda elements, passes: itertools.islice(elements, index, None, num_shards))

    def interleave(self, map_fn: Callable[[Any], Dataset], cycle_length: int, block_length: int = 1) -> Dataset:
        """The elements of several data sets by turns.

        Args:
            map_fn: makes a data set of an element.
            cycle_length: how many of them are open at once; one that ends is replaced by the next.
            block_length: elements taken from one before the next has its turn.
        """
        _positive(cycle_length, "interleave(cycle_length)")
        _positive(block_length, "interleave(block_length)")

        def step(elements, passes):
            sources = (_call(map_fn, element)._open_pass(passes) for element in elements)
            return _by_turns(sources, cycle_length, block_length)

        return self._then(step, keep=False)

    def padded_batch(self, batch_size: int, pad_value: float | Sequence = 0, max_seqlen: int | None = None) -> Dataset:
        """Batches: each column's arrays are padded to the longest and stacked; the last batch may be smaller.

        Args:
            batch_size: elements per batch.
            pad_value: one for all columns, or a sequence with one per column.
            max_seqlen: arrays are padded, or cut, to this length along their first axis, in place of the longest's.

        Returns:
            a data set of tuples of arrays ``[batch, ...]``.
        """
        _positive(batch_size, "padded_batch(batch_size)")

        def step(elements, passes):
            while rows := list(itertools.islice(elements, batch_size)):
                yield padded(rows, pad_value, max_seqlen)

        made = self._then(step, keep=False)
        made._padded = True
        if self._shapes is not None:  # of rows
            lengths = ([max_seqlen or shape[0], *shape[1:]] if shape else [] for shape in self._shapes)
            made.data_shapes = [[-1, *shape] for shape in lengths]
            made._types = self._types
        return made

    def take(self, n: int) -> Dataset:
        """The first ``n`` elements."""
        return self._then(lambda elements, passes: itertools.islice(elements, n))

    def buffered(self, n: int) -> Dataset:
        """The same elements, made ahead in a process of its own; ``n`` of them wait at most.

        An error there is raised here; the process ends with this one.
        """
        _positive(n, "buffered(n)")
        return self._like(lambda passes: in_a_process(lambda: self._open_pass(passes), n))

    def apply(self, function: Callable[[Dataset], Dataset]) -> Dataset:
        """``function`` of this data set, for steps of one's own; the name stays."""
        made = function(self)
        made.name = made.name or self.name
        return made

    def _then(self, step: Callable, keep: bool = True) -> Dataset:
        """A data set after one more step; ``keep``: elements have the same shapes and types as before."""
        return self._like(lambda passes: iter(step(iter(self._open_pass(passes)), passes)), keep)

    def _like(self, open_pass, keep=True):
        made = Dataset(open_pass, self.name, *((self._shapes, self._types) if keep else (None, None)))
        made._padded = self._padded
        return made

    # ---------------------------------------------------------------- reading

    def __iter__(self) -> Iterator:
        if self._peeked is not None:  # shapes were asked for; a source such as standard input has no second beginning
            peeked, self._peeked = self._peeked, None
            return peeked
        return iter(self._open_pass(()))

    def _first(self) -> tuple:
        iterator = iter(self)
        for first in iterator:
            self._peeked = itertools.chain([first], iterator)
            return tuple(np.asarray(column) for column in (first if isinstance(first, tuple) else (first,)))
        raise UserError(f"data set {self.name or 'without a name'} is empty: its shapes are not known")

    @property
    def data_shapes(self) -> list:
        """Per column a list, -1 for the batch and whatever varies; may be set.

        Inferred: the first axis is -1, and after ``padded_batch`` of rows whose shapes were not set all are.

        Raises:
            UserError: they are to be inferred, and there is no element.
        """
        return self._shapes if self._shapes is not None else self._infer()[0]

    @data_shapes.setter
    def data_shapes(self, shapes: list) -> None:
        self._shapes = [list(shape) for shape in shapes]

    @property
    def data_types(self) -> list:
        """Per column the name of its dtype, of uint16 and uint32 that of the next wider integers; may be set."""
        types = self._types if self._types is not None else self._infer()[1]
        return [_WIDER.get(kind, kind) for kind in types]

    @data_types.setter
    def data_types(self, types: list) -> None:
        self._types = [np.dtype(each).name for each in types]

    def _infer(self) -> tuple[list, list]:
        """Shapes and types; those that were not set are those of the first element."""
        columns = self._first()
        if self._shapes is None:
            self._shapes = [
                [-1] * column.ndim if self._padded else [-1, *column.shape[1:]][: column.ndim] for column in columns
            ]
        if self._types is None:
            self._types = [column.dtype.name for column in columns]
        return self._shapes, self._types

    def __eq__(self, other: object) -> bool:
        """Whether name, shapes and types are the same."""
        if not isinstance(other, Dataset):
            return NotImplemented
        return (self.name, self.data_shapes, self.data_types) == (other.name, other.data_shapes, other.data_types)

    __hash__ = None  # type: ignore[assignment]

    # ---------------------------------------------------------------- the side of Paddle

    def placeholder_names(self) -> list:
        """``<name>_placeholder_<i>`` per column, ``placeholder_<i>`` without a name."""
        prefix = f"{self.name}_" if self.name else ""
        return [f"{prefix}placeholder_{i}" for i in range(len(self.data_shapes))]

    def features(self) -> list:
        """Placeholders for the columns, in the static Program under construction; imports Paddle."""
        import paddle

        return [
            paddle.static.data(name, shape, dtype)
            for name, shape, dtype in zip(self.placeholder_names(), self.data_shapes, self.data_types)
        ]

    def start(self, places: Any = None) -> Iterator[dict]:
        """Feeds for ``Executor.run``: name of placeholder -> array, for each element.

        Args:
            places: taken as in 2019; the Executor knows its device.
        """
        names, types = self.placeholder_names(), self.data_types
        for element in self:
            columns = element if isinstance(element, tuple) else (element,)
            yield {name: np.asarray(column, dtype) for name, column, dtype in zip(names, columns, types)}


def _call(function, element):
    return function(*element) if isinstance(element, tuple) else function(element)


def _positive(number, what):
    if number < 1:
        raise UserError(f"{what} must be 1 or more, not {number}")


def _lines(path, format):
    try:
        with gzip.open(path, "rb") if format == "GZIP" else open(path, "rb") as file:
            for line in file:
                yield line.rstrip(b"\r\n")
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({_why(error)}): give a readable file") from error


def _records(path):
    try:
        with gzip.open(path, "rb") as file:
            while head := file.read(_LENGTH.size):
                length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else -1
                record = file.read(length) if length >= 0 else b""
                if length < 0 or len(record) < length:
                    raise UserError(f"{path}: cut short or not a record file: remove it, so that it is made again")
                yield record
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({_why(error)}): remove it, so that it is made again") from error


def _why(error):
    return getattr(error, "strerror", None) or str(error)


def _shuffled(elements, size, seed):
    draw, buffer = random.Random(seed), []
    for element in elements:
        if len(buffer) < size:
            buffer.append(element)
            continue
        chosen = draw.randrange(size)
        yield buffer[chosen]
        buffer[chosen] = element
    draw.shuffle(buffer)
    yield from buffer


def _by_turns(sources, cycle_length, block_length):
    open_ones = list(itertools.islice(sources, cycle_length))
    while open_ones:
        still = []
        for source in open_ones:
            block = list(itertools.islice(source, block_length))
            yield from block
            if len(block) == block_length:
                still.append(source)
            else:
                still.extend(itertools.islice(sources, 1))
        open_ones = still


def write_records(file: Any, records: Iterable[bytes]) -> int:
    """Write records as ``Dataset.from_record_file`` reads them into a file open for bytes; returns how many."""
    count = 0
    for record in records:
        file.write(_LENGTH.pack(len(record)) + record)
        count += 1
    return count
