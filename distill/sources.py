"""Where a student's reader has a teacher's logits from: labels on the disk, or a teacher that is asked in time.

    source = Stored(SoftLabels.read("unlabelled.tsv.teacher", sha256, path))
    source = Asked(table, "http://127.0.0.1:8113", "unlabelled.tsv.teacher")
    source.prepare(numbers)                             # asks for those that are not there
    source.take(numbers)                                # float32 [n, columns]

A teacher is asked once for a row: its answers go where the stored ones are, so a second epoch, and a second run, ask
nothing. Readers run ahead of training in a thread, so the teacher answers while the student learns.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from typing import Any

import numpy as np

from distill.questions import Questions, questions_of
from distill.soft_labels import SoftLabels
from distill.teacher import Teacher, open_teacher
from reader.row_file import RowFile

AHEAD = 8  # batches that a teacher is asked for together


class Source:
    """What sources share.

    Attributes:
        facts: of the teacher.
        questions: which logits belong to a row.
        labels: where the logits are.
        ahead: batches whose rows are asked for together.
    """

    facts: dict[str, Any]
    questions: Questions
    labels: SoftLabels
    ahead = 1

    def prepare(self, numbers: np.ndarray) -> None:
        """Have the logits of rows there when ``take`` wants them. Raises UserError: the teacher does not answer."""

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """The logits of rows by their numbers in the file, float32 [n, columns]; of tags those of all their tokens."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """The same for two sources that say the same."""
        raise NotImplementedError

    def notes(self, path: str) -> list[str]:
        """Lines of the log after training. Args: path: the TSV."""
        return []


class Stored(Source):
    """Labels that are all there.

    Args:
        table: the rows.
        labels: of them.

    Raises:
        UserError: see ``questions_of``; the labels are not as many.
    """

    def __init__(self, table: RowFile, labels: SoftLabels) -> None:
        self.labels, self.facts = labels, labels.facts["teacher"]
        self.questions = questions_of(table, self.facts)
        labels.check_rows(self.questions.total)

    def take(self, numbers: np.ndarray) -> np.ndarray:
        return self.labels.take(self.questions.of_rows(numbers))

    def fingerprint(self) -> str:
        return known_by(self.labels)


class Asked(Source):
    """A teacher, and what it has said.

    Attributes:
        asked, known: rows that it was asked for, and rows that were there.
        seconds: how long it took over them.

    Args:
        table: the rows.
        teacher: its address, or a folder.
        folder: where its answers are kept.
        options: see ``open_teacher``.

    Raises:
        UserError: see ``open_teacher`` and ``SoftLabels``.
    """

    ahead = AHEAD

    def __init__(self, table: RowFile, teacher: str, folder: str, **options: Any) -> None:
        self.teacher: Teacher = open_teacher(teacher, **options)
        self.facts = self.teacher.facts
        self.questions = questions_of(table, self.facts)
        self.labels = SoftLabels.open_or_make(folder, table.text_identity, self.questions.total, self.facts, table.path)
        self.asked, self.known, self.seconds = 0, 0, 0.0
        self._lock = threading.Lock()

    def prepare(self, numbers: np.ndarray) -> None:
        """Asks the teacher for what it has not said yet."""
        with self._lock:
            wanted = self.questions.of_rows(numbers)
            unknown = np.isnan(self.labels.take(wanted)).any(axis=1)
            rows = self.questions.rows_with(np.unique(wanted[unknown]))
            self.known += len(numbers) - len(rows)
            if len(rows):
                begun = time.monotonic()
                said = self.questions.ask(self.teacher, rows)
                self.seconds += time.monotonic() - begun
                self.labels.put(self.questions.of_rows(rows), said)
                self.asked += len(rows)

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """The logits of rows that were prepared."""
        return self.labels.take(self.questions.of_rows(numbers))

    def fingerprint(self) -> str:
        return known_by(self.labels)

    def notes(self, path: str) -> list[str]:
        asked = f"asked for {self.asked} rows, which took it {self.seconds:.2f} s" if self.asked else "asked nothing"
        return [f"{path}: the teacher was {asked}; {self.known} rows were there already"]


def known_by(labels: SoftLabels) -> str:
    """What tells one teacher's word on one file from another's, whether it is all there yet or not."""
    named = [labels.facts["source"], labels.facts["teacher"]]
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()
