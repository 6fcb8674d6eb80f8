"""Tables and JSON as they are distributed -> a TSV of the readers: fields between tabs, no quotes, known columns.

    python script/convert_table.py reviews.csv train.tsv --columns text_a=review label=stars
    python script/convert_table.py rows.jsonl train.tsv --columns text_a=sentence1 text_b=sentence2 label=label
    python script/convert_table.py quoted.tsv train.tsv

Reads CSV (commas, semicolons, |) and TSV with quoted fields, JSON lines and a JSON array of objects, told by the first
lines. --columns names what becomes text_a, text_b, label and qid; without it columns of these names are taken, and all
others are left out. A tab or line end inside a text becomes a blank, counted. A label that is no integer stays a word:
a label_map.json of all of them is written beside the file. One that is there keeps its labels and their numbers.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository

from propeller.encoding import remedy
from propeller.errors import UserError, exit_on_user_error
from propeller.flags import FlagParser
from reader.forms import HEAD, first_lines, json_form
from reader.row_encoder import LabelRule, read_int
from reader.tsv import KNOWN_COLUMNS
from script import label_maps
from script.conversion import ALLOW_REFUSED, Refused, Report

LABEL_MAP = "label_map.json"
BLANKS = str.maketrans("\t\r\n", "   ")
LONGEST = 1 << 24


def arguments():
    """The flags."""
    parser = FlagParser(prog="python script/convert_table.py", description=__doc__.splitlines()[0])
    parser.add_argument("input", metavar="FILE", help="the table")
    parser.add_argument("output", metavar="OUT", help="the .tsv to write")
    parser.add_argument(
        "--columns", nargs="+", default=[], metavar="NEW=OLD", help=f"NEW: one of {', '.join(KNOWN_COLUMNS)}"
    )
    parser.add_argument(ALLOW_REFUSED, action="store_true", help="convert a file even if most of its rows are refused")
    return parser


def wanted(pairs):
    """{new: old} of --columns. Raises UserError."""
    found = {}
    for pair in pairs:
        new, sign, old = pair.partition("=")
        if not sign or new not in KNOWN_COLUMNS or new in found:
            raise UserError(f"--columns {pair}: give NEW=OLD, NEW each once and one of {', '.join(KNOWN_COLUMNS)}")
        found[new] = old
    return found


def records(path):
    """(the names, rows as (line, list of text) or (line, Refused)) of a file, by its first lines."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start + 1} is not UTF-8; {remedy(path, content)}") from None
    if json_form(text[:HEAD]) in ("jsonl", "array"):
        return _json_records(path, text)
    lines = first_lines(content[:HEAD], len(content) <= HEAD)
    separator = max("\t,;|", key=(lines[0] if lines else "").count)
    csv.field_size_limit(LONGEST)
    rows = csv.reader(text.splitlines(keepends=True), delimiter=separator)
    names = next(rows, [])
    return names, _csv_rows(path, rows, len(names))


def _csv_rows(path, rows, width):
    while True:
        begin = rows.line_num + 1
        try:
            fields = next(rows, None)
        except csv.Error as error:
            raise UserError(f"{path}, line {begin}: {error}; correct its quotes") from None
        if fields is None:
            return
        if fields:
            yield (
                begin,
                fields if len(fields) == width else Refused(f"{len(fields)} fields where there are {width} columns"),
            )


def _json_records(path, text):
    try:
        values = json.loads(text) if text.lstrip().startswith("[") else None
        numbered = enumerate(values, 1) if values is not None else [
            (number, json.loads(line)) for number, line in enumerate(text.split("\n"), 1) if line.strip()
        ]  # fmt: skip
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); give one object per line, or an array of objects") from None
    found = list(numbered)
    names = list(dict.fromkeys(name for _, row in found if isinstance(row, dict) for name in row))

    def rows():
        for number, row in found:
            if not isinstance(row, dict):
                yield number, Refused("no object")
            else:
                yield number, [_plain(row.get(name, "")) for name in names]

    return names, rows()


def _plain(value):
    """A value of JSON as text; Refused for one that is not plain."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(int(value))
    return str(value) if isinstance(value, (int, float)) else Refused("a field is null, a list or an object")


def chosen(path, names, columns):
    """{new: place among the names}. Raises UserError: a column is not there, or no text."""
    names = [name.strip() for name in names]
    columns = columns or {name: name for name in KNOWN_COLUMNS if name in names}
    shown = ", ".join(name or "(no name)" for name in names)
    for new, old in columns.items():
        if old not in names:
            raise UserError(f"{path}, line 1: no column {old!r} for {new} (there: {shown}); correct --columns")
    if "text_a" not in columns:
        raise UserError(f"{path}, line 1: which column is the text? (there: {shown}); give --columns text_a=NAME")
    return {new: names.index(old) for new, old in columns.items()}


def picked(rows, places, blanks):
    """The fields that are wanted; blanks: a list that takes the lines in which a tab or a line end became a blank."""
    for line, fields in rows:
        if isinstance(fields, Refused):
            yield line, fields
            continue
        values = [fields[place] for place in places.values()]
        problem = next((value for value in values if isinstance(value, Refused)), None)
        if problem is None and any(value != value.translate(BLANKS) for value in values):
            blanks.append(line)
            values = [value.translate(BLANKS) for value in values]
        yield line, problem or values


def label_rule(rows, header):
    """(the LabelRule of the label column, the label map that goes with it or None)."""
    if "label" not in header:
        return LabelRule(None), None
    words = {row[header.index("label")] for _, row in rows if not isinstance(row, Refused)}
    for kind, read in (("class", lambda word: read_int(word) >= 0), ("float", lambda word: float(word) == float(word))):
        try:
            if all(map(read, words)):
                return LabelRule(kind), None
        except ValueError:
            continue
    mapping = {word: number for number, word in enumerate(sorted(words))}
    return LabelRule("class", mapping), mapping


def main(argv):
    """Convert; returns the exit status."""
    args = arguments().parse_args(argv)
    source, target = Path(args.input), Path(args.output)
    names, found = records(source)
    places = chosen(source, names, wanted(args.columns))
    header, blanks = list(places), []
    rows = list(picked(found, places, blanks))
    rule, mapping = label_rule(rows, header)
    own = mapping
    if mapping:
        mapping = label_maps.with_those_there(target.parent / LABEL_MAP, mapping)
        rule = LabelRule("class", mapping)
    report = Report(args.allow_refused)
    report.convert(source, target, header, rows, labels=rule)
    if blanks:
        print(f"    changed: a tab or a line end inside a text became a blank in {len(blanks)} rows (line {blanks[0]})")
    if mapping:
        label_maps.write(target.parent / LABEL_MAP, mapping, own=own)
    return report.finish(source)


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
