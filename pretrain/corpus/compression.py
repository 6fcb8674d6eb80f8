"""Files decompressed as they are read; how they are compressed is told by their first bytes.

with open_bytes("news.txt.gz") as file: file.readline()
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from pathlib import Path
from typing import IO, cast

from propeller.errors import UserError

# What a file begins with -> how it is compressed.
MAGIC = ((b"\x1f\x8b", "gz"), (b"\x28\xb5\x2f\xfd", "zst"), (b"BZh", "bz2"), (b"\xfd7zXZ\x00", "xz"))
SUFFIXES = {".gz": "gz", ".zst": "zst", ".bz2": "bz2", ".xz": "xz"}
# The command that writes such a file decompressed to standard output.
COMMANDS = {"gz": "gzip -dc", "zst": "zstd -dc", "bz2": "bzip2 -dc", "xz": "xz -dc"}
# Files that hold no text in a form that could be read here.
ARCHIVES = (
    (b"PK\x03\x04", "a zip archive", "unpack it and give the text files in it"),
    (b"PAR1", "Parquet", "write its text as JSON lines: pandas.read_parquet(FILE).to_json(OUT, orient='records', "
     "lines=True, force_ascii=False)"),
    (b"%PDF", "PDF", "extract its text first"),
    (b"Rar!", "a rar archive", "unpack it and give the text files in it"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it and give the text files in it"),
    (b"SQLite format 3", "a database of SQLite", "write its text as JSON lines"),
)  # fmt: skip


def compression(path: str | Path) -> str | None:
    """How a file is compressed: a key of COMMANDS, or None. Raises OSError."""
    with open(path, "rb") as file:
        head = file.read(16)
    found = next((name for magic, name in MAGIC if head.startswith(magic)), None)
    if found or not head:
        return found or SUFFIXES.get(Path(path).suffix)
    try:
        head[:-4].decode("utf-8")  # text under a name that promises otherwise, as some downloads leave it
    except UnicodeDecodeError:
        return SUFFIXES.get(Path(path).suffix)
    return None if b"\0" not in head else SUFFIXES.get(Path(path).suffix)


def unpacking(path: str | Path) -> str:
    """The command that writes a compressed file to standard output; "" for one that is not compressed."""
    found = compression(path)
    return f"{COMMANDS[found]} {path}" if found else ""


def open_bytes(path: str | Path) -> IO[bytes]:
    """The file's content, decompressed, as a buffered binary stream.

    Raises:
        UserError: not there, an archive, or no zstandard.
    """
    try:
        kind = compression(path)
        if kind == "gz":
            return cast(IO[bytes], gzip.open(path, "rb"))
        if kind == "bz2":
            return bz2.open(path, "rb")
        if kind == "xz":
            return lzma.open(path, "rb")
        raw = open(path, "rb")  # noqa: SIM115  (closed by the stream over it)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give the path of a text file") from error
    if kind is None:
        return raw
    try:
        import zstandard  # here: an optional dependency
    except ImportError as error:
        raw.close()
        raise UserError(
            f"{path}: reading .zst needs zstandard; python -m pip install -r requirements-pretrain.txt"
        ) from error
    return io.BufferedReader(_Zstandard(raw, zstandard.ZstdDecompressor()), 1 << 18)


def check_archive(path: str | Path) -> None:
    """Raises UserError for a file that is an archive or a binary format, with what to do about it."""
    with open(path, "rb") as file:
        head = file.read(16)
    for magic, what, remedy in ARCHIVES:
        if head.startswith(magic):
            raise UserError(f"{path}: looks like {what}, not text; {remedy}")


class _Zstandard(io.RawIOBase):
    """Frames one after the other, decompressed. The library's own stream takes a file that was cut for a short one."""

    def __init__(self, raw, library) -> None:
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
