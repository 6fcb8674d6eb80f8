"""Rows taken in any number from chunks of rows.

stream = RowStream(source.rows(order, 0))
stream.pull(32)                                         # EncodedRows
"""

from __future__ import annotations

from collections.abc import Iterator

from propeller.errors import UserError
from reader.batching import EncodedRows, concat_rows


class RowStream:
    """Rows taken in any number from a stream of chunks of rows; the error of a chunk is raised when its row is due."""

    def __init__(self, chunks: Iterator[EncodedRows]) -> None:
        self.chunks = chunks
        self.held: EncodedRows | None = None  # rows not taken yet

    def pull(self, count: int) -> EncodedRows:
        """The next `count` rows."""
        parts: list[EncodedRows] = [] if self.held is None else [self.held]
        have = sum(map(len, parts))
        while have < count:
            parts.append(self._next(parts))
            have += len(parts[-1])
        rows = concat_rows(parts)
        taken = rows.slice(0, count)
        self.held = rows.slice(count, len(rows))
        self.held.error = rows.error
        return taken

    def more(self) -> bool:
        """Takes up one more chunk; False if there is none."""
        parts = [] if self.held is None else [self.held]
        try:
            parts.append(self._next(parts))
        except StopIteration:
            return False
        self.held = concat_rows(parts)
        return True

    def _next(self, parts):
        if parts and parts[-1].error is not None:
            raise UserError(parts[-1].error)
        return next(self.chunks)
