"""Readers of rows each of whose batches has what a teacher says of its rows.

    reader = TaughtReader("unlabelled.tsv", tokenizer, source=source, columns=2, is_labelled=False, ...)
    for batch, position in reader.batches(): batch["teacher_logits"]        # float32 [batch, 2]

A teacher that is asked while training is asked for several batches at a time: it computes rows of one length together,
and among more rows there are more of a length.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from distill.rows import COLUMNS
from distill.sources import Source
from propeller.errors import UserError
from reader.batch_reader import ReaderPosition
from reader.task_reader import TaskReader


class Taught(TaskReader):
    """What these readers share.

    Args:
        source: a ``distill.sources.Source``, or None where no teacher says anything: zeros then.
        columns: of the logits.
        is_labelled: whether the label column counts; else ``labels`` is what the teacher says.
        others: those of the reader.
    """

    def __init__(self, *args: Any, source: Source | None, columns: int, is_labelled: bool, **others: Any) -> None:
        self.source, self.columns, self.is_labelled = source, columns, is_labelled
        self._numbers: np.ndarray | None = None  # of the rows of the latest batch
        super().__init__(*args, **others)

    def teach(self, batch: dict[str, np.ndarray], numbers: np.ndarray) -> None:
        """Add the fields of distillation. Args: numbers: of the batch's rows in the whole file, int [batch]."""
        raise NotImplementedError

    def on_batch(self, batch: dict[str, np.ndarray], numbers: np.ndarray) -> None:
        """Remember the numbers: ``batches`` has the rows of several batches asked for."""
        kept = self.table.kept  # the teacher's word stays with its row
        self._numbers = numbers if kept is None else kept[numbers]

    def batches(
        self, start: ReaderPosition | dict[str, Any] | None = None
    ) -> Iterator[tuple[dict[str, np.ndarray], ReaderPosition]]:
        """See ``BatchReader.batches``; each batch with the fields of distillation."""
        return self._taught(super().batches(start))

    def _taught(self, stream):
        """Begins with one batch, so that training need not wait for many."""
        size = 1
        try:
            while True:
                group, error = self._group(stream, size)
                numbers = [each for batch, each, _ in group if batch is not None]
                if numbers and self.source is not None:
                    self.source.prepare(np.unique(np.concatenate(numbers)))
                for batch, each, after in group:
                    if batch is not None:
                        self.teach(batch, each)
                    yield batch, after
                if error is not None:
                    raise error
                if len(group) < size:
                    return
                size = min(2 * size, self.source.ahead if self.source is not None else 1)
        finally:
            stream.close()

    def _group(self, stream, size):
        """(batch, numbers of its rows, position after it) of the next batches, and the error that came after them."""
        group: list[Any] = []
        try:
            for batch, after in itertools.islice(stream, size):
                group.append((batch, self._numbers, after))
        except UserError as error:
            return group, error
        return group, None

    def fingerprint(self) -> dict[str, Any]:
        """With what the teacher's word is known by."""
        known = super().fingerprint()
        return known if self.source is None else {**known, "teacher": self.source.fingerprint()}

    def notes(self) -> list[str]:
        """Lines of the log after training: how often the teacher was asked."""
        return [] if self.source is None else self.source.notes(self.table.path)


class TaughtReader(Taught):
    """Texts or pairs of texts with classes or numbers: a vector of logits per row."""

    known_columns = COLUMNS

    def teach(self, batch: dict[str, np.ndarray], numbers: np.ndarray) -> None:
        rows = len(numbers)
        batch["is_labelled"] = np.full((rows, 1), self.is_labelled, np.float32)
        batch["is_taught"] = np.full((rows, 1), self.source is not None, np.float32)
        if self.source is None:
            batch["teacher_logits"] = np.zeros((rows, self.columns), np.float32)
            return
        said = self.source.take(numbers)
        batch["teacher_logits"] = said
        if not self.is_labelled:  # scores while training are then how often the student says what the teacher does
            batch["labels"] = said.argmax(axis=1).reshape(-1, 1) if self.columns > 1 else said
