"""Operators in C++ for training on a CPU: encoder layers without padding, scores over a vocabulary, AdamW.

See README.md.

operators.load()                 # builds them at the first call on a machine; raises Unavailable with the reason
y = operators.encoder_layer(x, starts, seed, weights, layer=0, heads=12, ...)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle

from ernie.operators.build import Unavailable, library

__all__ = ["ACTIVATIONS", "Unavailable", "adamw", "encoder_layer", "load", "scores"]

ACTIVATIONS = ("gelu", "relu")  # numbered as in numbers.h; gelu is the exact form

_loaded: list[str] = []  # an operator can be registered once a process


def load() -> None:
    """Make the operators known to Paddle in this process, building them where that was not done before.

    Raises:
        Unavailable: this machine cannot build or load them; the message is the reason.
    """
    if _loaded:
        return
    path = library()
    try:
        names = paddle.base.core.load_op_meta_info_and_register_op(str(path))
    except Exception as error:  # whatever the dynamic linker says
        raise Unavailable(f"{path} cannot be loaded: {str(error).splitlines()[-1]}") from None
    _loaded.extend(names)


def encoder_layer(
    x: paddle.Tensor,
    starts: paddle.Tensor,
    seed: paddle.Tensor,
    weights: Sequence[paddle.Tensor],
    layer: int,
    heads: int,
    activation: str,
    attention_dropout: float,
    hidden_dropout: float,
    epsilon: float,
) -> paddle.Tensor:
    """One encoder layer (post-norm) with its gradient.

    Args:
        x: float32 [tokens, hidden], sentences end to end.
        starts: int64 [sentences + 1]; sentence i is tokens ``starts[i]`` to ``starts[i + 1] - 1``.
        seed: int64 [1]; dropout masks are a function of it, ``layer`` and the element's place.
        weights: weight and bias of query, key, value and output; scale and shift of the first layer norm; weight and
            bias of both feed-forward products; scale and shift of the second layer norm.
        layer: its number.
        heads: attention heads.
        activation: one of ``ACTIVATIONS``.
        attention_dropout, hidden_dropout: probabilities; 0 in evaluation.
        epsilon: of the layer norms.

    Returns:
        float32 [tokens, hidden].
    """
    return paddle._C_ops._run_custom_op(
        "ernie_encoder_layer", x, starts, seed, *weights,
        layer, heads, ACTIVATIONS.index(activation), float(attention_dropout), float(hidden_dropout), float(epsilon),
    )[0]  # fmt: skip


def scores(x: paddle.Tensor, weight: paddle.Tensor, bias: paddle.Tensor, by_rows: bool) -> paddle.Tensor:
    """Scores over the vocabulary, with their gradient.

    Args:
        x: float32 [tokens, hidden].
        weight: float32 [vocabulary, hidden] if ``by_rows``, else [hidden, vocabulary].
        bias: float32 [vocabulary].
        by_rows: whether a word's numbers are a row of the weight, as in a word embedding.

    Returns:
        float32 [tokens, vocabulary].
    """
    return paddle._C_ops._run_custom_op("ernie_scores", x, weight, bias, bool(by_rows))[0]


def adamw(
    parameters: Sequence[Any],
    gradients: Sequence[Any],
    first_moments: Sequence[Any],
    second_moments: Sequence[Any],
    beta1_powers: Sequence[Any],
    beta2_powers: Sequence[Any],
    learning_rate: Any,
    epsilon: Any,
    decay: Sequence[float],
    factors: Sequence[float],
    beta1: float,
    beta2: float,
    clip_norm: float,
) -> None:
    """Clip by the global norm and update all parameters, in place.

    Args:
        parameters, gradients, first_moments, second_moments: float32 of one shape each, a list entry a parameter.
        beta1_powers, beta2_powers: float32 [1] a parameter, ``beta ** t`` of step t; multiplied by beta afterwards.
        learning_rate, epsilon: float32 [1].
        decay: decoupled weight decay of each parameter, times its learning rate.
        factors: what the learning rate is multiplied by for each parameter.
        beta1, beta2: of the moments.
        clip_norm: the largest global norm of the gradients; infinity: they are not clipped.
    """
    paddle._C_ops._run_custom_op(
        "ernie_adamw", list(parameters), list(gradients), list(first_moments), list(second_moments),
        list(beta1_powers), list(beta2_powers), learning_rate, epsilon,
        [float(each) for each in decay], [float(each) for each in factors],
        float(beta1), float(beta2), float(clip_norm),
    )  # fmt: skip
