"""The contract of a fine-tuning task: a Model over one ERNIE encoder (ERNIE 2.0, arXiv 1907.12412, section 3.3).

A task is one file with one class, one line in ``finetune.TASKS`` and one recipe. It declares what a batch holds, its
head, its loss and its scores; the runner and the loop know nothing else of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ernie.modeling import ErnieEncoder
from propeller.train.model import Input, Model, RunMode

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
    """

    name = None
    head_prefix = ()
    inputs = ENCODER_INPUTS

    def __init__(self, config, head, mode, optimizer=None):
        super().__init__()
        self.config, self.head, self.mode, self.optimizer = config, head, mode, optimizer
        self.encoder = ErnieEncoder(config)

    @property
    def training_mode(self):
        """Whether this copy belongs to the train Program."""
        return self.mode is RunMode.TRAIN

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
