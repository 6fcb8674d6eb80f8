"""The network of replaced-token detection: a generator fills masked places, the encoder tells which (ELECTRA).

Clark et al. 2020, arXiv 2003.10555, sections 2 and 3.2. The builder half of the task is
pretrain/tasks/replaced_token_detection.py; reader/pretraining/masking.py masks the pieces that the generator fills.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ernie.layers import Linear
from ernie.modeling import EncoderLayer, ErnieEncoder, MaskedLMHead
from pretrain.masked_task import MaskedTask
from pretrain.scores import ClassCounts, perplexity
from propeller.metrics import Metric

GOLDEN = (math.sqrt(5) - 1) / 2  # the parts after the point of its multiples lie evenly between 0 and 1


class Generator(ErnieEncoder):
    """Layers of its own, ``generator_layer_N``, over the embeddings of the encoder.

    Args:
        encoder: the ``ErnieEncoder`` that the embeddings are of.
        layers: how many.
    """

    def __init__(self, encoder: ErnieEncoder, layers: int) -> None:
        nn.Layer.__init__(self)  # not ErnieEncoder's, which would make embeddings and a pooler
        self.config, self.embeddings = encoder.config, encoder.embeddings
        self.layers = nn.LayerList([EncoderLayer(self.config, f"generator_layer_{i}") for i in range(layers)])
        self._skips = lambda: encoder.skips_padding  # the encoder itself would become a part of the generator

    @property
    def skips_padding(self) -> bool:
        """As the encoder's."""
        return self._skips()


