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

import numpy as np

from propeller.errors import UserError

KNOWN_COLUMNS = ("text_a", "text_b", "label", "qid")
BOM = b"\xef\xbb\xbf"
BLOCK = 1 << 22  # bytes read at once while the rows are counted


def where(path, row: int) -> str:
    """`path, line N` of row `row` (from 0; the header is line 1): how every message begins."""
    return f"{path}, line {row + 2}"


class TsvFile:
    """The header and the row offsets of a TSV file, found in one pass.

    path: str; columns: list of str; num_rows; starts: uint32 (int64 from 4 GiB on) [num_rows], the byte where each row
    begins; sha256: hex of the content.

    Raises UserError: no such file, not a regular file, empty, no row, a missing, unknown or repeated column.
    """

    def __init__(self, path, required=("text_a",), known=KNOWN_COLUMNS):
        self.path = os.fspath(path)
        with self._open_first() as fd:
            self._read_header(fd, required, known)
            self._scan(fd)
        if self.num_rows == 0:
            raise UserError(f"{self.path}, line 1: there is a header but no row; add rows or give another file")

    @property
    def num_rows(self) -> int:
        return len(self.starts)

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
    def open(self):
        """A file descriptor for `read`. Raises UserError if the file is gone or is not what was counted."""
        with open_unchanged(self.path, self.size, self.mtime_ns) as fd:
            yield fd

    def _read_header(self, fd, required, known):
        with os.fdopen(os.dup(fd), "rb") as file:
            line = file.readline()
        place = f"{self.path}, line 1"
        if not line.strip(BOM + b"\r\n"):
            what = "the file is empty" if not line else "the header is blank"
            raise UserError(f"{place}: {what}; the first line names the columns, tab-separated: {' '.join(known)}")
        try:
            text = line[len(BOM) :].decode("utf-8") if line.startswith(BOM) else line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{place}: {not_utf8(error)}") from None
        text = text[:-1] if text.endswith("\n") else text
        text = text[:-1] if text.endswith("\r") else text
        if "\r" in text:
            raise UserError(f"{place}: {LONE_CR}")
        self.columns: list[str] = text.split("\t")
        for name in self.columns:
            if name not in known:
                hint = f"known are {', '.join(known)}: rename or remove it"
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
        base = 0
        while True:
            block = os.pread(fd, BLOCK, base)
            if not block:
                break
            digest.update(block)
            ends = np.flatnonzero(np.frombuffer(block, np.uint8) == 10) + (base + 1)
            starts.frombytes(ends.astype(starts.typecode).tobytes())
            base += len(block)
        if starts and starts[-1] == base:
            starts.pop()  # nothing stands behind the last line end
        self.starts = np.frombuffer(starts, starts.typecode) if starts else np.zeros(0, np.uint32)
        self.sha256 = digest.hexdigest()

    def bounds(self, rows: np.ndarray):
        """int64 [n], int64 [n]: the bytes where rows (int [n]) begin and end, line end included."""
        begin = self.starts[rows].astype(np.int64)
        following = np.minimum(rows + 1, self.num_rows - 1)
        end = np.where(rows + 1 < self.num_rows, self.starts[following], self.size)
        return begin, end.astype(np.int64)


LONE_CR = "there is a carriage return inside the line; end lines with \\n or \\r\\n and take it out of the text"


def not_utf8(error: UnicodeDecodeError) -> str:
    """What is wrong, and the remedy."""
    return (
        f"byte {error.start + 1} of the line (0x{error.object[error.start]:02x}) is not UTF-8; "
        "convert the file, for example with iconv -t UTF-8"
    )


def shorten(text: str, limit: int = 40) -> str:
    """`text` quoted, on one line, and not longer than a message bears."""
    return repr(text if len(text) <= limit else text[:limit] + "...")


@contextlib.contextmanager
def open_unchanged(path, size: int, mtime_ns: int):
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
