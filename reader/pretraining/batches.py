"""The named, padded batches of pre-training, and the position that comes with each.

    maker = BatchMaker("token", pad_id=0, task_id=1)
    batch, told = maker.make(rows)                  # batch["token_labels"]: int64 [told, 1]; how many
    PretrainingPosition.of(stored, num_files=3)     # from the dict in a checkpoint

Every batch has src_ids, sent_ids, pos_ids, task_ids int64 [batch, seq] and input_mask float32 [batch, seq]. By kind:

    masking     mask_pos, mask_label int64 [masked, 1]: places of the tokens to tell, in the batch seen as one array of
                batch * seq tokens, and what they are; labels int64 [batch, 1], 1: the second sentence follows the first
    sentence    labels int64 [batch, 1]: the class of each instance
    number      labels float32 [batch, 1]: the number of each instance
    token       token_pos, token_labels int64 [told, 1]: places of the tokens that have a class, as mask_pos, and theirs
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from propeller.errors import UserError
from reader.pretraining.masking import mask_positions
from reader.pretraining.shards import SPECIAL, Instances

KINDS = ("masking", "sentence", "token", "number")
CLASS_KINDS = ("sentence", "token")  # whose heads predict one of a number of classes


@dataclass(frozen=True)
class PretrainingPosition:
    """Where to continue, the same for all ranks and for any number of them.

    Attributes:
        epoch: from 0.
        rows, batches: given out in it by all ranks together.
        steps: batches of all ranks in the whole run.
        groups: of those, the groups of a batch per rank, of which the last one of an epoch may lack some.
        file, line: where the block begins, in the epoch's order of files, from 0.
        block: its number in the epoch.
        done: instances of it given out.
        ended: whether the epoch is.
        progress, path: for the log, the file, in the epoch's order, that a reader without a shuffle buffer would be in:
            a block may have instances of many files.
        mask_type: for the log, that of the last instance, or the kind where nothing is masked.
    """

    epoch: int = 0
    rows: int = 0
    batches: int = 0
    steps: int = 0
    groups: int = 0
    file: int = 0
    line: int = 0
    block: int = 0
    done: int = 0
    ended: bool = False
    progress: int = 0
    path: str = ""
    mask_type: str = ""

    def to_dict(self) -> dict:
        """Of a JSON-able kind."""
        return dataclasses.asdict(self)

    @staticmethod
    def of(value: PretrainingPosition | dict[str, Any] | None, num_files: int) -> PretrainingPosition:
        """From None (the beginning), a position or its dict; in a list of num_files files. Raises UserError."""
        if isinstance(value, PretrainingPosition):
            value = value.to_dict()
        kinds = {field.name: type(field.default) for field in dataclasses.fields(PretrainingPosition)}
        value = value or {}
        good = isinstance(value, dict) and all(type(value[name]) is kinds.get(name) for name in value)
        if not good or any(type(n) is int and n < 0 for n in value.values()) or value.get("file", 0) >= num_files:
            raise UserError(f"reader position {value} does not belong to a list of {num_files} files; start anew")
        return PretrainingPosition(**value)


@dataclass(frozen=True)
class BatchMaker:
    """Makes batches of one kind, of one task."""

    kind: str
    pad_id: int
    task_id: int = 0

    def make(
        self, rows: Instances, masks: tuple[np.ndarray, np.ndarray] | None = None
    ) -> tuple[dict[str, np.ndarray], int]:
        """(the batch of all `rows`, how many tokens are to be told). masks: for masking, of `masking.mask_tokens`."""
        if self.kind == "masking" and masks is not None:
            seen, told = masks
            batch, mask = self._inputs(rows, seen)
            batch["labels"] = rows.labels.reshape(-1, 1)
            batch["mask_label"] = rows.ids[told].astype(np.int64).reshape(-1, 1)
            batch["mask_pos"] = mask_positions(told, mask)
            return batch, len(told)
        batch, mask = self._inputs(rows, rows.ids)
        if self.kind in ("sentence", "number"):
            labels = rows.labels if self.kind == "sentence" else rows.labels.astype(np.float32)
            return {**batch, "labels": labels.reshape(-1, 1)}, 0
        told = np.flatnonzero(rows.units & SPECIAL == 0)
        classes = (rows.units[told] >> 1).astype(np.int64)
        return {**batch, "token_pos": mask_positions(told, mask), "token_labels": classes.reshape(-1, 1)}, len(told)

    def _inputs(self, rows, ids):
        """What the encoder takes, and where tokens are: bool [batch, seq]."""
        mask = np.arange(rows.lengths.max(initial=0), dtype=np.int32) < rows.lengths[:, None]

        def padded(values, pad=0):
            array = np.full(mask.shape, pad, np.int64)
            array[mask] = values
            return array

        return {
            "src_ids": padded(ids, self.pad_id),
            "sent_ids": padded(rows.sents),
            "pos_ids": padded(rows.positions),
            "task_ids": np.full(mask.shape, self.task_id, np.int64),
            "input_mask": mask.astype(np.float32),
        }, mask
