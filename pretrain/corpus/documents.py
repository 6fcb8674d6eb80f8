"""Documents out of text files, a few at a time, each with where it stands.

    for block in blocks("news.txt.gz", Source(), size=1 << 18):
        for document in block.documents: ...      # Document(number=0, line=1, title="", paragraphs=["...", "..."])

The form is told by the first lines (forms.py), the compression (gzip, Zstandard, bzip2, xz) by the first bytes:

    text         documents with a blank line between; each line of one is a paragraph
    jsonl        an object a line, its field `text` a document, lines in it paragraphs; a `title` too
    json         an array of such objects
    doc          WikiExtractor's text, <doc ...> and </doc> around each article
    csv, tsv     a table with a header, its column `text` a document; a `title` too

Memory is that of a block: a plain document longer than DOCUMENT_CHARS goes on as another one after the next line end.
"""

from __future__ import annotations

import codecs
import functools
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pretrain.corpus import records
from pretrain.corpus.compression import SUFFIXES, check_archive, open_bytes, unpacking
from pretrain.corpus.forms import FORMATS, form_of
from pretrain.corpus.progress import Meter
from pretrain.corpus.variants import one_variant
from propeller.encoding import not_utf8, remedy
from propeller.errors import UserError
from reader.forms import HEAD

__all__ = ["FORMATS", "Block", "Document", "Source", "blocks", "documents", "lines", "open_bytes", "stem"]

DOCUMENT_CHARS = 1 << 18
LINE_BYTES = 1 << 22  # what has no line end for so long is no text
PASSED_BYTES = 1 << 16  # of such a line, read at once


@dataclass(frozen=True)
class Source:
    """How files are read.

    Attributes:
        format: one of FORMATS, auto goes by the first lines.
        title: "first" makes a document's title its first paragraph, "ignore" leaves it out.
        line_break: "paragraph": a line is one; "wrap": lines are wrapped ones.
        text_field: the field or column that holds the text, where a file has such.
        one_variant: of the variants of Chinese that an article of a wiki gives, one stays (variants.py).
    """

    format: str = "auto"
    title: str = "first"
    line_break: str = "paragraph"
    text_field: str = "text"
    one_variant: bool = True


@dataclass(frozen=True)
class Document:
    """A document of a file.

    Attributes:
        number: in its file, from 0.
        line: its first, from 1.
        paragraphs: not empty ones, without line ends.
        title: "" if it has none, and among the paragraphs too where Source says so.
    """

    number: int
    line: int
    paragraphs: list = field(default_factory=list)
    title: str = ""


@dataclass(frozen=True)
class Block:
    """Documents that are worked on together.

    Attributes:
        number: in its file, from 0.
        documents: at least two wherever the file has two.
        problems: lines, with what is wrong with them, as (line, text), if they are not to stop the build.
        end: bytes of the file that were read with it, for a word on progress.
    """

    number: int
    documents: list
    problems: list
    end: int = field(default=0, compare=False)


def stem(path: str | Path) -> str:
    """The file's name without the ending of its compression and without one more."""
    path = Path(path)
    path = path.with_suffix("") if path.suffix in SUFFIXES else path
    return path.stem


