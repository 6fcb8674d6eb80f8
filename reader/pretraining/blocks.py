"""Blocks of instances in the order they are given out, and stretches of them, of which batches are made.

    block = Block(rows, order, lambda piece, number, level: mask_tokens(piece, Draws(...), level=level, mask_id=3))
    rows, masks = Stretch([(block, 0, len(block))]).slice(0, 32).take("word")       # masks: as of mask_tokens

Batches are cut from a block wherever they are full, but PIECE rows of it are put in order and masked at once, and their
draws depend on nothing but the piece. So masks cost the same in small batches, all ways to cut a block give the same
ones, and no block is copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Callable

import numpy as np

from reader.pretraining.shards import Instances

PIECE = 512  # rows: numpy's calls cost little beside the work in them, and the arrays fit into the processor's cache


class Block:
    """Instances in the order they are given out.

    Args:
        rows: the instances, in any order.
        order: int [rows], the order they are given out in; None: as they stand.
        mask: called with PIECE of them, or what is left at the end, the number of the piece from 0 and a level; gives
            what `masking.mask_tokens` does.
    """

    def __init__(self, rows: Instances, order: np.ndarray | None, mask: Callable) -> None:
        self.rows, self.order, self._mask = rows, order, mask
        self.lengths = rows.lengths if order is None else rows.lengths[order]
        self._kept = None, None, None  # (piece, level), its rows, masks: batches ask for the same piece in a row

    def __len__(self) -> int:
        return len(self.lengths)

    def parts(
        self, begin: int, end: int, level: str | None
    ) -> Iterator[tuple[Instances, np.ndarray | None, np.ndarray | None]]:
        """For each piece that rows begin..end - 1 lie in: its part of them, and of it int32 [tokens] as the network
        sees them and int64 [masked] which to tell; None twice where level is None."""
        for number in range(begin // PIECE, -(-end // PIECE)):
            first = number * PIECE
            rows, masks = self._piece(number, first, level)
            start, stop = max(begin - first, 0), min(end - first, len(rows))
            if masks is None or stop - start == len(rows):
                yield (rows.slice(start, stop), *(masks or (None, None)))
                continue
            seen, told = masks
            low, high = int(rows.offsets[start]), int(rows.offsets[stop])
            from_told, to_told = told.searchsorted((low, high)).tolist()
            yield rows.slice(start, stop), seen[low:high], told[from_told:to_told] - low

    def _piece(self, number, first, level):
        if self._kept[0] != (number, level):
            last = min(first + PIECE, len(self))
            rows = self.rows.slice(first, last) if self.order is None else self.rows.take(self.order[first:last])
            masks = None if level is None else self._mask(rows, number, level)
            self._kept = (number, level), rows, masks
        return self._kept[1:]


class Stretch:
    """Instances that lie in one block, or in several one after the other.

    Args:
        parts: (block, first row, row after the last) of each block.
    """

    def __init__(self, parts: Sequence[tuple[Block, int, int]]) -> None:
        self.parts = [part for part in parts if part[1] < part[2]]

    def __len__(self) -> int:
        return sum(end - begin for _, begin, end in self.parts)

    def __add__(self, other: Stretch) -> Stretch:
        return Stretch([*self.parts, *other.parts])

    @property
    def lengths(self) -> np.ndarray:
        """int32 [rows]: tokens of each."""
        return np.concatenate([np.zeros(0, np.int32), *(block.lengths[a:b] for block, a, b in self.parts)])

    def slice(self, start: int, stop: int) -> Stretch:
        """Rows start..stop - 1."""
        parts, at = [], 0
        for block, begin, end in self.parts:
            parts.append((block, begin + max(start - at, 0), min(end, begin + stop - at)))
            at += end - begin
        return Stretch(parts)

    def find(self, number: int) -> tuple[Instances, int]:
        """Where row `number` lies: (instances, its number in them)."""
        for block, begin, end in self.parts:
            if number < end - begin:
                at = begin + number
                return block.rows, at if block.order is None else block.order[at]
            number -= end - begin
        raise IndexError(number)

    def take(self, level: str | None = None) -> tuple[Instances, Any]:
        """(all of them, their masks as of `masking.mask_tokens`; None without a level)."""
        found: list[tuple[Instances, Any, Any]] = [
            part for block, begin, end in self.parts for part in block.parts(begin, end, level)
        ]
        if len(found) == 1:
            rows, *masks = found[0]
            return rows, None if level is None else masks
        rows = Instances.join([part for part, _, _ in found])
        if level is None:
            return rows, None
        before = np.cumsum([0, *(len(seen) for _, seen, _ in found)])
        told = [told + count for (_, _, told), count in zip(found, before)]
        return rows, (np.concatenate([seen for _, seen, _ in found]), np.concatenate(told))
