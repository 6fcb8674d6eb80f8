"""The streaming reader of files of rows for fine-tuning and prediction.

    reader = TaskReader("train.tsv", tokenizer, max_seq_len=128, batch_size=32, shuffle=True, seed=1, epochs=3)
    for batch, position in reader.batches():            # batch["src_ids"]: int64 [batch, seq]
        ...                                             # position.to_dict() goes into the checkpoint
    reader.batches(start=position)                      # the batches that follow

The file is never held: a pass over it finds where rows begin, an epoch is an order of row numbers, and rows are read by
offset as they are due. The batches depend on (file, tokenizer, arguments) alone, not on workers or caches.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reader.batch_reader import BatchReader, drawn
from reader.batching import EncodedRows
from reader.row_encoder import MAP, LabelRule, RowEncoder
from reader.sources import open_source
from reader.survey import Survey, survey
from reader.tables.form import KNOWN_COLUMNS
from reader.tables.opening import open_table

if TYPE_CHECKING:
    from reader.row_file import RowFile
    from reader.sources import Source
    from reader.tokenizer import Tokenizer


class TaskReader(BatchReader):
    """Named batches of a file of rows, in an order that depends on (seed, epoch) alone; every row once an epoch.

    Args:
        path: rows with the columns text_a, and of text_b, label, qid what is there, see ``open_table``.
        label_map: dict name -> class; num_labels: classes are 0..num_labels - 1 (None: not checked).
        label_kind: "class" (int64), "float" (float32), "set" (float32 [num_labels]), None: prediction; a
            label column is then ignored.
        label_separator: what stands between the labels of a set.
        label_origin: where the map comes from, for error messages, see ``LabelRule``.
        token_cache_dir: where ids are kept for later epochs and runs; see reader/token_cache.py.
        batching: see ``BatchReader``.

    Raises:
        UserError: for a bad file or argument here, for a bad row where the batch with it would come.
    """

    known_columns: tuple[str, ...] = KNOWN_COLUMNS
    needed_columns: tuple[str, ...] = ("text_a",)  # and label, where it is read
    lists = False  # whether JSON and Parquet may have lists of tokens and tags
    table: RowFile

    def __init__(
        self,
        path: str | Path,
        tokenizer: Tokenizer,
        *,
        label_map: dict[str, int] | None = None,
        num_labels: int | None = None,
        label_kind: str | None = "class",
        label_separator: str = ",",
        label_origin: str = MAP,
        token_cache_dir: str | None = None,
        **batching: Any,
    ) -> None:
        labels = LabelRule(label_kind, label_map, num_labels, label_separator, label_origin)
        super().__init__(tokenizer, **batching)
        self.token_cache_dir = token_cache_dir
        required = self.needed_columns if label_kind is None else (*self.needed_columns, "label")
        self.table = open_table(path, required, self.known_columns, self.form, self.lists)
        if self.max_rows is not None and self.max_rows < self.num_examples:
            self.table.keep(drawn(self.num_examples, self.max_rows, self.seed))
        self.encoder = self.make_encoder(labels)

    def survey(self, allow_blank: bool = False) -> Survey:
        """See reader.survey.survey."""
        return survey(self, allow_blank)

    def leave_out(self, found: Survey) -> None:
        """Read the file without the bad rows of a survey of it."""
        self.table.drop([row.number for row in found.bad])

    def as_read(self, rows: EncodedRows) -> tuple[np.ndarray, np.ndarray]:
        """(int [rows], bool [rows]): tokens that the network reads of each, at its longest part; whether it is cut."""
        return rows.lengths, rows.cut

    def make_encoder(self, labels: LabelRule) -> RowEncoder:
        """What turns the lines of `table` into rows."""
        table = self.table
        return RowEncoder(table.path, table.columns, self.tokenizer, self.max_seq_len, labels, table.layout)

    def open_source(self) -> AbstractContextManager[Source]:
        """Rows from the token cache, from worker processes or from this one."""
        return open_source(self)
