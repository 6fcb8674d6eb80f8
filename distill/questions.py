"""What a teacher is asked of a file of rows: logits of rows, or of the tokens of rows.

    questions = questions_of(table, teacher.facts)
    questions.total                                 # how many logits the file has: its rows, or its tokens
    questions.of_rows(numbers)                      # int64: the numbers of the logits of some rows
    questions.ask(teacher, numbers)                 # float32 [of_rows(numbers), columns]

The rows go to the teacher as text, from its own columns where the file has such.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from distill.rows import fields_of, rows_of, teacher_places
from distill.soft_labels import TAGGING
from propeller.errors import UserError
from reader.row_file import RowFile
from reader.tagging.sentence import find_separator, split_tokens
from reader.tagging.token_logits import NOTHING

if TYPE_CHECKING:
    from distill.teacher import Teacher


class Questions:
    """Rows of texts: each has one vector of logits.

    Args:
        table: the rows.
    """

    def __init__(self, table: RowFile) -> None:
        self.table, self.places = table, teacher_places(table)
        self.total = table.num_rows

    def of_rows(self, rows: np.ndarray) -> np.ndarray:
        """int64: the numbers of the logits of rows, in the order of the rows."""
        return np.asarray(rows, np.int64)

    def rows_with(self, numbers: np.ndarray) -> np.ndarray:
        """int64: the rows that some logits belong to, rising."""
        return np.asarray(numbers, np.int64)

    def ask(self, teacher: Teacher, rows: np.ndarray) -> np.ndarray:
        """The teacher's logits of rows, float32 [len(of_rows(rows)), columns].

        Raises:
            UserError: a row without text; see ``Teacher``.
        """
        texts = []
        for number, fields in self.fields(rows):
            texts.append([fields[place] for place in self.places])
            if not texts[-1][0].strip():
                name = self.table.columns[self.places[0]]
                raise UserError(
                    f"{self.table.layout.where(number)}: {name} is blank: put its text there or remove the row"
                )
        return teacher.logits(texts)

    def fields(self, rows: np.ndarray) -> Iterator[tuple[int, list[str]]]:
        """(number, fields) of rows. Raises UserError: see ``distill.rows.fields_of``."""
        with self.table.open() as file:
            lines = self.table.read(file, rows)
        for number, line in zip(rows.tolist(), lines):
            yield number, fields_of(self.table, number, line)


class TokenQuestions(Questions):
    """Rows of tokens: each token has a vector of logits.

    Where the teacher has a column of its own, its tokens stand for those of ``text_a``, one for one.

    Args:
        table: the rows.

    Raises:
        UserError: a row without a token, or with more or fewer for the teacher than for the student.
    """

    def __init__(self, table: RowFile) -> None:
        super().__init__(table)
        if len(self.places) != 1:
            raise UserError(f"{table.path}: has text_b, and a teacher of tags reads one text: remove that column")
        self.separator, self.own = find_separator(table), table.columns.index("text_a")
        counts = np.zeros(table.num_rows, np.int64)
        for number, fields in rows_of(table):
            tokens, theirs = (split_tokens(fields[place], self.separator) for place in (self.own, self.places[0]))
            if not any(token.strip() for token in theirs):
                raise UserError(f"{table.layout.where(number)}: no tokens: remove the row")
            if len(tokens) != len(theirs):
                raise UserError(
                    f"{table.layout.where(number)}: {len(tokens)} tokens in text_a, {len(theirs)} in teacher_a: the "
                    "teacher's tags go to tokens one for one: mend the row"
                )
            counts[number] = len(tokens)
        self.begins = np.concatenate([[0], np.cumsum(counts)])
        self.total = int(self.begins[-1])

    def of_rows(self, rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows, np.int64)
        lengths = self.lengths(rows)
        inside = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.repeat(self.begins[rows], lengths) + inside

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """int64: the tokens of each row."""
        return self.begins[rows + 1] - self.begins[rows]

    def rows_with(self, numbers: np.ndarray) -> np.ndarray:
        return np.unique(np.searchsorted(self.begins, numbers, side="right") - 1)

    def ask(self, teacher: Teacher, rows: np.ndarray) -> np.ndarray:
        texts = [split_tokens(fields[self.places[0]], self.separator) for _, fields in self.fields(rows)]
        kept = [[number for number, token in enumerate(tokens) if token.strip()] for tokens in texts]
        found = teacher.token_logits([[tokens[number] for number in at] for tokens, at in zip(texts, kept)])
        parts = []
        for tokens, at, logits in zip(texts, kept, found):
            part = np.full((len(tokens), logits.shape[1]), NOTHING, np.float32)
            part[at] = logits
            parts.append(part)
        return np.concatenate(parts)


def questions_of(table: RowFile, teacher: Mapping[str, Any]) -> Questions:
    """What to ask of a table.

    Args:
        table: the rows.
        teacher: ``facts`` of the teacher.

    Raises:
        UserError: see ``TokenQuestions``.
    """
    return (TokenQuestions if teacher["task"] in TAGGING else Questions)(table)
