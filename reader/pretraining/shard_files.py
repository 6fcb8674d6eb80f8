"""The files of pre-training shards, gzip text, and the lists that name them; shards.py reads their lines.

for first, lines in read_shard("part-0.gz"): ...        # first: the number of lines[0] in the file, from 0
read_filelist("filelist")                               # [Shard("part-0.gz", 1.0, 1), ...]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from isal import isal_zlib

from propeller.encoding import read_text, remedy
from propeller.errors import UserError
from reader.row_file import shorten

CHUNK = 1 << 18  # bytes of text parsed at once: numbers in it stay in the processor's cache
LONGEST_LINE = 1 << 24  # bytes; an instance of 512 tokens has some 6,000
REMAKE = "make the shard again, or take it out of the list"
GZIP = b"\x1f\x8b"
FIELDS = 5  # of a line of a shard, with ; between
IS_SHARD = (
    "a shard, not a list of shards; give a file with a line for each shard: its path, a tab, and 1.0 (the filelist of "
    "a build, python -m pretrain.build_data, is one)"
)


def _inflate(path) -> Iterator[bytes]:
    """The content, in parts of CHUNK bytes at most. Raises ValueError where it is no gzip file, damaged or cut."""
    with open(path, "rb") as file:
        member = isal_zlib.decompressobj(wbits=31)
        begun = False
        while raw := file.read(1 << 18):
            while raw:
                if member.eof:
                    raw = raw.lstrip(b"\0")  # padding after a member
                    if not raw:
                        break
                    member = isal_zlib.decompressobj(wbits=31)
                try:
                    text = member.decompress(raw, CHUNK)
                except isal_zlib.error as problem:  # type: ignore[misc]  # an exception, whatever its stub says
                    raise ValueError("damaged" if begun else "not a gzip file") from problem
                begun = True
                yield text
                raw = member.unused_data if member.eof else member.unconsumed_tail
    if not member.eof:
        raise ValueError("cut short" if begun else "empty: not a gzip file")


def read_blocks(path: str | Path, skip: int = 0) -> Iterator[tuple[int, bytes]]:
    """(number of the first line, lines parted by line ends) of a shard, a quarter of a MiB at a time, from line `skip`.

    Raises:
        UserError: no such file, no gzip file, damaged or cut, a line of over LONGEST_LINE bytes; all whole lines before
            that place have come then.
    """
    number, problem = 0, None
    parts: list[bytes] = []  # of text, together no whole line
    texts: Iterator[bytes] | None = _inflate(path)
    while texts is not None:
        try:
            text = next(texts)
        except (StopIteration, ValueError) as error:  # what is left is a line of its own, unless the file is broken
            problem, text, texts = str(error), b"" if str(error) else b"\n" * any(parts), None
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; give a shard's path, or take it out of the list") from error
        end = text.rfind(b"\n")
        if end < 0:
            parts.append(text)
            if len(parts) * CHUNK > LONGEST_LINE and sum(map(len, parts)) > LONGEST_LINE:
                raise UserError(
                    f"{path}, line {number + 1}: over {LONGEST_LINE >> 20} MiB without a line end; {REMAKE}"
                )
            continue
        block = b"".join([*parts, memoryview(text)[:end]])
        parts = [text[end + 1 :]]
        begin, number = number, number + block.count(b"\n") + 1
        if number > skip:
            left = max(skip - begin, 0)
            yield begin + left, block.split(b"\n", left)[left] if left else block
    if problem:
        raise UserError(f"{path}, after line {number}: the file is {problem}; {REMAKE}")


def read_shard(path: str | Path, skip: int = 0) -> Iterator[tuple[int, list[bytes]]]:
    """As `read_blocks`, with lists of lines."""
    for first, block in read_blocks(path, skip):
        yield first, block.split(b"\n")


@dataclass(frozen=True)
class Shard:
    """An entry of a filelist. path; mask_word_prob: how likely whole units are masked in it, in an epoch; line: its."""

    path: str
    mask_word_prob: float
    line: int


def read_filelist(path: str | Path) -> list[Shard]:
    """The shards of a list with lines `path<TAB>mask_word_prob`; not whether they exist.

    Paths count from the working folder as in 2019, or, if nothing is there, from the folder of the list; where both
    have a file of that name it must be the same.
    mask_word_prob: 0 masks pieces, 1 or more whole units, between them each epoch draws for each file.

    Raises:
        UserError: file, line, remedy.
    """
    try:
        text = read_text(path)
    except UnicodeDecodeError as error:
        if error.object.startswith(GZIP):
            raise UserError(f"{path}: {IS_SHARD}") from None
        raise UserError(f"{path}: the list of shards is not UTF-8; {remedy(path, error.object)}") from error
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read as a list of shards ({error.strerror}); name the filelist of a build "
            "(python -m pretrain.build_data)"
        ) from error
    shards = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, _, number_text = line.strip().partition("\t")
        try:
            prob = float(number_text)
        except ValueError:
            prob = -1.0
        if not number_text and line.count(";") >= FIELDS - 1:
            raise UserError(f"{path}: {IS_SHARD}")
        if not 0 <= prob < float("inf"):
            raise UserError(
                f"{path}, line {number}: {shorten(line.strip())} is no path<TAB>mask_word_prob; "
                "give path, tab and number"
            )
        shards.append(Shard(_place(path, number, name), prob, number))
    if not shards:
        raise UserError(f"{path}: the list names no shard; give a line path<TAB>mask_word_prob for each")
    return shards


def _place(path, number, name):
    """Where a shard of a list is. Raises UserError: two files may be meant."""
    here, beside = Path(name), Path(path).parent / name
    if not beside.exists():
        return name
    if here.exists() and not here.samefile(beside):
        raise UserError(
            f"{path}, line {number}: {name} is a file in the working folder and another one in that of the list; start "
            "elsewhere, or write the whole path"
        )
    return name if here.exists() else str(beside)
