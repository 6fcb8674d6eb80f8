"""The flags of how the rows of a file are stored, and of which columns count.

args.tables.form()                                  # reader.tables.form.TableForm, for a Reading
"""

from __future__ import annotations

from dataclasses import dataclass

from propeller.flags import flag
from reader.tables.form import AUTO, FORMATS, TableForm


@dataclass(frozen=True)
class TableFlags:
    """rows: how they are stored, and which columns count; the same for all files"""

    format: str = flag(
        AUTO,
        "auto: by the ending of the file's name (.csv, .jsonl, .ndjson, .json, .parquet, .pq; .txt to predict, embed "
        "and search), else TSV; txt: one text per line, without a header",
        choices=(AUTO, *FORMATS),
    )
    text_column: str | None = flag(
        None,
        "the column to read as text_a [the one of this name]; columns that no flag names are then left out",
        metavar="NAME",
    )
    text_pair_column: str | None = flag(
        None, "the column that is text_b, the second text of a pair [the one of this name]", metavar="NAME"
    )

    def form(self) -> TableForm:
        """For readers."""
        return TableForm(self.format, self.text_column, self.text_pair_column)


@dataclass(frozen=True)
class LabelledTableFlags(TableFlags):
    """rows: how they are stored, and which columns count; the same for all files"""

    label_column: str | None = flag(
        None, "the column that is label: a class, tags, or a number [the one of this name]", metavar="NAME"
    )

    def form(self) -> TableForm:
        return TableForm(self.format, self.text_column, self.text_pair_column, self.label_column)
