"""Rows of a TSV, in the order of the file, without holding it.

for number, fields in rows_of(TsvFile("train.tsv")): ...        # 0, ["a fine film", "1"]
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from propeller.encoding import not_utf8
from propeller.errors import UserError
from reader.tsv import KNOWN_COLUMNS, TsvFile, read_lines, where

TEACHER_COLUMNS = {
    "text_a": "teacher_a",
    "text_b": "teacher_b",
}  # what the teacher reads in place of the student's text
COLUMNS = (*KNOWN_COLUMNS, *TEACHER_COLUMNS.values())
CHUNK = 1024  # rows that are read at once


def open_table(path: str, required: tuple[str, ...] = ("text_a",)) -> TsvFile:
    """A TSV whose columns may be those of training files, and ``teacher_a`` and ``teacher_b``. Raises UserError."""
    return TsvFile(path, required, COLUMNS)


def fields_of(table: TsvFile, number: int, line: bytes) -> list[str]:
    """The fields of a line. Raises UserError: file, line, remedy."""
    place = where(table.path, number)
    try:
        fields = line.decode("utf8").rstrip("\r").split("\t")
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: {not_utf8(table.path, error)}") from None
    if len(fields) != len(table.columns):
        raise UserError(
            f"{place}: {len(fields)} fields where the header has {len(table.columns)}; mend the row (tabs part fields)"
        )
    return fields


def rows_of(table: TsvFile, begin: int = 0, end: int | None = None) -> Iterator[tuple[int, list[str]]]:
    """(number from 0, fields) of the rows from ``begin`` on, before ``end``. Raises UserError: see ``fields_of``."""
    last = table.num_rows if end is None else end
    with table.open() as file:
        for first in range(begin, last, CHUNK):
            numbers = np.arange(first, min(first + CHUNK, last))
            for number, line in zip(numbers.tolist(), read_lines(file, *table.bounds(numbers))):
                yield number, fields_of(table, number, line)


def teacher_places(table: TsvFile) -> list[int]:
    """Which fields the teacher reads: ``teacher_a`` and ``teacher_b`` where there are such, else the texts."""
    places = []
    for name, instead in TEACHER_COLUMNS.items():
        if instead in table.columns:
            places.append(table.columns.index(instead))
        elif name in table.columns:
            places.append(table.columns.index(name))
    return places
