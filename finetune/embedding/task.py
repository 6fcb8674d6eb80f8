"""The encoder alone, for sentence and token embeddings: no head, no labels.

python ernie_encoder.py --init_pretraining_params MODEL/params --data_set rows.tsv --output_dir embeddings ...
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from paddle import nn

from ernie.pooling import POOLINGS
from finetune.embedding.files import vectors_of
from finetune.task import FinetuneTask
from propeller.errors import UserError

if TYPE_CHECKING:
    from ernie.config import ErnieConfig
    from finetune.spec import ModelSpec
    from propeller.train.model import RunMode


class Embed(FinetuneTask):
    """The states of one layer, and a vector for each row made of them in four ways.

    ``spec.facts`` says what is taken from the encoder: ``layer``, whose states (0: the embeddings' output, n: the n-th
    layer's; the top layer's where it is not said), ``states``, whether those of every token are given out too, and
    ``pooler``, false where the weights have none (a task over tokens of 2019): then there is no ``cls`` of the top.
    """

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

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """-> ``cls``, ``mean``, ``max``, ``first`` float32 [batch, hidden]; ``states`` float32 [batch, seq, hidden].

        ``cls`` is the pooled vector (dense layer and tanh over [CLS]), as 2019 wrote it. Below the top layer, which is
        what the pooler was trained on, it is the state of [CLS] itself, as ``first`` is everywhere. ``mean`` and
        ``max`` are over the row's tokens, [CLS] and [SEP] among them. ``states`` are 0 at padding.
        """
        states = self.encoder(features)
        mask = features["input_mask"].unsqueeze(-1)  # [batch, seq, 1]
        tokens = states * mask  # 0 at padding
        outputs = {
            "mean": tokens.sum(axis=1) / mask.sum(axis=1),
            "max": (tokens + (mask - 1.0) * 1e30).max(axis=1),
            "first": states[:, 0],
        }
        if self.gives_cls:
            outputs = {"cls": self.encoder.pool(states) if self.on_top else states[:, 0], **outputs}
        if self.gives_states:
            outputs["states"] = tokens
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
