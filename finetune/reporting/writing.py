"""A report as files: text, JSON, TSV, one HTML page that opens without a server, a picture of the confusion matrix.

write_report(report, "report")
"""

from __future__ import annotations

import base64
import html
import json
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from finetune.prediction.formats import on_one_line
from finetune.reporting.parts import Matrix, Report, Table
from finetune.reporting.picture import chosen_classes, draw
from propeller.files import atomic_directory

SHOWN_ROWS = 1000  # of the wrong rows on the page
PICTURE = "confusion.png"
# Facts whose names in report.json are not the words for them; of the others _ becomes a blank.
WORDS = {
    "f1": "F1",
    "em": "exact match",
    "macro_f1": "F1, mean of classes",
    "weighted_f1": "F1, mean by rows",
    "unknown_share": "share of [UNK] among the word pieces",
    "cut": "texts that were cut",
    "longest": "tokens of the longest text",
    "tag_accuracy": "share of the tags that are right",
    "suspects": "likely label errors",
    "mean_error": "mean distance of predictions from labels",
    "bias": "mean difference of predictions from labels",
    "by_chance": "accuracy of guessing",
    "several_windows": "questions read in several windows",
}
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:.5rem 0 2rem;display:block;overflow-x:auto}"
    "th,td{border:1px solid #ccc;padding:.2rem .6rem;text-align:left;vertical-align:top}"
    "th{background:#f3f3f3}td.n{text-align:right;font-variant-numeric:tabular-nums}img{max-width:100%}"
)


def write_report(report: Report, folder: str | Path, overwrite: bool = False) -> list[str]:
    """Write all files of a report; returns their names. The folder appears whole or not at all.

    Args:
        report: what is written.
        folder: the new directory.
        overwrite: whether one that is there is replaced.

    Raises:
        UserError: it is there, or cannot be written.
    """
    with atomic_directory(folder, overwrite) as temporary:
        picture, key = None, {}
        if report.matrix is not None and len(report.matrix.labels):
            picture = temporary / PICTURE
            key = draw(report.matrix, picture)
        contents = {
            "report.txt": as_text(report),
            "report.json": json.dumps(as_json(report), ensure_ascii=False, indent=1) + "\n",
            "wrong.tsv": as_tsv(report.wrong),
            "report.html": as_page(report, picture, key),
        }
        if report.suspects is not None:
            contents["label_errors.tsv"] = as_tsv(report.suspects)
        for name, text in contents.items():
            _write(temporary / name, text)
        return sorted([*contents, *([PICTURE] if picture else [])])


def _write(path, text):
    with open(path, "w", encoding="utf8", newline="\n") as file:
        file.write(text)


def shown(value: Any) -> str:
    """A cell as text."""
    if isinstance(value, (float, np.floating)):
        return f"{value:.4f}"
    return str(value)


def facts_in_words(report: Report) -> list[tuple[str, Any]]:
    """(what it is in plain words, number or text) of each fact that is not a table of its own."""
    facts = {name: value for name, value in report.facts.items() if not isinstance(value, dict)}
    return [(WORDS.get(name, name.replace("_", " ")), value) for name, value in facts.items()]


def as_text(report: Report) -> str:
    """Facts, tables and the matrix, in columns."""
    lines = [f"{report.source}: {report.task}", ""]
    lines += [f"{name}: {shown(value)}" for name, value in facts_in_words(report)]
    tables = [*report.tables, *([matrix_table(report.matrix)] if report.matrix is not None else [])]
    for table in tables:
        lines += ["", table.title, table.about, "", *in_columns(table)]
    return "\n".join(lines) + "\n"


def in_columns(table: Table) -> list[str]:
    """The lines of a table; a CJK character takes two places."""
    cells = [[on_one_line(shown(value)) for value in row] for row in (table.header, *table.rows)]
    widths = [max(map(_width, column)) for column in zip(*cells)]
    numeric = [all(row[place] == "" or not isinstance(row[place], str) for row in table.rows)
               for place in range(len(widths))]  # fmt: skip

    def line(row):
        padded = []
        for cell, width, right in zip(row, widths, numeric):
            blanks = " " * (width - _width(cell))
            padded.append(blanks + cell if right else cell + blanks)
        return "  ".join(padded).rstrip()

    return [line(row) for row in cells]


