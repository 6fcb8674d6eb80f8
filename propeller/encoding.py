"""Text files as people bring them: a byte-order mark is taken off, and what is no UTF-8 is named with its remedy.

text = read_text("label_map.json")          # UnicodeDecodeError, OSError: as open() raises them
not_utf8("news.tsv", error)                 # "... is not UTF-8 but looks like GBK; convert the file: iconv -f ..."

UTF-16 and UTF-32 are told by their first bytes, GBK, Big5 and Windows-1252 by decoding.
"""

from __future__ import annotations

import codecs
import os
import re
import shlex
from pathlib import Path

BOM = codecs.BOM_UTF8
HEAD = 1 << 20  # bytes of a file that its encoding is guessed from
# What begins a file -> the encoding; UTF-32 before UTF-16, of which its little-endian mark is a continuation.
MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
PAIR = re.compile(rb"[\x81-\xfe][\x40-\x7e\x80-\xfe]")  # a double byte of GBK or Big5
# Lead bytes of the frequent characters: GB 2312 level 1, Big5 level 1.
FREQUENT = {"gb18030": (0xB0, 0xD7), "big5": (0xA4, 0xC6)}


def read_text(path: str | os.PathLike[str]) -> str:
    """The content of a UTF-8 file without a byte-order mark. Raises OSError, UnicodeDecodeError."""
    return Path(path).read_text(encoding="utf-8-sig")


def guess(data: bytes) -> str | None:
    """The name that iconv has for the encoding of bytes that are no UTF-8; "UTF-8" where only some are damaged.

    Args:
        data: the beginning of a file.

    Returns:
        None where nothing is likely.
    """
    for mark, name in MARKS:
        if data.startswith(mark):
            return name
    if not data:
        return None
    for first, name in ((0, "UTF-16BE"), (1, "UTF-16LE")):  # without a mark: every other byte of ASCII is 0
        if data[first::2].count(0) * 2 > len(data[first::2]) and not data[1 - first :: 2].count(0):
            return name
    if b"\0" in data:
        return None
    if _mostly_utf8(data):
        return "UTF-8"
    return _double_byte(data) or _single_byte(data)


def _mostly_utf8(data):
    """Whether more characters beyond ASCII are whole UTF-8 than bytes are not."""
    text = data.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    return sum(char > "\x7f" for char in text) - broken > broken


def _decodes(data, encoding):
    try:
        codecs.getincrementaldecoder(encoding)().decode(data)  # a character cut at the end is no fault
    except UnicodeDecodeError:
        return False
    return True


def _double_byte(data):
    """GB18030 or BIG5, whichever decodes into more of its frequent characters; None: neither, or isolated bytes."""
    pairs = PAIR.findall(data)
    both_high = sum(pair[1] >= 0xA1 for pair in pairs)
    scores = {}
    for name, (low, high) in FREQUENT.items():
        if pairs and 2 * both_high >= len(pairs) and _decodes(data, name):
            scores[name] = sum(low <= pair[0] <= high for pair in pairs) / len(pairs)
    best = max(scores, key=lambda name: scores[name], default=None)
    return best.upper() if best else None


def _single_byte(data):
    return "WINDOWS-1252" if _decodes(data, "cp1252") else "LATIN1"


KNOWN_AS = {"GB18030": "GBK", "WINDOWS-1252": "Latin-1 (Windows-1252)", "LATIN1": "Latin-1"}


def converted_name(path: str | os.PathLike[str]) -> str:
    """Where the converted copy of a file goes: ``news.tsv`` -> ``news.utf8.tsv``."""
    path = Path(path)
    return str(path.with_name(f"{path.stem}.utf8{path.suffix}"))


def remedy(path: str | os.PathLike[str], sample: bytes = b"", unpack: str = "") -> str:
    """What the file looks like, and the command that makes UTF-8 of it.

    Args:
        path: the file.
        sample: bytes of it to go by where the file itself cannot be read again (a pipe).
        unpack: the command that writes it decompressed to standard output, where it is compressed.
    """
    data = sample
    if not unpack and Path(path).is_file():
        with open(path, "rb") as file:
            data = file.read(HEAD)
    found = guess(data)
    if found is None:
        return "it looks like no text at all; give a UTF-8 text file"
    source = f"{unpack} | " if unpack else ""
    given = "" if unpack else f" {shlex.quote(os.fspath(path))}"
    target = shlex.quote(converted_name(str(path).removesuffix(Path(path).suffix) if unpack else path))
    if found == "UTF-8":
        return (
            f"the rest of the file is UTF-8, so mend the line, or drop its broken bytes: {source}"
            f"iconv -c -f UTF-8 -t UTF-8{given} > {target}"
        )
    return (
        f"the file looks like {KNOWN_AS.get(found, found)}; convert it: {source}iconv -f {found} -t UTF-8{given} "
        f"> {target}"
    )


def in_place(path: str | os.PathLike[str], sample: bytes = b"") -> str:
    """``remedy`` of a file that has to keep its name. Args: as there."""
    made, path = shlex.quote(converted_name(path)), shlex.quote(os.fspath(path))
    told = remedy(path, sample)
    return f"{told} && mv {made} {path}" if told.endswith(f" > {made}") else told


def not_utf8(path: str | os.PathLike[str], error: UnicodeDecodeError, unpack: str = "") -> str:
    """Which byte of a line is wrong, what the file looks like, and the remedy. Args: as ``remedy``."""
    byte = error.object[error.start]
    return f"byte {error.start + 1} of the line (0x{byte:02x}) is not UTF-8; {remedy(path, error.object, unpack)}"
