"""Rows of the user's file as a report shows them: which row it is, what the report says of it, the file's columns.

rows = ShownRows(reader.table)
rows.table("Wrong rows", "The surest first.", ["label", "predicted"], [(7, ["good", "bad"])])
# Table(..., header=["row", "line", "label", "predicted", "text_a", "id"], rows=[[8, 12, "good", "bad", "dull", "T-8"]])
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from finetune.prediction.formats import COPIED, CopiedColumns, table_rows
from finetune.reporting.parts import Table
from reader.row_file import RowFile

ROW = "row"


class ShownRows:
    """The rows of a file.

    Args:
        table: the file; columns that nobody reads are copied, as batch prediction copies them.
        known: of the columns that a task reads those that are shown.
    """

    def __init__(self, table: RowFile, known: Sequence[str] = COPIED) -> None:
        self.file, self.known = table, known
        self.rows = list(table_rows(table))

    def table(
        self, title: str, about: str, header: Sequence[str], entries: Iterable[tuple[int, Sequence[Any]]]
    ) -> Table:
        """A ``Table`` of some rows.

        The number of a row counts from 1; its line is where it begins, which differs where a field has line ends.

        Args:
            title, about: see ``Table``.
            header: what the report says of each row.
            entries: (number of the row from 0, what is said of it).
        """
        layout = self.file.layout
        places = [ROW] if layout.unit == ROW else [ROW, layout.unit]
        columns = CopiedColumns(self.file.columns, self.known)
        shown = columns.shown({*places, *header})
        made: list[list[Any]] = []
        for row, said in entries:
            place = [self.file.row_number(row), layout.number(row)][: len(places)]
            made.append([*place, *said, *(columns.cell(name, self.rows[row][name]) for name in shown)])
        return Table(title, about, [*places, *header, *shown.values()], made)
