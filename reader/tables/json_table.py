"""JSON lines and JSON arrays of objects.

    table = JsonLinesFile("rows.jsonl", form=TableForm(text_a="sentence"))
    table = JsonArrayFile("rows.json")

The first object says which columns there are. A value is text, or a number or boolean as a label; null is empty text.
In tagged files ``text_a`` and ``label`` may be lists, which become text with the byte 0x02 between their parts.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
from array import array
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from propeller.errors import UserError
from propeller.json_file import what_is_wrong
from reader.row_file import BLANK_LINE, BOM, LIST_PART, LONGEST_LINE, Layout, Places, RowFile, shorten
from reader.tables.form import COPY, FLAGS, KNOWN_COLUMNS, PLAIN, TEXTS, TableForm, is_copied

BLOCK = 1 << 20
JOINT = "\x02"
LISTS = ("label", "choices")  # may be lists of words, which LIST_PART ends


def text_of(name: str, value: Any, lists: bool, own: str | None = None) -> str:
    """A value as the text of a field.

    Args:
        name: of the field, as we call it.
        value: of JSON.
        lists: whether the file is of tagged text, where ``text_a`` and ``label`` may be lists.
        own: as the file calls it.

    Raises:
        ValueError: it is of another kind; the message says which, and the remedy.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    said = name if own in (None, name) else f"column {own!r}"
    if isinstance(value, list):
        if lists and (name != "text_a" or all(isinstance(part, str) for part in value)):
            return JOINT.join(part if isinstance(part, str) else _scalar(said, part) for part in value)
        if name in LISTS and not lists:
            return "".join((part if isinstance(part, str) else _scalar(said, part)) + LIST_PART for part in value)
    if name in TEXTS:
        shown = shorten(json.dumps(value, ensure_ascii=False))
        raise ValueError(f"{said} is {shown}, not text; put the text there, or name another column with {FLAGS[name]}")
    return _scalar(said, value)


def _scalar(name, value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    shown = shorten(json.dumps(value, ensure_ascii=False))
    raise ValueError(f"{name} is {shown}; give text or a number")


class JsonLayout(Layout):
    """An object per row.

    Args:
        path: of the file.
        columns: our names of the columns that count.
        keys: the file's names of them.
        others: those of columns that the first row lacks, and no row may have.
        lists: see ``text_of``.
    """

    def __init__(self, path: str, columns: list[str], keys: list[str], others: list[str], lists: bool) -> None:
        super().__init__(path, columns, first=1)
        self.keys, self.others, self.lists = keys, others, lists

    def fields(self, record: bytes) -> list[str]:
        row = parse(self.decode(record))
        for key in self.others:
            if row.get(key) is not None:
                raise ValueError(f"there is {shorten(key)}, which the first row lacks; give every row the same")
        found = []
        for ours, key in zip(self.columns, self.keys):
            if key not in row and ours in TEXTS:
                raise ValueError(f"there is no {shorten(key)}, which the first row has; give every row the same")
            value = row.get(key)
            found.append(
                json.dumps(value, ensure_ascii=False) if is_copied(ours) else text_of(ours, value, self.lists, key)
            )
        return found


def parse(text: str) -> dict[str, Any]:
    """The object of a record. Raises ValueError: it is none, and the remedy."""
    if not text.strip():
        raise ValueError(BLANK_LINE)
    try:
        row = json.loads(text)
    except RecursionError:
        raise ValueError("JSON nested too deep; give an object of texts and a label") from None
    except ValueError as error:
        raise ValueError(f"not JSON ({what_is_wrong(error)}); give one object per line") from None
    if not isinstance(row, dict):
        raise ValueError(f'{shorten(text.strip())} is not an object; give one such as {{"text_a": ..., "label": ...}}')
    if "\\ud" in text.lower():
        try:
            json.dumps(row, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("half a surrogate pair is no character; write the text in UTF-8") from None
    return row


class _JsonFile(RowFile):
    """What both forms share."""

    def __init__(
        self,
        path: str | Path,
        required: Iterable[str] = ("text_a",),
        known: Collection[str] = KNOWN_COLUMNS,
        form: TableForm = PLAIN,
        lists: bool = False,
    ) -> None:
        super().__init__(path)
        with self._open_first() as fd, os.fdopen(os.dup(fd), "rb") as file:
            self._scan(file)
        if not self.num_rows:
            raise UserError(f"{self.path}, line 1: there is no row; give a file with one object per row")
        self._choose(required, known, form, lists)

    def _scan(self, file):
        raise NotImplementedError

    numbers: np.ndarray | None = None

    def _choose(self, required, known, form, lists):
        """The columns, by the first row."""
        self.layout = JsonLayout(self.path, [], [], [], lists)
        self.layout.numbers = self.numbers
        place = self.layout.where(0)
        with self.open() as fd:
            (record,) = self.read(fd, np.arange(1))
        try:
            names = list(parse(self.layout.decode(record)))
        except ValueError as problem:
            raise UserError(f"{place}: {problem}") from None
        if form.others == COPY:
            names = self._all_names(names)
        found = form.choose(place, names, required, known, lambda: self._hint(names))
        self.facts.update(form.facts(names, found))
        self.columns = [ours for ours, _ in found]
        wanted = {name: form.chosen.get(name, name) for name in known}
        keys = [names[number] for _, number in found]
        others = [wanted[ours] for ours in ("text_b", "qid") if ours in wanted and ours not in self.columns]
        self.layout = JsonLayout(self.path, self.columns, keys, others, lists)
        self.layout.numbers = self.numbers

    def _all_names(self, names):
        """The keys of all rows; a row that cannot be read is told where it is due."""
        found = dict.fromkeys(names)
        for _, record in self.records():
            with contextlib.suppress(ValueError):
                found.update(dict.fromkeys(parse(self.layout.decode(record))))
        return list(found)

    def _hint(self, names):
        if {"annotations", "data"} <= {*names} or "entities" in names:
            path = shlex.quote(self.path)
            return f"it looks like an export of label-studio or doccano: python script/convert_tagged.py {path} OUT.tsv"
        return None


class JsonLinesFile(_JsonFile):
    """A JSON object per line, see ``RowFile``."""

    what = "JSON lines file"

    def _scan(self, file):
        places, digest, at = Places(self.size), hashlib.sha256(), 0
        last = 0  # rows up to the last line that is not blank
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), 1):
            self._check_length(number, len(line))
            digest.update(line)
            places.values.append(at + len(BOM) if not at and line.startswith(BOM) else at)
            at += len(line)
            last = number if line.strip() else last
        del places.values[last:]
        self.starts, self.sha256 = places.array(), digest.hexdigest()


