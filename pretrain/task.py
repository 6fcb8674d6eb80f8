"""The network half of a pre-training task: a Model over the shared encoder (ERNIE 2.0, arXiv 1907.12412, section 3.2).

It has the inputs of a batch, the head, the loss and the scores; the runner and the loop know nothing else of it. The
builder half, which names this one, is a ``pretrain.declaration.Declaration``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ernie.config import ErnieConfig
from ernie.inputs import ENCODER_INPUTS
from ernie.modeling import ErnieEncoder
from pretrain.declaration import Declaration
from propeller.metrics import Metric
from propeller.train.model import Input, Model, RunMode

__all__ = ["ENCODER_INPUTS", "BatchCount", "HeadConfig", "PretrainTask"]


@dataclasses.dataclass(frozen=True)
class HeadConfig:
    """What a head is built from.

    Attributes:
        weight_sharing: whether the output layer of masked words is the word embedding.
        weight: what the loss is multiplied by before the backward pass.
        settings: the task's own, as ``Declaration.head_settings`` completes them.
    """

    weight_sharing: bool = True
    weight: float = 1.0
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class BatchCount(Metric):
    """``batch_num``: how many batches there were, from which the log computes the speed of an evaluation."""

    def __init__(self) -> None:
        super().__init__([])

    def reset(self) -> None:
        self._batches = 0

    def update(self, arrays: Sequence[np.ndarray]) -> None:
        self._batches += 1

    def eval(self) -> dict[str, float]:
        return {"batch_num": self._batches}


class PretrainTask(Model):
    """An encoder with the heads of one task.

    Args:
        config: ``ErnieConfig`` of the encoder.
        head: ``HeadConfig``.
        mode: the ``RunMode`` this copy is built for.
        optimizer: in train mode, what applies the gradients.
        encoder: the ``ErnieEncoder`` of the Program under construction, where other tasks of it have one; None: a new
            one. Its parameters have fixed names, so Programs built apart share them through the scope all the same.

    Attributes:
        name, declared: the task's name and its builder half; ``pretrain.task_class`` sets both.
    """

    name: ClassVar[str]
    declared: ClassVar[type[Declaration]]
    inputs: tuple[Input, ...] = ENCODER_INPUTS

    def __init__(
        self,
        config: ErnieConfig,
        head: HeadConfig,
        mode: RunMode,
        optimizer: Any = None,
        encoder: ErnieEncoder | None = None,
    ) -> None:
        super().__init__()
        self.config, self.head, self.mode, self.optimizer = config, head, mode, optimizer
        self.encoder = encoder or ErnieEncoder(config)
        self.build()

    def build(self) -> None:
        """Make the layers of the head, from ``config`` and ``head``; the encoder is there."""

    def segments(self) -> tuple:
        """The encoder's layers."""
        return tuple(self.encoder.layers)

    @property
    def training_mode(self) -> bool:
        """Whether this copy belongs to the train Program."""
        return self.mode is RunMode.TRAIN

    def backward(self, loss: Any) -> list:
        """See ``Model.backward``; of the loss times the task's weight."""
        return super().backward(loss if self.head.weight == 1.0 else loss * self.head.weight)

    def metrics(self, predictions: dict, label: dict) -> dict[str, Metric]:
        """See ``Model.metrics``. In evaluations some metric has to give ``batch_num``, as this one does."""
        return {} if self.training_mode else {"batches": BatchCount()}

    @classmethod
    def finish_scores(cls, scores: dict[str, float]) -> dict[str, float]:
        """What an evaluation comes to, from what ``metrics`` collected: dict with ``loss``, ``data_num`` and more."""
        return scores

    @classmethod
    def training_line(cls, record: Mapping[str, Any]) -> str:
        """Loss and scores of a line of the log while training."""
        return f"loss: {record['loss']:f}"

    @classmethod
    def evaluation_line(cls, scores: Mapping[str, Any], batch_averaged: bool = True) -> str:
        """Loss and scores of a validation's or a test's line; ``batch_averaged`` ones too (2019: not in tests)."""
        return f"loss: {scores['loss']:f}"
