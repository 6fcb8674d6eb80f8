"""Readers of taught rows: how far ahead a teacher is asked, and what comes before an error."""

import numpy as np
import pytest

from distill.taught import TaughtReader
from propeller.errors import UserError
from tests.helpers.tiny import VOCABULARY, sentences, write_tsv
from tokenization import build_tokenizer


class Source:
    """Says the number of each row, and remembers what it was asked."""

    ahead = 4

    def __init__(self):
        self.asked = []

    def prepare(self, numbers):
        self.asked.append(len(numbers))

    def take(self, numbers):
        return np.stack([numbers, -numbers], axis=1).astype(np.float32)


def reader_of(tmp_path, rows, **changes):
    (tmp_path / "vocab.txt").write_text("".join(f"{word}\n" for word in VOCABULARY))
    tokenizer = build_tokenizer("FullTokenizer", str(tmp_path / "vocab.txt"), True, False)
    path = write_tsv(tmp_path / "rows.tsv", rows)
    given = {"max_seq_len": 16, "batch_size": 2, "num_labels": 2, "label_kind": "class", "is_labelled": True, **changes}
    return TaughtReader(path, tokenizer, source=Source(), columns=2, **given)


def test_a_teacher_is_asked_for_more_and_more_batches_together(tmp_path):
    """One at first, so that training can begin; then two, then as many as the source says."""
    reader = reader_of(tmp_path, sentences(25, 1))
    batches = [batch for batch, _ in reader.batches()]
    assert reader.source.asked == [2, 4, 8, 8, 3]
    said = np.concatenate([batch["teacher_logits"][:, 0] for batch in batches])
    assert said.tolist() == list(range(25))
    assert all((batch["is_taught"] == 1).all() for batch in batches)


def test_batches_before_a_bad_row_are_given(tmp_path):
    """They are asked for together with it, and are learned from before the run ends."""
    rows = sentences(20, 1)
    rows[9] = ("no label", rows[9][1])
    batches = reader_of(tmp_path, rows).batches()
    given = [next(batches)[0]["teacher_logits"][:, 0].tolist() for _ in range(4)]
    assert given == [[0, 1], [2, 3], [4, 5], [6, 7]]
    with pytest.raises(UserError, match="rows.tsv, line 11"):
        next(batches)
