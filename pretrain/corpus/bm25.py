"""BM25 (Robertson and Zaragoza 2009, section 3.2): which of some short texts fit a query best.

    index = Bm25([["red", "wine"], ["white", "wine"]])
    index.scores(["white", "wine"])      # float64 [2]

Of a hundred to some thousand titles, those of a block; larger collections want a search engine. These few lines and
no library's, since the same shards are to come out on every machine: sums go in the order of sorted terms.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


class Bm25:
    """texts: lists of terms (anything that sorts and hashes); k1, b: saturation of frequency, weight of length.

    A term in n of N texts weighs log(1 + (N - n + 0.5) / (n + 0.5)): above 0 also where most have it, as in Lucene.
    """

    def __init__(self, texts: Sequence[Sequence[Any]], k1: float = 1.2, b: float = 0.75) -> None:
        counts = [Counter(text) for text in texts]
        self.size = len(counts)
        lengths = np.array([len(text) for text in texts], np.float64)
        norms = k1 * (1 - b + b * lengths / max(lengths.mean(), 1e-9)) if self.size else lengths
        places: dict[Any, list[tuple[int, int]]] = {}
        for place, found in enumerate(counts):
            for term, count in found.items():
                places.setdefault(term, []).append((place, count))
        self.postings = {}
        for term, pairs in places.items():
            at, times = np.array(pairs, np.int64).T
            weight = math.log(1 + (self.size - len(pairs) + 0.5) / (len(pairs) + 0.5))
            self.postings[term] = at, weight * times * (k1 + 1) / (times + norms[at])

    def scores(self, query: Iterable[Any]) -> np.ndarray:
        """float64 [texts]: how well each fits the query's terms; a term counts once, however often it is there."""
        found = np.zeros(self.size)
        for term in sorted(set(query)):
            if term in self.postings:
                at, weights = self.postings[term]
                found[at] += weights
        return found
