"""How the vector of a text is made of an encoder's states, and where a model stores what it was trained with.

    from ernie.pooling import trained_pooling
    trained_pooling({"pooling": "mean", "normalize": True})    # Pooling("mean", normalize=True)
    trained_pooling({"task": "classify"})                      # None: the record does not say

``ernie_model.json``, ``checkpoint.json`` and ``bundle.json`` have the keys ``pooling`` and ``normalize`` at the top; a
task that is trained to give vectors may have them among its own flags (``flags``) instead. A key that is absent is
not known: training alone writes it, or a conversion whose source says it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

POOLING, NORMALIZE = "pooling", "normalize"  # the keys of a record

CLS, MEAN, MAX, FIRST = "cls", "mean", "max", "first"
POOLINGS = (CLS, MEAN, MAX, FIRST)


@dataclass(frozen=True)
class Pooling:
    """How vectors are made.

    Attributes:
        name: ``cls``, the pooled [CLS] (dense layer and tanh; below the top layer, which has no pooler, its state);
            ``first``, the state of [CLS]; ``mean`` or ``max`` over all tokens of a row, [CLS] and [SEP] among them.
        normalize: whether vectors are scaled to length 1.
    """

    name: str
    normalize: bool = False


def trained_pooling(record: Mapping[str, Any]) -> Pooling | None:
    """The pooling that a model was trained with; None where its record does not say.

    Args:
        record: content of ``ernie_model.json`` or ``checkpoint.json`` (``ernie.facts.read_facts``), or ``meta`` of a
            bundle.
    """
    for values in (record, record.get("flags") or {}):
        if values.get(POOLING):
            return Pooling(values[POOLING], bool(values.get(NORMALIZE)))
    return None
