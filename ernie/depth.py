"""How deep a parameter of an encoder lies, by its name: what layer-wise rates and frozen layers are made from.

    rate_factor("encoder_layer_3_ffn_fc_0.w_0", decay=0.9, layers=12)     # 0.9 ** 9: nine steps below the head
    freeze(encoder, layers=6)                                              # inside a train Program

The embeddings lie deepest, then come the layers from the lowest to the highest; the pooler counts as part of the head.
"""

from __future__ import annotations

import re
from typing import Any

EMBEDDINGS = ("word_embedding", "pos_embedding", "sent_embedding", "task_embedding", "pre_encoder_layer_norm")
_LAYER = re.compile(r"encoder_layer_(\d+)_")


def depth_of(name: str, layers: int) -> int:
    """0 for the embeddings and their layer norm, i + 1 for layer i of ``layers``, one more than that for the rest."""
    layer = _LAYER.match(name)
    if layer:
        return int(layer.group(1)) + 1
    return 0 if name.startswith(EMBEDDINGS) else layers + 1


def rate_factor(name: str, decay: float, layers: int) -> float:
    """What the learning rate of a parameter is multiplied by with layer-wise decay.

    1 for the head, ``decay`` for the highest layer, once more ``decay`` for each one below it, the embeddings last
    (Howard & Ruder 2018, arXiv 1801.06146, section 3.2; Clark et al. 2020, arXiv 2003.10555, appendix B).
    """
    return 1.0 if decay == 1.0 else decay ** (layers + 1 - depth_of(name, layers))


def freeze(encoder: Any, layers: int = 0, embeddings: bool = False) -> None:
    """Keep the embeddings, and with ``layers`` the lowest layers too, as they are (Lee et al. 2019, arXiv 1911.03090).

    Called in a train Program before the network is run: what is frozen gets no gradient, no moments and no update.

    Args:
        encoder: an ``ErnieEncoder``.
        layers: how many layers are frozen, from the lowest; the embeddings below them are, too.
        embeddings: whether the embeddings are frozen without any layer.
    """
    frozen = [encoder.embeddings] if embeddings or layers else []
    for part in [*frozen, *encoder.layers[:layers]]:
        for parameter in part.parameters():
            parameter.stop_gradient = True
