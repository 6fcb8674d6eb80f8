"""F1 over the entities of tagged sequences.

metric = ChunkF1(label, pred, seqlen, num_label=7)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from propeller.metrics.scores import Metrics


class ChunkF1(Metrics):
    """Micro F1 over entities: right is one whose type and both ends are.

    Tag ``2 * type`` begins an entity, ``2 * type + 1`` continues it, ``num_label - 1`` is outside of all. A continuing
    tag after another type or outside begins an entity, as in conlleval. The first and the last position of a sequence,
    [CLS] and [SEP], are left out.

    Args:
        label: tags, ``[batch, positions]`` or ``[batch, positions, 1]``.
        pred: predicted tags, of the same shape.
        seqlen: positions of each sequence that are no padding, ``[batch]``.
        num_label: number of tags.
    """

    def __init__(self, label: Any, pred: Any, seqlen: Any, num_label: int) -> None:
        self.num_label = num_label
        super().__init__(label, pred, seqlen)

    def reset(self) -> None:
        self._labels: list[list[str]] = []
        self._preds: list[list[str]] = []

    def update(self, values: Sequence[np.ndarray]) -> None:
        label, pred, seqlen = (np.asarray(value) for value in values)
        for tags, guesses, length in zip(label, pred, seqlen.reshape(-1)):
            self._labels.append(self._names(tags, length))
            self._preds.append(self._names(guesses, length))

    def _names(self, tags, length):
        inner = np.reshape(tags, -1)[1 : max(int(length) - 1, 1)]
        return [self._name(int(tag)) for tag in inner]

    def _name(self, tag):
        if not 0 <= tag < self.num_label - 1:
            return "O"
        return f"{'I' if tag % 2 else 'B'}-{tag // 2}"

    def eval(self) -> float:
        from seqeval.metrics.sequence_labeling import get_entities

        both = labelled = predicted = 0
        for tags, guesses in zip(self._labels, self._preds):
            right, guessed = set(get_entities(tags)), set(get_entities(guesses))
            both, labelled, predicted = both + len(right & guessed), labelled + len(right), predicted + len(guessed)
        return 2.0 * both / (labelled + predicted) if labelled + predicted else 0.0
