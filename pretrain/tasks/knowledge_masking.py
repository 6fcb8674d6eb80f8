"""Knowledge masking and next sentence: ERNIE 1.0 (arXiv 1904.09223, section 3.2; Devlin et al. 2018, section 3.1).

    python train.py --train_filelist train_filelist --valid_filelist valid_filelist ...

The reader masks pieces, words, phrases or entities (reader/masking.py); the network tells the masked pieces, and
whether the second sentence follows the first.
"""

from __future__ import annotations

import math

import numpy as np
import paddle
import paddle.nn.functional as F

from ernie.modeling import MaskedLMHead, SentencePairHead
from pretrain.task import ENCODER_INPUTS, PretrainTask
from propeller.metrics import Metric
from propeller.train.model import Input


class KnowledgeMasking(PretrainTask):
    """Masked words, their output layer tied to the word embedding unless the flag says else, and next sentence.

    The loss is the sum of two means, over masked pieces and over pairs. Where several batches make one step
    (accumulated gradients, several processes) they are weighted by their masked pieces.
    """

    name = "knowledge_masking"
    inputs = (
        *ENCODER_INPUTS,
        Input("mask_pos", [None, 1], "int64"),
        Input("mask_label", [None, 1], "int64", label=True),
        Input("labels", [None, 1], "int64", label=True),
    )

    def __init__(self, config, head, mode, optimizer=None, encoder=None):
        super().__init__(config, head, mode, optimizer, encoder)
        self.mask_lm = MaskedLMHead(config, self.encoder, head.weight_sharing, norm_bias=0.0)
        self.next_sent = SentencePairHead(config)
        self._of, self._losses = None, None

    def forward(self, features):
        """-> ``mask_lm_logits`` float32 [masked, vocab] and ``next_sent_logits`` float32 [batch, 2]."""
        states = self.encoder(features)  # [batch, seq, hidden]
        return {
            "mask_lm_logits": self.mask_lm(states, features["mask_pos"].flatten()),
            "next_sent_logits": self.next_sent(self.encoder.pool(states)),
        }

    def losses(self, predictions, label):
        """Cross entropy of each masked piece, [masked, 1], and of each pair, [batch, 1]; loss and scores share them."""
        if self._of is not predictions["mask_lm_logits"]:
            self._of = predictions["mask_lm_logits"]
            self._losses = (
                F.cross_entropy(self._of, label["mask_label"], reduction="none"),
                F.cross_entropy(predictions["next_sent_logits"], label["labels"], reduction="none"),
            )
        return self._losses

    def loss(self, predictions, label):
        """Mean over masked pieces plus mean over pairs."""
        pieces, pairs = self.losses(predictions, label)
        return paddle.mean(pieces) + paddle.mean(pairs)

    def loss_weight(self, batch):
        return len(batch["mask_label"])

    def metrics(self, predictions, label):
        """Perplexity and accuracy of the pairs."""
        scores = TrainingScores if self.training_mode else Scores
        return {"scores": scores([*self.losses(predictions, label), predictions["next_sent_logits"], label["labels"]])}

    @classmethod
    def finish_scores(cls, scores):
        """The loss is made exact: means over all masked pieces and over all pairs, not over batches."""
        return {**scores, "loss": scores["mask_lm_loss"] + scores["next_sent_loss"]}

    @classmethod
    def training_line(cls, record):
        return f"{super().training_line(record)}, ppl: {record['ppl']:f}, next_sent_acc: {record['next_sent_acc']:f}"

    @classmethod
    def evaluation_line(cls, scores, batch_averaged=True):
        averaged = f"batch-averged ppl: {scores['batch_ppl']:f}, " if batch_averaged else ""  # spelt as in 2019
        return (
            f"{super().evaluation_line(scores)}, global ppl: {scores['ppl']:f}, {averaged}"
            f"next_sent_acc: {scores['next_sent_acc']:f}"
        )


class Scores(Metric):
    """``mask_lm_loss`` and ``ppl``, its exponential, over all masked pieces; ``batch_ppl``, the mean over batches of
    each one's perplexity; ``next_sent_loss`` and ``next_sent_acc`` over all pairs; ``batch_num``.

    Fetched are cross entropies [masked, 1] and [batch, 1], logits [batch, 2] and labels [batch, 1].
    """

    def reset(self):
        self._pieces = self._pairs = self._right = self._batches = 0
        self._piece_loss = self._pair_loss = self._batch_ppl = 0.0

    def update(self, arrays):
        pieces, pairs, logits, labels = arrays
        self._piece_loss += float(np.sum(pieces, dtype=np.float64))
        self._pair_loss += float(np.sum(pairs, dtype=np.float64))
        self._batch_ppl += _exp(float(np.mean(pieces, dtype=np.float64)))
        self._pieces, self._pairs = self._pieces + pieces.size, self._pairs + pairs.size
        self._right += int((logits.argmax(axis=1) == labels.ravel()).sum())
        self._batches += 1

    def eval(self):
        if not self._batches:
            return {}
        mean = self._piece_loss / self._pieces
        return {
            "mask_lm_loss": mean,
            "ppl": _exp(mean),
            "batch_ppl": self._batch_ppl / self._batches,
            "next_sent_loss": self._pair_loss / self._pairs,
            "next_sent_acc": self._right / self._pairs,
            "batch_num": self._batches,
        }


class TrainingScores(Scores):
    """Those of a single batch that the loop averages over a line of the log; so ``ppl`` there is as in 2019."""

    def eval(self):
        scores = super().eval()
        return {name: scores[name] for name in ("mask_lm_loss", "ppl", "next_sent_loss", "next_sent_acc")}


def _exp(value):
    """``math.exp``; infinity where that is beyond a float, as a run that diverges shows."""
    return math.exp(value) if value < 700 else math.inf
