"""Sequence labelling with a CRF: the tags of a sentence are chosen together.

    python run_sequence_labeling.py --crf true --train_set data/msra_ner/train.tsv --dev_set data/msra_ner/dev.tsv \
        --label_map_config data/msra_ner/label_map.json ...

Training maximises the probability of the tag sequence; prediction takes the sequence with the highest score. The
network gives logits of every piece and the transitions; sequences are found over whole sentences, whatever windows they
were read in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
from paddle import nn

from ernie.layers import parameter_name
from finetune.tagging.crf import marginals, negative_log_likelihood, viterbi
from finetune.tagging.task import ChunkScores, SequenceLabel, tag_set
from finetune.task import FinetuneTask
from propeller.metrics import Metric

if TYPE_CHECKING:
    from ernie.config import ErnieConfig
    from finetune.spec import ModelSpec
    from propeller.train.model import RunMode

# Transitions are this many times their parameter, so they learn faster than the encoder by as much.
SCALE = 100.0


class CrfSequenceLabel(SequenceLabel):
    """One tag per token, chosen for the whole sentence: a CRF over the vectors of the word pieces."""

    name = "sequence_label_crf"
    head_prefix: tuple[str, ...] = ("cls_seq_label_out", "cls_seq_label_crf")
    answer_outputs = ("logits", "transitions")
    teaches = ""
    divergence = FinetuneTask.divergence  # none

    def __init__(self, config: ErnieConfig, spec: ModelSpec, mode: RunMode, optimizer: Any = None) -> None:
        super().__init__(config, spec, mode, optimizer)
        name = parameter_name("cls_seq_label_crf_w")
        attribute = paddle.ParamAttr(name=name, initializer=nn.initializer.Constant(0.0))
        self.crf_weight = self.create_parameter([spec.num_labels, spec.num_labels], attr=attribute)

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """-> ``logits`` float32 [batch, seq, num_labels], ``transitions`` float32 [batch, num_labels, num_labels]."""
        logits = super().forward(features)["logits"]
        return {"logits": logits, "transitions": SCALE * self.crf_weight + 0.0 * logits[:, :1, :1]}

    def loss(self, predictions: dict[str, Any], label: dict[str, Any]) -> Any:
        """Minus the log likelihood of the sentences, divided by the number of places, padding included.

        So it is of the size of the loss without a CRF, and the same learning rates suit both.
        """
        losses = negative_log_likelihood(
            predictions["logits"],
            SCALE * self.crf_weight,
            label["labels"],
            label["seq_lens"],
            self.config.max_position_embeddings,
        )
        return losses.sum() / paddle.ones_like(label["labels"]).astype("float32").sum()

    def metrics(self, predictions: dict[str, Any], label: dict[str, Any]) -> dict[str, Metric]:
        """As without a CRF, of the best sequences."""
        tensors = [predictions["logits"], label["labels"], label["keep"], label["last_part"],
                   predictions["transitions"]]  # fmt: skip
        return {"chunks": CrfChunkScores(tensors, tag_set(self.spec))}

    @classmethod
    def sentence(cls, outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Marginal probabilities, and the classes of the best sequence."""
        logits, transitions = outputs["logits"], outputs["transitions"]
        return marginals(logits, transitions)[1:-1], viterbi(logits, transitions)[1:-1]

    @classmethod
    def answers_changed(
        cls,
        exact: Mapping[str, np.ndarray],
        rough: Mapping[str, np.ndarray],
        batch: Mapping[str, np.ndarray],
        spec: ModelSpec,
    ) -> np.ndarray:
        """1 for a piece that gets another tag."""
        lengths = batch["input_mask"].sum(axis=1).astype(int)
        found = []
        for row, length in enumerate(lengths):
            one, other = (
                viterbi(outputs["logits"][row, :length], outputs["transitions"][row]) for outputs in (exact, rough)
            )
            found.append(one != other)
        return np.concatenate(found).astype(float)


class CrfChunkScores(ChunkScores):
    """``ChunkScores`` of best sequences. tensors: logits [batch, seq, n] in place of classes, and transitions last."""

    def reset(self) -> None:
        super().reset()
        self._logits: list[np.ndarray] = []

    def update(self, arrays: Sequence[np.ndarray]) -> None:
        for logits, wanted, (begin, end), last, transitions in zip(*arrays):
            self._logits.append(logits[begin:end])
            self._wanted += wanted[begin:end].tolist()
            if last:
                self._count(viterbi(np.concatenate(self._logits), transitions).tolist())
                self._logits = []
