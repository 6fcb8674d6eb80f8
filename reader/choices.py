"""Rows with options, one of which is right: multiple choice.

    reader = ChoiceReader("train.jsonl", tokenizer, choices=Choices(), label_kind="choice", batch_size=8, ...)
    batch, _ = next(reader.batches())
    batch["src_ids"]                # int64 [options, seq]: those of 8 questions, one row per option
    batch["choice_mask"]            # float32 [8, most]: 1 where a question has an option, 0 where others have more
    batch["choice_places"]          # int64 [8, most]: the row of each option
    batch["labels"]                 # int64 [8, 1]: the right one, from 0

``text_a`` is the first segment of a row, ``text_b`` and the option the second one. Questions may have different numbers
of options.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from propeller.errors import UserError
from reader.batching import EncodedRows, encode_rows, offsets_of, pad_flat
from reader.parted import PartedReader, PartedRows, PartsEncoder, encode_parts, parts_of
from reader.row_encoder import LabelRule, RowEncoder, empty, read_int
from reader.row_file import LIST_PART, shorten

if TYPE_CHECKING:
    from reader.row_file import RowFile
    from reader.tokenizer import Tokenizer

FORMS = ("number", "letter", "text")
COLUMNS = ("text_a", "text_b", "choices", "label", "qid")


@dataclass(frozen=True)
class Choices:
    """How the columns ``choices`` and ``label`` are read.

    Attributes:
        separator: what stands between the options of a field; lists of JSON and Parquet need none.
        form: what a label is: the number of the option from 0, its letter from A, or its text.
    """

    separator: str = "|"
    form: str = "number"

    def options(self, field: str) -> list[str]:
        """The options of a field, blanks around them taken off. Raises ValueError: there are none to choose from."""
        parts = field.split(LIST_PART)[:-1] if LIST_PART in field else field.split(self.separator)
        options = [part.strip() for part in parts] if field.strip() else []
        if len(options) < 2:
            plural = "s" if not options else ""
            raise ValueError(
                f"choices has {len(options)} option{plural}: give two or more, in a list or with {self.separator!r} "
                "between them (--choice_separator)"
            )
        if "" in options:
            raise ValueError(f"choices: option {options.index('')} is empty; put its text there or take it out")
        return options

    def read(self, label: str, options: Sequence[str]) -> int:
        """The number of the option that a label names. Raises ValueError: it names none."""
        if self.form == "text":
            matches = [number for number, option in enumerate(options) if option == label.strip()]
            if len(matches) != 1:
                what = "is none of the options" if not matches else f"is {len(matches)} of the options"
                raise ValueError(f"label {shorten(label)} {what}; correct it, or give another --choice_labels")
            return matches[0]
        try:
            number = _letter(label.strip()) if self.form == "letter" else read_int(label)
        except ValueError:
            number = -1
        if not 0 <= number < len(options):
            ends = f"{self.written(0, options)} to {self.written(len(options) - 1, options)}"
            raise ValueError(
                f"label {shorten(label)} is not a {self.form} from {ends}; correct it, or say with --choice_labels "
                f"what labels are ({', '.join(FORMS)})"
            )
        return number

    def written(self, number: int, options: Sequence[str]) -> Any:
        """An option as labels name it."""
        if self.form == "text":
            return options[number]
        return string.ascii_uppercase[number] if self.form == "letter" and number < 26 else number


def _letter(text):
    return string.ascii_uppercase.index(text.upper()) if len(text) == 1 else -1


class OptionRows(NamedTuple):
    """One row per option. rows: ``EncodedRows``; counts: int64 [questions], the options of each."""

    rows: EncodedRows
    counts: np.ndarray


def option_rows(rows: EncodedRows, max_seq_len: int, cls_id: int, sep_id: int) -> OptionRows:
    """The rows of the options of questions that ``encode_parts`` made, cut as pairs of texts are."""
    first, second, counts = [], [], []
    for text_a, text_b, *options in parts_of(rows):
        first += [text_a] * len(options)
        second += [text_b + option for option in options]
        counts.append(len(options))
    return OptionRows(encode_rows(first, second, max_seq_len, cls_id, sep_id), np.array(counts, np.int64))


class ChoiceEncoder(PartsEncoder):
    """Turns lines into rows of text_a, text_b and the options."""

    def __init__(
        self, table: RowFile, tokenizer: Tokenizer, max_seq_len: int, labels: LabelRule, choices: Choices
    ) -> None:
        super().__init__(table, tokenizer, max_seq_len, labels)
        if max_seq_len < 4:
            raise UserError(
                f"max_seq_len {max_seq_len} is too small for {table.path}: a row needs 4 ([CLS], a token and two "
                "[SEP]); raise it"
            )
        self.choices, self.place = choices, table.columns.index("choices")
        self.cache_facts = [choices.separator, choices.form]

    def texts(self, line: bytes) -> list[str]:
        try:
            values = self._fields(line)
        except ValueError:
            return []
        return [text for text in self._parts(values) if text]

    def _fields(self, line):
        values = super()._fields(line)
        self.choices.options(values[self.place])
        return values

    def _read_label(self, values):
        if not values[self.label].strip():
            raise ValueError(empty(self.layout.name_of("label"), "the option that is right"))
        return self.choices.read(values[self.label], self.choices.options(values[self.place]))

    def _parts(self, values):
        """text_a, text_b and the options."""
        second = "" if self.text_b is None else values[self.text_b]
        return [values[self.text_a], second, *self.choices.options(values[self.place])]

    def _tokenise(self, fields):
        parts = [self._parts(values) for values in fields]
        return encode_texts(parts, self.tokenizer)


def encode_texts(questions: Sequence[Sequence[str]], tokenizer: Tokenizer) -> EncodedRows:
    """``encode_parts`` of texts: of each question text_a, text_b and every option."""
    texts = [text for parts in questions for text in parts]
    ids = iter(tokenizer.encode_batch(texts) if texts else [])
    return encode_parts([[next(ids) for _ in parts] for parts in questions], tokenizer.cls_id, tokenizer.sep_id)


class ChoiceReader(PartedReader):
    """A ``PartedReader`` of questions with options. A batch has ``batch_size`` questions with all their options.

    The owners of rows are ``choice_mask`` and ``choice_places``; see the module.

    Args:
        choices: ``Choices``.
        the others: as ``TaskReader``.

    Raises:
        UserError: batches are counted in tokens.
    """

    several = ("with multiple choice", "questions")
    known_columns: tuple[str, ...] = COLUMNS
    needed_columns: tuple[str, ...] = ("text_a", "choices")

    def __init__(self, path: str | Path, tokenizer: Tokenizer, *, choices: Choices, **others: Any) -> None:
        self.choices = choices
        super().__init__(path, tokenizer, **others)

    def make_encoder(self, labels: LabelRule) -> RowEncoder:
        """What turns lines into rows, one per question; the options are parted with their batch."""
        return ChoiceEncoder(self.table, self.tokenizer, self.max_seq_len, labels, self.choices)

    def as_read(self, rows: EncodedRows) -> tuple[np.ndarray, np.ndarray]:
        options, counts = option_rows(rows, self.max_seq_len, self.tokenizer.cls_id, self.tokenizer.sep_id)
        starts = offsets_of(counts)[:-1]
        return np.maximum.reduceat(options.lengths, starts), np.logical_or.reduceat(options.cut, starts)

    def part(self, rows: EncodedRows) -> PartedRows:
        options, counts = option_rows(rows, self.max_seq_len, self.tokenizer.cls_id, self.tokenizer.sep_id)
        cut = np.zeros(len(rows), bool)
        cut[np.repeat(np.arange(len(rows)), counts)[options.cut]] = True
        return PartedRows(options, places_of(counts), cut)


def places_of(counts: np.ndarray) -> dict[str, np.ndarray]:
    """``choice_mask`` and ``choice_places`` of questions with so many options each (int [questions])."""
    places, mask = pad_flat(np.arange(int(counts.sum())), counts, 0)
    return {"choice_mask": mask.astype(np.float32), "choice_places": places}
