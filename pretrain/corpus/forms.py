"""Which form a text file has, by its first lines: what is certain is taken, the rest is refused with its remedy.

form_of("wiki_00", head, whole=False, text_field="text")        # "jsonl"

No name decides, but where the first lines do not tell: an ending of JSON lines then means JSON lines.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from pretrain.corpus.compression import SUFFIXES
from pretrain.corpus.records import DOC
from propeller.errors import UserError
from reader.forms import first_lines, json_form, looks_tagged, table_columns

FORMATS = ("auto", "text", "jsonl", "json", "doc", "csv", "tsv")
JSON_LINES = (".jsonl", ".json", ".ndjson", ".jsonlines")
SHARD = re.compile(r"[\d ]+;[\d ]+;[\d ]+;[-\d ]+;-?\d+")
ANYWAY = "where it is text all the same, give --format text"


def form_of(path: str | Path, data: bytes, whole: bool) -> str:
    """One of FORMATS but ``auto``.

    Args:
        path: the file.
        data: the beginning of its content, decompressed.
        whole: whether that is all of it.

    Raises:
        UserError: it looks like something that is no text to pre-train on.
    """
    _refuse_cr(path, data)
    lines = [line for line in first_lines(data, whole) if line.strip()]
    first = lines[0].strip() if lines else ""
    if DOC.fullmatch(first):
        return "doc"
    _refuse_markup(path, first)
    found = json_form(data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace"))
    if found == "jsonl":
        return "jsonl"
    if found == "array":
        return "json"
    if found == "object" and not _named_json_lines(path):
        raise UserError(
            f"{path}, line 1: looks like one JSON object over several lines; give an array of objects with `text`, or "
            f"one a line; {ANYWAY}"
        )
    if _named_json_lines(path):
        return "jsonl"
    if lines and SHARD.match(lines[0]):
        raise UserError(
            f"{path}, line 1: looks like a shard that was built already; train.py reads it, by --train_filelist"
        )
    for name, separator in (("tsv", "\t"), ("csv", ",")):
        if table_columns(lines, separator):
            return name
    if looks_tagged(lines):
        raise UserError(
            f"{path}, line 1: looks like tagged text, a token and its tag a line; script/convert_tagged.py makes a "
            f"file for run_sequence_labeling.py of it; {ANYWAY}"
        )
    return "text"


def _named_json_lines(path):
    name = Path(path)
    return (name.with_suffix("") if name.suffix in SUFFIXES else name).suffix in JSON_LINES


def _refuse_cr(path, data):
    """Text whose lines end with CR alone would be one paragraph; its documents would be run together."""
    if b"\r" in data.strip() and b"\n" not in data:
        unpack = "unpack it, then " if Path(path).suffix in SUFFIXES else ""
        raise UserError(
            f"{path}, line 1: its lines end with CR alone, as on old Macs, so that all would be one line; {unpack}run "
            f"tr '\\r' '\\n' < {shlex.quote(str(path))} > OUT; {ANYWAY}"
        )


def _refuse_markup(path, first):
    start = first.lower()
    if start.startswith("<mediawiki"):
        raise UserError(
            f"{path}, line 1: looks like an XML dump of a wiki; extract its articles, as with python -m "
            f"wikiextractor.WikiExtractor --json -o OUT {path}, and give --input 'OUT/*/wiki_*'; {ANYWAY}"
        )
    if start.startswith(("<?xml", "<!doctype", "<html")):
        raise UserError(f"{path}, line 1: looks like XML or HTML; extract its text first; {ANYWAY}")
