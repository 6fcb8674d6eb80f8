"""The contract of a pre-training task: a Model over the shared encoder (ERNIE 2.0, arXiv 1907.12412, section 3.2).

A task is one file in ``pretrain/tasks/`` with one class, and one line in ``pretrain.TASKS``. It declares what a batch
holds, its head, its loss and its scores; the runner and the loop know nothing else of it.
"""

from __future__ import annotations

import dataclasses

from ernie.modeling import ErnieEncoder
from propeller.errors import UserError
from propeller.train.model import Input, Model, RunMode
from reader.masking import Schedule
from reader.pretraining import PretrainingReader
from reader.shards import TOKEN_CLASSES_MOST, Limits

ENDLESS = 2**31 - 1  # epochs
ENCODER_INPUTS = (
    Input("src_ids", [None, None], "int64"),
    Input("sent_ids", [None, None], "int64"),
    Input("pos_ids", [None, None], "int64"),
    Input("task_ids", [None, None], "int64"),
    Input("input_mask", [None, None], "float32"),
)


@dataclasses.dataclass(frozen=True)
class HeadConfig:
    """What a head is built from.

    weight_sharing, next_sentence: of masked words: whether their output layer is the word embedding, and whether pairs
    are told too; classes: of a head with classes; weight: what the loss is multiplied by before the backward pass.
    """

    weight_sharing: bool = True
    next_sentence: bool = True
    classes: int = 0
    weight: float = 1.0


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
        kind: of its batches, see ``reader.pretraining.PretrainingReader``.
        declared: the ``ClassTask`` class of a task with classes; None: its head tells something else.
    """

    name = None
    kind = "masking"
    declared = None
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

    def backward(self, loss):
        """See ``Model.backward``; of the loss times the task's weight."""
        return super().backward(loss if self.head.weight == 1.0 else loss * self.head.weight)

    @classmethod
    def head_config(cls, args, entry=None):
        """What the flags and the task's ``task_list.Entry`` ask of the head.

        Raises:
            UserError: the entry's ``head`` is not understood, or lacks what the task needs.
        """
        asked = dict(entry.head) if entry else {}
        next_sentence, classes = asked.pop("next_sentence", True), cls.declared and cls.declared.default_classes
        if cls.declared:
            next_sentence, classes = True, asked.pop("classes", classes)
        most = TOKEN_CLASSES_MOST if cls.kind == "token" else 2**31
        numbers = f"2 to {most}" if cls.kind == "token" else "2 on"
        wanted = f'"classes": a whole number from {numbers}' if cls.declared else '"next_sentence": true or false'
        good = isinstance(next_sentence, bool) and (not cls.declared or (type(classes) is int and 1 < classes <= most))
        if asked or not good:
            raise UserError(f"task {cls.name}: its head is {entry.head if entry else {}}; give {wanted}, nothing else")
        weight = entry.weight if entry else 1.0
        return HeadConfig(args.model.weight_sharing, next_sentence, classes or 0, weight)

    @classmethod
    def open_reader(cls, filelist, tokenizer, config, args, training=False, entry=None):
        """The reader of a filelist: ``batches(start)``, ``num_files``, ``stats``, ``fingerprint()``.

        Its positions have ``epoch``, ``rows``, ``ended`` (whether the epoch is), ``file``, ``path``, ``mask_type`` and
        ``to_dict()``; with several ranks a batch is this one's, None where there is none left for it.

        Args:
            config: ``ErnieConfig``.
            args: ``pretrain.args.Args``.
            training: shuffled and repeated, masked by the schedule; else once, in the list's order, with the same masks
                each time and the units of the schedule's last stage, so that scores of different steps compare.
            entry: of the task list: the reader repeats without end then. None: the flags say task and epochs.
        """
        data, train = args.data, args.train
        epochs = train.epoch if entry is None else ENDLESS
        return PretrainingReader(
            filelist,
            tokenizer,
            max_seq_len=args.model.max_seq_len,
            batch_size=train.batch_size,
            in_tokens=train.in_tokens,
            vocab_size=max(tokenizer.vocab.values()) + 1,
            limits=Limits(positions=config.max_position_embeddings, sentence_types=config.sent_type_vocab_size),
            task_id=entry.task_id if entry else args.model.task_id,
            shuffle=training and data.shuffle,
            shuffle_buffer=data.shuffle_buffer,
            seed=train.random_seed,
            epochs=epochs if training else 1,
            kind=cls.kind,
            classes=cls.head_config(args, entry).classes or None,
            **cls.masking(args, training),
            rank=args.ranks.rank,
            world_size=args.ranks.size,
            even=training,
            on_bad=data.on_bad,
        )

    @classmethod
    def masking(cls, args, training):
        """The reader's arguments about what is masked; none where nothing is."""
        if cls.kind != "masking":
            return {}
        return {
            "generate_neg_sample": training and args.data.generate_neg_sample,
            "units": cls.mask_units(args, training),
            "mask_draw": args.data.mask_draw,
        }

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
