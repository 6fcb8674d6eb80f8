"""Token rows kept flat, and the padded numpy batches made from them.

    rows = encode_rows(tokens_a, tokens_b, max_seq_len=128, cls_id=1, sep_id=2)
    batch = make_batch(rows, pad_id=0, task_id=0)      # batch["src_ids"]: int64 [batch, longest]

A row is `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`, cut as in BERT (Devlin et al. 2019, run_classifier.py): the longer
text loses its last token until both fit. Nothing here loops over tokens, so a batch costs microseconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

NO_LIMIT = 2**31 - 1  # a max_seq_len that no row reaches
ROW_FIELDS = ("lengths", "first", "cut", "labels", "qids", "places")


@dataclass
class EncodedRows:
    """Rows of token ids, special tokens included, end to end in one array.

    Attributes:
        ids: int32 [tokens].
        offsets: int64 [rows + 1]; row i is ids[offsets[i]:offsets[i + 1]].
        lengths: int32 [rows].
        first: int32 [rows], tokens of `[CLS] a [SEP]`.
        cut: bool [rows], whether the row was longer than max_seq_len.
        labels: int64 or float32 [rows], of sets [rows, classes], or None.
        qids: int64 [rows], or None.
        places: int64 [rows], where the row stands in the order of its epoch.
        error: what is wrong with the row that would come after these, or None.
        tags: int32 [tokens], the class of each id where every token has one, else None.
    """

    ids: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray
    first: np.ndarray
    cut: np.ndarray
    labels: np.ndarray | None = None
    qids: np.ndarray | None = None
    places: np.ndarray | None = None
    error: str | None = None
    tags: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    def slice(self, start: int, stop: int) -> EncodedRows:
        """Rows start..stop-1, sharing the arrays; without `error`."""
        low, high = self.offsets[start], self.offsets[stop]
        fields = {name: _part(getattr(self, name), start, stop) for name in ROW_FIELDS}
        fields["tags"] = _part(self.tags, low, high)
        return EncodedRows(self.ids[low:high], self.offsets[start : stop + 1] - low, **fields)

    def take(self, index: np.ndarray) -> EncodedRows:
        """The rows numbered by `index` (int [n], any order), copied; keeps `error`."""
        lengths = self.lengths[index]
        tokens = ragged_arange(self.offsets[:-1][index], lengths)
        fields = {name: _part(getattr(self, name), index) for name in ROW_FIELDS}
        fields["tags"] = _part(self.tags, tokens)
        return EncodedRows(self.ids[tokens], offsets_of(lengths), error=self.error, **fields)


def _part(array, start, stop=None):
    if array is None:
        return None
    return array[start] if stop is None else array[start:stop]


def concat_rows(parts: Sequence[EncodedRows]) -> EncodedRows:
    """The rows of `parts` one after the other (at least one part); `error` is that of the last part."""
    if len(parts) == 1:
        return parts[0]
    fields: dict[str, Any] = {}
    for name in (*ROW_FIELDS, "tags"):
        arrays = [getattr(part, name) for part in parts]
        fields[name] = None if arrays[0] is None else np.concatenate(arrays)
    ids = np.concatenate([part.ids for part in parts])
    return EncodedRows(ids, offsets_of(fields["lengths"]), error=parts[-1].error, **fields)


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """int64 [n + 1]: where each of n sequences of these lengths begins when they lie end to end, and their total."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def ragged_arange(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """`starts[i], starts[i] + 1, ... starts[i] + lengths[i] - 1` for every i, end to end; int64."""
    offsets = offsets_of(lengths)
    return np.repeat(np.asarray(starts, np.int64) - offsets[:-1], lengths) + np.arange(offsets[-1])


def truncate_pair_lengths(len_a: np.ndarray, len_b: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Lengths left of two texts that may hold `limit` tokens together.

    The longer one loses its last token until they fit, the second one at a tie
    (2019 `_truncate_seq_pair`); here in closed form.

    Args:
        len_a, len_b: int [n].

    Returns:
        two int [n].
    """
    half_a, half_b = (limit + 1) // 2, limit // 2
    fits = len_a + len_b <= limit
    keep_a = np.where(len_b <= half_b, limit - len_b, np.minimum(len_a, half_a))
    keep_b = limit - keep_a
    return np.where(fits, len_a, keep_a), np.where(fits, len_b, keep_b)


