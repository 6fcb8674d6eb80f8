"""The speed of training between two reports.

clock = StepClock(state, batches.waited)
with clock.stopped():                               # an evaluation
    ...
clock.read(state)                                   # {"speed": steps per second, "waiting": share of the time}
clock.begin(state)                                  # the report is made: the next one counts from here
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from propeller.train.state import TrainState


class StepClock:
    """Counts the steps since the last report and the seconds they took.

    Args:
        state: where the run is; ``window_steps`` of it are counted.
        waited: gives the seconds that the loop has waited for batches; None: they are not reported.
    """

    def __init__(self, state: TrainState, waited: Callable[[], float] | None = None) -> None:
        self._waited = waited
        self.begin(state)

    def begin(self, state: TrainState) -> None:
        """Count from here on."""
        self._begun = time.monotonic()
        self._waited_before = self._waited() if self._waited else 0.0
        self._steps_before = state.window_steps  # a run that is continued may have some

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Leave out the time of the body."""
        begun = time.monotonic()
        yield
        self._begun += time.monotonic() - begun

    def read(self, state: TrainState) -> dict[str, float]:
        """``speed``, steps per second, and ``waiting``, the share of the time from 0 to 1, if it is reported."""
        elapsed = max(time.monotonic() - self._begun, 1e-9)
        figures = {"speed": (state.window_steps - self._steps_before) / elapsed}
        if self._waited:
            figures["waiting"] = min((self._waited() - self._waited_before) / elapsed, 1.0)
        return figures
