"""The rate of every update from one of Paddle's schedulers, whatever update is asked for first.

rates = Rates(paddle.optimizer.lr.LinearLR(0.1, 1000))
rates(500)      # as after 500 steps of the scheduler
"""

from __future__ import annotations

import copy
from typing import Any

from paddle.optimizer import lr

from propeller.errors import UserError


class Rates:
    """A scheduler's rate by the number of the update.

    ``scheduler.step(n)`` alone is not enough: ``LinearLR`` of Paddle 3.3.1 computes a rate from the one before, so a
    run that continues, or asks twice for an update, would get another one. The scheduler takes its steps one by one
    instead.

    Args:
        scheduler: a ``paddle.optimizer.lr.LRScheduler``.

    Raises:
        UserError: its rate depends on scores, so it is not known by the number of the update.
    """

    def __init__(self, scheduler: Any) -> None:
        inner = scheduler
        while isinstance(inner, lr.LinearWarmup):  # it gives the number of the step to ReduceOnPlateau as a loss
            inner = inner.learning_rate
        if isinstance(inner, lr.ReduceOnPlateau):
            raise UserError("ReduceOnPlateau: its rate is not known by the step: give another scheduler")
        self._scheduler, self._new = scheduler, copy.deepcopy(scheduler)

    def __call__(self, update: int) -> float:
        """The rate of update ``update``, from 0."""
        if self._scheduler.last_epoch > update:
            self._scheduler = copy.deepcopy(self._new)
        if hasattr(self._scheduler, "_get_closed_form_lr"):
            self._scheduler.step(update)
        for _ in range(update - self._scheduler.last_epoch):
            self._scheduler.step()
        if self._scheduler.last_epoch != update:  # it began at a later one
            self._scheduler.step(update)
        return float(self._scheduler())