def encode_rows(
    tokens_a: Sequence[Sequence[int]],
    tokens_b: Sequence[Sequence[int]] | None,
    max_seq_len: int,
    cls_id: int,
    sep_id: int,
) -> EncodedRows:
    """Rows of at most max_seq_len ids from the ids of the texts. A row whose second text is empty is a single one.

    Args:
        tokens_a: n lists of ids.
        tokens_b: n lists of ids or None.
    """
    flat_a, len_a = _flatten(tokens_a)
    if tokens_b is None:
        flat_b, len_b = np.zeros(0, np.int32), np.zeros_like(len_a)
    else:
        flat_b, len_b = _flatten(tokens_b)
    pair = len_b > 0
    keep_a, keep_b = np.minimum(len_a, max_seq_len - 2), len_b
    if pair.any():
        pair_a, keep_b = truncate_pair_lengths(len_a, len_b, max_seq_len - 3)
        keep_a, keep_b = np.where(pair, pair_a, keep_a), np.where(pair, keep_b, 0)
    # A pair cut down to an empty second text still has both [SEP], as in 2019.
    lengths = keep_a + 2 + np.where(pair, keep_b + 1, 0)
    offsets = offsets_of(lengths)
    starts = offsets[:-1]
    ids = np.full(offsets[-1], sep_id, np.int32)
    ids[starts] = cls_id
    ids[ragged_arange(starts + 1, keep_a)] = _kept(flat_a, len_a, keep_a)
    if pair.any():
        ids[ragged_arange(starts + 2 + keep_a, keep_b)] = _kept(flat_b, len_b, keep_b)
    return EncodedRows(
        ids=ids,
        offsets=offsets,
        lengths=lengths.astype(np.int32),
        first=(keep_a + 2).astype(np.int32),
        cut=(keep_a < len_a) | (keep_b < len_b),
    )


def _flatten(lists):
    lengths = np.fromiter(map(len, lists), np.int64, len(lists))
    return np.fromiter(chain.from_iterable(lists), np.int32, int(lengths.sum())), lengths


def _kept(flat, lengths, keep):
    if (keep == lengths).all():
        return flat
    return flat[ragged_arange(offsets_of(lengths)[:-1], keep)]


def pad_flat(
    flat: np.ndarray, lengths: np.ndarray, pad: float, dtype: DTypeLike = np.int64
) -> tuple[np.ndarray, np.ndarray]:
    """Sequences lying end to end as a padded array and its mask.

    Args:
        flat: [sum(lengths)].
        lengths: int [batch].
        pad: the value put after each sequence.

    Returns:
        (dtype [batch, longest], bool [batch, longest] that is True on the sequences).
    """
    mask = np.arange(lengths.max(initial=0)) < lengths[:, None]
    padded = np.full(mask.shape, pad, dtype)
    padded[mask] = flat
    return padded, mask


def make_batch(rows: EncodedRows, pad_id: int, task_id: int = 0) -> dict[str, np.ndarray]:
    """The named batch of all `rows`, padded to the longest of them.

    Returns:
        src_ids, sent_ids, pos_ids, task_ids int64 [batch, seq]; input_mask float32 [batch, seq]; and where rows have
        them, labels int64 or float32 [batch, 1], of sets float32 [batch, classes], and qids int64 [batch, 1]. After a
        row src_ids holds pad_id, sent_ids and pos_ids 0 (2019 wrote pad_id there too, which is 0 in every released
        vocabulary); task_ids holds task_id everywhere.
    """
    src_ids, mask = pad_flat(rows.ids, rows.lengths, pad_id)  # [batch, seq]
    steps = np.arange(mask.shape[1])
    batch = {
        "src_ids": src_ids,
        "sent_ids": ((steps >= rows.first[:, None]) & mask).astype(np.int64),
        "pos_ids": steps * mask,
        "task_ids": np.full(mask.shape, task_id, np.int64),
        "input_mask": mask.astype(np.float32),
    }
    return {**batch, **examples_of(rows)}


def examples_of(rows: EncodedRows) -> dict[str, np.ndarray]:
    """``labels`` and ``qids`` of a batch, each with a row per example, see ``make_batch``."""
    fields = {}
    if rows.labels is not None:
        fields["labels"] = rows.labels.reshape(len(rows), -1)
    if rows.qids is not None:
        fields["qids"] = rows.qids.reshape(-1, 1)
    return fields


def first_cut(lengths: np.ndarray, batch_size: int, in_tokens: bool) -> int | None:
    """How many of the first rows make a full batch; None if more rows are needed to tell.

    By examples, batch_size rows. In tokens (2019 rule), rows are added while rows * longest <= batch_size, padding
    counted; a full batch is known only from the row that no longer fits.

    Args:
        lengths: int [n].
    """
    if not in_tokens:
        return batch_size if len(lengths) >= batch_size else None
    most = batch_size // 2 + 1  # a row has two tokens at least
    longest = np.maximum.accumulate(lengths[:most])
    over = longest * np.arange(1, len(longest) + 1, dtype=np.int64) > batch_size
    return int(over.argmax()) if over.any() else None


def all_cuts(lengths: np.ndarray, batch_size: int, in_tokens: bool, last: bool) -> list[int]:
    """Borders of the batches of a run of rows: batch i is rows borders[i]..borders[i + 1] - 1.

    Unless `last`, rows after the last border do not fill a batch yet.
    """
    borders = [0]
    while borders[-1] < len(lengths):
        size = first_cut(lengths[borders[-1] :], batch_size, in_tokens)
        if size is None:
            if last:
                borders.append(len(lengths))
            break
        borders.append(borders[-1] + size)
    return borders


def with_places(rows: EncodedRows, places: np.ndarray) -> EncodedRows:
    """The same rows, said to stand at `places` (int [n], or more if an error ends the rows) of the epoch's order."""
    return dataclasses.replace(rows, places=np.asarray(places[: len(rows)], np.int64))
