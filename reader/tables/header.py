"""The columns of a file, looked at before anything that takes long: its header, or its first row.

check_columns("tickets.csv", TableForm(text_a="body", label="taem"), ("text_a", "label"))
# UserError: tickets.csv, line 1: no column 'taem' (--label_column; there: id, subject, body, team); ...
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Collection, Iterable
from pathlib import Path

from reader.row_file import BOM, LONGEST_LINE
from reader.tables.csv_table import parse, separator_of
from reader.tables.form import COPY, KNOWN_COLUMNS, PLAIN, TableForm
from reader.tables.opening import kind_of, open_table
from reader.tables.parquet_table import import_parquet


def check_columns(
    path: str | Path,
    form: TableForm = PLAIN,
    required: Iterable[str] = ("text_a",),
    known: Collection[str] = KNOWN_COLUMNS,
    lists: bool = False,
) -> None:
    """Raise UserError where a file lacks a column that it needs, or that a flag names. No more than its head is read.

    Args:
        path: the file.
        form: how it is stored, and which columns count.
        required: the columns that it needs, as we call them.
        known: those that it may have.
        lists: see ``open_table``.

    Raises:
        UserError: as ``open_table``, which is asked where something seems to be wrong.
    """
    try:
        names = column_names(path, form, known)
    except (OSError, ValueError, LookupError, csv.Error):
        names = None
    wanted = {form.chosen.get(ours, ours) for ours in required}
    strict = form.others == COPY  # to train, test sets without labels are read with the flags of the training file
    wanted |= {theirs for ours, theirs in form.chosen.items() if ours in known and (strict or ours != "label")}
    if names is None or not wanted <= {*names}:
        open_table(path, required, known, form, lists)


def column_names(path: str | Path, form: TableForm = PLAIN, known: Collection[str] = KNOWN_COLUMNS) -> list[str] | None:
    """The names of a file's columns, of JSON those of the first row; None where they cannot be told at a glance.

    Raises:
        OSError, ValueError, LookupError: the file cannot be read, or is not what it seems to be.
    """
    kind = kind_of(path, form)
    if kind == "txt":
        return ["text_a"]
    if kind == "parquet":
        return list(import_parquet().read_schema(path).names)
    with open(path, "rb") as file:
        if kind == "json":
            return _first_keys(file)
        line = file.readline(LONGEST_LINE).removeprefix(BOM).decode("utf-8").rstrip("\r\n")
        if kind == "jsonl":
            return list(json.loads(line))
        if kind == "tsv":
            return line.split("\t")
        separator = separator_of(line, {*known, *form.chosen.values()})
        return [name.strip() for name in parse(line, separator)]


def _first_keys(file):
    """The keys of the first object of a JSON array whose beginning is at hand; None where it is not."""
    head = file.read(1 << 20).removeprefix(BOM).decode("utf-8", "ignore").lstrip()
    after = "".join(itertools.dropwhile(str.isspace, head[1:])) if head.startswith("[") else ""
    return list(json.JSONDecoder().raw_decode(after)[0]) if after.startswith("{") else None
