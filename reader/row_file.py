"""A file of rows: where each begins, rows by number without holding the file, and how a row becomes fields.

    table = open_table("train.csv", ("text_a", "label"))
    with table.open() as fd:
        for record in table.read(fd, np.array([7, 3])):      # two rows as bytes
            table.layout.fields(record)                      # ["a fine film", "1"]

A form of file is a ``RowFile`` that finds the rows and a ``Layout`` that reads them; workers get a copy of the layout.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from array import array
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from propeller.encoding import not_utf8
from propeller.errors import UserError

BOM = b"\xef\xbb\xbf"
LONGEST_LINE = 1 << 24  # bytes: some twenty times as much memory goes to a row while it is encoded
CHUNK_ROWS = 4096  # read at once where all rows are looked at
LONE_CR = "there is a carriage return inside the line; end lines with \\n or \\r\\n and take it out of the text"
BLANK_LINE = "the line is blank; remove it"
UNREAD = ("label", "qid")  # columns that no network reads
COPIED = "+"  # begins the name of a column that is only copied, see reader.tables.form
LIST_PART = "\x03"  # ends each label of a list, which may hold whatever separates labels elsewhere


class Layout:
    """How the rows of a file become fields. Can be pickled.

    Args:
        path: of the file, for messages.
        columns: names of the fields, in their order.
        first: the line of row 0, where a row is a line.
        unit: what messages call the place of a row.

    Attributes:
        numbers: int64 [rows], the place of each row, or None where they count up from ``first``.
        own: our name of a column -> the file's, where they differ.
    """

    def __init__(self, path: str, columns: list[str], first: int = 2, unit: str = "line") -> None:
        self.path, self.columns, self.first, self.unit = path, columns, first, unit
        self.numbers: np.ndarray | None = None
        self.own: dict[str, str] = {}
        self.copied = [place for place, name in enumerate(columns) if name.startswith(COPIED)]

    def number(self, row: int) -> int:
        """The line, or other unit, of a row (from 0)."""
        return row + self.first if self.numbers is None else int(self.numbers[row])

    def where(self, row: int) -> str:
        """``path, line N`` of a row: how every message begins."""
        return f"{self.path}, {self.unit} {self.number(row)}"

    def name_of(self, column: str) -> str:
        """A column as messages call it: by the name that it has in the file."""
        own = self.own.get(column, column)
        return column if own == column else f"column {own!r}"

    def take(self, rows: np.ndarray, total: int) -> None:
        """Of ``total`` rows only these are left (int [n])."""
        if self.numbers is None:
            self.numbers = np.arange(total, dtype=np.int64) + self.first
        self.numbers = self.numbers[rows]

    def read(self, fd: int, begin: np.ndarray, end: np.ndarray) -> list[bytes]:
        """The records at these bytes (int64 [n]). Neighbours in the file are read at once."""
        if len(begin) and (begin[1:] >= end[:-1]).all() and end[-1] - begin[0] <= 2 * int((end - begin).sum()):
            first = int(begin[0])
            block = os.pread(fd, int(end[-1]) - first, first)
            return [block[a:b] for a, b in zip((begin - first).tolist(), (end - first).tolist())]
        return [os.pread(fd, b - a, a) for a, b in zip(begin.tolist(), end.tolist())]

    def fields(self, record: bytes) -> list[str]:
        """The fields of a record, as many as columns; those of columns that are only copied are JSON.

        Raises:
            ValueError: what is wrong with it, and the remedy.
        """
        raise NotImplementedError

    def with_copied(self, values: list[str]) -> list[str]:
        """Fields of a file of plain texts, those that are only copied as JSON."""
        for place in self.copied:
            values[place] = json.dumps(values[place], ensure_ascii=False)
        return values

    def decode(self, record: bytes) -> str:
        """The text of a record. Raises ValueError: it is not UTF-8."""
        try:
            return record.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(not_utf8(self.path, error)) from None


class RowFile:
    """The rows of a file, found in one pass.

    Attributes:
        path: the file, as it was given.
        size, mtime_ns: of the file, in bytes and nanoseconds.
        data_path: the file that records are read from.
        columns: the names of the fields.
        num_rows: how many rows are left.
        starts: uint32 (int64 from 4 GiB on) [num_rows], the byte where each row begins.
        sha256: hex of the content.
        dropped: places of rows left out, as the layout numbers them.
        kept: numbers in the whole file of the rows that are left, or None.

    Raises:
        UserError: no such file, not a regular file, empty, no row, a column is missing, unknown or there twice.
    """

    what = "the file"  # for messages
    layout: Layout
    starts: np.ndarray
    ends: np.ndarray | None = None  # where rows end; None: where the next one begins
    sha256: str
    columns: list[str]

    def __init__(self, path: str | Path) -> None:
        self.path = self.data_path = os.fspath(path)
        self.dropped: tuple[int, ...] = ()
        self.kept: np.ndarray | None = None
        self.facts: dict[str, Any] = {}  # what else than the content decides the fields

    @property
    def num_rows(self) -> int:
        return len(self.starts)

    def row_number(self, row: int) -> int:
        """The number of a row in the whole file, from 1, whatever was left out before it."""
        return (row if self.kept is None else int(self.kept[row])) + 1

    @property
    def identity(self) -> str:
        """What tells the rows from others: the sha256 of the content, and of the columns that were chosen."""
        return self._identity(self.facts)

    @property
    def text_identity(self) -> str:
        """What tells the texts from others: ``identity``, whichever column is the label."""
        columns = {ours: theirs for ours, theirs in self.facts.get("columns", {}).items() if ours not in UNREAD}
        renamed = any(ours != theirs for ours, theirs in columns.items())
        return self._identity({**self.facts, "columns": columns if renamed else None})

    def _identity(self, facts):
        facts = {name: value for name, value in facts.items() if value is not None}
        return hashlib.sha256(json.dumps([self.sha256, facts]).encode()).hexdigest() if facts else self.sha256

    def drop(self, rows: Collection[int]) -> None:
        """Leave rows out; the others keep their order and are numbered anew.

        Args:
            rows: their numbers, as they are now.
        """
        if not rows:
            return
        numbers = sorted(rows)
        self.dropped = (*self.dropped, *map(self.layout.number, numbers))
        self._take(np.delete(np.arange(self.num_rows), numbers))

    def keep(self, rows: np.ndarray) -> None:
        """Leave all but these rows out (int [n], rising)."""
        self.facts["rows"] = hashlib.sha256(np.asarray(rows, "<i8").tobytes()).hexdigest()
        self._take(rows)

    def _take(self, rows):
        _, ends = self.bounds(np.arange(self.num_rows))
        self.layout.take(rows, self.num_rows)
        self.kept = rows if self.kept is None else self.kept[rows]
        self.starts, self.ends = self.starts[rows], ends[rows]

    @contextlib.contextmanager
    def _open_first(self):
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe without a writer must not hang
        except FileNotFoundError:
            raise UserError(f"{self.path}: no such file; check the path") from None
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror}); check the path and its rights") from None
        try:
            status = os.fstat(fd)
            if stat.S_ISDIR(status.st_mode):
                raise UserError(f"{self.path}: is a directory; give a file in it")
            if not stat.S_ISREG(status.st_mode):
                raise UserError(
                    f"{self.path}: is not a regular file (rows are read by offset); save it to a file first"
                )
            self.size, self.mtime_ns = status.st_size, status.st_mtime_ns
            self.data_size, self.data_mtime_ns = self.size, self.mtime_ns
            yield fd
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def open(self) -> Iterator[int]:
        """A file descriptor for ``read``. Raises UserError if the file is gone or is not what was counted."""
        with open_unchanged(self.data_path, self.data_size, self.data_mtime_ns) as fd:
            yield fd

    def bounds(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """int64 [n], int64 [n]: the bytes where rows (int [n]) begin and end, line end included."""
        begin = self.starts[rows].astype(np.int64)
        if self.ends is not None:
            return begin, self.ends[rows].astype(np.int64)
        following = np.minimum(rows + 1, self.num_rows - 1)
        end = np.where(rows + 1 < self.num_rows, self.starts[following], self.data_size)
        return begin, end.astype(np.int64)

    def read(self, fd: int, rows: np.ndarray) -> list[bytes]:
        """The records of rows (int [n])."""
        return self.layout.read(fd, *self.bounds(rows))

    def records(self, begin: int = 0, end: int | None = None) -> Iterator[tuple[int, bytes]]:
        """(number, record) of the rows from ``begin`` on, before ``end``, in the file's order."""
        last = self.num_rows if end is None else end
        with self.open() as fd:
            for first in range(begin, last, CHUNK_ROWS):
                rows = np.arange(first, min(first + CHUNK_ROWS, last))
                yield from zip(rows.tolist(), self.read(fd, rows))

    def _check_rows(self):
        """Raise UserError where there is none."""
        if self.num_rows == 0:
            raise UserError(f"{self.path}, line 1: there is a header but no row; add rows or give another file")

    def _check_length(self, number, length, without="a line end"):
        if length > LONGEST_LINE:
            raise UserError(
                f"{self.path}, line {number}: over {LONGEST_LINE >> 20} MiB without {without}, more than a row may "
                "have: cut the text, and see that the file has line ends"
            )


