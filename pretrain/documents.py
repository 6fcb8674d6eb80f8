"""Documents out of text files, a few at a time, each with where it stands.

    for block in blocks("news.txt.gz", Source(), size=1 << 18):
        for document in block.documents: ...      # Document(number=0, line=1, title="", paragraphs=["...", "..."])

Two forms, with or without gzip (.gz) or Zstandard (.zst):

    plain text    documents with a blank line between; each line of one is a paragraph
    JSON lines    an object a line (.json, .jsonl), its field `text` a document, lines in it paragraphs; a `title` too

Memory is that of a block: a plain document longer than DOCUMENT_CHARS goes on as another one behind the next line end.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from propeller.errors import UserError

DOCUMENT_CHARS = 1 << 18
LINE_BYTES = 1 << 22  # what has no line end for so long is no text
PASSED_BYTES = 1 << 16  # of such a line, read at once
FORMATS = ("auto", "text", "jsonl")
COMPRESSED = (".gz", ".zst")


@dataclass(frozen=True)
class Source:
    """How files are read. format: one of FORMATS, auto goes by the name; title: "first" makes a document's title its
    first paragraph, "ignore" leaves it out; line_break: "paragraph": a line is one; "wrap": lines are wrapped ones."""

    format: str = "auto"
    title: str = "first"
    line_break: str = "paragraph"


@dataclass(frozen=True)
class Document:
    """number: in its file, from 0; line: its first, from 1; paragraphs: not empty ones, without line ends; title: "" if
    it has none, and among the paragraphs too where Source says so."""

    number: int
    line: int
    paragraphs: list = field(default_factory=list)
    title: str = ""


@dataclass(frozen=True)
class Block:
    """number: in its file, from 0; documents: at least two wherever the file has two; problems: lines, with what is
    wrong with them, as (line, text), if they are not to stop the build."""

    number: int
    documents: list
    problems: list


def stem(path) -> str:
    """The file's name without .gz or .zst and without one more ending."""
    path = Path(path)
    path = path.with_suffix("") if path.suffix in COMPRESSED else path
    return path.stem


def open_bytes(path):
    """The file's content, decompressed, as a buffered binary stream. Raises UserError: not there, or no zstandard."""
    suffix = Path(path).suffix
    try:
        if suffix == ".gz":
            return gzip.open(path, "rb")
        if suffix != ".zst":
            return open(path, "rb")
        raw = open(path, "rb")  # noqa: SIM115  (closed by the stream over it)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give the path of a text file") from error
    try:
        import zstandard  # here: an optional dependency
    except ImportError as error:
        raw.close()
        raise UserError(
            f"{path}: reading .zst needs zstandard; python -m pip install -r requirements-pretrain.txt"
        ) from error
    return io.BufferedReader(_Zstandard(raw, zstandard.ZstdDecompressor()), 1 << 18)


class _Zstandard(io.RawIOBase):
    """Frames one behind the other, decompressed. The library's own stream takes a file that was cut for a short one."""

    def __init__(self, raw, library):
        self.raw, self.library = raw, library
        self.frame, self.rest, self.held = library.decompressobj(), b"", b""

    def readable(self):
        return True

    def close(self):
        self.raw.close()
        super().close()

    def readinto(self, buffer):
        while not self.held:
            if not self.rest:
                self.rest = self.raw.read(1 << 16)
            if not self.rest:
                if not self.frame.eof:
                    raise EOFError("its end is missing")
                return 0
            if self.frame.eof:
                self.frame = self.library.decompressobj()
            self.held = self.frame.decompress(self.rest)
            self.rest = self.frame.unused_data if self.frame.eof else b""
        count = min(len(buffer), len(self.held))
        buffer[:count], self.held = self.held[:count], self.held[count:]
        return count


def lines(path, problems=None) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line with its end).

    problems: a list that takes (line, text) of a line that is too long, which is passed over, and (0, text) of a file
    that is damaged or cut, which ends there, behind its last whole line that can be read; None: it raises.

    Raises UserError: file, line, remedy; whatever problems is, where the file cannot be opened.
    """
    number, within = 0, False  # within: a line that is too long
    with open_bytes(path) as file:
        while True:
            try:
                line = file.readline(PASSED_BYTES if within else LINE_BYTES)
            except Exception as error:
                if not isinstance(error, (OSError, EOFError, zlib.error)) and type(error).__name__ != "ZstdError":
                    raise  # ZstdError: its class is not to be had without the library
                text = f"{path}, behind line {number}: the file is damaged or cut short ({error}); fetch it again"
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


def documents(path, source=Source(), problems=None) -> Iterator[Document]:  # noqa: B008  (frozen)
    """The documents of a file in order. problems: a list that takes (line, text) of what is left out; None: it raises.

    Raises UserError: file, line, remedy; see `lines`.
    """
    kind = source.format
    if kind == "auto":
        name = str(path)
        for suffix in COMPRESSED:
            name = name[: -len(suffix)] if name.endswith(suffix) else name
        kind = "jsonl" if name.endswith((".jsonl", ".json")) else "text"
    found = _from_json(path, source, problems) if kind == "jsonl" else _from_text(path, source, problems)
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
        _bad(path, problems, number, f"not UTF-8 (byte {error.start + 1}); convert the file, as with iconv -t UTF-8")
        return None
    if "\0" in text:
        _bad(path, problems, number, "a NUL byte: no text; is it a compressed or binary file?")
        return None
    return text


def _from_text(path, source, problems):
    held, first, size = [], 0, 0
    for number, line in lines(path, problems):
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


def _from_json(path, source, problems):
    for number, line in lines(path, problems):
        text = _decode(path, problems, number, line)
        if text is None or not text.strip():
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            what = getattr(error, "msg", type(error).__name__)
            _bad(path, problems, number, f"not JSON ({what}); give an object with `text` a line")
            continue
        good = isinstance(row, dict) and isinstance(row.get("text"), str)
        if not good or not isinstance(row.get("title") or "", str):
            _bad(path, problems, number, "no object with a string `text` (and `title`); give one a line")
            continue
        paragraphs = _paragraphs([part.strip() for part in row["text"].splitlines() if part.strip()], source)
        title = (row.get("title") or "").strip()
        yield number, [title, *paragraphs] if title and source.title == "first" else paragraphs, title


def blocks(path, source=Source(), size: int = 1 << 18, skip: bool = False) -> Iterator[Block]:  # noqa: B008
    """The documents of a file by `size` characters or more, the same blocks in every run.

    skip: what is wrong is handed on in `problems` rather than raised; a damaged file ends behind its last whole line.
    """
    problems = [] if skip else None
    number, held, before = 0, [], None
    chars = 0
    for document in documents(path, source, problems):
        held.append(document)
        chars += sum(map(len, document.paragraphs))
        if chars >= size and len(held) > 1:
            if before is not None:
                yield before
            before = Block(number, held, list(problems or ()))
            number, held, chars = number + 1, [], 0
            if skip:
                problems.clear()
    rest = list(problems or ())
    if before is not None and len(held) < 2:  # a pair of texts that do not follow each other needs two documents
        yield Block(before.number, before.documents + held, before.problems + rest)
        return
    if before is not None:
        yield before
    if held or rest:
        yield Block(number, held, rest)
