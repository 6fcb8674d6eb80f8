"""How a file is read, whatever is in it: batches, order, share of the work.

reading = Reading(batch_size=32, shuffle=True, seed=1, epochs=3, training=True)
TaskReader(path, tokenizer, max_seq_len=128, task_id=0, **reading.batching())
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reader.tables.form import PLAIN, TableForm


@dataclass(frozen=True)
class Reading:
    """Settings of a reader that do not belong to a model.

    Attributes:
        batch_size: examples per batch; tokens with ``in_tokens``.
        in_tokens: count a batch in tokens, padding included.
        seed, epochs, shuffle, bucket_window: the order of the rows, see ``reader.task_reader.TaskReader``.
        num_workers: processes that tokenise; 0: the calling thread.
        rank, world_size: which of ``world_size`` processes this is.
        token_cache_dir: folder where ids are kept for later epochs and runs, or None.
        training: rows are repeated, shuffled and bucketed as set; otherwise read once, in the file's order.
        labelled: whether labels are read; they are not for prediction.
        form: how the file is stored, and which of its columns count.
        max_rows: rows to read while training, drawn by the seed; None: all.
        on_bad: what becomes of what cannot be used in a file that is held whole: "error", or "skip" to leave it out.
    """

    batch_size: int = 32
    in_tokens: bool = False
    seed: int = 0
    epochs: int = 1
    shuffle: bool = False
    bucket_window: int = 0
    num_workers: int = 0
    rank: int = 0
    world_size: int = 1
    token_cache_dir: str | None = None
    training: bool = False
    labelled: bool = True
    on_bad: str = "error"
    form: TableForm = PLAIN
    max_rows: int | None = None

    def batching(self) -> dict[str, Any]:
        """The keyword arguments of a ``BatchReader``; order and repetition only while training."""
        return {
            "batch_size": self.batch_size,
            "in_tokens": self.in_tokens,
            "seed": self.seed,
            "epochs": self.epochs if self.training else 1,
            "shuffle": self.training and self.shuffle,
            "bucket_window": self.bucket_window if self.training else 0,
            "num_workers": self.num_workers,
            "rank": self.rank,
            "world_size": self.world_size,
            "even": self.training,
            "form": self.form,
            "max_rows": self.max_rows if self.training else None,
        }
