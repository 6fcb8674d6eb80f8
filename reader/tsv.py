"""TSV files with a header: where the rows begin, and rows by number, without holding the file.

    table = TsvFile("train.tsv")
    table.num_rows, table.columns, table.sha256
    with table.open() as fd: read_lines(fd, *table.bounds(np.array([7, 3])))     # two rows as bytes

As in 2019 a row is a line, fields are parted by tabs, quotes mean nothing, and a BOM or CRLF line ends are accepted.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from array import array
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np

from propeller.encoding import not_utf8, remedy
from propeller.errors import UserError
from reader.forms import HEAD, header_hint

KNOWN_COLUMNS = ("text_a", "text_b", "label", "qid")
BOM = b"\xef\xbb\xbf"
LONGEST_LINE = 1 << 24  # bytes: some twenty times as much memory goes to a row while it is encoded
BLOCK = 1 << 22  # bytes read at once while the rows are counted


def where(path: str | Path, row: int) -> str:
    """`path, line N` of row `row` (from 0; the header is line 1): how every message begins."""
    return f"{path}, line {row + 2}"


class TsvFile:
    """The header and the row offsets of a TSV file, found in one pass.

    path: str; columns: list of str; num_rows; starts: uint32 (int64 from 4 GiB on) [num_rows], the byte where each row
    begins; sha256: hex of the content.

    Raises UserError: no such file, not a regular file, empty, no row, a missing, unknown or repeated column, a line of
    over LONGEST_LINE bytes.
    """

    def __init__(
        self, path: str | Path, required: Iterable[str] = ("text_a",), known: Collection[str] = KNOWN_COLUMNS
    ) -> None:
        self.path = os.fspath(path)
        with self._open_first() as fd:
            self._read_header(fd, required, known)
            self._scan(fd)
        if self.num_rows == 0:
            raise UserError(f"{self.path}, line 1: there is a header but no row; add rows or give another file")

    starts: np.ndarray
    dropped: tuple[int, ...] = ()  # lines that were left out, from 1
    ends: np.ndarray | None = None  # where rows end, once some were left out

    @property
    def num_rows(self) -> int:
        return len(self.starts)

    def drop(self, rows: Collection[int]) -> None:
        """Leave rows out; the others keep their order and are numbered anew.

        Args:
            rows: their numbers, as they are now.
        """
        if not rows:
            return
        numbers = np.array(sorted(rows), np.int64)
        _, ends = self.bounds(np.arange(self.num_rows))
        self.dropped = (*self.dropped, *(numbers + 2).tolist())
        self.starts, self.ends = np.delete(self.starts, numbers), np.delete(ends, numbers)

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
                raise UserError(f"{self.path}: is a directory; give the TSV file in it")
            if not stat.S_ISREG(status.st_mode):
                raise UserError(
                    f"{self.path}: is not a regular file (rows are read by offset); save it to a file first"
                )
            self.size, self.mtime_ns = status.st_size, status.st_mtime_ns
            yield fd
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def open(self) -> Iterator[int]:
        """A file descriptor for `read`. Raises UserError if the file is gone or is not what was counted."""
        with open_unchanged(self.path, self.size, self.mtime_ns) as fd:
            yield fd

    def _read_header(self, fd, required, known):
        with os.fdopen(os.dup(fd), "rb") as file:
            line = file.readline(LONGEST_LINE + 1)
        self._check_length(1, len(line))
        place = f"{self.path}, line 1"
        if not line.strip(BOM + b"\r\n"):
            what = "the file is empty" if not line else "the header is blank"
            raise UserError(f"{place}: {what}; the first line names the columns, tab-separated: {' '.join(known)}")
        try:
            text = line[len(BOM) :].decode("utf-8") if line.startswith(BOM) else line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{place}: {not_utf8(self.path, error)}") from None
        if "\0" in text:
            raise UserError(f"{place}: there are NUL bytes; {remedy(self.path, line)}")
        text = text[:-1] if text.endswith("\n") else text
        text = text[:-1] if text.endswith("\r") else text
        if "\r" in text:
            raise UserError(f"{place}: {LONE_CR}")
        self.columns: list[str] = text.split("\t")
        for name in self.columns:
            if name not in known:
                hint = header_hint(self.path, os.pread(fd, HEAD, 0), KNOWN_COLUMNS)
                hint = hint or f"known are {', '.join(known)}: rename or remove it"
                raise UserError(f"{place}: unknown column {shorten(name)}; {hint}")
            if self.columns.count(name) > 1:
                raise UserError(f"{place}: column {name!r} appears more than once; keep one")
        for name in required:
            if name not in self.columns:
                raise UserError(f"{place}: column {name!r} is missing (there: {', '.join(self.columns)}); add it")

    def _scan(self, fd):
        """Finds the row starts and the hash. The starts grow in an `array`: numpy would hold them twice at the end."""
        starts = array("I" if self.size < 2**32 else "q")
        digest = hashlib.sha256()
        base = last = 0  # last: where the line begins that the block begins in
        while True:
            block = os.pread(fd, BLOCK, base)
            if not block:
                break
            digest.update(block)
            ends = np.flatnonzero(np.frombuffer(block, np.uint8) == 10) + (base + 1)
            base += len(block)
            lengths = np.diff(ends, prepend=last, append=base)
            self._check_length(len(starts) + 1 + int(lengths.argmax()), int(lengths.max()))
            starts.frombytes(ends.astype(starts.typecode).tobytes())
            last = int(ends[-1]) if len(ends) else last
        if starts and starts[-1] == base:
            starts.pop()  # nothing stands behind the last line end
        self.starts = np.frombuffer(starts, starts.typecode) if starts else np.zeros(0, np.uint32)
        self.sha256 = digest.hexdigest()

    def _check_length(self, number, length):
        if length > LONGEST_LINE:
            raise UserError(
                f"{self.path}, line {number}: over {LONGEST_LINE >> 20} MiB without a line end, more than a row may "
                "have: cut the text, and see that the file has line ends"
            )

    def bounds(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """int64 [n], int64 [n]: the bytes where rows (int [n]) begin and end, line end included."""
        begin = self.starts[rows].astype(np.int64)
        if self.ends is not None:
            return begin, self.ends[rows]
        following = np.minimum(rows + 1, self.num_rows - 1)
        end = np.where(rows + 1 < self.num_rows, self.starts[following], self.size)
        return begin, end.astype(np.int64)


LONE_CR = "there is a carriage return inside the line; end lines with \\n or \\r\\n and take it out of the text"


def shorten(text: str, limit: int = 40) -> str:
    """`text` quoted, on one line, and not longer than a message bears."""
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


def read_lines(fd: int, begin: np.ndarray, end: np.ndarray) -> list[bytes]:
    """The lines at these bytes (int64 [n]), line ends `\\n` taken off. Neighbours in the file are read at once."""
    if len(begin) and (begin[1:] == end[:-1]).all():
        lines = os.pread(fd, int(end[-1] - begin[0]), int(begin[0])).split(b"\n")
        return lines[: len(begin)]
    pread = os.pread
    return [pread(fd, b - a, a).rstrip(b"\n") for a, b in zip(begin.tolist(), end.tolist())]
