"""CSV, JSON arrays and Parquet for scores: their rows as the lines of a TSV, or of JSON lines where values are lists.

lines = table_lines("rows.parquet", content)        # None: a file whose lines are rows already

Each line keeps the number of its row in the file, for messages: the line where it begins, in Parquet its count from 1.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from propeller.errors import UserError
from reader.tables.form import ENDINGS

SEPARATORS = (",", ";", "\t", "|")
JOINT = "\x02"  # between tokens or tags
BLANKS = str.maketrans("\t\n\r", "   ")  # as a prediction file has them
ROW_KEYS = {"label", "labels", "tags", "prediction", "predictions", "score"}
CSV_LIMIT = 1 << 24

Rows = list[tuple[int, dict[str, Any]]]


def table_lines(path: Path, content: bytes) -> list[tuple[int, str]] | None:
    """(number, text) of the lines that a file's rows make; None where the file is of lines, or SQuAD's JSON.

    Args:
        path: named in messages; its ending says the form.
        content: of the file, without a byte-order mark.

    Raises:
        UserError: the file is not of the form that its name says.
    """
    kind = ENDINGS.get(path.suffix.lower())
    if kind == "csv":
        rows = _csv(path, content)
    elif kind == "json":
        rows = _json(path, content)
    elif kind == "jsonl":
        rows = _tagged_lines(content)
    elif kind == "parquet":
        rows = _parquet(path)
    else:
        rows = None
    return None if rows is None else _as_lines(path, rows)


def _csv(path, content):
    first = content.split(b"\n", 1)[0]
    if b"\t" in first and b'"' not in first:  # a TSV, whatever it is called
        return None
    try:
        text = content.decode("utf8")
    except UnicodeDecodeError:
        return None  # who reads the lines says where
    separator = max(SEPARATORS, key=text.split("\n", 1)[0].count)
    csv.field_size_limit(CSV_LIMIT)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    found: Rows = []
    begin = 1
    try:
        header = next(reader, [])
        begin = reader.line_num + 1
        for fields in reader:
            if fields and len(fields) != len(header):
                raise UserError(
                    f"{path}, line {begin}: {len(fields)} fields, the header has {len(header)}: correct the row"
                )
            if fields:
                found.append((begin, dict(zip(header, fields))))
            begin = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}, line {begin}: {error}; correct its quotes") from None
    return found


def _json(path, content):
    if not content.lstrip().startswith(b"["):
        return None  # JSON lines, or an object
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: no JSON ({error}): give an array of objects") from None
    if not values or not all(isinstance(value, dict) for value in values) or not ROW_KEYS & set(values[0]):
        return None
    if "id" in values[0] and "label" not in values[0]:  # answers of reading comprehension
        return None
    return list(enumerate(values, 1))


def _tagged_lines(content):
    """The rows of JSON lines whose text_a is a list of tokens; None for others, which are lines already."""
    lines = [(number, line) for number, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    try:
        rows = [(number, json.loads(line)) for number, line in lines]
    except (ValueError, RecursionError):
        return None  # who reads the lines says where
    tagged = all(isinstance(row, dict) and isinstance(row.get("text_a"), list) and "label" in row for _, row in rows)
    return rows if tagged else None


def _parquet(path):
    from reader.tables.parquet_table import import_parquet

    parquet = import_parquet()
    import pyarrow

    try:
        return list(enumerate(parquet.read_table(path).to_pylist(), 1))
    except (pyarrow.ArrowException, OSError) as error:
        said = str(error).split("\n", 1)[0]
        raise UserError(f"{path}: is not a Parquet file that pyarrow reads ({said}); write it again") from None


def _as_lines(path, rows):
    if not rows:
        raise UserError(f"{path}: there is no row; give a file with rows")
    keys = list(dict.fromkeys(key for _, row in rows for key in row))
    values = [value for _, row in rows for value in row.values()]
    lists = any(isinstance(value, (list, dict)) for value in values)
    if lists and not all(isinstance(row.get("text_a"), list) for _, row in rows):
        return [(number, json.dumps(row, ensure_ascii=False, default=str)) for number, row in rows]
    lines = [(1, "\t".join(map(str, keys)))]
    return lines + [(number, "\t".join(_cell(row.get(key)) for key in keys)) for number, row in rows]


def _cell(value):
    if isinstance(value, list):
        return JOINT.join(map(str, value)).translate(BLANKS)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value).translate(BLANKS)
