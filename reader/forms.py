"""What a file looks like, told by its first lines and never by its name.

looks_tagged(["EU NNP B-NP B-ORG", "rejects VBZ B-VP O"])       # True: a token and its tag a line
table_columns(["id,title,content", "0,a,b"], ",")               # ["id", "title", "content"]
json_form('{"text": "a"}\\n{"text": "b"}\\n')                     # "jsonl"

Readers take what is certain and refuse the rest with the flag or the command that reads it.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Collection, Sequence

from reader.tables.usual_names import OURS, proposal

HEAD = 1 << 16  # bytes that are looked at
LINES = 50
DOCSTART = "-DOCSTART-"
PREFIXED = re.compile(r"(?:[BIESMLU][-_]\S+|\S+[-_][BIESMLU])")  # B-PER, B_PER, PER-B
TAG = re.compile(rf"(?:O|[BIESMLU]|{PREFIXED.pattern})")
_PART = r"""(?:'[^']*'|"[^"]*"|-?\d+)"""
PRINTED_LIST = re.compile(rf"""\[\s*(?:{_PART}[\s,]+{_PART}[^\[]*|'[^']*'|"[^"]*")\s*\]""")
NAME = re.compile(r"[A-Za-z_#][\w#.-]*(?: [\w#.-]+){0,3}")  # a column's name in a header
QUOTES = "\"'"
SEPARATORS = {",": "commas", ";": "semicolons", "|": "|"}
TABLE_COMMAND = "python script/convert_table.py {path} OUT.tsv"
CLASS = re.compile(r"-?\d{1,3}(?:\.\d+)?")
SENTENCE = re.compile(r"[。，！；]|.{15}[.!?？]$|.{60}")
MOST = 0.8  # of the lines have to agree


def first_lines(data: bytes, whole: bool = False) -> list[str]:
    """The first lines of bytes, without line ends and byte-order mark; one that was cut is left out.

    Args:
        data: the beginning of a file.
        whole: whether it is all of it.
    """
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    found = text.split("\n")
    if not whole and len(found) > 1:
        found.pop()
    return [line.removesuffix("\r") for line in found[:LINES]]


def tag_columns(line: str) -> list[str]:
    """The columns of a line of tagged text: between tabs where it has one, else between blanks."""
    return [part.strip() for part in line.split("\t")] if "\t" in line.strip() else line.split()


def looks_tagged(lines: Sequence[str]) -> bool:
    """Whether each line is a token and its tag, perhaps with columns between: CoNLL's, BIO and BMES files."""
    rows = [tag_columns(line) for line in lines if line.strip()]
    if rows and rows[0][:1] == [DOCSTART]:
        return True
    if len(rows) < 2:
        return False
    tagged = [len(row) > 1 and bool(TAG.fullmatch(row[-1])) for row in rows]
    certain = any(len(row) > 1 and (PREFIXED.fullmatch(row[-1]) or row[-1] == "O") for row in rows)
    return certain and sum(tagged) >= MOST * len(rows)


def is_printed_list(field: str) -> bool:
    """Whether a field is a list as Python, numpy or JSON prints it: ``['sport' 'politics']``, ``[0, 1]``."""
    return bool(PRINTED_LIST.fullmatch(field.strip()))


def table_columns(lines: Sequence[str], separator: str) -> list[str] | None:
    """The names in the first line of a table, or None: the lines are none.

    The names have to be words, each once, and the rows as wide as the first line.
    """
    if len(lines) < 2 or separator not in lines[0]:
        return None
    rows = list(csv.reader(lines, delimiter=separator)) if separator != "\t" else [line.split("\t") for line in lines]
    names, rows = rows[0], [row for row in rows[1:] if row not in ([], [""])]
    if len(names) < 2 or len(set(names)) < len(names) or not all(NAME.fullmatch(name) for name in names[1:]):
        return None
    if names[0] and not NAME.fullmatch(names[0]):  # pandas leaves the name of its index out
        return None
    cut = rows[:-1] if len(rows) > 1 else rows  # within quotes a last row may go on
    same = sum(len(row) == len(names) for row in cut)
    return names if cut and same >= MOST * len(cut) else None


def json_form(text: str) -> str | None:
    """ "jsonl" (an object a line), "array" (of objects), "object" (one over several lines) or None."""
    start = text.lstrip()
    if start.startswith("["):
        rest = start[1:].lstrip()
        return "array" if rest.startswith("{") else None
    if not start.startswith("{"):
        return None
    line = start.split("\n", 1)[0]
    try:
        if isinstance(json.loads(line), dict):
            return "jsonl"
    except (ValueError, RecursionError):
        pass
    rest = start[1:].lstrip()
    return "object" if rest.startswith(('"', "}")) else None


