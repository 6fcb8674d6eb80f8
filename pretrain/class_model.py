"""The network of a task with classes: one layer over the pooled output, or over the states of tokens.

    SentenceModel       # batches with ``labels`` int64 [batch, 1]
    TokenModel          # batches with ``token_pos`` and ``token_labels``, int64 [tokens, 1] each

ERNIE 2.0, arXiv 1907.12412, sections 3.2 and 4.2: sentence-level and token-level losses over one encoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import paddle
import paddle.nn.functional as F

from ernie.modeling import SentencePairHead
from pretrain.scores import ClassCounts
from pretrain.task import ENCODER_INPUTS, PretrainTask
from propeller.metrics import Metric
from propeller.train.model import Input


class ClassModel(PretrainTask):
    """A layer with an output per class, its parameters ``<name>_fc``; the mean cross entropy is the loss."""

    label: ClassVar[str]

    def build(self) -> None:
        self.output = SentencePairHead(self.config, self.name, self.head.settings["classes"])

    def losses(self, predictions: dict, label: dict) -> paddle.Tensor:
        """Cross entropy of each thing to be told, float32 [things, 1]."""
        return F.cross_entropy(predictions["logits"], label[self.label], reduction="none")

    def loss(self, predictions: dict, label: dict) -> paddle.Tensor:
        """Mean cross entropy."""
        return paddle.mean(self.losses(predictions, label))

    def loss_weight(self, batch: dict) -> int:
        return len(batch[self.label])

    def metrics(self, predictions: dict, label: dict) -> dict[str, Metric]:
        """Loss and accuracy; in evaluations the mean over classes of their accuracies too."""
        scores = TrainingScores if self.training_mode else Scores
        return {"scores": scores([self.losses(predictions, label), predictions["logits"], label[self.label]])}

    @classmethod
    def finish_scores(cls, scores: dict[str, float]) -> dict[str, float]:
        """The loss is made exact: a mean over all things told, not over batches."""
        return {**scores, "loss": scores["class_loss"]}

    @classmethod
    def training_line(cls, record: Mapping[str, Any]) -> str:
        return f"{super().training_line(record)}, acc: {record['acc']:f}"

    @classmethod
    def evaluation_line(cls, scores: Mapping[str, Any], batch_averaged: bool = True) -> str:
        return f"{super().evaluation_line(scores)}, acc: {scores['acc']:f}, balanced acc: {scores['balanced_acc']:f}"


class SentenceModel(ClassModel):
    """The class of an input of one or more sentences, from the pooled output."""

    label = "labels"
    inputs = (*ENCODER_INPUTS, Input("labels", [None, 1], "int64", label=True))

    def forward(self, features: dict) -> dict[str, paddle.Tensor]:
        """-> ``logits`` float32 [batch, classes]."""
        return {"logits": self.output(self.encoder.pool(self.encoder(features)))}


class TokenModel(ClassModel):
    """The class of every token that has one, from its own state."""

    label = "token_labels"
    inputs = (
        *ENCODER_INPUTS,
        Input("token_pos", [None, 1], "int64"),
        Input("token_labels", [None, 1], "int64", label=True),
    )

    def forward(self, features: dict) -> dict[str, paddle.Tensor]:
        """-> ``logits`` float32 [tokens, classes]."""
        states = self.encoder(features)
        flat = states.reshape([-1, self.config.hidden_size])
        return {"logits": self.output(paddle.gather(flat, features["token_pos"].flatten()))}


class Scores(Metric):
    """``class_loss`` and ``acc`` over all things told; ``balanced_acc``: the mean over the classes that occur of the
    share of each that is told right (1 / classes by chance, however rare some are); ``batch_num``.

    Fetched are cross entropies [things, 1], logits [things, classes] and labels [things, 1].
    """

    def reset(self) -> None:
        self._loss, self._batches = 0.0, 0
        self._counts = ClassCounts(0)  # of as many classes as the first batch has

    def update(self, arrays: Sequence[np.ndarray]) -> None:
        losses, logits, labels = arrays
        if not self._batches:
            self._counts = ClassCounts(logits.shape[1])
        self._counts.add(logits.argmax(axis=1), labels.ravel())
        self._loss += float(np.sum(losses, dtype=np.float64))
        self._batches += 1

    def eval(self) -> dict[str, float]:
        if not self._batches:
            return {}
        loss = self._loss / max(self._counts.total, 1)
        return {"class_loss": loss, **self._counts.accuracies(), "batch_num": self._batches}


class TrainingScores(Scores):
    """Those of a single batch that the loop averages over a line of the log."""

    def eval(self) -> dict[str, float]:
        return {"acc": super().eval()["acc"]}
