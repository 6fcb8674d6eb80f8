"""Rows of text files with the line that each stands on, for messages: TSV with a header, JSON lines, plain lines.

from finetune.scoring.rows import read_lines, read_table
rows = read_table("predictions.tsv", read_lines("predictions.tsv"))
rows[0].line, rows[0].values["label"]
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from finetune.scoring.tables import table_lines
from propeller.errors import UserError
from propeller.json_file import what_is_wrong
from reader.tsv import not_utf8, shorten


class Line(NamedTuple):
    """A line without its end; number counts from 1."""

    number: int
    text: str


class Row(NamedTuple):
    """A row of a table or of JSON lines: the line it stands on, column or key -> value."""

    line: int
    values: dict[str, Any]


def at(path: str | os.PathLike[str], line: int) -> str:
    """How a message begins: ``path, line N``."""
    return f"{path}, line {line}"


def read_lines(path: str | os.PathLike[str]) -> list[Line]:
    """The lines of a UTF-8 file, blank ones too; a BOM and the CR of line ends are left out.

    Of CSV, JSON arrays of rows and Parquet those of the same rows as TSV or JSON lines, see ``table_lines``.

    Raises:
        UserError: it cannot be read, is empty, or is not UTF-8.
    """
    try:
        with open(path, "rb") as file:
            content = file.read().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): check the path") from error
    if not content.strip():
        raise UserError(f"{path}: the file is empty: give one with predictions or labels")
    table = table_lines(Path(path), content)
    if table is not None:
        return [Line(*line) for line in table]
    lines = []
    for number, line in enumerate(content.split(b"\n"), 1):
        try:
            lines.append(Line(number, line.decode("utf8").removesuffix("\r")))
        except UnicodeDecodeError as error:
            raise UserError(f"{at(path, number)}: {not_utf8(path, error)}") from None
    while lines and not lines[-1].text.strip():
        lines.pop()
    return lines


def is_json_lines(lines: Sequence[Line]) -> bool:
    """Whether the first line that is not blank begins a JSON object."""
    return next((line.text for line in lines if line.text.strip()), "").lstrip().startswith("{")


def read_json_lines(path: str | os.PathLike[str], lines: Sequence[Line]) -> list[Row]:
    """The objects of JSON lines; blank lines are left out.

    Raises:
        UserError: a line is no JSON object.
    """
    rows = []
    for line in lines:
        if not line.text.strip():
            continue
        try:
            value = json.loads(line.text)
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{at(path, line.number)}: not JSON ({what_is_wrong(error)}): give one JSON object per line"
            ) from None
        if not isinstance(value, dict):
            raise UserError(f"{at(path, line.number)}: no JSON object: give one per line")
        rows.append(Row(line.number, value))
    return rows


def columns_of(lines: Sequence[Line]) -> list[str]:
    """The fields of the first line, which may be a header."""
    return lines[0].text.split("\t")


def read_table(path: str | os.PathLike[str], lines: Sequence[Line]) -> list[Row]:
    """The rows under the header of a TSV file.

    Raises:
        UserError: a column is named twice, a row has another number of fields, there is no row.
    """
    columns = columns_of(lines)
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{at(path, 1)}: the column {shorten(twice)} is there twice: rename one")
    rows = []
    for line in lines[1:]:
        fields = line.text.split("\t")
        if len(fields) != len(columns):
            raise UserError(
                f"{at(path, line.number)}: {len(fields)} fields, the header has {len(columns)}: correct the row"
            )
        rows.append(Row(line.number, dict(zip(columns, fields))))
    if not rows:
        raise UserError(f"{at(path, 1)}: there is a header but no row: give a file with rows")
    return rows


def check_counts(
    predictions: str | os.PathLike[str], found: Sequence[int], reference: str | os.PathLike[str], wanted: Sequence[int]
) -> None:
    """Raise UserError where two files have different numbers of rows; found and wanted are the lines of theirs."""
    if len(found) == len(wanted):
        return
    more = (predictions, found) if len(found) > len(wanted) else (reference, wanted)
    line = more[1][min(len(found), len(wanted))]
    raise UserError(
        f"{predictions} has {len(found)} rows, {reference} has {len(wanted)}; the first without a counterpart is "
        f"{at(more[0], line)}: give the predictions of that file"
    )
