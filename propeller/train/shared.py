"""A run's folder among the processes that train together: the first one writes and reads it, all know how it went.

saver = SharedSaver(ranks, lambda: Saver("checkpoints", write_variable, read_variable))
saver.claim(fingerprint)                        # "new" on every rank
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable

import numpy as np

from propeller.errors import UserError
from propeller.train.differences import first_difference

if TYPE_CHECKING:
    from propeller.train.differences import Difference
    from propeller.train.distribution import Ranks
    from propeller.train.saver import Saver


class SharedSaver:
    """A ``Saver`` of the first rank; on the others what would be written is dropped.

    Args:
        ranks: ``distribution.Ranks``.
        make: called on the first rank, gives the ``Saver``.
    """

    def __init__(self, ranks: Ranks, make: Callable[[], Saver]) -> None:
        self.ranks = ranks
        self.saver = make() if ranks.first else None

    def claim(
        self,
        fingerprint: dict[str, Any],
        overwrite: bool = False,
        remedy: str = "",
        explain: Callable[[Difference], str] = str,
        former: Mapping[str, Any] | None = None,
        told: Callable[[Difference], bool] | None = None,
    ) -> str:
        """See ``Saver.claim``; the same answer on every rank.

        Raises:
            UserError: also where the ranks were not given the same run, by their flags or by what is in their files.
        """
        if self.ranks.size > 1:
            fingerprints = self.ranks.all_gather(fingerprint)
            for rank, other in enumerate(fingerprints):
                difference = first_difference(fingerprints[0], other)
                if difference:
                    raise UserError(f"rank {rank} is given another run than rank 0: {difference}")
        status = self.saver.claim(fingerprint, overwrite, explain, remedy, former, told) if self.saver else None
        return self.ranks.broadcast(status)

    def restore(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, Any]] | None:
        """See ``Saver.restore``; None on the other ranks, whose state comes from the first (``Learner.train``)."""
        return self.saver.restore() if self.saver else None

    def parameters(self, step: int) -> dict[str, np.ndarray] | None:
        """See ``Saver.parameters``; None on the other ranks, see ``Learner.load``."""
        return self.saver.parameters(step) if self.saver else None

    def save(
        self,
        step: int,
        parameters: dict[str, np.ndarray],
        optimizer_state: dict[str, np.ndarray],
        state: dict[str, Any],
        level: int = logging.INFO,
    ) -> None:
        """See ``Saver.save``."""
        if self.saver:
            self.saver.save(step, parameters, optimizer_state, state, level)

    def restate(self, step: int, state: dict[str, Any]) -> None:
        """See ``Saver.restate``."""
        if self.saver:
            self.saver.restate(step, state)

    def note(self, step: int, facts: Mapping[str, Any]) -> None:
        """See ``Saver.note``."""
        if self.saver:
            self.saver.note(step, facts)

    def withdraw(self, step: int) -> None:
        """See ``Saver.withdraw``."""
        if self.saver:
            self.saver.withdraw(step)

    def link(self, name: str, step: int) -> None:
        """See ``Saver.link``."""
        if self.saver:
            self.saver.link(name, step)

    def prune(self, best: int | None = None) -> None:
        """See ``Saver.prune``."""
        if self.saver:
            self.saver.prune(best)

    def finish(self, **facts: Any) -> None:
        """See ``Saver.finish``."""
        if self.saver:
            self.saver.finish(**facts)

    def close(self) -> None:
        """See ``Saver.close``."""
        if self.saver:
            self.saver.close()