def _width(text):
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def matrix_table(matrix: Matrix) -> Table:
    """The matrix as a table, of many classes those that are confused most."""
    chosen = chosen_classes(matrix)
    labels = [matrix.labels[number] for number in chosen]
    rows: list[list[Any]] = [[label, *matrix.counts[number, chosen].tolist()] for label, number in zip(labels, chosen)]
    if matrix.none is not None and matrix.none in labels:
        place = labels.index(matrix.none)
        rows[place][place + 1] = ""
    more = len(matrix.labels) - len(chosen)
    also = f" The {len(chosen)} classes with most errors; {more} others are left out." if more else ""
    return Table("Confusion matrix", f"A row per label, a column per prediction.{also}", ["label", *labels], rows)


def as_json(report: Report) -> dict[str, Any]:
    """The facts and tables of a report, without its rows."""
    return {
        "task": report.task,
        "file": report.source,
        **report.facts,
        "tables": [{"title": table.title, "rows": [dict(zip(table.header, row)) for row in table.rows]}
                   for table in report.tables],
        "confusion": None if report.matrix is None else {
            "labels": report.matrix.labels, "counts": report.matrix.counts.tolist(),
        },
    }  # fmt: skip


def as_tsv(table: Table) -> str:
    """A header and the rows."""
    rows = [table.header, *([on_one_line(shown(value)) for value in row] for row in table.rows)]
    return "".join("\t".join(row) + "\n" for row in rows)


def as_page(report: Report, picture: Path | None = None, key: Mapping[int, str] | None = None) -> str:
    """One HTML page with everything in it; texts are escaped, and it loads nothing from elsewhere.

    Args:
        report: what is shown.
        picture: of the confusion matrix.
        key: what the numbers of classes in the picture stand for.
    """
    title = html.escape(f"{report.source}: {report.task}")
    parts = [
        "<!doctype html>", '<html lang="en"><head><meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
        "style-src 'unsafe-inline'\">",
        f"<title>{title}</title><style>{STYLE}</style></head><body>", f"<h1>{title}</h1>",
    ]  # fmt: skip
    parts += _html_table(Table("", "", ["", ""], [list(fact) for fact in facts_in_words(report)]))
    for table in report.tables:
        parts += _section(table)
    if report.matrix is not None:
        parts += _section(matrix_table(report.matrix))
    if picture is not None:
        data = base64.b64encode(picture.read_bytes()).decode("ascii")
        parts.append(f'<img alt="Confusion matrix" src="data:image/png;base64,{data}">')
    if key:
        names = ", ".join(f"{number} {name}" for number, name in key.items())
        parts.append(f"<p>Classes in the picture: {html.escape(names)}</p>")
    for whole in (report.suspects, report.wrong):
        if whole is not None:
            left = len(whole.rows) - SHOWN_ROWS
            about = f"{whole.about} {left} more are in the TSV file." if left > 0 else whole.about
            parts += _section(whole._replace(about=about, rows=whole.rows[:SHOWN_ROWS]), f" ({len(whole.rows)})")
    return "\n".join([*parts, "</body></html>"]) + "\n"


def _section(table, count=""):
    head = [f"<h2>{html.escape(table.title)}{count}</h2>", f"<p>{html.escape(table.about)}</p>"]
    return head + (_html_table(table) if table.rows else ["<p>None.</p>"])


def _html_table(table) -> Sequence[str]:
    def cell(value):
        kind = "" if isinstance(value, str) else ' class="n"'
        return f"<td{kind}>{html.escape(shown(value))}</td>"

    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.header)
    rows = ["<tr>" + "".join(map(cell, row)) + "</tr>" for row in table.rows]
    return ["<table>", f"<tr>{head}</tr>", *rows, "</table>"]
