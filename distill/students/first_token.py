"""A Transformer's vector of an example without what nobody asks for: the top layer computes [CLS] alone.

    pooled = pooled_first(encoder, features)            # [batch, hidden], as encoder.pool(encoder(features))

All tokens are keys and values of the top layer, but its queries, its feed-forward and its norms are needed for the
first token only. Of two layers that is nearly half of the products.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import paddle
import paddle.nn.functional as F

from ernie.modeling import ErnieEncoder, attention_bias


def pooled_first(encoder: ErnieEncoder, features: Mapping[str, Any]) -> Any:
    """The vector of each example, float32 [batch, hidden], outside of training.

    Args:
        encoder: with one layer or more.
        features: see ``ErnieEncoder.forward``.
    """
    ids = features["src_ids"]
    batch, seq = ids.shape if paddle.in_dynamic_mode() else paddle.shape(ids).unbind(0)
    bias = attention_bias(features["input_mask"])  # [batch, 1, query, key]
    states = encoder.embeddings(features)  # [batch * seq, hidden]
    *lower, top = encoder.layers
    for layer in lower:
        states = layer(states, (batch, seq), bias)
    return encoder.pooler(_first_state(top, states, batch, seq, bias[:, :, :1]))


def _first_state(layer, states, batch, seq, bias):
    """What a layer makes of the first token [batch, hidden] of [batch * seq, hidden]; bias: [batch, 1, 1, seq]."""
    attention = layer.attention
    heads, size = attention.heads, attention.head_size
    first = states.reshape([batch, seq, heads * size])[:, 0]  # [batch, hidden]
    weight = paddle.concat([attention.key.weight, attention.value.weight], axis=1)
    offset = paddle.concat([attention.key.bias, attention.value.bias])
    mixed = (paddle.matmul(states, weight) + offset).reshape([batch, seq, 2, heads, size])
    key, value = mixed.transpose([2, 0, 3, 1, 4]).unbind(0)  # [batch, heads, seq, head_size]
    query = attention.query(first).reshape([batch, heads, 1, size])
    weights = F.softmax(paddle.matmul(query, key, transpose_y=True) * size**-0.5 + bias)
    context = paddle.matmul(weights, value).reshape([batch, heads * size])
    first = layer.attention_norm(first + attention.output(context))
    return layer.ffn_norm(first + layer.ffn_out(layer.ffn_in(first)))
