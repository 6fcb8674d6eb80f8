"""From the flags of a run to how its files are read.

reading = reading_of(args, training=True)           # reader.reading.Reading
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from finetune.pairs import columns_of
from finetune.spec import PAIRS, Reading
from finetune.training.args import Args

if TYPE_CHECKING:
    from finetune.task import FinetuneTask
    from reader.batch_reader import BatchReader


def reading_of(args: Args, training: bool = False, labelled: bool = True) -> Reading:
    """How a file is read: in training shuffled, bucketed and repeated, otherwise once in its order.

    Args:
        args: the flags.
        training: whether it is the training file.
        labelled: whether labels are read.
    """
    train, data = args.train, args.data
    return Reading(
        batch_size=train.batch_size if training else train.predict_batch_size or train.batch_size,
        in_tokens=train.in_tokens,
        seed=train.random_seed,
        epochs=args.optimizer.max_steps or train.epoch,  # an epoch has at least a step
        shuffle=data.shuffle,
        bucket_window=data.bucket_window,
        num_workers=data.num_workers,
        rank=args.ranks.rank,
        world_size=args.ranks.size,
        token_cache_dir=token_cache_dir(args, training),
        training=training,
        labelled=labelled,
        on_bad=args.checks.on_bad,
        form=args.tables.form(),
        max_rows=data.max_train_rows,
    )


def facts_of_rows(task: type[FinetuneTask], reader: BatchReader) -> dict[str, bool]:
    """What the training file's rows are, for the model's record: ``pairs``, whether they have a second text.

    Returns:
        {} where rows are no texts or pairs.
    """
    columns = columns_of(reader)
    return {} if columns is None or task.tags_tokens else {PAIRS: "text_b" in columns}


def token_cache_dir(args: Args, training: bool) -> str | None:
    """The folder of ``--token_cache_dir``; ``auto`` is beside the checkpoints, for the training file alone."""
    folder = args.data.token_cache_dir
    if folder == "off":
        return None
    if folder == "auto":
        return str(Path(args.run.checkpoints) / "token_cache") if training else None
    return folder
