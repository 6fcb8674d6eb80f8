"""TSV files with a header.

    table = TsvFile("train.tsv")
    table.num_rows, table.columns, table.sha256
    with table.open() as fd: table.read(fd, np.array([7, 3]))     # two rows as bytes

As in 2019 a row is a line, fields are separated by tabs, quotes mean nothing, and a BOM or CRLF line ends are accepted.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np

from propeller.encoding import not_utf8, remedy
from propeller.errors import UserError
from reader.forms import HEAD, header_hint, headless_hint
from reader.row_file import BLANK_LINE, BOM, LONE_CR, LONGEST_LINE, Layout, Places, RowFile, shorten
from reader.tables.form import KNOWN_COLUMNS, PLAIN, TableForm

__all__ = ["KNOWN_COLUMNS", "LONE_CR", "LONGEST_LINE", "TsvFile", "TsvLayout", "read_lines", "shorten", "where"]

BLOCK = 1 << 22  # bytes read at once while the rows are counted


def where(path: str | Path, row: int) -> str:
    """`path, line N` of row `row` (from 0; the header is line 1)."""
    return f"{path}, line {row + 2}"


class TsvLayout(Layout):
    """Lines with tabs between their fields.

    Args:
        path: of the file.
        columns: names of the fields that count.
        width: fields of a row; None: as many as columns.
        picks: which of them count; None: all.
    """

    def __init__(self, path: str, columns: list[str], width: int | None = None, picks: list[int] | None = None) -> None:
        super().__init__(path, columns)
        self.width = len(columns) if width is None else width
        self.picks = picks

    def read(self, fd: int, begin: np.ndarray, end: np.ndarray) -> list[bytes]:
        return read_lines(fd, begin, end)

    def fields(self, record: bytes) -> list[str]:
        text = self.decode(record)
        if "\r" in text:
            text = text[:-1] if text.endswith("\r") else text
            if "\r" in text:
                raise ValueError(LONE_CR)
        values = text.split("\t")
        if len(values) != self.width:
            if not text:
                raise ValueError(BLANK_LINE)
            raise ValueError(f"{len(values)} fields where the header has {self.width}; mend the row (tabs part fields)")
        if not text:  # one column: a blank line would be a row without text, which nobody means
            raise ValueError(BLANK_LINE)
        return self.with_copied(values if self.picks is None else [values[place] for place in self.picks])


class TsvFile(RowFile):
    """The header and the row offsets of a TSV file, see ``RowFile``.

    Raises:
        UserError: what ``RowFile`` does; a line of over LONGEST_LINE bytes.
    """

    what = "TSV file"

    def __init__(
        self,
        path: str | Path,
        required: Iterable[str] = ("text_a",),
        known: Collection[str] = KNOWN_COLUMNS,
        form: TableForm = PLAIN,
    ) -> None:
        super().__init__(path)
        with self._open_first() as fd:
            self._read_header(fd, required, known, form)
            self._scan(fd)
        self._check_rows()

    def _read_header(self, fd, required, known, form):
        with os.fdopen(os.dup(fd), "rb") as file:
            line = file.readline(LONGEST_LINE + 1)
        self._check_length(1, len(line))
        place = f"{self.path}, line 1"
        if line.startswith(b"PAR1"):
            raise UserError(f"{self.path}: is a Parquet file; read it with --format parquet")
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
        names = text.split("\t")

        def hint():
            said = header_hint(self.path, os.pread(fd, HEAD, 0), KNOWN_COLUMNS)
            return said or (None if {*names} & {*known} else headless_hint(self.path, names, "\t"))

        found = form.choose(place, names, required, known, hint)
        self.columns = [ours for ours, _ in found]
        self.facts.update(form.facts(names, found))
        picks = [number for _, number in found]
        every = picks == list(range(len(names)))
        self.layout = TsvLayout(self.path, self.columns, len(names), None if every else picks)

    def _scan(self, fd):
        """Finds the row starts and the hash."""
        places, digest = Places(self.size), hashlib.sha256()
        starts = places.values
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
        self.starts, self.sha256 = places.array(), digest.hexdigest()


def read_lines(fd: int, begin: np.ndarray, end: np.ndarray) -> list[bytes]:
    """The lines at these bytes (int64 [n]), line ends `\\n` taken off. Neighbours in the file are read at once."""
    if len(begin) and (begin[1:] == end[:-1]).all():
        lines = os.pread(fd, int(end[-1] - begin[0]), int(begin[0])).split(b"\n")
        return lines[: len(begin)]
    pread = os.pread
    return [pread(fd, b - a, a).rstrip(b"\n") for a, b in zip(begin.tolist(), end.tolist())]
