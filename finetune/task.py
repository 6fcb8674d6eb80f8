"""The contract of a fine-tuning task: a Model over one ERNIE encoder (ERNIE 2.0, arXiv 1907.12412, section 3.3).

A task is one file with one class, one line in ``finetune.TASKS`` and one recipe. It declares what a batch holds, its
head, its loss and its scores; the runner and the loop know nothing else of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ernie.modeling import ErnieEncoder
from propeller.files import atomic_text
from propeller.train.model import Input, Model, RunMode
from reader.task_reader import TaskReader
from reader.tsv import TsvFile

ENCODER_INPUTS = (
    Input("src_ids", [None, None], "int64"),
    Input("sent_ids", [None, None], "int64"),
    Input("pos_ids", [None, None], "int64"),
    Input("task_ids", [None, None], "int64"),
    Input("input_mask", [None, None], "float32"),
)


@dataclass(frozen=True)
class HeadConfig:
    """What a task's head needs: number of classes, which score, dropout before the output layer (0.1 in 2019)."""

    num_labels: int = 2
    metric: str = "simple_accuracy"
    dropout: float = 0.1


class FinetuneTask(Model):
    """An encoder with a head.

    Args:
        config: ``ErnieConfig`` of the encoder.
        head: ``HeadConfig``.
        mode: the ``RunMode`` this copy is built for.
        optimizer: in train mode, what applies the gradients.

    Attributes:
        name: the task's name in ``TASKS`` and in checkpoints.
        head_prefix: what the names of the head's parameters begin with.
        flags: a frozen dataclass of flags that only this task has (made with ``propeller.flags.flag``), or None.
        label_kind: how the label column of a TSV is read, see ``TaskReader``.
        run_files: glob patterns of what ``finish_scores`` writes into --checkpoints; --overwrite removes them.
        drops_blanks: whether --for_cn has its effect; not where a label or an answer has its place in the text.
        handler: ``module:class`` of what turns a request's text into arrays and outputs into answers, see
            ``finetune.serving``.
    """

    name = None
    head_prefix = ()
    flags = None
    label_kind = "class"
    run_files = ()
    drops_blanks = True
    handler = None
    inputs = ENCODER_INPUTS

    def __init__(self, config, head, mode, optimizer=None):
        super().__init__()
        self.config, self.head, self.mode, self.optimizer = config, head, mode, optimizer
        self.encoder = ErnieEncoder(config)

    def segments(self):
        """The encoder's layers."""
        return tuple(self.encoder.layers)

    @property
    def training_mode(self):
        """Whether this copy belongs to the train Program."""
        return self.mode is RunMode.TRAIN

    @classmethod
    def variant(cls, args):
        """The class that the flags ask for: this one, or a sibling the same script serves."""
        return cls

    @classmethod
    def head_config(cls, args, label_map):
        """The ``HeadConfig`` that the flags and the label map (label word -> class, or None) ask for."""
        return HeadConfig(num_labels=args.model.num_labels, metric=args.model.metric)

    @classmethod
    def open_reader(cls, path, tokenizer, args, label_map, training=False, labelled=True):
        """The reader of a file: ``num_examples``, ``batches(start)``, ``stats``, ``fingerprint()``.

        Args:
            args: ``finetune.args.Args``.
            label_map: label word -> class, or None.
            training: shuffled, bucketed and repeated, as the flags say; else once, in the file's order.
            labelled: whether labels are read; they are not for prediction.
        """
        return TaskReader(
            path,
            tokenizer,
            label_map=label_map,
            num_labels=args.model.num_labels,
            label_kind=cls.label_kind if labelled else None,
            token_cache_dir=cls.token_cache(args),
            **cls.batching(args, training),
        )

    @classmethod
    def batching(cls, args, training):
        """The arguments of a ``BatchReader`` that the flags give."""
        train = args.train
        return {
            "max_seq_len": args.model.max_seq_len,
            "batch_size": train.batch_size if training else train.predict_batch_size or train.batch_size,
            "in_tokens": train.in_tokens,
            "task_id": args.model.task_id,
            "shuffle": training and args.data.shuffle,
            "seed": train.random_seed,
            "epochs": train.epoch if training else 1,
            "bucket_window": args.data.bucket_window if training else 0,
            "num_workers": args.data.num_workers,
            **cls.sharing(args, training),
        }

    @classmethod
    def sharing(cls, args, training):
        """The arguments of a ``BatchReader`` that give this process its share of the batches."""
        return {"rank": args.ranks.rank, "world_size": args.ranks.size, "even": training}

    @classmethod
    def token_cache(cls, args):
        """The folder of ``--token_cache_dir``, or None."""
        return None if args.data.token_cache_dir == "off" else args.data.token_cache_dir

    @classmethod
    def is_labelled(cls, path):
        """Whether a test file has labels to score against."""
        return "label" in TsvFile(path).columns

    @classmethod
    def finish_scores(cls, scores, reader, args):
        """What an evaluation comes to, from what ``metrics`` collected and the reader it was collected from.

        Args:
            scores: ``loss``, ``data_num``, what ``metrics`` gave, ``event`` (``dev`` or ``test``), ``file``, ``step``.
        """
        return scores

    @classmethod
    def write_predictions(cls, outputs, reader, save, args):
        """Write the prediction file, by default a line a row; returns the number of rows.

        Args:
            outputs: iterable of (dict of predicted arrays, batch).
            reader: the reader the batches come from.
            save: the file's path.
        """
        written = 0
        with atomic_text(save) as file:
            for predicted, batch in outputs:
                lines = cls.prediction_lines(predicted, batch)
                file.writelines(f"{line}\n" for line in lines)
                written += len(lines)
        return written

    @classmethod
    def best_by(cls, head):
        """The name of the score that picks the best checkpoint; the higher, the better."""
        raise NotImplementedError

    @classmethod
    def evaluation_line(cls, head, scores, elapsed):
        """One line of the log for an evaluation, from ``ave loss`` to the elapsed time.

        Args:
            head: the ``HeadConfig`` evaluated with.
            scores: dict with ``loss``, ``data_num`` and the task's own scores.
            elapsed: seconds.
        """
        raise NotImplementedError

    @classmethod
    def training_line(cls, record):
        """The losses and scores of a training line: ``ave loss`` and what the task adds."""
        return f"ave loss: {record['loss']:f}"

    @classmethod
    def prediction_lines(cls, outputs, batch):
        """The lines of the prediction file for one batch, a line a row.

        Args:
            outputs: dict of the arrays that ``forward`` predicted.
            batch: the batch they were predicted from.
        """
        raise NotImplementedError


def with_qids(lines, batch):
    """Prediction lines, each begun with its row's ``qid`` and a tab where the batch has one, as in 2019."""
    if "qids" not in batch:
        return lines
    return [f"{int(qid)}\t{line}" for qid, line in zip(batch["qids"].ravel(), lines)]
