"""Windows over long texts: what each holds, what they come to, and batches of texts with all their windows.

python -m pytest tests/reader/test_windows.py
"""

from __future__ import annotations

import numpy as np
import pytest

from propeller.errors import UserError
from reader.batching import NO_LIMIT, encode_rows
from reader.task_reader import TaskReader
from reader.windows import WindowReader, Windows, in_windows, plan, pool, weights_of
from tests.helpers.tiny import write_tsv
from tokenization import build_tokenizer

CLS, SEP = 1, 2


def second_way(first, second, max_seq_len, windows):
    """(windows, whether something is left out) of one row, by lists."""
    if not second:
        kept, moving = [], first
        room = max_seq_len - 2
    else:
        most = max((max_seq_len - 3) // 2, max_seq_len - 3 - len(second))
        kept, moving = first[:most], second
        room = max_seq_len - 3 - len(kept)
    head = [CLS, *kept, SEP] if second else [CLS]
    stride = min(windows.stride or max(room // 2, 1), room)
    found, begin = [], 0
    while True:
        begin = min(begin, max(len(moving) - room, 0))
        found.append([*head, *moving[begin : begin + room], SEP])
        if begin + room >= len(moving) or len(found) == windows.most:
            break
        begin += stride
    return found, begin + room < len(moving) or (bool(second) and len(kept) < len(first))


@pytest.mark.parametrize("seed", range(40))
def test_equal_to_a_second_way(seed):
    random = np.random.RandomState(seed)
    max_seq_len = random.randint(5, 14)
    windows = Windows(stride=random.randint(0, max_seq_len - 2), most=random.randint(1, 6))
    firsts = [list(random.randint(10, 99, random.randint(1, 30))) for _ in range(5)]
    seconds = [list(random.randint(100, 199, random.randint(30) * random.randint(2))) for _ in range(5)]
    rows = encode_rows(firsts, seconds, NO_LIMIT, CLS, SEP)
    found = plan(rows, max_seq_len, windows)
    parted, counts = in_windows(rows, max_seq_len, found), found.counts
    wanted = [second_way(*texts, max_seq_len, windows) for texts in zip(firsts, seconds)]
    assert counts.tolist() == [len(found) for found, _ in wanted]
    assert found.cut.tolist() == [cut for _, cut in wanted]
    made = [parted.ids[low:high].tolist() for low, high in zip(parted.offsets, parted.offsets[1:])]
    assert made == [window for found, _ in wanted for window in found]
    assert parted.lengths.max() <= max_seq_len
    for ids, first in zip(made, parted.first):
        assert first == ids.index(SEP) + 1


@pytest.mark.parametrize("pooling", ["mean", "max", "first"])
def test_pooling_by_weights_and_by_counts_is_the_same(pooling):
    values, counts = np.random.RandomState(1).randn(7, 3).astype("float32"), np.array([1, 4, 2])
    parts = np.split(values, [1, 5])
    by_hand = {"mean": [p.mean(0) for p in parts], "max": [p.max(0) for p in parts], "first": [p[0] for p in parts]}
    found = pool(values, counts, pooling)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand[pooling], atol=1e-6)
    weights = weights_of(counts, pooling)
    assert weights.shape == (3, 7)
    if pooling == "max":
        assert (weights.sum(1) == counts).all()
    else:
        np.testing.assert_allclose(weights @ values, found, atol=1e-6)


@pytest.fixture
def opened(model, tmp_path):
    tokenizer = build_tokenizer("FullTokenizer", str(model / "vocab.txt"), True, False)
    rows = [(0, "good film"), (1, " ".join(["the", "film", "was"] * 9)), (1, "bad"), (0, " ".join(["cast"] * 200))]
    path = write_tsv(tmp_path / "rows.tsv", rows)

    def get(kind, **options):
        return kind(path, tokenizer, num_labels=2, max_seq_len=10, **options)

    return get


def test_a_batch_has_texts_with_all_their_windows(opened):
    reader = opened(WindowReader, windows=Windows(most=4), batch_size=3)
    (first, _), (second, _) = reader.batches()
    assert first["window_counts"].ravel().tolist() == [1, 4, 1]
    assert first["src_ids"].shape == (6, 10)
    assert len(next(iter(first.values()))) == 3  # what the loop counts as examples
    assert first["labels"].ravel().tolist() == [0, 1, 1]
    assert second["window_counts"].ravel().tolist() == [4]
    assert (reader.stats["rows"], reader.stats["long"], reader.stats["windows"]) == (4, 2, 8)
    assert reader.stats["truncated"] == 2
    assert reader.stats["tokens"] + reader.stats["padding"] == first["src_ids"].size + second["src_ids"].size


def test_short_texts_are_as_without_windows(opened):
    """And bucketing and shuffling go on as ever."""
    plain, windowed = opened(TaskReader, batch_size=1), opened(WindowReader, windows=Windows(), batch_size=1)
    for place, (one, other) in enumerate(zip(plain.batches(), windowed.batches())):
        if place in (0, 2):
            for name, array in one[0].items():
                np.testing.assert_array_equal(array, other[0][name])
    order = [
        [batch["labels"].ravel().tolist() for batch, _ in opened(WindowReader, windows=Windows(), batch_size=2,
         shuffle=True, seed=3, bucket_window=bucket).batches()]
        for bucket in (0, 4)
    ]  # fmt: skip
    assert sorted(sum(order[0], [])) == sorted(sum(order[1], [])) == [0, 0, 1, 1]


def test_batches_in_tokens_are_refused(opened):
    with pytest.raises(UserError, match="--in_tokens with windows over long texts: give --batch_size in texts"):
        opened(WindowReader, windows=Windows(), batch_size=64, in_tokens=True)
