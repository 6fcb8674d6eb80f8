"""A file looked at before anything is made of it: every row's fields and labels, a sample of its pieces.

    found = survey(TaskReader("train.tsv", tokenizer, max_seq_len=128, batch_size=32))
    found.bad[0]                        # BadRow(number=17, message="train.tsv, line 19: text_a is empty; ...")
    found.unknown / found.pieces        # share of [UNK]
    reader.table.drop([row.number for row in found.bad])

Reading fields takes seconds for a million rows; tokenising all of them would take minutes, so a sample is tokenised.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from propeller.errors import UserError
from reader.forms import is_printed_list
from reader.row_file import shorten

if TYPE_CHECKING:
    from reader.batching import EncodedRows
    from reader.row_file import RowFile
    from reader.task_reader import TaskReader
    from reader.tokenizer import Tokenizer


log = logging.getLogger("ernie.reader")

CHUNK_ROWS = 4096
SAMPLE_ROWS = 2000  # rows that are tokenised: the share of [UNK] in them is known to a percent
MOST_UNKNOWN = 0.5  # share of [UNK] above which a vocabulary is not the one that the text is for
TELL_EVERY = 5.0  # seconds between lines of progress
# What stands for a label that is not published. A word of the label map is none of these.
PLACEHOLDERS = frozenset(
    ("", "-1", "-1.0", "-", "?", "none", "null", "nan", "n/a", "unknown", "unlabeled", "unlabelled")
)


class BadRow(NamedTuple):
    """A row that cannot be used. number: in the file, from 0; line: in the file, from 1 (of a Parquet file the row);
    message: file, line, what is wrong and the remedy."""

    number: int
    line: int
    message: str


@dataclass
class Survey:
    """What was found in a file.

    Attributes:
        path: of the file.
        unit: what a row of it is called.
        rows: how many there are.
        bad: those that cannot be used, in their order.
        pieces, unknown: pieces of the sampled rows without [CLS] and [SEP], and how many of them are [UNK].
        sampled, wordless: sampled rows, and how many of them have [UNK] and marks alone, no word or part of one.
        tags, outside: tags of all good rows of a tagged file, and how many of them mean "no entity".
        answered, lost: questions with answers, and how many of them have none that stands in its context.
        labels: the different labels of the good rows, as the first few of them stand.
        place: what the place of a row is called.
    """

    path: str
    unit: str = "rows"
    rows: int = 0
    bad: list[BadRow] = field(default_factory=list)
    pieces: int = 0
    unknown: int = 0
    sampled: int = 0
    wordless: int = 0
    tags: int = 0
    outside: int = 0
    answered: int = 0
    lost: int = 0
    labels: set[str] = field(default_factory=set)
    place: str = "line"


def survey(reader: TaskReader, allow_blank: bool = False) -> Survey:
    """Look at every row of a file.

    Args:
        reader: of the file.
        allow_blank: whether a row may have a blank ``text_a``.
    """
    table, encoder = reader.table, reader.encoder
    layout = table.layout
    found = Survey(table.path, place=layout.unit, rows=table.num_rows)
    begun = told = time.monotonic()
    for row, record in table.records():
        try:
            encoder.examine(record, found, allow_blank)
        except ValueError as problem:
            found.bad.append(BadRow(row, layout.number(row), f"{layout.where(row)}: {problem}"))
        if row % CHUNK_ROWS == 0 and time.monotonic() - told > TELL_EVERY:
            told = time.monotonic()
            log.info("checking %s: %d of %d rows", table.path, row, table.num_rows)
    if told > begun:
        log.info("checked %s in %.0f s", table.path, time.monotonic() - begun)
    bad = np.array([row.number for row in found.bad], np.int64)
    count_pieces(found, sample(reader, np.setdiff1d(np.arange(table.num_rows), bad)), reader.tokenizer)
    return found


def spread_rows(rows: np.ndarray) -> np.ndarray:
    """Some of the rows (int [n]), evenly spread over them: SAMPLE_ROWS at most."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), SAMPLE_ROWS)).astype(np.int64)] if len(rows) else rows


def sample(reader: TaskReader, rows: np.ndarray) -> EncodedRows | None:
    """Some of these rows (int [n]), encoded; None where there are none."""
    rows = spread_rows(rows)
    if not len(rows):
        return None
    with reader.table.open() as fd:
        return reader.encoder.encode(reader.table.read(fd, rows), rows)


def count_pieces(found: Survey, rows: EncodedRows | None, tokenizer: Tokenizer) -> None:
    """Add the pieces of encoded rows to a survey."""
    unknown = getattr(tokenizer, "unk_id", None)
    if rows is None or unknown is None:
        return
    special = np.isin(rows.ids, (tokenizer.cls_id, tokenizer.sep_id))
    found.pieces += len(rows.ids) - int(special.sum())
    found.unknown += int((rows.ids == unknown).sum())
    starts = rows.offsets[:-1]
    words = np.add.reduceat(np.isin(rows.ids, _words(tokenizer)).astype(np.int64), starts)
    unknowns = np.add.reduceat((rows.ids == unknown).astype(np.int64), starts)
    found.sampled += len(rows)
    found.wordless += int(((words == 0) & (unknowns > 0)).sum())


def _words(tokenizer):
    """The ids of pieces that hold a letter or a digit."""
    vocabulary = getattr(tokenizer, "vocab", None) or {}
    return [number for piece, number in vocabulary.items() if piece[:1] != "[" and any(map(str.isalnum, piece))]


def texts_of(reader: TaskReader) -> Iterator[str]:
    """The texts of some rows of a file, for a look at what they are made of."""
    questions = getattr(reader.table, "questions", None)
    if questions is not None:
        for number in spread_rows(np.arange(len(questions))).tolist():
            yield questions[number].text
            yield questions[number].context
        return
    table, encoder = reader.table, reader.encoder
    with table.open() as fd:
        rows = spread_rows(np.arange(table.num_rows))
        for line in table.read(fd, rows):
            yield from encoder.texts(line)


def label_fields(table: RowFile) -> Iterator[str]:
    """The label column of a file, row by row; nothing where there is none, "" in a row that cannot be read."""
    if "label" not in table.columns:
        return
    place = table.columns.index("label")
    for _, record in table.records():
        try:
            yield table.layout.fields(record)[place]
        except ValueError:
            yield ""


def list_fields(table: RowFile) -> Iterator[str]:
    """``label_fields`` of a column that lists its labels. Raises UserError: a row has a list as a program prints it."""
    for row, text in enumerate(label_fields(table)):
        if is_printed_list(text):
            raise UserError(
                f"{table.layout.where(row)}: {table.layout.name_of('label')} is {shorten(text)}, a printed list, whose "
                "brackets and quotes would be labels: write the table as JSON lines or Parquet, where lists stay lists"
            )
        yield text


def is_placeholder(word: str, known: Collection[str] = ()) -> bool:
    """Whether a label stands for one that is not published: -1, nothing, a question mark.

    Args:
        word: a label, as it stands in the file.
        known: words that are labels, whatever they look like.
    """
    return word not in known and word.strip().lower() in PLACEHOLDERS
