"""Pre-training data that change on the way: a reader for each stage, such as short instances first and long ones then.

staged = Staged([short, long], firsts=[0, 1500])        # long's from the 1,500th batch of every rank on
for batch, position in PyReader(staged.batches):
    ...                                                 # position.to_dict() goes into the checkpoint
staged.batches(start=position)                          # the batches that follow
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from reader.pretraining.batches import PretrainingPosition
from reader.pretraining.reader import PretrainingReader


class Staged:
    """Batches of one reader after the other. A stage begins its data at their beginning.

    A place within a stage is its reader's own, with the batches of all stages in ``steps`` and ``groups``: the groups
    alone say which stage it is of, and the schedule of masks goes on through all of them.

    Args:
        readers: of one task and with the same ``reading``, a reader a stage.
        firsts: the batch of every rank that a stage begins with, rising from 0.
    """

    def __init__(self, readers: Sequence[PretrainingReader], firsts: Sequence[int]) -> None:
        if not readers or len(readers) != len(firsts) or firsts[0] or list(firsts) != sorted(firsts):
            raise ValueError(f"{len(readers)} readers, which begin at the batches {list(firsts)}")
        self.readers, self.firsts = list(readers), list(firsts)

    @property
    def num_files(self) -> int:
        """Shards in all lists."""
        return sum(reader.num_files for reader in self.readers)

    @property
    def stats(self) -> dict[str, int]:
        """What the readers counted, added up."""
        total: Counter[str] = Counter()
        for reader in self.readers:
            total.update(reader.stats)
        return {name: total[name] for name in self.readers[0].stats}

    def fingerprint(self) -> dict:
        """As a reader's; every file with its stage."""
        found = [reader.fingerprint() for reader in self.readers]
        files = [{**file, "stage": stage} for stage, facts in enumerate(found) for file in facts["files"]]
        return {"path": [facts["path"] for facts in found], "files": files}

    def batches(
        self, start: PretrainingPosition | dict[str, Any] | None = None
    ) -> Iterator[tuple[dict[str, np.ndarray] | None, PretrainingPosition]]:
        """(batch, position after it) for every batch from `start` on; see ``PretrainingReader.batches``."""
        place = PretrainingPosition.of(start, self.num_files)
        while True:
            stage = bisect_right(self.firsts, place.groups) - 1
            last = stage + 1 == len(self.readers)
            moved = False
            for batch, after in self.readers[stage].batches(place):
                moved = not last and after.groups >= self.firsts[stage + 1]
                place = _beginning(after) if moved else after
                yield batch, place
                if moved:
                    break
            if not moved:
                return


def _beginning(after: PretrainingPosition) -> PretrainingPosition:
    """The place at which the data of the next stage begin, with what the log says of the batch before."""
    told = {name: getattr(after, name) for name in ("steps", "groups", "progress", "path", "mask_type")}
    return replace(PretrainingPosition(), **told)