class Places:
    """Where rows begin, gathered while a file is read, in an ``array``: numpy would hold them twice at the end.

    Args:
        size: of the file in bytes.
    """

    def __init__(self, size: int) -> None:
        self.values = array("I" if size < 2**32 else "q")

    def array(self) -> np.ndarray:
        """uint32 or int64 [n]."""
        return np.frombuffer(self.values, self.values.typecode) if self.values else np.zeros(0, np.uint32)


def labels_in(field: str, separator: str) -> list[str]:
    """The labels of a field that holds several, blanks around them taken off: of a list as they stand in it."""
    parts = field.split(LIST_PART) if LIST_PART in field else field.split(separator)
    return [part.strip() for part in parts if part.strip()]


def has_blank_end(label: str) -> bool:
    """Whether a label that is a word begins or ends with a blank, which no eye sees; a number may."""
    return label != label.strip() and not label.strip().lstrip("+-").isdigit()


def shorten(text: str, limit: int = 40) -> str:
    """``text`` quoted, on one line, and not longer than a message bears."""
    return repr(text if len(text) <= limit else text[:limit] + "...")


@contextlib.contextmanager
def open_unchanged(path: str | Path, size: int, mtime_ns: int) -> Iterator[int]:
    """A file descriptor of a file that is still as long and as old as when its rows were counted, else UserError."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"{path}: cannot be read any more ({error.strerror}); put it back and start again") from None
    try:
        status = os.fstat(fd)
        if (status.st_size, status.st_mtime_ns) != (size, mtime_ns):
            raise UserError(
                f"{path}: changed since its rows were counted; leave it alone during a run, and start again"
            )
        yield fd
    finally:
        os.close(fd)
