"""The network of knowledge masking: a language model head over the masked pieces, and the next sentence.

ERNIE 1.0 (arXiv 1904.09223, section 3.2; Devlin et al. 2018, section 3.1). The builder half of the task is
pretrain/tasks/knowledge_masking.py; reader/pretraining/masking.py masks the pieces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F

from ernie.modeling import MaskedLMHead, SentencePairHead
from pretrain.masked_task import MaskedTask
from pretrain.scores import perplexity
from propeller.metrics import Metric
from propeller.train.model import Input


class MaskingModel(MaskedTask):
    """Masked words, their output layer tied to the word embedding unless the flag says else, and next sentence.

    The loss is the sum of two means, over masked pieces and over pairs. Where several batches make one step
    (accumulated gradients, several processes) they are weighted by their masked pieces. A task list may leave the next
    sentence out: ERNIE 2.0 has other tasks for what stands beside what.
    """

    inputs = (*MaskedTask.inputs, Input("labels", [None, 1], "int64", label=True))

    def build(self) -> None:
        super().build()
        self.mask_lm = MaskedLMHead(self.config, self.encoder, self.head.weight_sharing, norm_bias=0.0)
        next_sentence = self.head.settings["next_sentence"]
        self.next_sent = SentencePairHead(self.config) if next_sentence else None
        self.inputs = tuple(entry for entry in type(self).inputs if next_sentence or entry.name != "labels")

    def forward(self, features: dict) -> dict[str, paddle.Tensor]:
        """-> ``mask_lm_logits`` float32 [masked, vocab] and ``next_sent_logits`` float32 [batch, 2]."""
        states = self.encoder(features)  # [batch, seq, hidden]
        logits = {"mask_lm_logits": self.mask_lm(states, features["mask_pos"].flatten())}
        if self.next_sent:
            logits["next_sent_logits"] = self.next_sent(self.encoder.pool(states))
        return logits

    def compute_losses(self, predictions: dict, label: dict) -> tuple[paddle.Tensor, ...]:
        """Cross entropy of each masked piece, [masked, 1], and of each pair, [batch, 1], if pairs are told."""
        pieces = F.cross_entropy(predictions["mask_lm_logits"], label["mask_label"], reduction="none")
        if not self.next_sent:
            return (pieces,)
        return pieces, F.cross_entropy(predictions["next_sent_logits"], label["labels"], reduction="none")

    def loss(self, predictions: dict, label: dict) -> paddle.Tensor:
        """Mean over masked pieces plus mean over pairs."""
        means = [paddle.mean(losses) for losses in self.losses(predictions, label)]
        return sum(means[1:], means[0])

    def metrics(self, predictions: dict, label: dict) -> dict[str, Metric]:
        """Perplexity and accuracy of the pairs; in evaluations the accuracy of masked pieces too."""
        pairs = [predictions["next_sent_logits"], label["labels"]] if self.next_sent else []
        fetched = [*self.losses(predictions, label), *pairs]
        if self.training_mode:
            return {"scores": TrainingScores(fetched)}
        told = paddle.argmax(predictions["mask_lm_logits"], axis=-1, keepdim=True)
        return {"scores": Scores([(told == label["mask_label"]).astype("int32"), *fetched])}

    @classmethod
    def finish_scores(cls, scores: dict[str, float]) -> dict[str, float]:
        """The loss is made exact: means over all masked pieces and over all pairs, not over batches."""
        return {**scores, "loss": scores["mask_lm_loss"] + scores.get("next_sent_loss", 0.0)}

    @classmethod
    def training_line(cls, record: Mapping[str, Any]) -> str:
        return f"{super().training_line(record)}, ppl: {record['ppl']:f}{_pairs(record)}"

    @classmethod
    def evaluation_line(cls, scores: Mapping[str, Any], batch_averaged: bool = True) -> str:
        line = f"{super().evaluation_line(scores)}, global ppl: {scores['ppl']:f}"
        averaged = f", batch-averged ppl: {scores['batch_ppl']:f}" if batch_averaged else ""  # spelt as in 2019
        # With pairs it is the line of 2019, which has no accuracy of masked pieces.
        return f"{line}{averaged}{_pairs(scores) or ', acc: {:f}'.format(scores['acc'])}"


def _pairs(scores):
    return f", next_sent_acc: {scores['next_sent_acc']:f}" if "next_sent_acc" in scores else ""


class Scores(Metric):
    """``mask_lm_loss``, ``ppl``, its exponential, and ``acc`` over all masked pieces; ``batch_ppl``, the mean over
    batches of each one's perplexity; ``next_sent_loss`` and ``next_sent_acc`` over all pairs, if they are told;
    ``batch_num``.

    Fetched are whether a piece is told right, int32 [masked, 1], cross entropies [masked, 1] and, with pairs,
    [batch, 1], logits [batch, 2] and labels [batch, 1].
    """

    def reset(self) -> None:
        self._pieces = self._told = self._pairs = self._right = self._batches = 0
        self._piece_loss = self._pair_loss = self._batch_ppl = 0.0

    def update(self, arrays: Sequence[np.ndarray]) -> None:
        right, pieces, *told = arrays
        self._told += int(right.sum())
        self._piece_loss += float(np.sum(pieces, dtype=np.float64))
        self._batch_ppl += perplexity(float(np.mean(pieces, dtype=np.float64)))
        self._pieces, self._batches = self._pieces + pieces.size, self._batches + 1
        if told:
            pairs, logits, labels = told
            self._pair_loss += float(np.sum(pairs, dtype=np.float64))
            self._pairs += pairs.size
            self._right += int((logits.argmax(axis=1) == labels.ravel()).sum())

    def eval(self) -> dict[str, float]:
        if not self._batches:
            return {}
        mean = self._piece_loss / self._pieces
        scores = {"mask_lm_loss": mean, "ppl": perplexity(mean), "batch_ppl": self._batch_ppl / self._batches}
        scores["acc"] = self._told / self._pieces
        if self._pairs:
            scores.update(next_sent_loss=self._pair_loss / self._pairs, next_sent_acc=self._right / self._pairs)
        return {**scores, "batch_num": self._batches}


class TrainingScores(Scores):
    """Those of a single batch that the loop averages over a line of the log; so ``ppl`` there is as in 2019.

    Whether pieces are told right is not fetched.
    """

    def update(self, arrays: Sequence[np.ndarray]) -> None:
        super().update([np.zeros(0, np.int32), *arrays])

    def eval(self) -> dict[str, float]:
        scores = super().eval()
        return {name: value for name, value in scores.items() if name not in ("acc", "batch_ppl", "batch_num")}
