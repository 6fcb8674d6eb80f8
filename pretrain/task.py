"""The contract of a pre-training task: a Model over the shared encoder (ERNIE 2.0, arXiv 1907.12412, section 3.2).

A task is one file in ``pretrain/tasks/`` with one class, and one line in ``pretrain.TASKS``. It declares what a batch
holds, its head, its loss and its scores; the runner and the loop know nothing else of it.
"""

from __future__ import annotations

import dataclasses

from ernie.modeling import ErnieEncoder
from propeller.train.model import Input, Model, RunMode
from reader.masking import Schedule
from reader.pretraining import PretrainingReader
from reader.shards import Limits

ENCODER_INPUTS = (
    Input("src_ids", [None, None], "int64"),
    Input("sent_ids", [None, None], "int64"),
    Input("pos_ids", [None, None], "int64"),
    Input("task_ids", [None, None], "int64"),
    Input("input_mask", [None, None], "float32"),
)


@dataclasses.dataclass(frozen=True)
class HeadConfig:
    """What the head of masked words needs: whether its output layer is the word embedding."""

    weight_sharing: bool = True


class PretrainTask(Model):
    """An encoder with the heads of one task.

    Args:
        config: ``ErnieConfig`` of the encoder.
        head: what ``head_config`` gave.
        mode: the ``RunMode`` this copy is built for.
        optimizer: in train mode, what applies the gradients.
        encoder: the ``ErnieEncoder`` of the Program under construction, where other tasks of it have one; None: a new
            one. Its parameters have fixed names, so Programs built apart share them through the scope all the same.

    Attributes:
        name: the task's name in ``TASKS`` and in checkpoints.
    """

    name = None
    inputs = ENCODER_INPUTS

    def __init__(self, config, head, mode, optimizer=None, encoder=None):
        super().__init__()
        self.config, self.head, self.mode, self.optimizer = config, head, mode, optimizer
        self.encoder = encoder or ErnieEncoder(config)

    def segments(self):
        """The encoder's layers."""
        return tuple(self.encoder.layers)

    @property
    def training_mode(self):
        """Whether this copy belongs to the train Program."""
        return self.mode is RunMode.TRAIN

    @classmethod
    def head_config(cls, args):
        """What the flags ask of the head."""
        return HeadConfig(weight_sharing=args.model.weight_sharing)

    @classmethod
    def open_reader(cls, filelist, tokenizer, config, args, training=False):
        """The reader of a filelist: ``batches(start)``, ``num_files``, ``stats``, ``fingerprint()``.

        Its positions have ``epoch``, ``rows``, ``ended`` (whether the epoch is), ``file``, ``path``, ``mask_type`` and
        ``to_dict()``; with several ranks a batch is this one's, None where there is none left for it.

        Args:
            config: ``ErnieConfig``.
            args: ``pretrain.args.Args``.
            training: shuffled and repeated, masked by the schedule; else once, in the list's order, with the same masks
                each time and the units of the schedule's last stage, so that scores of different steps compare.
        """
        data, train = args.data, args.train
        return PretrainingReader(
            filelist,
            tokenizer,
            max_seq_len=args.model.max_seq_len,
            batch_size=train.batch_size,
            in_tokens=train.in_tokens,
            vocab_size=max(tokenizer.vocab.values()) + 1,
            limits=Limits(positions=config.max_position_embeddings, sentence_types=config.sent_type_vocab_size),
            task_id=args.model.task_id,
            shuffle=training and data.shuffle,
            shuffle_buffer=data.shuffle_buffer,
            seed=train.random_seed,
            epochs=train.epoch if training else 1,
            generate_neg_sample=training and data.generate_neg_sample,
            units=cls.mask_units(args, training),
            mask_draw=data.mask_draw,
            rank=args.ranks.rank,
            world_size=args.ranks.size,
            even=training,
            on_bad=data.on_bad,
        )

    @classmethod
    def mask_units(cls, args, training):
        """``--mask_units`` as the reader takes it, which counts batches, not steps; or its last stage."""
        stages = Schedule.parse(args.data.mask_units).stages
        if not training or len(stages) == 1:
            return stages[-1][1]
        batches = args.train.gradient_accumulation_steps
        return ",".join(f"{level}:{first * batches}" for first, level in stages)

    @classmethod
    def finish_scores(cls, scores):
        """What an evaluation comes to, from what ``metrics`` collected: dict with ``loss``, ``data_num`` and more."""
        return scores

    @classmethod
    def training_line(cls, record):
        """Loss and scores of a line of the log while training."""
        return f"loss: {record['loss']:f}"

    @classmethod
    def evaluation_line(cls, scores, batch_averaged=True):
        """Loss and scores of a validation's or a test's line; ``batch_averaged`` ones too (2019: not in tests)."""
        return f"loss: {scores['loss']:f}"
