"""Documents out of files that hold records: JSON lines, a JSON array, WikiExtractor's <doc>, tables.

Each function takes decoded lines, (number, text), or for an array parts of text, and gives (line, title, text) of each
document; what is wrong goes to ``bad(line, what)``, which raises, or notes it and returns.
"""

from __future__ import annotations

import csv
import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import Callable

from pretrain.corpus.variants import one_variant

Lines = Iterable[tuple[int, str]]
Bad = Callable[[int, str], None]
Found = Iterator[tuple[int, str, str]]
Clean = Callable[[str], str]  # what is made of the text of an article of a wiki

DOC = re.compile(r"<doc\b[^>]*>")
WIKI_URL = re.compile(r"[?&]curid=|\.wiki[a-z]+\.org/")  # of an article, by WikiExtractor or Wikimedia
DOC_TITLE = re.compile(r'\btitle="([^"]*)"')
ITEM_CHARS = 1 << 22  # characters of an item of an array; as LINE_BYTES of a line
SHOWN = 8


def of_json_lines(lines: Lines, text_field: str, bad: Bad, clean: Clean = one_variant) -> Found:
    """An object a line."""
    for number, line in lines:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            what = getattr(error, "msg", type(error).__name__)
            bad(number, f"not JSON ({what}); give an object with `{text_field}` a line")
            continue
        yield from _of_object(number, row, text_field, bad, clean)


def _of_object(number, row, text_field, bad, clean):
    """(line, title, text) of an object, if it has them."""
    text, title = (row.get(text_field), row.get("title") or "") if isinstance(row, dict) else (None, "")
    if isinstance(text, str) and isinstance(title, str):
        yield number, title, clean(text) if WIKI_URL.search(str(row.get("url"))) else text
        return
    others = [name for name, value in row.items() if isinstance(value, str) and value] if isinstance(row, dict) else []
    if others and text_field not in row:
        longest = max(others, key=lambda name: len(row[name]))
        shown = ", ".join(others[:SHOWN])
        bad(number, f"no `{text_field}` in the object, but {shown}; name its text, as with --text_field {longest}")
        return
    bad(number, f"no object with a string `{text_field}` (and `title`); give one a line")


def of_json_array(texts: Iterable[str], text_field: str, bad: Bad, clean: Clean = one_variant) -> Found:
    """The objects of an array over one line or many; what follows a fault in it cannot be told apart.

    Args:
        texts: the file's content in parts of any length.
    """
    decoder, number, parts = json.JSONDecoder(), 1, iter(texts)
    held = next(parts, "")
    before = held[: held.find("[") + 1]
    while True:
        number, held = number + before.count("\n"), held[len(before) :]
        rest = held.lstrip(" \t\r\n,")
        number, held = number + held[: len(held) - len(rest)].count("\n"), rest
        before = ""
        if held.startswith("]"):
            return
        try:
            row, end = decoder.raw_decode(held)
        except (ValueError, RecursionError) as error:
            read = "" if len(held) > ITEM_CHARS else _more(parts, 1 + len(held) // 2)
            held += read
            if read:
                continue
            bad(number, f"not JSON ({getattr(error, 'msg', 'too deep')}); give an array of objects, or one a line")
            return
        yield from _of_object(number, row, text_field, bad, clean)
        before = held[:end]


def _more(parts, least):
    """`least` characters or more, so that a long item is not tried at every part of it; "" at the end."""
    found: list[str] = []
    while sum(map(len, found)) < least and (part := next(parts, None)) is not None:
        found.append(part)
    return "".join(found)


def of_docs(lines: Lines, bad: Bad, clean: Clean = one_variant) -> Found:
    """WikiExtractor's text: <doc ... title="..."> and </doc> around each article, whose first line is its title."""
    first, title = 0, ""
    held: list[str] | None = None
    for number, line in lines:
        text = line.strip()
        if DOC.fullmatch(text):
            if held is not None:
                bad(first, "a <doc> without </doc>; extract the article again")
            found = DOC_TITLE.search(text)
            first, title, held = number, html.unescape(found.group(1)) if found else "", []
        elif text == "</doc>" and held is not None:
            yield first, title, clean(_without_title(held, title))
            held = None
        elif held is not None:
            held.append(html.unescape(text))
        elif text:
            bad(number, "text outside of <doc> and </doc>; take it out, or give --format text")
    if held is not None:
        bad(first, "a <doc> without </doc>: the file is cut short; extract it again")


def _without_title(held, title):
    """The text without a first line that repeats the title."""
    place = next((place for place, line in enumerate(held) if line), None)
    if title and place is not None and held[place] == title:
        del held[place]
    return "\n".join(held)


def of_table(lines: Lines, separator: str, text_field: str, bad: Bad) -> Found:
    """Rows of a table with a header; between commas quoted as usual, between tabs as they are."""
    at = 0

    def texts():
        nonlocal at
        for number, line in lines:
            at = number
            yield line

    rows = csv.reader(texts()) if separator == "," else (row.rstrip("\r\n").split(separator) for row in texts())
    names: list[str] = next(rows, [])
    begin = at + 1
    if text_field not in names:
        shown = ", ".join(names[:SHOWN])
        bad(
            1,
            f"a table without a column `{text_field}`, but {shown}; name one with --text_field, or give --format text",
        )
        return
    text, title = names.index(text_field), names.index("title") if "title" in names else None
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            bad(at, f"no row of a table ({error}); correct its quotes")
            continue
        first, begin = begin, at + 1
        if row is None:
            return
        if not row or row == [""]:
            continue
        if len(row) != len(names):
            bad(first, f"{len(row)} fields where the header has {len(names)}; correct the row")
            continue
        yield first, "" if title in (None, text) else row[title], row[text]
