"""Rows of a file, in the order of the file, without holding it.

for number, fields in rows_of(open_table("train.tsv")): ...        # 0, ["a fine film", "1"]
"""

from __future__ import annotations

from collections.abc import Iterator

from propeller.errors import UserError
from reader.row_file import RowFile
from reader.tables import opening
from reader.tables.form import KNOWN_COLUMNS, PLAIN, TableForm

TEACHER_COLUMNS = {
    "text_a": "teacher_a",
    "text_b": "teacher_b",
}  # what the teacher reads in place of the student's text
COLUMNS = (*KNOWN_COLUMNS, *TEACHER_COLUMNS.values())


def open_table(
    path: str, required: tuple[str, ...] = ("text_a",), form: TableForm = PLAIN, lists: bool = False
) -> RowFile:
    """A file whose columns may be those of training files, and ``teacher_a`` and ``teacher_b``. Raises UserError."""
    return opening.open_table(path, required, COLUMNS, form, lists)


def fields_of(table: RowFile, number: int, record: bytes) -> list[str]:
    """The fields of a row. Raises UserError: file, line, remedy."""
    try:
        return table.layout.fields(record)
    except ValueError as problem:
        raise UserError(f"{table.layout.where(number)}: {problem}") from None


def rows_of(table: RowFile, begin: int = 0, end: int | None = None) -> Iterator[tuple[int, list[str]]]:
    """(number from 0, fields) of the rows from ``begin`` on, before ``end``. Raises UserError: see ``fields_of``."""
    for number, record in table.records(begin=begin, end=end):
        yield number, fields_of(table, number, record)


def teacher_places(table: RowFile) -> list[int]:
    """Which fields the teacher reads: ``teacher_a`` and ``teacher_b`` where there are such, else the texts."""
    places = []
    for name, instead in TEACHER_COLUMNS.items():
        if instead in table.columns:
            places.append(table.columns.index(instead))
        elif name in table.columns:
            places.append(table.columns.index(name))
    return places
