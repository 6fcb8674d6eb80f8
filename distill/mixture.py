"""Labelled and teacher-labelled batches in turn, in a fixed ratio, with a position that goes into checkpoints.

    reader = Mixture(labelled, unlabelled, ratio=2)
    for batch, position in reader.batches(): ...        # two of the teacher's, one labelled, two, one, ...

An epoch is a pass over the labelled rows; each of their batches comes after ``ratio`` full batches of the unlabelled
rows, which are read again and again in orders of their own. Every batch says which of its rows have labels, and which
a teacher's logits: ``is_labelled``, ``is_taught``, ``teacher_logits``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from distill.rows import COLUMNS
from distill.sources import Source
from propeller.errors import UserError
from reader.survey import Survey
from reader.task_reader import BatchReader, TaskReader

FOREVER = 2**31  # epochs of the unlabelled rows: as many as it takes


@dataclass(frozen=True)
class MixturePosition:
    """Where to continue. epoch, rows: of the mixture, all ranks together; turn: batches of the present group given out;
    labelled, unlabelled: positions of the two readers, or None."""

    epoch: int = 0
    rows: int = 0
    turn: int = 0
    labelled: Mapping[str, Any] | None = None
    unlabelled: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class TaughtReader(TaskReader):
    """A TSV each of whose batches has what a teacher says of its rows.

    Args:
        source: a ``distill.sources.Source``, or None where no teacher says anything: zeros then.
        columns: of the logits.
        is_labelled: whether the label column counts; else ``labels`` is the teacher's best class, or number.
        others: those of ``TaskReader``.
    """

    known_columns = COLUMNS

    def __init__(self, *args: Any, source: Source | None, columns: int, is_labelled: bool, **others: Any) -> None:
        self.source, self.columns, self.is_labelled = source, columns, is_labelled
        super().__init__(*args, **others)

    def on_batch(self, batch: dict[str, np.ndarray], numbers: np.ndarray) -> None:
        """Add the fields of distillation."""
        rows = len(numbers)
        batch["is_labelled"] = np.full((rows, 1), self.is_labelled, np.float32)
        batch["is_taught"] = np.full((rows, 1), self.source is not None, np.float32)
        if self.source is None:
            batch["teacher_logits"] = np.zeros((rows, self.columns), np.float32)
            return
        kept = self.table.kept  # the teacher's word stays with its row
        said = self.source.take(numbers if kept is None else kept[numbers])
        batch["teacher_logits"] = said
        if not self.is_labelled:  # scores while training are then how often the student says what the teacher does
            batch["labels"] = said.argmax(axis=1).reshape(-1, 1) if self.columns > 1 else said

    def fingerprint(self) -> dict[str, Any]:
        """With what the teacher's word is known by."""
        known = super().fingerprint()
        return known if self.source is None else {**known, "teacher": self.source.fingerprint()}


class Mixture(BatchReader):
    """See the module.

    Args:
        labelled: a ``TaughtReader`` of the rows with labels.
        unlabelled: one of the others, with ``epochs`` of ``FOREVER``; or None.
        ratio: its batches for each labelled one.
    """

    def __init__(self, labelled: TaughtReader, unlabelled: TaughtReader | None, ratio: int) -> None:
        self.labelled, self.unlabelled, self.ratio = labelled, unlabelled, ratio if unlabelled else 0
        self.table, self.encoder, self.tokenizer = labelled.table, labelled.encoder, labelled.tokenizer
        self.max_seq_len, self.task_id, self.batch_size = labelled.max_seq_len, labelled.task_id, labelled.batch_size
        self.rank, self.world_size, self.epochs = labelled.rank, labelled.world_size, labelled.epochs
        if labelled.in_tokens:
            raise UserError("--in_tokens with --unlabelled_set: batches come in a ratio: give --batch_size in examples")

    def survey(self, allow_blank: bool = False) -> Survey:
        """That of the labelled rows; the unlabelled ones are looked at too, and must be good."""
        if self.unlabelled is not None:
            found = self.unlabelled.survey(allow_blank)
            if found.bad:
                raise UserError(f"{found.bad[0].message} ({len(found.bad)} of {found.rows} rows are bad)")
        return self.labelled.survey(allow_blank)

    def leave_out(self, found: Survey) -> None:
        """Read the labelled rows without the bad ones."""
        self.labelled.leave_out(found)

    @property
    def stats(self) -> dict[str, int]:  # type: ignore[override]
        """Of both readers."""
        mine = self.labelled.stats
        return mine if self.unlabelled is None else {name: mine[name] + self.unlabelled.stats[name] for name in mine}

    @property
    def groups(self) -> int:
        """Labelled batches of an epoch, those of all ranks as one."""
        return -(-self.labelled.num_examples // (self.batch_size * self.world_size))

    @property
    def num_examples(self) -> int:
        """Rows of an epoch: the labelled ones, and full batches of the others."""
        return self.labelled.num_examples + self.groups * self.ratio * self.batch_size * self.world_size

    def fingerprint(self) -> dict[str, Any]:
        """path, size and rows of the labelled file; sha256 over both files and what the teacher's word is known by."""
        known = self.labelled.fingerprint()
        if self.unlabelled is None and "teacher" not in known:
            return known
        both = [known, None if self.unlabelled is None else self.unlabelled.fingerprint()]
        named = [None if one is None else [one["sha256"], one.get("teacher")] for one in both]
        digest = hashlib.sha256(json.dumps([*named, self.ratio]).encode()).hexdigest()
        return {"path": known["path"], "size": known["size"], "sha256": digest, "rows": self.num_examples}

    def batches(self, start: Any = None) -> Iterator[tuple[dict[str, np.ndarray], Any]]:
        """(batch, ``MixturePosition`` after it) from ``start`` (None, a position or its dict) on, over all epochs."""
        given = start.to_dict() if isinstance(start, MixturePosition) else dict(start or {})
        try:
            place = MixturePosition(**given)
        except TypeError:
            raise UserError(
                f"reader position {given} is none of labelled and unlabelled rows: start from the beginning"
            ) from None
        return self._mixed(place)

    def _mixed(self, place):
        labelled = self.labelled.batches(place.labelled)
        unlabelled = None if self.unlabelled is None else self.unlabelled.batches(place.unlabelled)
        epoch, rows, turn, mine, theirs = place.epoch, place.rows, place.turn, place.labelled, place.unlabelled
        if rows >= self.num_examples:
            epoch, rows = epoch + 1, 0
        nominal = self.batch_size * self.world_size
        try:
            while epoch < self.epochs:
                if unlabelled is not None and turn < self.ratio:
                    batch, after = next(unlabelled)
                    theirs, turn, rows = after.to_dict(), turn + 1, rows + nominal
                else:
                    batch, after = next(labelled)
                    mine, turn = after.to_dict(), 0
                    rows = after.rows + self._groups_before(after.rows) * self.ratio * nominal
                yield batch, MixturePosition(epoch, rows, turn, mine, theirs)
                if rows >= self.num_examples:
                    epoch, rows = epoch + 1, 0
        finally:
            for stream in (labelled, unlabelled):
                if stream is not None:
                    stream.close()

    def _groups_before(self, rows):
        """Groups of labelled batches that are given out with so many rows."""
        return -(-rows // (self.batch_size * self.world_size))
