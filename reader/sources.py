"""Where the rows of an epoch come from: this process, worker processes or the token cache.

with open_source(reader) as source:
    for rows in source.rows(order, start=0): ...     # EncodedRows, chunk by chunk
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Callable

import numpy as np

from reader.batching import with_places
from reader.token_cache import TokenCache
from reader.workers import WorkerPool

if TYPE_CHECKING:
    from reader.batching import EncodedRows
    from reader.row_encoder import RowEncoder
    from reader.row_file import RowFile
    from reader.task_reader import TaskReader

CHUNK_ROWS = 1024  # tokenised at once in this process: enough for numpy to be quick, little enough to start at once
WORKER_CHUNK_ROWS = 512  # by a worker: its task, 6 KiB, fits the smallest pipe buffer
CACHE_CHUNK_ROWS = 256  # from a cache: see TokenCache._give_back


class Source:
    """Encodes rows in this process or in workers, and keeps or uses a token cache where one is wanted."""

    def __init__(
        self,
        table: RowFile,
        encoder: RowEncoder,
        num_workers: int,
        cache: TokenCache | None,
        stack: contextlib.ExitStack,
    ) -> None:
        self.table, self.encoder, self.num_workers = table, encoder, num_workers
        self.cache, self.stack, self.pool = cache, stack, None

    def rows(
        self,
        order: np.ndarray,
        start: int,
        carry: Sequence[int] = (),
        own: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> Iterator[EncodedRows]:
        """EncodedRows in chunks: of row order[place] for the places `carry` and then start, start + 1, ... to the end.

        Args:
            order: int [rows of the file].
            own: None for all, or a function int [n] -> bool [n]: the places wanted.
        """
        if self.cache is not None and self.cache.open():
            for places in chunks_of_places(start, len(order), carry, own, CACHE_CHUNK_ROWS):
                yield with_places(self.cache.read(order[places]), places)
            return
        # A cache must see every row, those of the other ranks too.
        cache = self.cache if self.cache is not None and self.cache.filling else None
        size = WORKER_CHUNK_ROWS if self.num_workers else CHUNK_ROWS
        chunks = chunks_of_places(start, len(order), carry, None if cache else own, size)
        for places, encoded in (self._in_workers if self.num_workers else self._here)(chunks, order):
            if cache is not None and cache.filling:
                cache.add(order[places], encoded)
            encoded = with_places(encoded, places)
            if cache is not None and own is not None:
                encoded = encoded.take(np.flatnonzero(own(places[: len(encoded)])))
            yield encoded

    def _here(self, chunks, order):
        with self.table.open() as fd:
            for places in chunks:
                rows = order[places]
                yield places, self.encoder.encode(self.table.read(fd, rows), rows)

    def _in_workers(self, chunks, order):
        if self.pool is None:
            self.pool = self.stack.enter_context(WorkerPool(self.num_workers, self.encoder, self.table))
        return self.pool.encode(chunks, order)


def chunks_of_places(
    start: int, stop: int, carry: Sequence[int], own: Callable[[np.ndarray], np.ndarray] | None, size: int
) -> Iterator[np.ndarray]:
    """int arrays of about `size` places: `carry`, then those from start to stop - 1 that are wanted."""
    if len(carry):
        yield np.array(carry, np.int64)
    for begin in range(start, stop, size):
        places = np.arange(begin, min(begin + size, stop))
        if own is not None:
            places = places[own(places)]
        if len(places):
            yield places


@contextlib.contextmanager
def open_source(reader: TaskReader) -> Iterator[Source]:
    """The Source of a TaskReader; closing it ends workers and drops a cache that was not finished."""
    with contextlib.ExitStack() as stack:
        cache = None
        if reader.token_cache_dir is not None:
            # Of several processes one fills it, and so tokenises the rows of all in the first epoch.
            fill = reader.rank == 0
            cache = stack.enter_context(TokenCache(reader.token_cache_dir, reader.table, reader.encoder, fill))
        yield Source(reader.table, reader.encoder, reader.num_workers, cache, stack)
