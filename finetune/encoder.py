"""The encoder alone, for sentence and token embeddings: no head, no labels.

python ernie_encoder.py --init_pretraining_params MODEL/params --data_set rows.tsv --output_dir embeddings ...
"""

from __future__ import annotations

from dataclasses import dataclass

from paddle import nn

from finetune.task import FinetuneTask, HeadConfig
from propeller.errors import UserError


@dataclass(frozen=True)
class EmbedHead(HeadConfig):
    """What is taken from the encoder.

    layer: whose states: 0 is the embeddings' output, n the n-th layer's; None the top layer's.
    states: whether the states of every token are given out, beside the vectors of the rows.
    """

    layer: int | None = None
    states: bool = True


class Embed(FinetuneTask):
    """The states of one layer, and a vector for each row made of them in three ways."""

    name = "embed"
    label_kind = None
    handler = "finetune.serving:EmbedHandler"

    def __init__(self, config, head, mode, optimizer=None):
        super().__init__(config, head, mode, optimizer)
        layers = config.num_hidden_layers
        layer = head.layer if isinstance(head, EmbedHead) and head.layer is not None else layers
        self.gives_states = head.states if isinstance(head, EmbedHead) else True
        self.on_top = layer == layers
        self.encoder.layers = nn.LayerList(list(self.encoder.layers)[:layer])  # those above are not computed

    def forward(self, features):
        """-> ``cls``, ``mean``, ``max`` float32 [batch, hidden]; ``states`` float32 [batch, seq, hidden], 0 at padding.

        ``cls`` is the pooled vector (dense layer and tanh over [CLS]), as 2019 wrote it. Below the top layer, which is
        what the pooler was trained on, it is the state of [CLS] itself. ``mean`` and ``max`` are over the row's tokens,
        [CLS] and [SEP] among them.
        """
        states = self.encoder(features)
        mask = features["input_mask"].unsqueeze(-1)  # [batch, seq, 1]
        own = states * mask
        outputs = {
            "cls": self.encoder.pool(states) if self.on_top else states[:, 0],
            "mean": own.sum(axis=1) / mask.sum(axis=1),
            "max": (own + (mask - 1.0) * 1e30).max(axis=1),
        }
        if self.gives_states:
            outputs["states"] = own
        return outputs

    def loss(self, predictions, label):
        """There is none: nothing is trained here."""
        raise NotImplementedError("embeddings are taken from a trained encoder: see run_classifier.py for training")


def number_of_layer(layer, layers):
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
