"""Sentences as rows of the network: whole, or in overlapping windows where they are longer than a model reads.

parts = Parts.windows(rows, max_seq_len=128)        # rows encoded without a limit
parts.keep, parts.last                              # which places of a row count; whether a sentence ends with it
"""

from __future__ import annotations

import dataclasses

import numpy as np

from reader.batching import EncodedRows, offsets_of


@dataclasses.dataclass
class Parts(EncodedRows):
    """Rows that are sentences or windows of them.

    Attributes:
        keep: int64 [rows, 2], the places begin..end - 1 of each row that count.
        last: bool [rows], whether the sentence ends with the row.
    """

    keep: np.ndarray | None = None
    last: np.ndarray | None = None

    @staticmethod
    def of(rows: EncodedRows, keep: np.ndarray | None = None, last: np.ndarray | None = None) -> Parts:
        """Rows with what counts of them; by default sentences of which all counts, [CLS] and [SEP] too, as in 2019."""
        if keep is None:
            keep = np.stack([np.zeros(len(rows), np.int64), rows.lengths], axis=1)
            last = np.ones(len(rows), bool)
        return Parts(**{field.name: getattr(rows, field.name) for field in dataclasses.fields(EncodedRows)},
                     keep=keep, last=last)  # fmt: skip

    def slice(self, start: int, stop: int) -> Parts:
        """Rows start..stop - 1."""
        return Parts.of(
            super().slice(start, stop), np.asarray(self.keep)[start:stop], np.asarray(self.last)[start:stop]
        )

    @staticmethod
    def windows(rows: EncodedRows, max_seq_len: int) -> Parts:
        """Each sentence in windows of max_seq_len ids, [CLS] and [SEP] counted, half a window further each time.

        Of two windows the first keeps the first half of what both see. [CLS] counts in the first, [SEP] in the last.
        """
        if (rows.lengths <= max_seq_len).all():
            return Parts.of(rows)
        index, lengths, keep, last = [], [], [], []
        room, stride = max_seq_len - 2, max((max_seq_len - 2) // 2, 1)
        for start, length in zip(rows.offsets[:-1].tolist(), rows.lengths.tolist()):
            pieces = length - 2
            size = min(room, pieces)
            count = -(-(pieces - size) // stride) + 1
            begins = np.minimum(np.arange(count) * stride, pieces - size)
            borders = (begins[1:] + begins[:-1] + size) // 2  # the piece from which on the next window counts
            ends = np.full((count, 1), start)  # [CLS]
            inside = start + 1 + begins[:, None] + np.arange(size)
            index.append(np.concatenate([ends, inside, ends + length - 1], axis=1).ravel())
            lengths += [size + 2] * count
            low = np.concatenate([[0], borders + 1 - begins[1:]])
            high = np.concatenate([borders + 1 - begins[:-1], [size + 2]])
            keep.append(np.stack([low, high], axis=1))
            last += [False] * (count - 1) + [True]
        of_rows, sizes = np.concatenate(index), np.array(lengths, np.int32)
        tags = None if rows.tags is None else rows.tags[of_rows]
        cut = np.zeros(len(sizes), bool)
        parted = EncodedRows(rows.ids[of_rows], offsets_of(sizes), sizes, sizes, cut, tags=tags)
        return Parts.of(parted, np.concatenate(keep), np.array(last))