class ReplacedModel(MaskedTask):
    """A generator with a language model head, and over the encoder a head that tells replaced tokens.

    The loss is the generator's mean over masked pieces, plus ``detection_weight`` times the mean over all tokens of the
    binary cross entropy. No gradient goes from the second through the samples to the generator; the embeddings are
    trained by both. Where several batches make one step they are weighted by their masked pieces.
    """

    def build(self) -> None:
        super().build()
        config, head = self.config, self.head
        layers = head.settings["generator_layers"] or max(1, config.num_hidden_layers // 4)
        self.generator = Generator(self.encoder, layers)
        self.mask_lm = MaskedLMHead(config, self.encoder, head.weight_sharing, norm_bias=0.0, name="generator_lm")
        hidden = config.hidden_size
        self.transform = Linear(config, hidden, hidden, "replaced_token_trans_fc", act=config.hidden_act)
        self.output = Linear(config, hidden, 1, "replaced_token_fc")

    def forward(self, features: dict) -> dict[str, paddle.Tensor]:
        """Fill the masked places, and tell of each token whether it was replaced.

        Returns:
            ``mask_lm_logits`` float32 [masked, vocab]; ``sampled`` int64 [masked, 1], what was put there;
            ``replaced_logits`` float32 [tokens, 1], of the batch's tokens without padding; ``which`` int64 [tokens],
            the number of the masked place that a token stands at, from 1, else 0.
        """
        places = features["mask_pos"].flatten()
        logits = self.mask_lm(self.generator(features), places)
        numbers = paddle.cumsum(paddle.ones_like(places))
        sampled = self._sample(logits, numbers)
        ids = features["src_ids"]
        filled = paddle.scatter(ids.flatten(), places, sampled.flatten())
        states = self.encoder({**features, "src_ids": _as(filled, ids)})
        tokens = paddle.nonzero(features["input_mask"].flatten()).flatten()
        told = paddle.gather(states.reshape([-1, self.config.hidden_size]), tokens)
        which = paddle.gather(paddle.scatter(paddle.zeros_like(filled), places, numbers), tokens)
        return {
            "mask_lm_logits": logits,
            "sampled": sampled,
            "replaced_logits": self.output(self.transform(told)),
            "which": which,
        }

    def _sample(self, logits, numbers):
        """int64 [masked, 1]: a token for each place, drawn as the generator expects them.

        Outside of training what is drawn are the parts after the point of ``numbers``, int64 [masked], times GOLDEN, so
        that scores of different steps compare.
        """
        reached = paddle.cumsum(F.softmax(logits.astype("float32")), axis=-1)  # [masked, vocab], rising to 1
        if self.training_mode:
            drawn = paddle.rand([paddle.shape(reached)[0], 1])
        else:
            drawn = paddle.remainder(numbers.astype("float32") * GOLDEN, paddle.ones([1])).unsqueeze(-1)
        below = (reached < drawn).astype("int64").sum(axis=-1, keepdim=True)
        return paddle.clip(below, max=self.config.vocab_size - 1)  # where rounding leaves the sum below 1

    def compute_losses(self, predictions: dict, label: dict) -> tuple[paddle.Tensor, ...]:
        """Cross entropy of each masked piece [masked, 1] and of each token [tokens, 1], and whether each token is a
        replaced one, float32 [tokens, 1]."""
        logits = predictions["replaced_logits"]
        replaced = (predictions["sampled"] != label["mask_label"]).astype(logits.dtype)
        known = paddle.concat([paddle.zeros_like(replaced[:1]), replaced])
        answers = paddle.gather(known, predictions["which"])
        pieces = F.cross_entropy(predictions["mask_lm_logits"], label["mask_label"], reduction="none")
        return pieces, F.binary_cross_entropy_with_logits(logits, answers, reduction="none"), answers

    def loss(self, predictions: dict, label: dict) -> paddle.Tensor:
        """Mean over masked pieces, plus the weighted mean over tokens."""
        pieces, tokens, _ = self.losses(predictions, label)
        return paddle.mean(pieces) + paddle.mean(tokens) * float(self.head.settings["detection_weight"])

    def metrics(self, predictions: dict, label: dict) -> dict[str, Metric]:
        """Perplexity of the generator and accuracies of the detection."""
        scores = TrainingScores if self.training_mode else Scores
        told = (predictions["replaced_logits"] > 0).astype("float32")
        weight = paddle.full([1], float(self.head.settings["detection_weight"]))
        return {"scores": scores([*self.losses(predictions, label), told, weight])}

    @classmethod
    def finish_scores(cls, scores: dict[str, float]) -> dict[str, float]:
        """The loss is made exact: means over all masked pieces and over all tokens, not over batches."""
        return {**scores, "loss": scores["whole_loss"]}

    @classmethod
    def training_line(cls, record: Mapping[str, Any]) -> str:
        return f"{super().training_line(record)}, {_shown(record)}"

    @classmethod
    def evaluation_line(cls, scores: Mapping[str, Any], batch_averaged: bool = True) -> str:
        return f"{super().evaluation_line(scores)}, {_shown(scores)}, balanced acc: {scores['balanced_acc']:f}"


def _as(flat, ids):
    """Flat ids in the shape of [batch, seq]."""
    shape = ids.shape if paddle.in_dynamic_mode() else [paddle.shape(ids)[0], paddle.shape(ids)[1]]
    return flat.reshape(shape)


def _shown(scores):
    return f"generator ppl: {scores['ppl']:f}, replaced: {scores['replaced']:f}, acc: {scores['acc']:f}"


class Scores(Metric):
    """``ppl`` of the generator over all masked pieces; ``replaced``, the share of tokens that are; ``acc`` of telling
    them; ``balanced_acc``, the mean of the shares of replaced and of original tokens that are told right (0.5 by
    chance); ``whole_loss``; ``batch_num``.

    Fetched are cross entropies [masked, 1] and [tokens, 1], answers [tokens, 1], what was told [tokens, 1] and the
    weight of the detection [1].
    """

    def reset(self) -> None:
        self._pieces, self._batches = 0, 0
        self._piece_loss = self._token_loss = self._weight = 0.0
        self._counts = ClassCounts(2)  # of original and of replaced tokens

    def update(self, arrays: Sequence[np.ndarray]) -> None:
        pieces, tokens, answers, told, weight = arrays
        self._piece_loss += float(np.sum(pieces, dtype=np.float64))
        self._token_loss += float(np.sum(tokens, dtype=np.float64))
        self._pieces, self._batches = self._pieces + pieces.size, self._batches + 1
        self._weight = float(weight.ravel()[0])
        self._counts.add((told.ravel() > 0.5).astype(int), (answers.ravel() > 0.5).astype(int))

    def eval(self) -> dict[str, float]:
        if not self._batches:
            return {}
        mean, tokens = self._piece_loss / self._pieces, self._counts.total
        return {
            "ppl": perplexity(mean),
            "replaced": float(self._counts.all[1] / tokens),
            **self._counts.accuracies(),
            "whole_loss": mean + self._weight * self._token_loss / float(tokens),
            "batch_num": self._batches,
        }


class TrainingScores(Scores):
    """Those of a single batch that the loop averages over a line of the log."""

    def eval(self) -> dict[str, float]:
        scores = super().eval()
        return {name: scores[name] for name in ("ppl", "replaced", "acc")} if scores else {}