def header_hint(path: str, data: bytes, known: Collection[str]) -> str | None:
    """What a file looks like whose first line names no known columns, and what reads it; None: nothing certain.

    Args:
        path: the file, for the command.
        data: the beginning of the file.
        known: the columns of a TSV.
    """
    lines = first_lines(data, whole=len(data) < HEAD)
    first = lines[0] if lines else ""
    path = shlex.quote(path)
    command = TABLE_COMMAND.format(path=path)
    if data.startswith(b"PK\x03\x04"):
        return "it looks like an Excel file or a zip archive; save the sheet as text separated by tabs, in UTF-8"
    form = json_form("\n".join(lines))
    if form:
        return _json_hint(lines, form, command)
    if looks_tagged(lines) and not any(name in known for name in first.split("\t")):
        return (
            "it looks like tagged text, a token and its tag a line; make a file with text_a and label of it: "
            f"python script/convert_tagged.py {path} OUT.tsv"
        )
    bare = [name.strip(QUOTES) for name in first.split("\t")]
    if '"' in first and any(name in known for name in bare):
        return (
            "its fields are in quotes, which are text here like any other; read it with --format csv, or take them "
            f"off: {command}"
        )
    if "\t" not in first:
        for separator, name in SEPARATORS.items():
            names = next(csv.reader([first], delimiter=separator), [])
            table = table_columns(lines, separator)
            if len(names) > 1 and (any(part.strip() in known for part in names) or table):
                flags, columns = _renamed([name.strip() for name in names], known)
                return (
                    f"its fields are separated by {name}, not by tabs; read it with --format csv{flags}, or convert "
                    f"it: {command}{columns}"
                )
    if first.split("\t")[0] in ("", "Unnamed: 0") and any(name in known for name in first.split("\t")):
        return (
            "its first column has no name, as pandas writes its index; write it with index=False, or have it left out: "
            f"{command}"
        )
    return None


def headless_hint(path: str, names: Sequence[str], separator: str) -> str | None:
    """What to do where the first line of a table is a row and not the names of its columns; None: it need not be one.

    Args:
        path: the file, for the command.
        names: the fields of its first line, none of which is a known column.
        separator: between them.
    """
    numbers = [place for place, name in enumerate(names) if CLASS.fullmatch(name.strip())]
    texts = any(SENTENCE.search(name) for name in names)
    if len(names) == 1 and (texts or not NAME.fullmatch(names[0])):
        return "add a first line that names it, or read a file of texts, one a line, with --format txt"
    if not texts and not (numbers and len(numbers) < len(names)):
        return None
    columns = ["text_a", "text_b"][: len(names) - len(numbers)] if numbers else ["text_a", "label"][: len(names)]
    if len(numbers) == 1:
        columns.insert(numbers[0], "label")
    said = "it seems to be a row: the file needs a header, a first line that names its columns"
    if len(columns) < len(names):
        return f"{said}, all {len(names)} of them"
    header = separator.join(columns).replace("\t", r"\t")
    return f"{said}. Write a file with one: {{ printf '{header}\\n'; cat {shlex.quote(path)}; }} >NEW"


def _renamed(names, known):
    """The flags of readers and of the converter that name the columns, where the text has another name than ours.

    The longer text is for the user to choose.
    """
    flags = None if "text_a" in names else proposal(names, ("text_a",), known)
    if flags is None:
        if any(name in known for name in names):
            return "", ""
        flags = f"--text_column {shlex.quote(names[0])} --label_column {shlex.quote(names[-1])}"
    words = shlex.split(flags)
    pairs = [*zip(words[1::2], map(OURS.__getitem__, words[::2])), *((name, name) for name in names if name in known)]
    columns = " ".join(f"{ours}={shlex.quote(name)}" for name, ours in pairs)
    return f" {flags}", f" --columns {columns} (name the columns that they are)"


def _json_hint(lines, form, command):
    text = "\n".join(lines)
    if '"paragraphs"' in text or '"qas"' in text or ('"context"' in text and '"question"' in text):
        return "it looks like questions over contexts in JSON; run_mrc.py and infer_mrc.py read it"
    what = "JSON lines" if form == "jsonl" else "JSON"
    kind = "jsonl" if form == "jsonl" else "json"
    return (
        f"it looks like {what}; read it with --format {kind}, or convert it, naming the fields: {command} --columns "
        "text_a=FIELD label=FIELD"
    )
