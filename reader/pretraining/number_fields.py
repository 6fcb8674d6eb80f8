"""Numbers out of the fields of a shard's lines: a column of all lines together, in numpy.

    numbers_of([b"1 5 2", b"1 2"], "token_ids")       # int32 [1, 5, 2, 1, 2], and how many each field has: [3, 2]

A ValueError shows the beginning of the column: where a line is parsed alone, its field.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reader.batching import offsets_of

ASCENDING_MOST = 1 << 13
ASCENDING = b" ".join(b"%d" % number for number in range(ASCENDING_MOST))  # how position_ids nearly always begins
ASCENDING_ENDS = np.cumsum([0] + [len(str(number)) + 1 for number in range(ASCENDING_MOST)]) - 1  # of n numbers


def shown(column: Sequence[bytes]) -> str:
    """The beginning of a column, for a message."""
    text = b" ".join(column).decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= 40 else text[:40] + "...")


def numbers_of(column: Sequence[bytes], name: str) -> tuple[np.ndarray, np.ndarray]:
    """(int32: the numbers, not negative, of all fields of a column; int64 [rows]: how many each has).

    The fields hold digits and single blanks only. Each number is put together from its end, two digits of all at a
    time.
    """
    text = np.frombuffer(b";".join(column) or b" ", np.uint8)
    digits = text - np.uint8(ord("0"))  # wraps around
    other = digits > 9
    ends = np.append(np.flatnonzero(other), len(text))
    between = text[ends[:-1]]
    of_row = between == ord(";")
    sizes = np.diff(ends, prepend=-1) - 1
    if not (of_row | (between == ord(" "))).all() or not sizes.all():
        raise ValueError(f"{name} is {shown(column)}: give whole numbers separated by one blank")
    most = int(sizes.max())
    if most > 9:
        raise ValueError(f"{name} is {shown(column)}: a number has more than 9 digits")
    digits *= ~other
    pairs = np.zeros(len(digits) + most, np.uint8)  # of each place: its digit and ten times the one before
    pairs[most:] = digits
    pairs[most + 1 :] += digits[:-1] * np.uint8(10)
    ends += most - 1  # in pairs, the last digit of each number
    values = pairs[ends].astype(np.int32)
    for power in range(2, most, 2):
        values += (pairs[ends - power] * (sizes > power)) * np.int32(10**power)
    return values, np.diff(np.flatnonzero(of_row), prepend=-1, append=len(ends) - 1)


def _same_lengths(found, lengths, name):
    if not np.array_equal(found, lengths):
        row = int((found != lengths).argmax())
        raise ValueError(f"{lengths[row]} token_ids but {found[row]} {name}; every token has one of each field")


def digits_of(column: Sequence[bytes], name: str, lengths: np.ndarray) -> np.ndarray:
    """int: as `numbers_of`, faster where every number has one digit. -1 is read as 9, in seg_labels only.

    Raises:
        ValueError: not of these lengths.
    """
    text = b";".join(column)
    short = np.frombuffer(text if name != "seg_labels" else _nine_for_minus_one(text), np.uint8)
    if len(short) == 2 * lengths.sum() - 1:
        digits, between = short[::2] - np.uint8(ord("0")), short[1::2]
        of_row = np.flatnonzero(between == ord(";"))
        alike = np.array_equal(of_row, np.cumsum(lengths)[:-1] - 1)
        if alike and (digits <= 9).all() and np.count_nonzero(between == ord(" ")) + len(of_row) == len(between):
            return digits
    if name == "seg_labels":
        column = [(b" " + field).replace(b" -1", b" 9")[1:] for field in column]
    values, found = numbers_of(column, name)
    _same_lengths(found, lengths, name)
    return values


def _nine_for_minus_one(text):
    """text.replace(b"-1", b"9"), faster; anything longer than that where there is another number below 0."""
    bare = np.frombuffer(bytearray(text.replace(b"-", b"")), np.uint8)
    at = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("-"))
    at -= np.arange(len(at))
    if (at < len(bare)).all() and (bare[at] == ord("1")).all():
        bare[at] = ord("9")
        return bare
    return text


def positions_of(column: Sequence[bytes], lengths: np.ndarray) -> np.ndarray:
    """int32; nearly always 0, 1, 2, ... in each row, which a comparison of text shows."""
    if lengths.max() <= ASCENDING_MOST:
        sizes = np.fromiter(map(len, column), np.int64, len(column))
        if (sizes == ASCENDING_ENDS[lengths]).all() and all(map(ASCENDING.startswith, column)):
            begins = offsets_of(lengths).astype(np.int32)
            return np.arange(begins[-1], dtype=np.int32) - np.repeat(begins[:-1], lengths)
    values, found = numbers_of(column, "position_ids")
    _same_lengths(found, lengths, "position_ids")
    return values


def check_below(values: np.ndarray, limit: int | None, what: str, owner: str) -> None:
    """Raises ValueError where a number reaches the limit (None: there is none)."""
    if limit is not None and values.max(initial=0) >= limit:
        raise ValueError(f"{what} {values.max()}, but {owner} {limit} of them; use what the shard was made with")
