"""How far a long look at files is: a line of the log every ten seconds, with the rate and the time that is left.

    progress = Progress(total=sum(sizes), log=log)
    progress.at(done, "news.txt")           # "news.txt: 35% of the input, 1.5 MB/s, about 3 minutes left"

``Meter`` says how many bytes of a file were read while something else reads it, compressed bytes of a compressed one.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import IO, Any, Callable

EVERY = 10.0  # seconds between two lines


class Meter:
    """Where the reading of one file is.

    Attributes:
        stream: the open file, as ``compression.open_bytes`` gives it; set by who opens it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.stream: IO[bytes] | None = None
        self.last = 0

    def position(self) -> int:
        """Bytes of the file that were read."""
        raw: Any = self.stream
        if raw is None:
            return 0
        # zstandard, gzip, then bz2 and xz: the file under the one that unpacks it
        for name in ("raw", "raw", "fileobj", "_fp"):
            raw = getattr(raw, name, None) or raw
        try:
            self.last = int(raw.tell())
        except (OSError, ValueError):  # closed: it was read to its end
            self.last = self.path.stat().st_size
        return self.last


class Progress:
    """Progress through a number of bytes.

    Args:
        total: how many there are.
        log: where the lines go.
        clock: seconds, for tests.
    """

    def __init__(self, total: int, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self.total, self.log, self.clock = max(total, 1), log, clock
        self.begun = self.told = clock()
        self.first: int | None = None

    def at(self, done: int, what: str) -> None:
        """Bytes that are done, to be said if the last line is long enough ago.

        Args:
            done: of all.
            what: what is worked on, the beginning of the line.
        """
        now = self.clock()
        if self.first is None:  # what another call did does not count into the rate
            self.first, self.begun = done, now
        if now - self.told < EVERY:
            return
        self.told = now
        rate = (done - self.first) / max(now - self.begun, 1e-9)
        left = f", {in_words((self.total - done) / rate)} left" if rate > 0 else ""
        self.log.info("%s: %d%% of the input, %.2f MB/s%s", what, min(100 * done // self.total, 100), rate / 1e6, left)


def in_words(seconds: float) -> str:
    """``about 3 minutes``, and so on."""
    for size, name in ((3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"about {round(seconds / size)} {name}"
    return f"about {max(round(seconds), 1)} seconds"
