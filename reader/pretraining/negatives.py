"""Pairs of sentences that do not follow each other, made of pairs that do: 2019's generate_neg_sample.

made, missed = negative_pairs(rows.take(random.permutation(len(rows))), max_seq_len=512, cls_id=1, sep_id=2)
"""

from __future__ import annotations

import numpy as np

from propeller.errors import UserError
from reader.batching import offsets_of, ragged_arange
from reader.pretraining.shards import SPECIAL, Instances


def negative_pairs(rows: Instances, max_seq_len: int, cls_id: int, sep_id: int) -> tuple[Instances, int]:
    """A pair with label 0 of a sentence of each row and one of the row after it, the first after the last.

    Which sentence of a row, is the rule of 2019: the first, unless that is longer than half a row, or for the second
    half longer than the room left; then the second. A pair that is still too long is left out.

    Args:
        rows: at least two, each `[CLS] a [SEP] b [SEP]`, in random order.

    Returns:
        (Instances, how many were left out).

    Raises:
        UserError: a row without [SEP].
    """
    cut = _first_separator(rows, sep_id)
    first, second = cut - 1, np.maximum(rows.lengths - cut - 2, 0)  # lengths of the two sentences
    room = max_seq_len - 3
    own = first <= room // 2
    len_a, from_a = np.where(own, first, second), rows.offsets[:-1] + np.where(own, 1, cut + 1)
    other = np.roll(np.arange(len(rows)), -1)
    fits = first[other] <= room - len_a
    len_b = np.where(fits, first[other], second[other])
    from_b = rows.offsets[:-1][other] + np.where(fits, 1, cut[other] + 1)
    kept = np.flatnonzero(len_a + len_b <= room)
    len_a, from_a, len_b, from_b = (array[kept] for array in (len_a, from_a, len_b, from_b))
    lengths = len_a + len_b + 3
    starts = offsets_of(lengths)[:-1]
    to = np.concatenate([ragged_arange(starts + 1, len_a), ragged_arange(starts + 2 + len_a, len_b)])
    source = np.concatenate([ragged_arange(from_a, len_a), ragged_arange(from_b, len_b)])
    ids = np.full(lengths.sum(), sep_id, np.int32)
    ids[starts] = cls_id
    ids[to] = rows.ids[source]
    units = np.full(len(ids), SPECIAL, np.uint8)
    units[to] = rows.units[source]
    positions = ragged_arange(np.zeros(len(kept)), lengths).astype(np.int32)
    made = Instances(
        ids=ids,
        sents=(positions >= np.repeat(len_a + 2, lengths)).astype(np.int16),
        positions=positions,
        units=units,
        lengths=lengths.astype(np.int32),
        labels=np.zeros(len(kept), np.int64),
        lines=rows.lines[kept],
        files=rows.files[kept],
        knowledge=rows.knowledge[kept],
    )
    return made, len(rows) - len(kept)


def _first_separator(rows, sep_id):
    """int64 [rows]: how many tokens stand before the first [SEP] of each row."""
    at = np.flatnonzero(rows.ids == sep_id)
    places = np.searchsorted(at, rows.offsets[:-1])
    at = np.append(at, len(rows.ids))[places]
    if (at >= rows.offsets[1:]).any():
        line = int(rows.lines[(at >= rows.offsets[1:]).argmax()]) + 1
        raise UserError(
            f"line {line} has no [SEP] (id {sep_id}) to part its sentences; make the shards with this vocabulary"
        )
    return at - rows.offsets[:-1]
