"""Logits of tokens from those of their word pieces, and back: from a model of one vocabulary to one of another.

    logits = TokenLogits(tags)
    logits.gather([1, 2], pieces)        # float32 [3, classes] of word pieces -> [2, classes] of tokens
    logits.spread(tokens, [2, 1])        # [2, classes] of tokens -> [3, classes] of the pieces of another tokenizer

Both follow ``TagSet.spread``, which says which classes the pieces of a token have: B-PER on two pieces is B-PER, I-PER.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from reader.tagging.tags import TagSet

NOTHING = -np.inf  # all logits of a token without a word piece: nothing is known of it
BELOW = 10.0  # how far a class that cannot stand in a place lies under the least of those that can


class TokenLogits:
    """Between word pieces and tokens.

    Args:
        tags: the ``TagSet`` that both sides have.
    """

    def __init__(self, tags: TagSet) -> None:
        self.tags = tags
        self._tables: dict[int, np.ndarray] = {}

    def gather(self, pieces: Sequence[int], logits: np.ndarray) -> np.ndarray:
        """The logits of tokens: for each class the mean of what its pieces say of the classes it gives them.

        Args:
            pieces: number of word pieces of each token.
            logits: float32 [pieces, classes].

        Returns:
            float32 [tokens, classes]; ``NOTHING`` for a token without a piece.
        """
        counts = np.asarray(pieces, np.int64)
        found = np.full((len(counts), logits.shape[1]), NOTHING, np.float32)
        begins = np.cumsum(counts) - counts
        for count, tokens in _by_count(counts):
            table = self._table(count)
            total = np.zeros((len(tokens), logits.shape[1]), np.float32)
            for place in range(count):
                total += logits[begins[tokens] + place][:, np.maximum(table[:, place], 0)]
            possible = table[:, 0] >= 0
            total /= np.float32(count)
            total[:, ~possible] = total[:, possible].min(axis=1, keepdims=True) - np.float32(BELOW)
            found[tokens] = total
        return found

    def spread(self, logits: np.ndarray, pieces: Sequence[int]) -> np.ndarray:
        """The logits of word pieces: of each class the probability of all tags of the token that put it there.

        Args:
            logits: float32 [tokens, classes].
            pieces: number of word pieces of each token.

        Returns:
            float32 [pieces, classes].
        """
        counts = np.asarray(pieces, np.int64)
        classes = logits.shape[1]
        found = np.zeros((int(counts.sum()), classes), np.float32)
        begins = np.cumsum(counts) - counts
        for count, tokens in _by_count(counts):
            if count == 1:
                found[begins[tokens]] = logits[tokens]
                continue
            table = self._table(count)
            possible = np.flatnonzero(table[:, 0] >= 0)
            given = np.where(np.isfinite(logits[tokens]), logits[tokens], 0.0).astype(np.float64)
            highest, least = given.max(axis=1, keepdims=True), given.min(axis=1, keepdims=True)
            chances = np.exp(given - highest)
            for place in range(count):
                put = np.zeros((classes, classes))
                put[possible, table[possible, place]] = 1.0
                sums = np.maximum(chances @ put, np.finfo(np.float64).tiny)
                found[begins[tokens] + place] = np.where(put.any(axis=0), np.log(sums) + highest, least - BELOW)
        return found

    def _table(self, count):
        """int64 [classes, count]: the classes of the pieces of a token of each class; -1 where it has no such."""
        if count not in self._tables:
            rows = []
            for number in range(self.tags.num_labels):
                try:
                    rows.append(self.tags.spread(number, count))
                except ValueError:
                    rows.append([-1] * count)
            self._tables[count] = np.array(rows, np.int64)
        return self._tables[count]


def _by_count(counts: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(number of pieces, numbers of the tokens that have as many), without those that have none."""
    for count in np.unique(counts[counts > 0]).tolist():
        yield count, np.flatnonzero(counts == count)
