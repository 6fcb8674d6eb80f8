"""Opens a file of rows, whatever its form.

table = open_table("reviews.csv", ("text_a", "label"), form=TableForm(text_a="review", label="stars"))
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from reader.row_file import BOM, RowFile
from reader.tables.csv_table import CsvFile
from reader.tables.form import AUTO, KNOWN_COLUMNS, LINES, PLAIN, REFUSE, TableForm
from reader.tables.json_table import JsonArrayFile, JsonLinesFile
from reader.tables.lines_table import LinesFile
from reader.tables.parquet_table import ParquetFile
from reader.tsv import TsvFile

HEAD = 1 << 12


def open_table(
    path: str | Path,
    required: Iterable[str] = ("text_a",),
    known: Collection[str] = KNOWN_COLUMNS,
    form: TableForm = PLAIN,
    lists: bool = False,
) -> RowFile:
    """The rows of a file.

    A name that ends in .csv and whose first line has tabs is a TSV, as before there was CSV; .json may hold a JSON
    object per line; .txt may be lines of text without a header, see ``holds_lines``.

    Args:
        path: the file.
        required, known: columns that have to, and may, be there.
        form: how it is stored, and which columns count.
        lists: whether JSON and Parquet may have lists of tokens and tags.

    Raises:
        UserError: see ``RowFile`` and the form's class.
    """
    kind = kind_of(path, form)
    classes: dict[str, Any] = {
        LINES: LinesFile, "tsv": TsvFile, "csv": CsvFile, "jsonl": JsonLinesFile, "json": JsonArrayFile,
        "parquet": ParquetFile,
    }  # fmt: skip
    more = () if kind in (LINES, "tsv", "csv") else (lists,)
    table = classes[kind](path, required, known, form, *more)
    table.layout.own = dict(table.facts.get("columns", {}))
    return table


def kind_of(path: str | Path, form: TableForm = PLAIN) -> str:
    """Which of ``FORMATS`` a file is of: as the form says, else by its name and its beginning."""
    if holds_lines(path, form):
        return LINES
    kind = form.format_of(path)
    if form.format == AUTO and kind in ("csv", "json"):
        head = _head(path)
        first = head.split(b"\n", 1)[0]
        if kind == "csv" and b"\t" in first and b'"' not in first:
            return "tsv"
        if kind == "json" and head.lstrip().startswith(b"{"):
            return "jsonl"
    return kind


def holds_lines(path: str | Path, form: TableForm = PLAIN) -> bool:
    """Whether every line of a file is a text, without a header.

    By ``--format txt``; else to predict, of a file .txt whose first line names no column that is known or was chosen.
    """
    if form.format != AUTO or form.chosen or form.others == REFUSE:
        return form.format == LINES
    if Path(path).suffix.lower() != ".txt":
        return False
    names = _head(path).split(b"\n", 1)[0].rstrip(b"\r").split(b"\t")
    return b"text_a" not in names


def _head(path):
    """The beginning of a file, b"" where it cannot be read: who opens it says why."""
    try:
        if not Path(path).is_file():
            return b""
        with open(path, "rb") as file:
            return file.read(HEAD).removeprefix(BOM)
    except OSError:
        return b""
