"""Where a student's reader has a teacher's logits from: labels on the disk, or a teacher that is asked in time.

    source = Stored(SoftLabels.read("unlabelled.tsv.teacher", sha256, path))
    source = Asked(table, "http://127.0.0.1:8113", "unlabelled.tsv.teacher")
    source.take(numbers)                                # float32 [n, columns]

A teacher is asked once for a row: its answers go where the stored ones are, so a second epoch, and a second run, ask
nothing. Readers run ahead of training in a thread, so the teacher answers while the student learns.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from distill.rows import fields_of, teacher_places
from distill.soft_labels import SoftLabels
from distill.teacher import Teacher, open_teacher
from reader.row_file import RowFile


class Source:
    """What sources share. facts: of the teacher."""

    facts: dict[str, Any]

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """float32 [n, columns] of rows by their numbers in the file."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """The same for two sources that say the same."""
        raise NotImplementedError


class Stored(Source):
    """Labels that are all there."""

    def __init__(self, labels: SoftLabels) -> None:
        self.labels, self.facts = labels, labels.facts["teacher"]

    def take(self, numbers: np.ndarray) -> np.ndarray:
        return self.labels.take(numbers)

    def fingerprint(self) -> str:
        return known_by(self.labels)


class Asked(Source):
    """A teacher, and what it has said.

    Args:
        table: the rows.
        teacher: its address, or a folder.
        folder: where its answers are kept.
        options: see ``open_teacher``.

    Raises:
        UserError: see ``open_teacher`` and ``SoftLabels``.
    """

    def __init__(self, table: RowFile, teacher: str, folder: str, **options: Any) -> None:
        self.table, self.places = table, teacher_places(table)
        self.teacher: Teacher = open_teacher(teacher, **options)
        self.facts = self.teacher.facts
        self.labels = SoftLabels.open_or_make(folder, table.identity, table.num_rows, self.facts, table.path)
        self.asked = 0  # rows so far
        self._lock = threading.Lock()

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """Asks the teacher for what it has not said yet. Raises UserError: it does not answer."""
        with self._lock:
            found = self.labels.take(numbers)
            unknown = np.flatnonzero(~np.isfinite(found).all(axis=1))
            if len(unknown):
                said = self.teacher.logits(self._texts(numbers[unknown]))
                self.labels.put(numbers[unknown], said)
                self.asked += len(unknown)
                found[unknown] = said
        return found

    def fingerprint(self) -> str:
        return known_by(self.labels)

    def _texts(self, numbers) -> list[Sequence[str]]:
        with self.table.open() as file:
            lines = self.table.read(file, numbers)
        rows = [fields_of(self.table, int(number), line) for number, line in zip(numbers, lines)]
        return [[fields[place] for place in self.places] for fields in rows]


def known_by(labels: SoftLabels) -> str:
    """What tells one teacher's word on one file from another's, whether it is all there yet or not."""
    named = [labels.facts["source"], labels.facts["teacher"]]
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()
