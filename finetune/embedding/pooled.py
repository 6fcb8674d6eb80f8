"""How the states of a text's tokens become one vector.

    pool_states(encoder, features, "mean")          # float32 [batch, hidden], inside a Program
    vector_size(spec.facts, hidden_size)            # of the vectors of a model of embeddings

``ernie.pooling`` says where a model stores it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ernie.pooling import CLS, FIRST, MAX, MEAN, POOLINGS

FIRST_LAST = "first_last"
CHOICES = (*POOLINGS, FIRST_LAST)
ALWAYS = POOLINGS  # an encoder without a pooling of its own gives these
WHITENED = "whitened"  # an output of inference models that were saved with a whitening
TRAINED_TASK = "sentence_vectors"


def mean_of(states: Any, mask: Any) -> Any:
    """The mean over tokens: states [batch, seq, hidden], mask [batch, seq, 1] -> [batch, hidden]."""
    return (states * mask).sum(axis=1) / mask.sum(axis=1)


def max_of(states: Any, mask: Any) -> Any:
    """The greatest value of each dimension over tokens; shapes as of ``mean_of``."""
    return (states * mask + (mask - 1.0) * 1e30).max(axis=1)


def first_last(layers: Sequence[Any], mask: Any) -> Any:
    """The mean over tokens of the mean of the first and the last layer.

    Li et al. 2020, arXiv 2011.05864, section 5.1, and Su et al. 2021, arXiv 2103.15316, use it.

    Args:
        layers: states of the embeddings, then of each layer, [batch, seq, hidden].
        mask: [batch, seq, 1].
    """
    return mean_of((layers[min(1, len(layers) - 1)] + layers[-1]) / 2.0, mask)


def pool_states(encoder: Any, features: Mapping[str, Any], pooling: str) -> Any:
    """The vectors of a batch, float32 [batch, hidden].

    Args:
        encoder: ``ernie.modeling.ErnieEncoder``.
        features: see its ``forward``.
        pooling: one of ``CHOICES``.
    """
    mask = features["input_mask"].unsqueeze(-1)
    if pooling == FIRST_LAST:
        return first_last(encoder.all_states(features), mask)
    states = encoder(features)
    if pooling == CLS:
        return encoder.pool(states)
    if pooling == FIRST:
        return states[:, 0]
    return {MEAN: mean_of, MAX: max_of}[pooling](states, mask)


def vector_size(facts: Mapping[str, Any], hidden: int, pooling: str | None = None) -> int:
    """Numbers of a vector.

    Args:
        facts: ``facts`` of a model of embeddings.
        hidden: the encoder's hidden size.
        pooling: which of its vectors; None: the model's own.
    """
    if (pooling or facts.get("pooling")) == WHITENED:
        return facts["whitening"]["dimensions"]
    return hidden
