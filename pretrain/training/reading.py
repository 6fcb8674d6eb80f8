"""The reader of a task's shards, from the flags of train.py.

reader = open_reader(declared("sentence_distance"), "train/filelist", tokenizer, config, args, classes=3, training=True)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ernie.config import ErnieConfig
from pretrain.declaration import Declaration
from pretrain.training.args import Args
from pretrain.training.task_list import Entry
from reader.pretraining.masking import Schedule
from reader.pretraining.reader import PretrainingReader
from reader.pretraining.reading import Masking, ShardReading
from reader.pretraining.shards import Limits

if TYPE_CHECKING:
    from tokenization_base import BaseTokenizer

ENDLESS = 2**31 - 1  # epochs


def open_reader(
    task: type[Declaration],
    filelist: str | Path,
    tokenizer: BaseTokenizer,
    config: ErnieConfig,
    args: Args,
    *,
    classes: int | None = None,
    training: bool = False,
    entry: Entry | None = None,
) -> PretrainingReader:
    """The reader of a filelist.

    Args:
        classes: of the head; None: the task has none.
        training: shuffled and repeated, masked by the schedule; otherwise once, in the list's order, with the same
            masks each time and the units of the schedule's last stage, so that scores of different steps compare.
        entry: of the task list: the reader repeats without end then. None: the flags give task id and epochs.

    Raises:
        UserError: as ``PretrainingReader``.
    """
    data, train = args.data, args.train
    epochs = train.epoch if entry is None else ENDLESS
    reading = ShardReading(
        max_seq_len=args.model.longest(config),
        batch_size=train.batch_size,
        in_tokens=train.in_tokens,
        shuffle=training and data.shuffle,
        shuffle_buffer=data.shuffle_buffer,
        seed=train.random_seed,
        epochs=epochs if training else 1,
        rank=args.ranks.rank,
        world_size=args.ranks.size,
        even=training,
        on_bad=data.on_bad,
    )
    return PretrainingReader(
        filelist,
        tokenizer,
        reading,
        kind=task.kind,
        classes=classes,
        masking=masking(task, args, training) if task.kind == "masking" else Masking(),
        vocab_size=max(tokenizer.vocab.values()) + 1,
        limits=Limits(positions=config.max_position_embeddings, sentence_types=config.sent_type_vocab_size),
        task_id=entry.task_id if entry else args.model.task_id,
    )


def masking(task: type[Declaration], args: Args, training: bool) -> Masking:
    """What the task and the flags say of masks."""
    data = args.data
    units = mask_units(task.mask_units or data.mask_units, args.train.gradient_accumulation_steps, training)
    negatives = training and data.generate_neg_sample and task.pairs_of_texts
    return Masking(units, data.mask_draw, generate_neg_sample=negatives)


def mask_units(given: str, batches_per_step: int, training: bool) -> str:
    """``--mask_units`` as the reader takes it, which counts batches, not steps; outside of training its last stage."""
    stages = Schedule.parse(given).stages
    if not training or len(stages) == 1:
        return stages[-1][1]
    return ",".join(f"{level}:{first * batches_per_step}" for first, level in stages)
