"""A linear-chain conditional random field over tags (Lafferty, McCallum and Pereira 2001; Lample et al. 2016).

    loss = negative_log_likelihood(logits, transitions, labels, lengths)        # in a Program, float32 [batch]
    path = viterbi(logits, transitions)                                         # numpy, int64 [pieces]
    marginals(logits, transitions)                                              # numpy, float32 [pieces, classes]

The score of a sequence of tags is the sum of its logits and of the transitions between its neighbours. The forward
algorithm here multiplies the steps' matrices two by two, which takes as many rounds as the length has binary digits:
a Program needs no loop, whatever the length of a batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F

from finetune.metrics import softmax

NOTHING = -10000.0  # the logarithm of what counts as 0
TINY = 1e-30


def log_product(one: Any, other: Any) -> Any:
    """The matrix product of matrices given by the logarithms of their entries, float32 [..., n, n]."""
    high = one.max(axis=-1, keepdim=True)  # [..., n, 1]
    wide = other.max(axis=-2, keepdim=True)  # [..., 1, n]
    product = paddle.matmul(paddle.exp(one - high), paddle.exp(other - wide))
    return paddle.log(product + TINY) + high + wide


def log_partition(logits: Any, transitions: Any, inside: Any, longest: int) -> Any:
    """The logarithm of the sum of exp(score) over all sequences of tags, float32 [batch].

    Args:
        logits: float32 [batch, seq, n], seq at least 2.
        transitions: float32 [n, n]: from the tag of the row to that of the column.
        inside: float32 [batch, seq]: 1 for tokens, 0 for padding.
        longest: the greatest seq that comes.
    """
    size = transitions.shape[0]
    identity = paddle.to_tensor(np.where(np.eye(size) > 0, 0.0, NOTHING).astype("float32"))
    steps = transitions + logits[:, 1:].unsqueeze(2)  # [batch, seq - 1, n, n]
    real = inside[:, 1:].unsqueeze(-1).unsqueeze(-1)
    steps = steps * real + identity * (1.0 - real)
    alone = identity + 0.0 * steps[:, :1]  # [batch, 1, n, n]
    for _ in range(max(longest - 1, 1).bit_length()):
        steps = log_product(steps[:, 0::2], paddle.concat([steps, alone], axis=1)[:, 1::2])
    ends = logits[:, 0].unsqueeze(-1) + steps[:, 0]  # [batch, n, n]: the first tag, the last one
    return paddle.logsumexp(ends, axis=[1, 2])


def path_score(logits: Any, transitions: Any, labels: Any, inside: Any) -> Any:
    """The score of a sequence of tags, float32 [batch]; labels: int64 [batch, seq], the others as above."""
    chosen = F.one_hot(labels, transitions.shape[0]) * inside.unsqueeze(-1)  # [batch, seq, n]
    moves = paddle.matmul(chosen[:, :-1], transitions) * chosen[:, 1:]
    return (logits * chosen).sum(axis=[1, 2]) + moves.sum(axis=[1, 2])


def negative_log_likelihood(logits: Any, transitions: Any, labels: Any, lengths: Any, longest: int) -> Any:
    """Minus the logarithm of the probability of the labels, float32 [batch].

    Args:
        logits: [batch, seq, n]; computed in float32 here, under mixed precision too.
        transitions: [n, n].
        labels: int64 [batch, seq].
        lengths: int64 [batch, 1]: tokens of each row, at least 1.
        longest: see ``log_partition``.
    """
    with paddle.amp.auto_cast(enable=False):
        logits, transitions = logits.astype("float32"), transitions.astype("float32")
        places = paddle.cumsum(paddle.ones_like(labels), axis=1)  # 1, 2, ... [batch, seq]
        inside = (places <= lengths).astype("float32")
        return log_partition(logits, transitions, inside, longest) - path_score(logits, transitions, labels, inside)


# ---------------------------------------------------------------- prediction, in numpy


def viterbi(logits: np.ndarray, transitions: np.ndarray) -> np.ndarray:
    """The tags with the highest score, int64 [pieces]; of equal ones those of the lowest class.

    Args:
        logits: float [pieces, n].
        transitions: float [n, n].
    """
    score, back = np.asarray(logits[0], np.float64), []
    for row in logits[1:]:
        scores = score[:, None] + transitions
        back.append(scores.argmax(axis=0))
        score = scores.max(axis=0) + row
    path = [int(score.argmax())]
    for pointers in reversed(back):
        path.append(int(pointers[path[-1]]))
    return np.array(path[::-1], np.int64)


def marginals(logits: np.ndarray, transitions: np.ndarray) -> np.ndarray:
    """The probability of each tag at each place, float32 [pieces, n], by the forward-backward algorithm."""
    forward, backward = [np.asarray(logits[0], np.float64)], [np.zeros(logits.shape[1])]
    for row in logits[1:]:
        forward.append(_log_sum(forward[-1][:, None] + transitions, 0) + row)
    for row in logits[:0:-1]:
        backward.append(_log_sum(transitions + (row + backward[-1]), 1))
    return softmax(np.array(forward) + np.array(backward[::-1]))


def _log_sum(values, axis):
    top = values.max(axis=axis, keepdims=True)
    return np.squeeze(top, axis) + np.log(np.exp(values - top).sum(axis=axis))
