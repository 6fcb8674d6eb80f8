"""Blocks of instances in the order they are given out, and stretches of them, of which batches are made.

    block = Block(rows, lambda piece, number, level: mask_tokens(piece, Draws(...), level=level, mask_id=3))
    stretch = Stretch([(block, 0, len(block))])
    stretch.slice(0, 32).masked("word")         # as of mask_tokens over these rows

Batches are cut from a block wherever they are full, but masked are PIECE rows of it at once, whose draws depend on
nothing but the piece: so masks cost the same in small batches, and every way to cut a block gives the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Callable

import numpy as np

from reader.shards import Instances

PIECE = 256  # rows: numpy's calls cost little beside the work in them, and the arrays fit into the processor's cache


class Block:
    """Instances in the order they are given out.

    Args: rows: they; mask: called with PIECE of them, or what is left at the end, the number of the piece from 0 and a
        level; gives what `masking.mask_tokens` does.
    """

    def __init__(self, rows: Instances, mask: Callable):
        self.rows, self._mask = rows, mask
        self._masked = None, None  # (piece, level), and what came of it: batches ask for the same piece in a row

    def __len__(self) -> int:
        return len(self.rows)

    def masked(self, begin: int, end: int, level: str):
        """For each piece that rows begin..end - 1 lie in: (int32: its part of their tokens as the network sees them,
        int64: which to tell, counted in that part)."""
        offsets = self.rows.offsets
        for piece in range(begin // PIECE, -(-end // PIECE)):
            first, last = piece * PIECE, min((piece + 1) * PIECE, len(self.rows))
            if self._masked[0] != (piece, level):
                self._masked = (piece, level), self._mask(self.rows.slice(first, last), piece, level)
            seen, told = self._masked[1]
            base = int(offsets[first])
            low, high = int(offsets[max(begin, first)]) - base, int(offsets[min(end, last)]) - base
            from_told, to_told = told.searchsorted((low, high)).tolist()
            yield seen[low:high], told[from_told:to_told] - low


class Stretch:
    """Instances that lie in one block, or in several one behind the other.

    Args: parts: (block, first row, row behind the last) of each block.
    """

    def __init__(self, parts: Sequence[tuple[Block, int, int]]):
        self.parts = [part for part in parts if part[1] < part[2]]

    def __len__(self) -> int:
        return sum(end - begin for _, begin, end in self.parts)

    def __add__(self, other: Stretch) -> Stretch:
        return Stretch([*self.parts, *other.parts])

    @cached_property
    def rows(self) -> Instances:
        """All of them."""
        return Instances.join([block.rows.slice(begin, end) for block, begin, end in self.parts] or [Instances.none()])

    @property
    def lengths(self) -> np.ndarray:
        """int32 [rows]: tokens of each."""
        return np.concatenate([np.zeros(0, np.int32), *(block.rows.lengths[a:b] for block, a, b in self.parts)])

    def slice(self, start: int, stop: int) -> Stretch:
        """Rows start..stop - 1."""
        parts, at = [], 0
        for block, begin, end in self.parts:
            parts.append((block, begin + max(start - at, 0), min(end, begin + stop - at)))
            at += end - begin
        return Stretch(parts)

    def find(self, number: int) -> tuple[Instances, int]:
        """Where row `number` lies: (rows of its block, its number there)."""
        for block, begin, end in self.parts:
            if number < end - begin:
                return block.rows, begin + number
            number -= end - begin
        raise IndexError(number)

    def masked(self, level: str):
        """As `masking.mask_tokens` of these rows: int32 [tokens] and int64 [masked]."""
        found = [pair for block, begin, end in self.parts for pair in block.masked(begin, end, level)]
        if len(found) == 1:
            return found[0]
        before = np.cumsum([0, *(len(seen) for seen, _ in found)])
        told = [told + count for (_, told), count in zip(found, before)]
        return np.concatenate([seen for seen, _ in found]), np.concatenate(told)
