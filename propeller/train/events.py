"""TensorBoard event files, written at once: what cannot be written is an error here, not a stuck thread elsewhere.

events = EventFiles("checkpoints/events", purge_step=101)
events.write("train", 110, {"loss": 0.61})
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

BINS = 64  # of a histogram


class EventFiles:
    """Appends scalars to an event file in a folder; a new file is begun where one could not be written to its end.

    tensorboardX's own SummaryWriter hands events to a thread over a bounded queue: when the disk is full the thread
    dies, and the run waits for it for ever.

    Args:
        folder: made when the first scalar comes.
        purge_step: what an earlier run wrote from this step on is not shown; None: all of it is.
    """

    def __init__(self, folder: str | Path, purge_step: int | None = None) -> None:
        self.folder, self.purge_step = Path(folder), purge_step
        self._writer: Any = None  # tensorboardX's, once opened

    def write(
        self,
        kind: str,
        step: int,
        curves: Mapping[str, float],
        histograms: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Write numbers, name -> value, and arrays of a step. Raises OSError: not all of them are in the file."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import histogram, scalar

        try:
            if self._writer is None:
                self._open()
            summaries = [scalar(f"{kind}/{name}", value) for name, value in curves.items()]
            for name, values in (histograms or {}).items():
                summaries.append(histogram(f"{kind}/{name}", values.astype("float64").ravel(), BINS))
            for summary in summaries:
                self._writer.write_event(Event(step=step, wall_time=time.time(), summary=summary))
            self._writer.flush()
        except OSError:
            self._drop()  # a record cut short ends a file for its readers
            raise

    def _open(self):
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self.folder.mkdir(parents=True, exist_ok=True)
        # A name has the second in it; a run may go on within the one that it ended in.
        there = sum(1 for _ in self.folder.iterdir())
        self._writer = EventsWriter(str(self.folder / "events"), f".{there}" if there else "")
        if self.purge_step is not None:
            start = SessionLog(status=SessionLog.START)
            self._writer.write_event(Event(step=self.purge_step, wall_time=time.time(), session_log=start))
            self.purge_step = None

    def _drop(self):
        writer, self._writer = self._writer, None
        with contextlib.suppress(OSError):  # once more, for what its buffer still holds
            if writer is not None:
                writer.close()

    def close(self) -> None:
        """Close the file."""
        self._drop()
