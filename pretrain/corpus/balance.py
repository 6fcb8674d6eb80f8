"""Classes drawn so that they come out about equally often, though not every text can be of every class.

    balance = Balance(9)
    balance.draw([0, 1, 2], random)     # 0, 1 or 2: what was drawn less often so far is likelier; None: leave it out

One object a block of text. A text that cannot be of all classes is left out where its own are ahead already: no class
gets more than SPREAD times what the rarest has, or LEAST_KEPT if that is more, by such texts.
"""

from __future__ import annotations

from bisect import bisect
from itertools import accumulate
from typing import Callable

SPREAD, LEAST_KEPT = 2, 8


class Balance:
    """classes: how many there are."""

    def __init__(self, classes: int) -> None:
        self.counts = [0] * classes

    def draw(self, possible: list[int], random: Callable[[], float]) -> int | None:
        """One of the classes in `possible`, counted; None: leave the text out. random: as random.random."""
        counts, most = self.counts, max(self.counts)
        if len(possible) < len(counts):
            limit = max(LEAST_KEPT, SPREAD * min(counts))
            possible = [number for number in possible if counts[number] < limit]
            if not possible:
                return None
        weights = [1 + most - counts[number] for number in possible]
        drawn = possible[bisect(list(accumulate(weights)), random() * sum(weights))]
        counts[drawn] += 1
        return drawn
