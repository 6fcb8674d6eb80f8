"""Rows of one, two or three texts that a network reads apart, each as ``[CLS] text [SEP]``.

    reader = SeveralTextsReader("pairs.tsv", tokenizer, texts=2, max_seq_len=64, batch_size=32, label_kind=None)
    batch, _ = next(reader.batches())
    batch["src_ids"]                # int64 [32, 2, seq]
    batch["same"]                   # float32 [32, 32]: which texts of other rows are no negatives

The texts are ``text_a``, ``text_b`` and ``negative``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from propeller.errors import UserError
from reader.batch_reader import drawn
from reader.batching import EncodedRows, encode_rows, make_batch, offsets_of, ragged_arange
from reader.row_encoder import LabelRule, RowEncoder
from reader.tables.form import FLAGS, KNOWN_COLUMNS
from reader.task_reader import TaskReader

if TYPE_CHECKING:
    from reader.row_file import Layout
    from reader.tokenizer import Tokenizer


NEGATIVE = "negative"
COLUMNS = ("text_a", "text_b", NEGATIVE)
FIELDS = ("src_ids", "sent_ids", "pos_ids", "task_ids", "input_mask")


class SeveralTextsEncoder(RowEncoder):
    """Turns records into rows of several texts, end to end.

    Of two texts ``first`` is the length of the first one. Of three, ``tags`` says of each id which text it is of.

    Args:
        texts: how many of ``COLUMNS`` a row has.
        the others: as ``RowEncoder``; ``max_seq_len`` is that of each text.
    """

    def __init__(
        self,
        path: str,
        columns: list[str],
        tokenizer: Tokenizer,
        max_seq_len: int,
        labels: LabelRule,
        layout: Layout | None = None,
        texts: int = 1,
    ) -> None:
        super().__init__(path, columns, tokenizer, max_seq_len, labels, layout)
        self.places = [columns.index(name) for name in COLUMNS[:texts]]
        self.tagged = texts > 2
        self.cache_facts = ["texts", texts]

    def texts(self, line: bytes) -> list[str]:
        try:
            values = self._fields(line)
        except ValueError:
            return []
        return [values[place] for place in self.places]

    def _examine_text(self, values, allow_blank):
        for name, place in zip(COLUMNS, self.places):
            if not allow_blank and not values[place].strip():
                raise ValueError(f"{name} is empty; put its text there or remove the row")

    def _tokenise(self, fields) -> EncodedRows:
        special = self.tokenizer.cls_id, self.tokenizer.sep_id
        ids = self.tokenizer.encode_batch([values[place] for place in self.places for values in fields])
        rows = len(fields)
        parts = [
            encode_rows(ids[number * rows : (number + 1) * rows], None, self.max_seq_len, *special)
            for number in range(len(self.places))
        ]
        sizes = np.stack([part.lengths for part in parts], axis=1).astype(np.int64)  # [rows, texts]
        begins = offsets_of(sizes.ravel())[:-1].reshape(sizes.shape)
        joined = np.empty(int(sizes.sum()), np.int32)
        for number, part in enumerate(parts):
            joined[ragged_arange(begins[:, number], sizes[:, number])] = part.ids
        lengths = sizes.sum(axis=1)
        tags = None
        if self.tagged:
            tags = np.repeat(np.tile(np.arange(len(parts), dtype=np.int32), rows), sizes.ravel())
        return EncodedRows(
            ids=joined,
            offsets=offsets_of(lengths),
            lengths=lengths.astype(np.int32),
            first=sizes[:, 0].astype(np.int32),
            cut=np.any([part.cut for part in parts], axis=0),
            tags=tags,
        )


class MadeVectors(Protocol):
    """Vectors of the rows of a file that are made when they are needed."""

    def __len__(self) -> int: ...

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray: ...

    def make(self) -> None:
        """Make those that are not there yet."""


class SeveralTextsReader(TaskReader):
    """A ``TaskReader`` of rows whose texts are read apart.

    Args:
        texts: how many texts a row has, 1 to 3.
        apart: give ids as [rows * texts, seq], the texts of a row after each other, in place of [rows, texts, seq].
        vectors: float [rows of the file, columns], one for each row, or what gives those of numbers of rows
            (``MadeVectors``), or None; batches have them as ``teacher_vectors``, float32 [rows, columns].
        the others: as ``TaskReader``. With ``in_tokens`` a row counts with all its texts.

    Raises:
        UserError: a column is missing; there is a second text where one is read; there are not as many vectors as rows.
    """

    known_columns = (*KNOWN_COLUMNS, NEGATIVE)

    def __init__(
        self,
        path: str | Path,
        tokenizer: Tokenizer,
        *,
        texts: int = 1,
        apart: bool = False,
        vectors: np.ndarray | MadeVectors | None = None,
        max_rows: int | None = None,
        **others: Any,
    ) -> None:
        self.texts_of_row, self.apart, self.vectors = texts, apart, vectors
        super().__init__(path, tokenizer, **others)
        if vectors is not None and len(vectors) != self.num_examples:
            raise UserError(
                f"--teacher_vectors has {len(vectors)} vectors, {path} {self.num_examples} rows: give a vector for "
                "each row, in the order of the rows"
            )
        self.max_rows = max_rows
        if max_rows is not None and max_rows < self.num_examples:
            self.table.keep(drawn(self.num_examples, max_rows, self.seed))

    def prepare(self) -> None:
        if self.vectors is not None and not isinstance(self.vectors, np.ndarray):
            self.vectors.make()

    def make_encoder(self, labels: LabelRule) -> RowEncoder:
        """What reads as many texts as asked for."""
        table = self.table
        for name in COLUMNS[: self.texts_of_row]:
            if name not in table.columns:
                flag = f", or name it with {FLAGS[name]}" if name in FLAGS else ""
                raise UserError(f"{table.path}: column {name!r} is missing: a row needs it here: add it{flag}")
        return SeveralTextsEncoder(
            table.path, table.columns, self.tokenizer, self.max_seq_len, labels, table.layout, self.texts_of_row
        )

    def sizes(self, rows: EncodedRows) -> np.ndarray:
        """The lengths of the texts, int64 [rows, texts]."""
        if self.texts_of_row == 1:
            return rows.lengths.astype(np.int64).reshape(-1, 1)
        if rows.tags is None:
            return np.stack([rows.first, rows.lengths - rows.first], axis=1).astype(np.int64)
        owner = np.repeat(np.arange(len(rows)), rows.lengths) * self.texts_of_row + rows.tags
        return np.bincount(owner, minlength=len(rows) * self.texts_of_row).reshape(-1, self.texts_of_row)

    def make_batch(self, rows: EncodedRows) -> dict[str, np.ndarray]:
        lengths = self.sizes(rows).ravel()
        parted = EncodedRows(
            ids=rows.ids,
            offsets=offsets_of(lengths),
            lengths=lengths.astype(np.int32),
            first=lengths.astype(np.int32),
            cut=np.repeat(rows.cut, self.texts_of_row),
        )
        batch = make_batch(parted, self.tokenizer.pad_id, self.task_id)
        if not self.apart:
            batch = {name: batch[name].reshape(len(rows), self.texts_of_row, -1) for name in FIELDS}
            batch["same"] = same_texts(parted, self.texts_of_row)
        if rows.labels is not None:
            batch["labels"] = rows.labels.reshape(len(rows), 1)
        return batch

    def on_batch(self, batch: dict[str, np.ndarray], numbers: np.ndarray) -> None:
        """Add the vectors of the rows, which stay with their rows whichever were left out."""
        if self.vectors is None:
            return
        kept = self.table.kept
        numbers = numbers if kept is None else kept[numbers]
        found = np.asarray(self.vectors[numbers], np.float32)
        bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
        if len(bad):
            raise UserError(f"--teacher_vectors: vector {int(numbers[bad[0]]) + 1} has numbers that are not finite")
        batch["teacher_vectors"] = found


def same_texts(parted: EncodedRows, texts: int) -> np.ndarray:
    """Which texts of a batch must not count as negatives of a row, float32 [rows, rows * most(texts - 1, 1)].

    The columns are those of ``finetune.vectors.losses.contrastive``: the second text of each row (of rows of one text
    that text), then the third ones. 1 where such a text equals one of the row's first two, or stands in a row whose
    first text is this row's; 0 for the row's own second text, and for its own third one unless that equals another.

    Args:
        parted: the texts of all rows, those of a row after each other.
        texts: of a row.
    """
    codes: dict[bytes, int] = {}
    offsets, ids = parted.offsets, np.ascontiguousarray(parted.ids)
    numbers = np.array(
        [codes.setdefault(ids[a:b].tobytes(), len(codes)) for a, b in zip(offsets[:-1], offsets[1:])], np.int64
    ).reshape(-1, texts)
    first, second = numbers[:, :1], numbers[:, min(1, texts - 1)]
    twins = first == first.T  # rows that begin alike
    columns = [(first == second) | (second[:, None] == second) | twins]
    np.fill_diagonal(columns[0], False)
    for place in range(2, texts):
        others = twins.copy()
        np.fill_diagonal(others, False)
        columns.append((first == numbers[:, place]) | (second[:, None] == numbers[:, place]) | others)
    return np.concatenate(columns, axis=1).astype(np.float32)
