"""Files without a header whose every line is a text.

    table = LinesFile("sentences.txt")
    table.columns, table.num_rows           # ["text_a"], one per line

A tab is text like any other character. Blank lines at the end of the file are no rows.
"""

from __future__ import annotations

import os

import numpy as np

from propeller.errors import UserError
from reader.forms import HEAD, first_lines, header_hint, looks_tagged
from reader.row_file import BOM, LONE_CR, Layout
from reader.tables.form import AUTO
from reader.tsv import BLOCK, TsvFile, read_lines

__all__ = ["LinesFile", "LinesLayout"]


class LinesLayout(Layout):
    """A text per line. Args: path: of the file."""

    def __init__(self, path: str) -> None:
        super().__init__(path, ["text_a"], first=1)

    def name_of(self, column: str) -> str:
        """The file has no columns, and its user none in mind."""
        return "the line"

    def read(self, fd: int, begin: np.ndarray, end: np.ndarray) -> list[bytes]:
        return read_lines(fd, begin, end)

    def fields(self, record: bytes) -> list[str]:
        text = self.decode(record)
        text = text[:-1] if text.endswith("\r") else text
        if "\r" in text:
            raise ValueError(LONE_CR)
        return [text]


class LinesFile(TsvFile):
    """The lines of a file, see ``RowFile``; row 0 is line 1.

    Raises:
        UserError: what ``TsvFile`` raises; a column is needed that it does not have.
    """

    what = "text file"

    def _read_header(self, fd, required, known, form):
        if not os.pread(fd, BLOCK, 0).removeprefix(BOM).strip():
            raise UserError(f"{self.path}, line 1: the file is empty; give one with a text per line")
        head = os.pread(fd, HEAD, 0)
        if form.format == AUTO and looks_tagged(first_lines(head, whole=len(head) < HEAD)):
            hint = header_hint(self.path, head, known)
            if hint:
                raise UserError(f"{self.path}, line 1: give --format txt if each line is a text; {hint}")
        found = form.choose(f"{self.path}, line 1", ["text_a"], required, known)
        self.columns = [ours for ours, _ in found]
        self.layout = LinesLayout(self.path)

    def _scan(self, fd):
        super()._scan(fd)
        first = len(BOM) if os.pread(fd, len(BOM), 0) == BOM else 0
        starts = np.concatenate([np.array([first], self.starts.dtype), self.starts])
        last = len(starts)
        while last > 1 and not os.pread(fd, 3, int(starts[last - 1])).strip(b"\r\n"):
            last -= 1
        self.starts = starts[:last]
        self.ends = np.append(starts[1:], self.size)[:last].astype(np.int64) if last < len(starts) else None
