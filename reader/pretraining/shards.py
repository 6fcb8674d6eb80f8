"""The lines of pre-training shards, an instance each, read into flat arrays.

    found, problems = parse_lines([b"1 5 6 7 2;0 0 0 0 0;0 1 2 3 4;-1 0 1 0 -1;1;1-4-e"], Limits(vocab_size=18000))
    found.ids                       # int32 [tokens]; problems: (number of the line in the list, what is wrong with it)

A line has fields parted by `;`, numbers in them by one blank:

    token_ids;sentence_type_ids;position_ids;seg_labels;next_sentence_label[;units]

seg_labels: 0 begins a word, 1 goes on with it, any other number (-1) stands at [CLS] and [SEP]. units, which 2019 did
not have, lists phrases and entities as `start-end-kind`, parted by blanks: token positions from start to end - 1, kind
`p` or `e`. A unit is made of whole words; two of one kind do not overlap, a phrase and an entity may.

Shards of other tasks have a class there, 0, 1, ...: of the whole instance in the place of next_sentence_label, or of
each token in the place of seg_labels, -1 where a token has none. Or the whole instance has a number, like 2, -0.5 or
1e-3, in the place of next_sentence_label.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reader.batching import offsets_of, ragged_arange
from reader.pretraining.number_fields import check_below, digits_of, numbers_of, positions_of, shown

FIELDS = ("token_ids", "sentence_type_ids", "position_ids", "seg_labels", "next_sentence_label", "units")
TOKEN_FIELDS = ("ids", "sents", "positions", "units")
ROW_FIELDS = ("lengths", "labels", "lines", "files", "knowledge")
# Bits of `units`, of one token: special, or belonging to the unit of the token before at the level of this name. Where
# tokens have classes: special, which those without one are too; or the class, above that bit.
SPECIAL, WORD, PHRASE, ENTITY = 1, 2, 4, 8
TOKEN_CLASSES_MOST = 9  # so that a class has one digit, and -1 can be read as another
UNITS = re.compile(rb"\d+-\d+-[pe](?: \d+-\d+-[pe])*")
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
FLOAT32_MOST = float(np.finfo(np.float32).max)
TRIPLES = bytes.maketrans(b"-pe", b" 01")
TYPES = 1 << 15


@dataclass(frozen=True)
class Limits:
    """What numbers may reach, None: anything.

    Attributes:
        vocab_size: token ids.
        positions: position ids.
        sentence_types: types.
        classes: classes of an instance, two for the next sentence.
        token_classes: classes of a token, at most TOKEN_CLASSES_MOST; None: the fourth field is seg_labels.
        numbers: whether the fifth field is a number, not a class.
    """

    vocab_size: int | None = None
    positions: int | None = None
    sentence_types: int | None = None
    classes: int = 2
    token_classes: int | None = None
    numbers: bool = False


def of_kind(kind: str, classes: int | None = None) -> dict[str, Any]:
    """Fields of Limits for shards of a kind (batches.KINDS) and, where it has classes, a number of them."""
    fields: dict[str, dict[str, Any]] = {
        "sentence": {"classes": classes},
        "token": {"token_classes": classes},
        "number": {"numbers": True},
    }
    return fields.get(kind, {})


@dataclass
class Instances:
    """Instances end to end.

    Attributes:
        ids, positions: int32 [tokens].
        sents: int16 [tokens].
        units: uint8 [tokens], bits SPECIAL, WORD, PHRASE, ENTITY, or where tokens have classes SPECIAL or class << 1.
        lengths: int32 [rows].
        labels: int64 [rows], the class, that of a pair 1 if the second sentence follows the first, or float64 [rows],
            the number of the instance.
        lines: int64 [rows], the number of the line in its file, from 0.
        files: int32 [rows], the number of the file; the reader sets it.
        knowledge: bool [rows], whether whole units are masked; the reader sets it.
        offsets: int64 [rows + 1], where rows begin.
    """

    ids: np.ndarray
    sents: np.ndarray
    positions: np.ndarray
    units: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    lines: np.ndarray
    files: np.ndarray
    knowledge: np.ndarray
    offsets: np.ndarray = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.offsets = offsets_of(self.lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def slice(self, start: int, stop: int) -> Instances:
        """Rows start..stop - 1, sharing the arrays."""
        low, high = int(self.offsets[start]), int(self.offsets[stop])
        return Instances(
            self.ids[low:high],
            self.sents[low:high],
            self.positions[low:high],
            self.units[low:high],
            self.lengths[start:stop],
            self.labels[start:stop],
            self.lines[start:stop],
            self.files[start:stop],
            self.knowledge[start:stop],
        )

    def take(self, index: np.ndarray) -> Instances:
        """The rows numbered by `index` (int [n], any order), copied."""
        tokens = ragged_arange(self.offsets[:-1][index], self.lengths[index])
        rows = {name: getattr(self, name)[index] for name in ROW_FIELDS}
        return Instances(**{name: getattr(self, name)[tokens] for name in TOKEN_FIELDS}, **rows)

    @staticmethod
    def join(parts: Sequence[Instances]) -> Instances:
        """The rows of `parts` (at least one) one after the other."""
        parts = [part for part in parts if len(part)] or parts[:1]
        if len(parts) == 1:
            return parts[0]
        names = (*TOKEN_FIELDS, *ROW_FIELDS)
        return Instances(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    @staticmethod
    def none() -> Instances:
        """No instance."""
        kinds = {"ids": np.int32, "sents": np.int16, "positions": np.int32, "units": np.uint8, "lengths": np.int32}
        kinds.update(labels=np.int64, lines=np.int64, files=np.int32, knowledge=bool)
        return Instances(**{name: np.zeros(0, kind) for name, kind in kinds.items()})


def parse_lines(lines: Sequence[bytes], limits: Limits = Limits()) -> tuple[Instances, list[tuple[int, str]]]:  # noqa: B008  (frozen)
    """Lines of a shard, with or without their line ends.

    Returns:
        (Instances of the good lines, `lines` numbered as in the list; list of (number in the list, what is wrong with
        the line and what to do) of the others).
    """
    if not lines:
        return Instances.none(), []
    try:
        return _parse(lines, np.arange(len(lines)), limits), []
    except ValueError as problem:
        if len(lines) == 1:
            return Instances.none(), [(0, str(problem))]
    parts, problems = [], []
    for number, line in enumerate(lines):
        try:
            parts.append(_parse([line], np.array([number]), limits))
        except ValueError as problem:
            problems.append((number, str(problem)))
    return Instances.join(parts) if parts else Instances.none(), problems


def parse_block(text: bytes, limits: Limits = Limits()) -> tuple[Instances, list[tuple[int, str]]]:  # noqa: B008  (frozen)
    """As `parse_lines(text.split(b"\\n"), limits)`, with less to do a line where all of them are good."""
    fields = _columns(text)
    if fields is not None:
        columns, sixth = fields
        try:
            return _instances(columns, sixth, np.arange(len(columns[0])), limits), []
        except ValueError:
            pass  # line by line it will be found which is bad
    return parse_lines(text.split(b"\n"), limits)


def _columns(text):
    """(five lists with a field of every line, [(line, sixth field)]); None: lines of another form."""
    fields = text.replace(b"\n", b";").split(b";")
    ends = np.fromiter(map(len, fields), np.int64, len(fields))
    ends += 1
    np.cumsum(ends, out=ends)
    of_line = np.frombuffer(text, np.uint8)[ends[:-1] - 1] == ord("\n")
    last = np.append(np.flatnonzero(of_line), len(fields) - 1)
    counts = np.diff(last, prepend=-1)
    if ((counts != 5) & (counts != 6)).any() or b"\r" in text:
        return None
    if (counts == 5).all():
        return [fields[at::5] for at in range(5)], []
    first = last - counts + 1
    columns = [list(map(fields.__getitem__, (first + at).tolist())) for at in range(5)]
    rows = np.flatnonzero(counts == 6)
    return columns, [pair for pair in zip(rows.tolist(), map(fields.__getitem__, last[rows].tolist())) if pair[1]]


def _parse(lines, numbers, limits) -> Instances:
    """Raises ValueError, whose text is about the one line if there is only one."""
    rows = [line.strip().split(b";") for line in lines]
    count = next((len(row) for row in rows if len(row) not in (5, 6)), None)
    if count is not None:
        raise ValueError(f"{count} field{'s' * (count != 1)} separated by ';', not {';'.join(FIELDS[:5])}[;units]")
    sixth = [(number, row[5]) for number, row in enumerate(rows) if len(row) == 6 and row[5]]
    return _instances(list(zip(*(row[:5] for row in rows))), sixth, numbers, limits)


def _instances(columns, sixth, numbers, limits) -> Instances:
    """Of `_columns`; numbers: int64 [rows], of the lines. Raises ValueError as `_parse`."""
    ids, lengths = numbers_of(columns[0], "token_ids")
    check_below(ids, limits.vocab_size, "token id", "the vocabulary has")
    sents = digits_of(columns[1], "sentence_type_ids", lengths)
    check_below(sents, min(limits.sentence_types or TYPES, TYPES), "sentence type", "there are")
    positions = positions_of(columns[2], lengths)
    check_below(positions, limits.positions, "position", "the model has")
    segs = digits_of(columns[3], "seg_labels", lengths)
    if limits.token_classes is None:
        units = _units(sixth, segs, lengths)
    else:
        units = _token_classes(sixth, columns[3], segs, limits)
    return Instances(
        ids=ids,
        sents=sents.astype(np.int16),
        positions=positions,
        units=units,
        lengths=lengths.astype(np.int32),
        labels=_numbers(columns[4]) if limits.numbers else _labels(columns[4], limits.classes),
        lines=numbers.astype(np.int64),
        files=np.zeros(len(numbers), np.int32),
        knowledge=np.zeros(len(numbers), bool),
    )


def _labels(column, classes) -> np.ndarray:
    """int64 [rows]: the last field of every line."""
    text = b"".join(column)
    if len(text) == len(column) and all(column) and not text.strip(b"0123456789"[:classes]):
        return (np.frombuffer(text, np.uint8) - ord("0")).astype(np.int64)
    if classes == 2:
        raise ValueError(f"next_sentence_label is {shown(column)}: give 1 (the next sentence) or 0, one of 2 classes")
    if not all(field.isdigit() and len(field) < 10 and int(field) < classes for field in column):
        raise ValueError(
            f"the class is {shown(column)}, but the head has {classes}, from 0 on; give it as many as the shards were "
            "made with"
        )
    return np.array([int(field) for field in column], np.int64)


def _numbers(column) -> np.ndarray:
    """float64 [rows]: the last field of every line."""
    if not all(map(NUMBER.fullmatch, column)):
        raise ValueError(f"the number is {shown(column)}: give a decimal number, like 2, -0.5 or 1e-3")
    numbers = np.array(column, np.bytes_).astype(np.float64)
    if not (np.abs(numbers) <= FLOAT32_MOST).all():
        raise ValueError(f"the number is {shown(column)}: give one below 3e38, the largest that a float32 has")
    return numbers


def _token_classes(sixth, column, found, limits) -> np.ndarray:
    """uint8 [tokens]: SPECIAL where a token has no class, else the class above that bit. found: of `digits_of`."""
    most = limits.token_classes
    if sixth:
        raise ValueError("units is given beside classes of tokens; give phrases and entities to masking alone")
    none = found == 9  # -1, unless that digit stands in the text
    if (found[~none] >= most).any() or any(b"9" in field for field in column):
        raise ValueError(
            f"a token's class is {shown(column)}, but the head has {most}, from 0 on; give it as many as the shards "
            "were made with"
        )
    return np.where(none, SPECIAL, found << 1).astype(np.uint8)


def _units(spans, segs, lengths) -> np.ndarray:
    """uint8 [tokens]: the bits of every token, from words and [(row, sixth field)] of those lines that have one."""
    special, word = segs > 1, segs == 1
    base = word * np.uint8(WORD | PHRASE | ENTITY) + special * np.uint8(SPECIAL)
    if not spans:
        return base
    for _, field in spans:
        if not UNITS.fullmatch(field):
            raise ValueError(f"units is {shown([field])}: give start-end-kind separated by one blank, kind p or e")
    triples, counts = numbers_of([field.translate(TRIPLES) for _, field in spans], "units")
    triples = triples.astype(np.int64).reshape(-1, 3)
    row = np.repeat([number for number, _ in spans], counts // 3)
    _check_spans(triples, lengths[row])
    starts, ends = (triples[:, :2] + offsets_of(lengths)[row][:, None]).T
    entity = triples[:, 2] == 1
    _check_words(starts, ends, special, word)
    inner = {}
    for kind, chosen in (("phrase", ~entity), ("entity", entity)):
        if (_cover(starts[chosen], ends[chosen], len(base)) > 1).any():
            raise ValueError(f"units: two of kind {kind[0]} overlap; leave one of them out")
        inner[kind] = _cover(starts[chosen] + 1, ends[chosen], len(base)) > 0
    # A phrase with an entity in it is no unit beside that entity: its other words stand alone.
    of_entities = offsets_of(_cover(starts[entity], ends[entity], len(base)))
    free = ~entity & (of_entities[ends] == of_entities[starts])
    alone = inner["entity"] | (_cover(starts[free] + 1, ends[free], len(base)) > 0)
    return base | (inner["phrase"] * np.uint8(PHRASE)) | (alone * np.uint8(ENTITY))


def _check_spans(triples, lengths):
    starts, ends = triples[:, 0], triples[:, 1]
    wrong = (starts >= ends) | (ends > lengths)
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(f"unit {starts[at]}-{ends[at]} of {lengths[at]} tokens: give 0 <= start < end <= tokens")


def _check_words(starts, ends, special, word):
    """Spans hold whole words only; places count through all rows here, so messages cannot name them."""
    if (_through(special, ends) != _through(special, starts)).any():
        raise ValueError("units: one holds [CLS] or [SEP]; units lie within a sentence")
    if (word[starts] | np.append(word, False)[ends]).any():
        raise ValueError("units: one cuts a word in two; begin and end units where seg_labels begin words")


def _through(flags, places):
    return offsets_of(flags)[places]


def _cover(starts, ends, size):
    """int [size]: how many of the spans hold each place; empty spans hold none."""
    edges = np.bincount(starts, minlength=size + 1) - np.bincount(ends, minlength=size + 1)
    return np.cumsum(edges[:size])
