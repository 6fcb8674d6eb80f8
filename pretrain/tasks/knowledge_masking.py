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
    (accumulated gradients, several processes) they are weighted by their masked pieces. A task list may leave the next
    sentence out: ERNIE 2.0 has other tasks for what stands beside what.
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
        self.next_sent = SentencePairHead(config) if head.next_sentence else None
        self.inputs = tuple(entry for entry in type(self).inputs if head.next_sentence or entry.name != "labels")
        self._of, self._losses = None, None

    def forward(self, features):
        """-> ``mask_lm_logits`` float32 [masked, vocab] and ``next_sent_logits`` float32 [batch, 2]."""
        states = self.encoder(features)  # [batch, seq, hidden]
        logits = {"mask_lm_logits": self.mask_lm(states, features["mask_pos"].flatten())}
        if self.next_sent:
            logits["next_sent_logits"] = self.next_sent(self.encoder.pool(states))
        return logits

    def losses(self, predictions, label):
        """Cross entropy of each masked piece, [masked, 1], and of each pair, [batch, 1], if pairs are told.

        Loss and scores share them.
        """
        if self._of is not predictions["mask_lm_logits"]:
            self._of = predictions["mask_lm_logits"]
            self._losses = [F.cross_entropy(self._of, label["mask_label"], reduction="none")]
            if self.next_sent:
                pairs = F.cross_entropy(predictions["next_sent_logits"], label["labels"], reduction="none")
                self._losses.append(pairs)
        return self._losses

    def loss(self, predictions, label):
        """Mean over masked pieces plus mean over pairs."""
        means = [paddle.mean(losses) for losses in self.losses(predictions, label)]
        return sum(means[1:], means[0])

    def loss_weight(self, batch):
        return len(batch["mask_label"])

    def metrics(self, predictions, label):
        """Perplexity and accuracy of the pairs; in evaluations the accuracy of masked pieces too."""
        pairs = [predictions["next_sent_logits"], label["labels"]] if self.next_sent else []
        fetched = [*self.losses(predictions, label), *pairs]
        if self.training_mode:
            return {"scores": TrainingScores(fetched)}
        told = paddle.argmax(predictions["mask_lm_logits"], axis=-1, keepdim=True)
        return {"scores": Scores([(told == label["mask_label"]).astype("int32"), *fetched])}

    @classmethod
    def finish_scores(cls, scores):
        """The loss is made exact: means over all masked pieces and over all pairs, not over batches."""
        return {**scores, "loss": scores["mask_lm_loss"] + scores.get("next_sent_loss", 0.0)}

    @classmethod
    def training_line(cls, record):
        return f"{super().training_line(record)}, ppl: {record['ppl']:f}{_pairs(record)}"

    @classmethod
    def evaluation_line(cls, scores, batch_averaged=True):
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

    def reset(self):
        self._pieces = self._told = self._pairs = self._right = self._batches = 0
        self._piece_loss = self._pair_loss = self._batch_ppl = 0.0

    def update(self, arrays):
        right, pieces, *told = arrays
        self._told += int(right.sum())
        self._piece_loss += float(np.sum(pieces, dtype=np.float64))
        self._batch_ppl += _exp(float(np.mean(pieces, dtype=np.float64)))
        self._pieces, self._batches = self._pieces + pieces.size, self._batches + 1
        if told:
            pairs, logits, labels = told
            self._pair_loss += float(np.sum(pairs, dtype=np.float64))
            self._pairs += pairs.size
            self._right += int((logits.argmax(axis=1) == labels.ravel()).sum())

    def eval(self):
        if not self._batches:
            return {}
        mean = self._piece_loss / self._pieces
        scores = {"mask_lm_loss": mean, "ppl": _exp(mean), "batch_ppl": self._batch_ppl / self._batches}
        scores["acc"] = self._told / self._pieces
        if self._pairs:
            scores.update(next_sent_loss=self._pair_loss / self._pairs, next_sent_acc=self._right / self._pairs)
        return {**scores, "batch_num": self._batches}


class TrainingScores(Scores):
    """Those of a single batch that the loop averages over a line of the log; so ``ppl`` there is as in 2019.

    Whether pieces are told right is not fetched.
    """

    def update(self, arrays):
        super().update([np.zeros(0, np.int32), *arrays])

    def eval(self):
        scores = super().eval()
        return {name: value for name, value in scores.items() if name not in ("acc", "batch_ppl", "batch_num")}


def _exp(value):
    """``math.exp``; infinity where that is beyond a float, as a run that diverges shows."""
    return math.exp(value) if value < 700 else math.inf
