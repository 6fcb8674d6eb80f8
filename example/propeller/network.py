"""The network of these examples, small enough for a CPU: embeddings, and a convolution over three tokens.

states = Encoder(vocab_size=18000, width=64)(ids)       # [batch, tokens, width]
"""

from __future__ import annotations

import paddle
from paddle import nn
from paddle.nn import functional as F  # noqa: N812 its usual name


class Encoder(nn.Layer):
    """Token states from token ids; id 0 is padding, and its states are 0.

    Args:
        vocab_size: ids go from 0 to this, exclusive.
        width: of a state.
    """

    def __init__(self, vocab_size: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        self.convolution = nn.Conv1D(width, width, 3, padding=1)

    def forward(self, ids):
        mask = (ids > 0).astype("float32").unsqueeze(-1)  # [batch, tokens, 1]
        embedded = self.embedding(ids) * mask
        mixed = self.convolution(embedded.transpose([0, 2, 1])).transpose([0, 2, 1])
        return (embedded + F.relu(mixed)) * mask

    def mean(self, ids):
        """The mean of the states of what is no padding, [batch, width]."""
        count = (ids > 0).astype("float32").sum(axis=1, keepdim=True)
        return self(ids).sum(axis=1) / paddle.clip(count, min=1.0)


def adam(params):
    """The optimiser: Adam with a rate that falls to 0 at ``params.steps``."""
    rate = paddle.optimizer.lr.PolynomialDecay(params.get("learning_rate", 1e-2), params.get("steps", 200), 0.0)
    return paddle.optimizer.Adam(rate, grad_clip=nn.ClipGradByGlobalNorm(1.0))
