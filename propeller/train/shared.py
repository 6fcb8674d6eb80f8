"""A run's folder among the processes that train together: the first one writes and reads it, all know how it went.

saver = SharedSaver(ranks, lambda: Saver("checkpoints", write_variable, read_variable))
saver.claim(fingerprint)                        # "new" on every rank
"""

from __future__ import annotations

import re

from propeller.errors import UserError
from propeller.train.saver import first_difference

BATCHES = re.compile(r"--gradient_accumulation_steps was (\d+), now (\d+)")


class SharedSaver:
    """A ``Saver`` of the first rank; on the others what would be written is dropped.

    Args:
        ranks: ``distribution.Ranks``.
        make: called on the first rank, gives the ``Saver``.
    """

    def __init__(self, ranks, make):
        self.ranks = ranks
        self.saver = make() if ranks.first else None

    def claim(self, fingerprint, overwrite=False, remedy=""):
        """See ``Saver.claim``; the same answer on every rank.

        Raises:
            UserError: also where the ranks were not given the same run, by their flags or by what is in their files.
        """
        if self.ranks.size > 1:
            given = self.ranks.all_gather(fingerprint)
            for rank, other in enumerate(given):
                difference = first_difference(given[0], other)
                if difference:
                    raise UserError(f"rank {rank} is given another run than rank 0: {difference}")
        status = self.saver.claim(fingerprint, overwrite, self._explain, remedy) if self.saver else None
        return self.ranks.from_first(status)

    def _explain(self, difference):
        """Of a step made of more or fewer batches, how it comes about here and what keeps it as it was."""
        found = BATCHES.search(difference)
        if not found:
            return difference
        was, now = int(found.group(1)), int(found.group(2))
        size = self.ranks.size
        remedy = (
            f"in {size} process(es) give --gradient_accumulation_steps {was // size}"
            if was % size == 0
            else f"run it in a number of processes that divides {was}"
        )
        return (
            f"its step has {was} batches (processes x --gradient_accumulation_steps), this one's {now} "
            f"({size} x {now // size}): to continue it {remedy}"
        )

    def restore(self):
        """See ``Saver.restore``; None on the other ranks, whose state comes from the first (``Learner.train``)."""
        return self.saver.restore() if self.saver else None

    def parameters(self, step):
        """See ``Saver.parameters``; None on the other ranks, see ``Learner.load``."""
        return self.saver.parameters(step) if self.saver else None

    def __getattr__(self, name):
        if name not in ("save", "link", "prune", "finish", "close"):
            raise AttributeError(name)
        return getattr(self.saver, name) if self.saver else lambda *args, **facts: None
