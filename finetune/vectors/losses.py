"""Losses over the vectors of a batch, inside a Program.

loss, hits = contrastive(anchors, [positives, negatives], same, temperature)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle
import paddle.nn.functional as F

EPSILON = 1e-12
NEVER = -1e9  # the logit of what is no negative


def unit(vectors: Any) -> Any:
    """Vectors of length 1, float32 [..., hidden]."""
    return vectors / paddle.sqrt((vectors * vectors).sum(axis=-1, keepdim=True) + EPSILON)


def cosines(one: Any, other: Any) -> Any:
    """The cosine of each pair, float32 [rows, hidden] twice -> [rows, 1]."""
    return (unit(one) * unit(other)).sum(axis=-1, keepdim=True)


def contrastive(anchors: Any, others: Sequence[Any], same: Any, temperature: float) -> tuple[Any, Any]:
    """Find the second text of each row among those of the batch.

    ``-log(exp(cos(a_i, b_i) / t) / sum_j exp(cos(a_i, c_j) / t))``, c the second and third texts of all rows: SimCSE's
    equations 1 and 5 (Gao et al. 2021, arXiv 2104.08821), and the in-batch loss of Henderson et al. 2017,
    arXiv 1705.00652, over cosines.

    Args:
        anchors: float32 [rows, hidden].
        others: the second texts, and where there are any the third ones, float32 [rows, hidden] each.
        same: float32 [rows, rows * len(others)], 1 for what is no negative of a row.
        temperature: t.

    Returns:
        (the mean over the rows, a scalar; whether the own second text is the nearest, float32 [rows, 1])
    """
    candidates = unit(paddle.concat(list(others), axis=0))
    scores = paddle.matmul(unit(anchors), candidates, transpose_y=True) / temperature + same * NEVER
    own = paddle.arange(0, paddle.shape(scores)[0], dtype="int64")
    hits = (scores.argmax(axis=1) == own).astype("float32").unsqueeze(-1)
    return F.cross_entropy(scores, own.unsqueeze(-1)), hits
