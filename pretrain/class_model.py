"""The network of a task with classes: one layer over the pooled output, or over the states of tokens.

    model_of(SentenceDistance)          # its PretrainTask: batches with ``labels`` int64 [batch, 1]
    model_of(Capitalization)            # batches with ``token_pos`` and ``token_labels``, int64 [tokens, 1] each

ERNIE 2.0, arXiv 1907.12412, sections 3.2 and 4.2: sentence-level and token-level losses over one encoder.
"""

from __future__ import annotations

import functools

import numpy as np
import paddle
import paddle.nn.functional as F

from ernie.modeling import SentencePairHead
from pretrain.task import ENCODER_INPUTS, PretrainTask
from propeller.metrics import Metric
from propeller.train.model import Input


@functools.cache
def model_of(declared):
    """The ``PretrainTask`` class of a ``ClassTask`` class."""
    base = SentenceModel if declared.level == "sentence" else TokenModel
    return type(declared.__name__, (base,), {"name": declared.name, "declared": declared, "__doc__": declared.__doc__})


class ClassModel(PretrainTask):
    """A layer of ``head.classes`` outputs, its parameters ``<name>_fc``; the mean cross entropy is the loss."""

    declared = None
    label = None

    def __init__(self, config, head, mode, optimizer=None, encoder=None):
        super().__init__(config, head, mode, optimizer, encoder)
        self.output = SentencePairHead(config, self.name, head.classes)

    def losses(self, predictions, label):
        """Cross entropy of each thing to be told, float32 [things, 1]."""
        return F.cross_entropy(predictions["logits"], label[self.label], reduction="none")

    def loss(self, predictions, label):
        """Mean cross entropy."""
        return paddle.mean(self.losses(predictions, label))

    def loss_weight(self, batch):
        return len(batch[self.label])

    def metrics(self, predictions, label):
        """Loss and accuracy; in evaluations the mean over classes of their accuracies too."""
        scores = TrainingScores if self.training_mode else Scores
        return {"scores": scores([self.losses(predictions, label), predictions["logits"], label[self.label]])}

    @classmethod
    def finish_scores(cls, scores):
        """The loss is made exact: a mean over all things told, not over batches."""
        return {**scores, "loss": scores["class_loss"]}

    @classmethod
    def training_line(cls, record):
        return f"{super().training_line(record)}, acc: {record['acc']:f}"

    @classmethod
    def evaluation_line(cls, scores, batch_averaged=True):
        return f"{super().evaluation_line(scores)}, acc: {scores['acc']:f}, balanced acc: {scores['balanced_acc']:f}"


class SentenceModel(ClassModel):
    """The class of an input of one or more sentences, from the pooled output."""

    kind, label = "sentence", "labels"
    inputs = (*ENCODER_INPUTS, Input("labels", [None, 1], "int64", label=True))

    def forward(self, features):
        """-> ``logits`` float32 [batch, classes]."""
        return {"logits": self.output(self.encoder.pool(self.encoder(features)))}


class TokenModel(ClassModel):
    """The class of every token that has one, from its own state."""

    kind, label = "token", "token_labels"
    inputs = (
        *ENCODER_INPUTS,
        Input("token_pos", [None, 1], "int64"),
        Input("token_labels", [None, 1], "int64", label=True),
    )

    def forward(self, features):
        """-> ``logits`` float32 [tokens, classes]."""
        states = self.encoder(features)
        flat = states.reshape([-1, self.config.hidden_size])
        return {"logits": self.output(paddle.gather(flat, features["token_pos"].flatten()))}


class Scores(Metric):
    """``class_loss`` and ``acc`` over all things told; ``balanced_acc``: the mean over the classes that occur of the
    share of each that is told right (1 / classes by chance, however rare some are); ``batch_num``.

    Fetched are cross entropies [things, 1], logits [things, classes] and labels [things, 1].
    """

    def reset(self):
        self._loss, self._batches = 0.0, 0
        self._right = self._all = None

    def update(self, arrays):
        losses, logits, labels = arrays
        labels, classes = labels.ravel(), logits.shape[1]
        right = labels[logits.argmax(axis=1) == labels]
        counts = np.bincount(right, minlength=classes), np.bincount(labels, minlength=classes)
        self._right, self._all = counts if self._all is None else (self._right + counts[0], self._all + counts[1])
        self._loss += float(np.sum(losses, dtype=np.float64))
        self._batches += 1

    def eval(self):
        if not self._batches:
            return {}
        occur = self._all > 0
        return {
            "class_loss": self._loss / max(int(self._all.sum()), 1),
            "acc": float(self._right.sum() / max(self._all.sum(), 1)),
            "balanced_acc": float(np.mean(self._right[occur] / self._all[occur])) if occur.any() else 0.0,
            "batch_num": self._batches,
        }


class TrainingScores(Scores):
    """Those of a single batch that the loop averages over a line of the log."""

    def eval(self):
        return {"acc": super().eval()["acc"]}
