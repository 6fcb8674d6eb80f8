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

from distill.taught import Taught
from propeller.errors import UserError
from reader.batch_reader import BatchReader
from reader.survey import Survey

FOREVER = 2**31  # epochs of the unlabelled rows: as many as it takes


@dataclass(frozen=True)
class MixturePosition:
    """Where to continue.

    Attributes:
        epoch, rows: of the mixture, all ranks together.
        turn: batches of the present group given out.
        labelled, unlabelled: positions of the two readers, or None.
        processes: that share the batches.
    """

    epoch: int = 0
    rows: int = 0
    turn: int = 0
    labelled: Mapping[str, Any] | None = None
    unlabelled: Mapping[str, Any] | None = None
    processes: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class Mixture(BatchReader):
    """See the module.

    Args:
        labelled: a ``Taught`` reader of the rows with labels.
        unlabelled: one of the others, with ``epochs`` of ``FOREVER``; or None.
        ratio: its batches for each labelled one.
    """

    def __init__(self, labelled: Taught, unlabelled: Taught | None, ratio: int) -> None:
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

    def notes(self) -> list[str]:
        """Lines of the log after training, of both readers."""
        readers = [self.labelled, *([self.unlabelled] if self.unlabelled else [])]
        return [line for reader in readers for line in reader.notes()]

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
        """(batch, ``MixturePosition`` after it) from ``start`` (None, a position or its dict) on, over all epochs.

        Raises:
            UserError: the position is of something else, or of another number of processes.
        """
        given = start.to_dict() if isinstance(start, MixturePosition) else dict(start or {"processes": self.world_size})
        try:
            place = MixturePosition(**given)
        except TypeError:
            raise UserError(
                f"reader position {given} is none of labelled and unlabelled rows: start from the beginning"
            ) from None
        if place.processes != self.world_size:
            raise UserError(
                f"this run learns from a teacher in {place.processes} processes, and its steps depend on that: go on "
                f"in as many, not {self.world_size}"
            )
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
                yield batch, MixturePosition(epoch, rows, turn, mine, theirs, self.world_size)
                if rows >= self.num_examples:
                    epoch, rows = epoch + 1, 0
        finally:
            for stream in (labelled, unlabelled):
                if stream is not None:
                    stream.close()

    def _groups_before(self, rows):
        """Groups of labelled batches that are given out with so many rows."""
        return -(-rows // (self.batch_size * self.world_size))