def lines(path: str | Path, problems: list | None = None, meter: Meter | None = None) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line with its end). meter: is told of the open file.

    problems: a list that takes (line, text) of a line that is too long, which is passed over, and (0, text) of a file
    that is damaged or cut, which ends there, after its last whole line that can be read; None: it raises.

    Raises:
        UserError: file, line, remedy; whatever problems is, where the file cannot be opened.
    """
    number, within = 0, False  # within: a line that is too long
    with metered(path, meter) as file:
        while True:
            try:
                line = file.readline(PASSED_BYTES if within else LINE_BYTES)
            except Exception as error:
                if not _is_damage(error):
                    raise
                text = f"{path}, after line {number}: the file is damaged or cut short ({error}); fetch it again"
                if problems is None:
                    raise UserError(text) from error
                problems.append((0, text))
                return
            if not line:
                return
            if within:
                within = not line.endswith(b"\n")
                continue
            number += 1
            if len(line) == LINE_BYTES and not line.endswith(b"\n"):
                within = True
                _bad(path, problems, number, f"{LINE_BYTES >> 20} MiB without a line end; break the text into lines")
                continue
            yield number, line


def metered(path: str | Path, meter: Meter | None) -> IO[bytes]:
    """``open_bytes``, of which a meter is told. Raises UserError: see there."""
    file = open_bytes(path)
    if meter:
        meter.stream = file
    return file


def _is_damage(error):
    """Whether reading failed since the file is damaged; ZstdError has no class to be had without the library."""
    return isinstance(error, (OSError, EOFError, zlib.error, lzma.LZMAError)) or type(error).__name__ == "ZstdError"


def detect(path: str | Path) -> str:
    """One of FORMATS but ``auto``, by the first lines. Raises UserError: no text to pre-train on."""
    with open_bytes(path) as file:
        try:
            data = file.read(HEAD)
        except Exception as error:
            if not _is_damage(error):
                raise
            data = b""  # told where its lines are read
    if data:
        check_archive(path)
    return form_of(path, data, whole=len(data) < HEAD)


def documents(
    path: str | Path,
    source: Source = Source(),  # noqa: B008  (frozen)
    problems: list | None = None,
    meter: Meter | None = None,
) -> Iterator[Document]:
    """The documents of a file in order. problems: a list that takes (line, text) of what is left out; None: it raises;
    meter: is told of the open file.

    Raises:
        UserError: file, line, remedy; see `lines`.
    """
    try:
        kind = detect(path) if source.format == "auto" else source.format
    except UserError as error:
        if problems is None or not Path(path).is_file() or "needs zstandard" in str(error):
            raise
        problems.append((0, str(error)))
        return
    read = functools.partial(_from_text, path) if kind == "text" else functools.partial(_from_records, path, kind)
    found = read(source, problems, meter)
    for number, (line, paragraphs, title) in enumerate(found):
        yield Document(number, line, paragraphs, title)


def _bad(path, problems, line, text):
    if problems is None:
        raise UserError(f"{path}, line {line}: {text}")
    problems.append((line, text))


def _decode(path, problems, number, line):
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        found = remedy(path, line, unpacking(path))
        _bad(path, problems, number, f"not UTF-8 (byte {error.start + 1}); {found}")
        return None
    if "\0" in text:
        _bad(path, problems, number, "a NUL byte: no text; is it a compressed or binary file?")
        return None
    return text


def _from_text(path, source, problems, meter):
    held, first, size = [], 0, 0
    for number, line in lines(path, problems, meter):
        text = _decode(path, problems, number, line)
        if text is None:
            continue
        text = text.strip()
        if text:
            first = number if not held else first
            held.append(text)
            size += len(text)
        if held and (not text or size >= DOCUMENT_CHARS):
            yield first, _paragraphs(held, source), ""
            held, size = [], 0
    if held:
        yield first, _paragraphs(held, source), ""


def _paragraphs(texts, source):
    if source.line_break == "paragraph" or len(texts) < 2:
        return texts
    joined = texts[0]
    for text in texts[1:]:
        cjk = ord(joined[-1]) >= 0x2E80 or ord(text[0]) >= 0x2E80
        joined += text if cjk else f" {text}"
    return [joined]


def _parts(path, problems, meter):
    """The content decoded, in parts: an array may be one line of any length."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    with metered(path, meter) as file:
        while True:
            try:
                data = file.read(HEAD)
                yield decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                found = not_utf8(path, error, unpacking(path)).replace("of the line", "of the part read")
                _bad(path, problems, 1, found)
                return
            except Exception as error:
                if not _is_damage(error):
                    raise
                text = f"{path}: the file is damaged or cut short ({error}); fetch it again"
                if problems is None:
                    raise UserError(text) from error
                problems.append((0, text))
                return
            if not data:
                return


def _from_records(path, kind, source, problems, meter):
    """(line, paragraphs, title) of each document of a file with records."""
    decoded = ((number, _decode(path, problems, number, line)) for number, line in lines(path, problems, meter))
    texts = ((number, text) for number, text in decoded if text is not None)
    bad, field_name = functools.partial(_bad, path, problems), source.text_field
    clean = one_variant if source.one_variant else str
    found = {
        "jsonl": lambda: records.of_json_lines(texts, field_name, bad, clean),
        "json": lambda: records.of_json_array(_parts(path, problems, meter), field_name, bad, clean),
        "doc": lambda: records.of_docs(texts, bad, clean),
        "csv": lambda: records.of_table(texts, ",", field_name, bad),
        "tsv": lambda: records.of_table(texts, "\t", field_name, bad),
    }[kind]()
    for number, given, text in found:
        paragraphs = _paragraphs([part.strip() for part in text.splitlines() if part.strip()], source)
        title = given.strip()
        yield number, [title, *paragraphs] if title and source.title == "first" else paragraphs, title


def blocks(path: str | Path, source: Source = Source(), size: int = 1 << 18, skip: bool = False) -> Iterator[Block]:  # noqa: B008
    """The documents of a file by `size` characters or more, the same blocks in every run.

    skip: what is wrong is handed on in `problems` rather than raised; a damaged file ends after its last whole line.
    """
    problems: list | None = [] if skip else None
    number, before = 0, None
    held: list[Document] = []
    chars, meter = 0, Meter(path)
    for document in documents(path, source, problems, meter):
        held.append(document)
        chars += sum(map(len, document.paragraphs))
        if chars >= size and len(held) > 1:
            if before is not None:
                yield before
            before = Block(number, held, list(problems or ()), meter.position())
            number, held, chars = number + 1, [], 0
            if problems:
                problems.clear()
    rest = list(problems or ())
    if before is not None and len(held) < 2:  # a pair of texts that do not follow each other needs two documents
        yield Block(before.number, before.documents + held, before.problems + rest, meter.position())
        return
    if before is not None:
        yield before
    if held or rest:
        yield Block(number, held, rest, meter.position())
