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
from typing import Any, NamedTuple

import numpy as np

from propeller.errors import UserError
from reader.batching import EncodedRows, encode_rows, make_batch, offsets_of, pad_flat
from reader.row_encoder import LabelRule, RowEncoder, read_int
from reader.row_file import LIST_PART, shorten
from reader.task_reader import TaskReader

FORMS = ("number", "letter", "text")
COLUMNS = ("text_a", "text_b", "choices", "label", "qid")
FIRST_OPTION = 2  # parts of a row: 0 is text_a, 1 text_b, then the options


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


def encode_parts(ids: Sequence[Sequence[Sequence[int]]], cls_id: int, sep_id: int) -> EncodedRows:
    """Questions as rows that are not cut: each part followed by ``sep_id``, its number in ``tags``.

    Args:
        ids: of each question the ids of text_a, text_b and every option.
    """
    flat, tags, lengths = [], [], []
    for parts in ids:
        row = [cls_id]
        tags.append(0)
        for number, part in enumerate(parts):
            row += [*part, sep_id]
            tags += [number] * (len(part) + 1)
        flat += row
        lengths.append(len(row))
    count = len(lengths)
    return EncodedRows(
        ids=np.array(flat, np.int32),
        offsets=offsets_of(np.array(lengths, np.int64)),
        lengths=np.array(lengths, np.int32),
        first=np.array(lengths, np.int32),
        cut=np.zeros(count, bool),
        tags=np.array(tags, np.int32),
    )


def option_rows(rows: EncodedRows, max_seq_len: int, cls_id: int, sep_id: int) -> OptionRows:
    """The rows of the options of questions that ``encode_parts`` made, cut as pairs of texts are."""
    first, second, counts = [], [], []
    for begin, end in zip(rows.offsets[:-1].tolist(), rows.offsets[1:].tolist()):
        ids, tags = rows.ids[begin + 1 : end], rows.tags[begin + 1 : end]  # type: ignore[index]
        borders = np.searchsorted(tags, np.arange(int(tags[-1]) + 2))
        parts = [ids[a : b - 1].tolist() for a, b in zip(borders[:-1], borders[1:])]
        options = parts[FIRST_OPTION:]
        first += [parts[0]] * len(options)
        second += [parts[1] + option for option in options]
        counts.append(len(options))
    return OptionRows(encode_rows(first, second, max_seq_len, cls_id, sep_id), np.array(counts, np.int64))


class ChoiceEncoder(RowEncoder):
    """Turns lines into rows as ``encode_parts`` makes them."""

    tagged = True

    def __init__(self, table: Any, tokenizer: Any, max_seq_len: int, labels: LabelRule, choices: Choices) -> None:
        super().__init__(table.path, table.columns, tokenizer, max_seq_len, labels, table.layout)
        if max_seq_len < 4:
            raise UserError(
                f"max_seq_len {max_seq_len} is too small for {table.path}: a row needs 4 ([CLS], a token and two "
                "[SEP]); raise it"
            )
        self.choices, self.place = choices, table.columns.index("choices")
        self.cache_facts = [choices.separator, choices.form]

    @property
    def labels_rows(self) -> bool:
        return self.label is not None

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
        return self.choices.read(values[self.label], self.choices.options(values[self.place]))

    def _parts(self, values):
        """text_a, text_b and the options."""
        second = "" if self.text_b is None else values[self.text_b]
        return [values[self.text_a], second, *self.choices.options(values[self.place])]

    def _tokenise(self, fields):
        parts = [self._parts(values) for values in fields]
        return encode_texts(parts, self.tokenizer)


def encode_texts(questions: Sequence[Sequence[str]], tokenizer: Any) -> EncodedRows:
    """``encode_parts`` of texts: of each question text_a, text_b and every option."""
    texts = [text for parts in questions for text in parts]
    ids = iter(tokenizer.encode_batch(texts) if texts else [])
    return encode_parts([[next(ids) for _ in parts] for parts in questions], tokenizer.cls_id, tokenizer.sep_id)


class ChoiceReader(TaskReader):
    """A ``TaskReader`` of questions with options. A batch has ``batch_size`` questions with all their options.

    Beside the fields of ``TaskReader``, of which ``src_ids`` and the others are those of options, a batch has
    ``choice_mask`` as its first field, and ``choice_places``; see the module.

    Args:
        choices: ``Choices``.
        the others: as ``TaskReader``.

    Raises:
        UserError: batches are counted in tokens.
    """

    known_columns: tuple[str, ...] = COLUMNS
    needed_columns: tuple[str, ...] = ("text_a", "choices")

    def __init__(self, path: str | Path, tokenizer: Any, *, choices: Choices, **others: Any) -> None:
        if others.get("in_tokens"):
            raise UserError("--in_tokens with multiple choice: give --batch_size in questions")
        self.choices = choices
        super().__init__(path, tokenizer, **others)

    def make_encoder(self, labels: LabelRule) -> RowEncoder:
        """What turns lines into rows, one per question; the options are parted with their batch."""
        return ChoiceEncoder(self.table, self.tokenizer, self.max_seq_len, labels, self.choices)

    def as_read(self, rows: EncodedRows) -> tuple[np.ndarray, np.ndarray]:
        found = option_rows(rows, self.max_seq_len, self.tokenizer.cls_id, self.tokenizer.sep_id)
        starts = offsets_of(found.counts)[:-1]
        return np.maximum.reduceat(found.rows.lengths, starts), np.logical_or.reduceat(found.rows.cut, starts)

    def make_batch(self, rows: EncodedRows) -> dict[str, np.ndarray]:
        return self._batch_of(rows)[0]

    def _batch_of(self, rows):
        found = option_rows(rows, self.max_seq_len, self.tokenizer.cls_id, self.tokenizer.sep_id)
        batch = {**places_of(found.counts), **make_batch(found.rows, self.tokenizer.pad_id, self.task_id)}
        for name, values in (("labels", rows.labels), ("qids", rows.qids)):
            if values is not None:
                batch[name] = values.reshape(-1, 1)
        return batch, found

    def _finish(self, rows):
        batch, found = self._batch_of(rows)
        tokens = int(found.rows.offsets[-1])
        owner = np.repeat(np.arange(len(rows)), found.counts)
        cut = len(np.unique(owner[found.rows.cut]))
        counts = {"rows": len(rows), "truncated": cut, "tokens": tokens, "padding": batch["src_ids"].size - tokens}
        for name, count in counts.items():
            self.stats[name] += count
        return batch


def places_of(counts: np.ndarray) -> dict[str, np.ndarray]:
    """``choice_mask`` and ``choice_places`` of questions with so many options each (int [questions])."""
    places, mask = pad_flat(np.arange(int(counts.sum())), counts, 0)
    return {"choice_mask": mask.astype(np.float32), "choice_places": places}