class JsonArrayFile(_JsonFile):
    """A JSON array of objects, see ``RowFile``; it is parsed object by object, never whole."""

    what = "JSON file"

    def _scan(self, file):
        starts, ends, lines, digest = Places(self.size), Places(self.size), array("q"), hashlib.sha256()
        for begin, end, line in objects(file, self.path, digest):
            starts.values.append(begin)
            ends.values.append(end)
            lines.append(line)
        self.starts, self.ends, self.sha256 = starts.array(), ends.array(), digest.hexdigest()
        self.numbers = np.frombuffer(lines, np.int64) if len(lines) else np.zeros(0, np.int64)


class _Window:
    """The text of a file, of which only what is not parsed yet is held. Bytes are read as Latin-1, so that places in
    the text are places in the file: a parser of JSON looks at ASCII alone."""

    def __init__(self, file, digest) -> None:
        self.file, self.digest = file, digest
        self.text, self.base, self.at = "", 0, 0
        self.line, self.counted = 1, 0  # the line of the place up to which line ends were counted

    def more(self) -> bool:
        """Read on; whether there was anything."""
        block = self.file.read(BLOCK)
        self.digest.update(block)
        if block:
            self.place()
            self.text, self.base = self.text[self.at :] + block.decode("latin-1"), self.base + self.at
            self.at = self.counted = 0
        return bool(block)

    def skip(self) -> str:
        """Pass blanks over; returns the character after them, "" at the end of the file."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in " \t\r\n":
                self.at += 1
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def place(self) -> int:
        """The line of the next character."""
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        return self.line


def objects(file: BinaryIO, path: str, digest: Any) -> Iterator[tuple[int, int, int]]:
    """(byte where it begins, byte where it ends, line) of every value of a JSON array.

    Raises:
        UserError: it is none, or no JSON; the line is named.
    """
    window, decoder = _Window(file, digest), json.JSONDecoder()
    window.more()
    if window.text.startswith(BOM.decode("latin-1")):
        window.at = len(BOM)

    def wrong(what):
        return UserError(f"{path}, line {window.place()}: {what}")

    if window.skip() != "[":
        raise wrong("not a JSON array of objects; for an object per line give --format jsonl, of a table in pandas "
                    'write orient="records"')  # fmt: skip
    window.at += 1
    if window.skip() == "]":
        window.at += 1
    else:
        while True:
            window.skip()
            begin, line = window.base + window.at, window.place()
            window.at = _end_of_value(window, decoder, wrong)
            yield begin, window.base + window.at, line
            char = window.skip()
            if char not in (",", "]"):
                raise wrong("a comma or ] is missing after the object" if char else "the array is not closed with ]")
            window.at += 1
            if char == "]":
                break
    if window.skip():
        raise wrong("there is more after the array; give one array of objects")
    while window.more():
        pass


def _end_of_value(window, decoder, wrong):
    """Where the value at the window's place ends, in its text; the window is read on as far as it takes."""
    while True:
        try:
            return decoder.raw_decode(window.text, window.at)[1]
        except RecursionError:
            raise wrong("JSON nested too deep; give objects of texts and a label") from None
        except ValueError as error:
            if len(window.text) - window.at > LONGEST_LINE or not window.more():
                raise wrong(f"not JSON ({_first(error)}); correct it") from None


def _first(error) -> str:
    return getattr(error, "msg", str(error))
