"""Examples of several rows each: what the readers of options, of templates and of long texts share.

    class OptionReader(PartedReader):
        def part(self, rows):                   # EncodedRows of examples, as the token cache has them
            return PartedRows(options, places_of(counts), cut)

An example is encoded as one row, and becomes its rows with its batch. ``tags`` of the encoded row say which of its ids
belong to which part of the example.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from propeller.errors import UserError
from reader.batching import EncodedRows, examples_of, make_batch, offsets_of
from reader.row_encoder import LabelRule, RowEncoder
from reader.task_reader import TaskReader

if TYPE_CHECKING:
    from reader.row_file import RowFile
    from reader.tokenizer import Tokenizer


class PartedRows(NamedTuple):
    """The rows of examples. rows: of all of them, one example after the other; owners: fields of the batch that say
    which rows are whose, the first with a row for each example; cut: bool [examples], where something was left out."""

    rows: EncodedRows
    owners: Mapping[str, np.ndarray]
    cut: np.ndarray


def encode_parts(ids: Sequence[Sequence[Sequence[int]]], cls_id: int, sep_id: int) -> EncodedRows:
    """Examples as rows that are not cut: each part followed by ``sep_id``, its number in ``tags``.

    Args:
        ids: of each example the ids of its parts.
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


def parts_of(rows: EncodedRows) -> Iterator[list[list[int]]]:
    """The ids of the parts of each example that ``encode_parts`` made."""
    for begin, end in zip(rows.offsets[:-1].tolist(), rows.offsets[1:].tolist()):
        ids, tags = rows.ids[begin + 1 : end], rows.tags[begin + 1 : end]  # type: ignore[index]
        borders = np.searchsorted(tags, np.arange(int(tags[-1]) + 2))
        yield [ids[a : b - 1].tolist() for a, b in zip(borders[:-1], borders[1:])]


class PartsEncoder(RowEncoder):
    """Turns lines into rows as ``encode_parts`` makes them; a row has one label beside its tags.

    Args:
        table: where the lines are.
        the others: as ``RowEncoder``.
    """

    tagged = True

    def __init__(self, table: RowFile, tokenizer: Tokenizer, max_seq_len: int, labels: LabelRule) -> None:
        super().__init__(table.path, table.columns, tokenizer, max_seq_len, labels, table.layout)

    @property
    def labels_rows(self) -> bool:
        return self.label is not None


class PartedReader(TaskReader):
    """A ``TaskReader`` of examples that are several rows each. A batch has ``batch_size`` examples with all their rows.

    A batch has the owners of its rows first, since the loop counts examples by its first field. ``src_ids`` and the
    others are those of rows, labels and qids those of examples.

    Args:
        the same as those of ``TaskReader``.

    Raises:
        UserError: batches are counted in tokens.
    """

    several: ClassVar[tuple[str, str]]  # "with" what makes several rows of an example; what examples are called

    def __init__(self, path: str | Path, tokenizer: Tokenizer, **others: Any) -> None:
        if others.get("in_tokens"):
            raise UserError("--in_tokens {}: give --batch_size in {}".format(*self.several))
        super().__init__(path, tokenizer, **others)

    def part(self, rows: EncodedRows) -> PartedRows:
        """The rows of examples.

        Args:
            rows: of examples, not cut.
        """
        raise NotImplementedError

    def make_batch(self, rows: EncodedRows) -> dict[str, np.ndarray]:
        return self._batch_of(rows, self.part(rows))

    def _batch_of(self, rows, parted):
        batch = make_batch(parted.rows, self.tokenizer.pad_id, self.task_id)
        return {**parted.owners, **batch, **examples_of(rows)}

    def _finish(self, rows):
        parted = self.part(rows)
        batch = self._batch_of(rows, parted)
        self.count(batch, len(rows), int(parted.cut.sum()), int(parted.rows.offsets[-1]))
        return batch
