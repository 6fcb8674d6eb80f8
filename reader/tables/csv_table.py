"""CSV files: fields between commas, semicolons, tabs or |, within quotes where they hold one, a quote or a line end.

    table = CsvFile("reviews.csv", form=TableForm(text_a="review", label="stars"))

Rows are found by the same parser, of the standard library, that reads them later, so a line end within quotes is text.
"""

from __future__ import annotations

import csv
import hashlib
import os
from array import array
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from propeller.encoding import not_utf8
from propeller.errors import UserError
from reader.forms import headless_hint
from reader.row_file import BLANK_LINE, BOM, LONE_CR, LONGEST_LINE, Layout, Places, RowFile
from reader.tables.form import KNOWN_COLUMNS, PLAIN, TableForm

SEPARATORS = (",", ";", "\t", "|")


class CsvLayout(Layout):
    """Fields of a row as the ``csv`` module reads them, strictly.

    Args:
        path: of the file.
        columns: names of the fields that count.
        separator: of the fields.
        width: fields of a row.
        picks: which of them count.
    """

    def __init__(self, path: str, columns: list[str], separator: str, width: int, picks: list[int]) -> None:
        super().__init__(path, columns)
        self.separator, self.width, self.picks = separator, width, picks

    def fields(self, record: bytes) -> list[str]:
        text = self.decode(record).rstrip("\r\n")  # blank lines at the end of the file are with the last row
        if not text:
            raise ValueError(BLANK_LINE)
        values = parse(text, self.separator)
        if len(values) != self.width:
            raise ValueError(
                f"{len(values)} fields where the header has {self.width}; mend the row: a field with "
                f"{self.separator!r} in it stands within double quotes"
            )
        return self.with_copied([values[place] for place in self.picks])


def parse(text: str, separator: str) -> list[str]:
    """The fields of one record. Raises ValueError: its quotes do not fit."""
    try:
        (values,) = csv.reader([text], delimiter=separator, strict=True)
    except csv.Error as error:
        if "field larger" in str(error) and csv.field_size_limit() < LONGEST_LINE:
            csv.field_size_limit(LONGEST_LINE)
            return parse(text, separator)
        raise ValueError(_said(error)) from None
    return values


def _said(error):
    if "new-line character" in str(error):
        return LONE_CR
    return f"not CSV ({error}); a field with a quote in it stands within quotes, and the quote twice"


class CsvFile(RowFile):
    """The header and the row offsets of a CSV file, see ``RowFile``.

    Args:
        path: the file.
        required, known: columns that have to, and may, be there.
        form: which columns count.

    Attributes:
        separator: of the fields, told by the header; header: its bytes.

    Raises:
        UserError: what ``RowFile`` raises; a header that cannot be read; a row of over ``LONGEST_LINE`` bytes.
    """

    what = "CSV file"

    def __init__(
        self,
        path: str | Path,
        required: Iterable[str] = ("text_a",),
        known: Collection[str] = KNOWN_COLUMNS,
        form: TableForm = PLAIN,
    ) -> None:
        super().__init__(path)
        with self._open_first() as fd, os.fdopen(os.dup(fd), "rb") as file:
            names = self._read_header(file, {*known, *form.chosen.values()})
            strange = not {*names} & {*known}
            found = form.choose(
                f"{self.path}, line 1",
                names,
                required,
                known,
                lambda: headless_hint(self.path, names, self.separator) if strange else None,
            )
            self.facts.update(form.facts(names, found), separator=self.separator)
            self.columns = [ours for ours, _ in found]
            picks = [number for _, number in found]
            self.layout = CsvLayout(self.path, self.columns, self.separator, len(names), picks)
            self._scan(file)
        self._check_rows()

    def _read_header(self, file, wanted):
        line = file.readline(LONGEST_LINE + 1)
        self._check_length(1, len(line))
        place, bare = f"{self.path}, line 1", line.removeprefix(BOM)
        if not bare.strip(b"\r\n"):
            what = "the file is empty" if not line else "the header is blank"
            raise UserError(f"{place}: {what}; the first line names the columns")
        try:
            text = bare.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{place}: {not_utf8(self.path, error)}") from None
        self.separator = separator_of(text, wanted)
        try:
            names = [name.strip() for name in parse(text, self.separator)]
        except ValueError as problem:
            raise UserError(f"{place}: {problem}") from None
        self.header = line
        return names

    def _scan(self, file):
        """Finds where rows begin, their lines where one has several, and the hash."""
        places, lines = Places(self.size), array("q")
        digest = hashlib.sha256(self.header)
        at, last = len(self.header), 0
        severals = False
        for begin, number, count in records(file, self.separator, at, digest, self):
            places.values.append(begin)
            lines.append(number)
            severals = severals or count > 1
            last = len(lines) if count else last
        del places.values[last:], lines[last:]  # blank lines at the end of the file
        self.starts, self.sha256 = places.array(), digest.hexdigest()
        if severals:
            self.layout.numbers = np.frombuffer(lines, np.int64)

    def check_record(self, line: int, length: int) -> None:
        """Raise UserError where a record that begins at a line is longer than a row may be."""
        self._check_length(line, length, "a line end outside of quotes")


def separator_of(header: str, wanted: Collection[str]) -> str:
    """What separates the fields of a header: that by which most of the wanted names, then most fields, are found."""

    def found(separator):
        try:
            names = [name.strip() for name in parse(header, separator)]
        except ValueError:
            return (0, 0)
        return sum(name in wanted for name in names), len(names)

    return max(SEPARATORS, key=found)


def records(file: BinaryIO, separator: str, at: int, digest: Any, table: CsvFile) -> Iterator[tuple[int, int, int]]:
    """(byte where it begins, line, lines; 0 for a blank one) of every record after the header.

    The bytes are read as Latin-1: the parser looks at ASCII alone, and no byte of a longer character is of it.

    Args:
        file: binary, after the header.
        at: the byte where the first record begins.
        digest: takes all bytes up.
        table: the ``CsvFile``, for messages.
    """
    state = {"at": at, "line": 1, "begin": at, "first": 2}

    def lines():
        while line := file.readline(LONGEST_LINE + 1):
            digest.update(line)
            state["at"] += len(line)
            state["line"] += 1
            table.check_record(state["first"], state["at"] - state["begin"])
            yield line.decode("latin-1")

    if csv.field_size_limit() < LONGEST_LINE:
        csv.field_size_limit(LONGEST_LINE)
    reader = csv.reader(lines(), delimiter=separator, strict=True)
    while True:
        state["begin"], state["first"] = state["at"], state["line"] + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise UserError(
                    f"{table.path}, line {state['first']}: a quote in this row is never closed; close it, or write a "
                    "quote that is text twice, within quotes"
                ) from None
            fields = [""]  # told when the row is read
        yield state["begin"], state["first"], (state["line"] - state["first"] + 1) if fields else 0
