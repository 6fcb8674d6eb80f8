"""Rows to batches: arrays of different lengths are padded and stacked.

padded([([1, 2, 3], 0), ([4], 1)])      # (array([[1, 2, 3], [4, 0, 0]]), array([0, 1]))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from propeller.errors import UserError


def padded(rows: Sequence, pad_value: float | Sequence = 0, max_seqlen: int | None = None) -> tuple:
    """One array per column.

    Args:
        rows: tuples of one value per column, or the values of the only column.
        pad_value: one for all columns, or a sequence with one per column.
        max_seqlen: the length of the first axis of what is no single number; None: that of the longest.

    Returns:
        a tuple of arrays ``[rows, ...]``; Python's floats become float32.

    Raises:
        UserError: rows differ in their number of columns, or a column's values in their number of axes.
    """
    rows = [row if isinstance(row, tuple) else (row,) for row in rows]
    width = len(rows[0])
    for row in rows:
        if len(row) != width:
            raise UserError(
                f"padded_batch: a row of {len(row)} columns among rows of {width}: give all the same number"
            )
    values = pad_value if isinstance(pad_value, Sequence) else [pad_value] * width
    if len(values) != width:
        raise UserError(f"padded_batch: {len(values)} pad values for {width} columns: give one, or one per column")
    return tuple(_stacked(column, value, max_seqlen, i) for i, (column, value) in enumerate(zip(zip(*rows), values)))


def _stacked(column, pad_value, max_seqlen, number):
    arrays = [_array(value) for value in column]
    axes = {array.ndim for array in arrays}
    if len(axes) > 1:
        raise UserError(f"padded_batch: column {number} has arrays of {sorted(axes)} axes: give them all the same")
    if axes == {0}:
        return np.stack(arrays)
    shape = [max(sizes) for sizes in zip(*(array.shape for array in arrays))]
    if max_seqlen is not None:
        shape[0] = max_seqlen
        arrays = [array[:max_seqlen] for array in arrays]
    batch = np.full([len(arrays), *shape], pad_value, dtype=np.result_type(*arrays))
    for row, array in zip(batch, arrays):
        row[tuple(slice(size) for size in array.shape)] = array
    return batch


def _array(value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype == np.float64 and not isinstance(value, (np.ndarray, np.generic)):
        return array.astype(np.float32)
    return array
