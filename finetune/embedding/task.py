"""The encoder alone, for sentence and token embeddings: no head, no labels.

python ernie_encoder.py --init_pretraining_params MODEL/params --data_set rows.tsv --output_dir embeddings ...
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
from paddle import nn

from ernie.pooling import POOLINGS
from finetune.embedding.files import vectors_of
from finetune.embedding.pooled import ALWAYS, CHOICES, FIRST_LAST, WHITENED, first_last, max_of, mean_of
from finetune.embedding.whitening import Whitening
from finetune.task import FinetuneTask
from propeller.errors import UserError
from propeller.train.program import FROZEN

if TYPE_CHECKING:
    from ernie.config import ErnieConfig
    from finetune.spec import ModelSpec
    from propeller.train.model import RunMode

MEAN_WEIGHT, MATRIX_WEIGHT = f"whitening_mean{FROZEN}", f"whitening_matrix{FROZEN}"


class Embed(FinetuneTask):
    """The states of one layer, and vectors of each row: its states, pooled in several ways.

    ``spec.facts`` says what is taken from the encoder: ``layer``, whose states (0: the embeddings' output, n: the n-th
    layer's; the top layer's where it is not said), ``states``, whether those of every token are given out too, and
    ``pooler``, false where the weights have none (a task over tokens of 2019): then there is no ``cls`` of the top.
    A ``pooling`` beside the four is given too.

    Attributes:
        whitening: what the vectors are whitened with too, see ``whitened_with``; None: nothing.
        fixed_weights: weights that belong to no checkpoint, name -> array; whoever exports the model sets them.
    """

    whitening: Whitening | None = None
    fixed_weights: Mapping[str, np.ndarray] = {}

    name = "embed"
    label_kind = None
    num_labels = 0
    trains = False
    handler = "finetune.embedding.handler:EmbedHandler"
    job = ""
    script = "ernie_encoder.py"

    def __init__(self, config: ErnieConfig, spec: ModelSpec, mode: RunMode, optimizer: Any = None) -> None:
        super().__init__(config, spec, mode, optimizer)
        layers = config.num_hidden_layers
        layer = spec.facts.get("layer", layers)
        self.gives_states = spec.facts.get("states", True)
        self.on_top = layer == layers
        self.gives_cls = not self.on_top or spec.facts.get("pooler", True)
        self.encoder.layers = nn.LayerList(list(self.encoder.layers)[:layer])  # those above are not computed
        chosen = spec.facts.get("pooling")
        if self.whitening is not None:
            chosen = spec.facts["whitening"]["pooling"]
            self.mean, self.matrix = (self._fixed(name) for name in (MEAN_WEIGHT, MATRIX_WEIGHT))
        self.further = chosen if chosen in CHOICES and chosen not in ALWAYS else None

    def _fixed(self, name):
        attr = paddle.ParamAttr(name, nn.initializer.Constant(0.0), trainable=False)
        return self.create_parameter(list(self.fixed_weights[name].shape), attr=attr)

    @classmethod
    def whitened_with(cls, whitening: Whitening) -> type[Embed]:
        """The task with one output more, the vectors of ``spec.facts["whitening"]["pooling"]`` whitened."""
        weights = {MEAN_WEIGHT: whitening.mean, MATRIX_WEIGHT: whitening.matrix}
        return type(cls.__name__, (cls,), {"whitening": whitening, "fixed_weights": weights, "__doc__": cls.__doc__})

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """-> ``cls``, ``mean``, ``max``, ``first`` float32 [batch, hidden]; ``states`` float32 [batch, seq, hidden].

        Where asked for also ``first_last``, and ``whitened`` [batch, dimensions].
        ``cls`` is the pooled vector (dense layer and tanh over [CLS]), as 2019 wrote it. Below the top layer, which is
        what the pooler was trained on, it is the state of [CLS] itself, as ``first`` is everywhere. ``mean`` and
        ``max`` are over the row's tokens, [CLS] and [SEP] among them. ``states`` are 0 at padding.
        """
        layers = self.encoder.all_states(features)
        states = layers[-1]
        mask = features["input_mask"].unsqueeze(-1)  # [batch, seq, 1]
        outputs = {"mean": mean_of(states, mask), "max": max_of(states, mask), "first": states[:, 0]}
        if self.gives_cls:
            outputs = {"cls": self.encoder.pool(states) if self.on_top else states[:, 0], **outputs}
        if self.further == FIRST_LAST:
            outputs[FIRST_LAST] = first_last(layers, mask)
        if self.whitening is not None:
            base = outputs[self.spec.facts["whitening"]["pooling"]]
            outputs[WHITENED] = paddle.matmul(base - self.mean, self.matrix)
        if self.gives_states:
            outputs["states"] = states * mask  # 0 at padding
        return outputs

    @classmethod
    def metric(cls, settings: Any) -> str | None:
        return None

    @classmethod
    def decode(cls, outputs: Mapping[str, np.ndarray], row: Any, spec: ModelSpec) -> dict[str, Any]:
        """``embedding``: the row's vector, float32 [hidden] as a list, pooled as the record says."""
        pooling = spec.facts.get("pooling") or POOLINGS[0]
        stacked = {pooling: outputs[pooling][None]}
        return {"embedding": vectors_of(stacked, pooling, bool(spec.facts.get("normalize")))[0].tolist()}

    def loss(self, predictions: dict[str, Any], label: dict[str, Any]) -> Any:
        """Raise NotImplementedError: embeddings are not trained."""
        raise NotImplementedError("embeddings are taken from a trained encoder: see run_classifier.py for training")


def number_of_layer(layer: int, layers: int) -> int:
    """``--layer`` as a number from 0 (the embeddings' output) to ``layers`` (the top); below 0 it counts from the top.

    Raises:
        UserError: there is no such layer.
    """
    if not -layers - 1 <= layer <= layers:
        raise UserError(
            f"--layer {layer}: the model has {layers} layers: give 0 (the embeddings' output) to {layers} (the top), "
            f"or -1 (the top) to {-layers - 1} (the embeddings' output)"
        )
    return layer if layer >= 0 else layers + 1 + layer
