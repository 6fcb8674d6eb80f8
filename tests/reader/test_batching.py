"""reader.batching against plain loops, and against what 2019 recorded."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reader.batching import (
    all_cuts,
    concat_rows,
    encode_rows,
    first_cut,
    make_batch,
    pad_flat,
    ragged_arange,
    truncate_pair_lengths,
)
from tests.helpers.common import GOLDEN

CLS, SEP = 1, 2
texts = st.lists(st.integers(3, 40), max_size=12)


def truncate_by_popping(a, b, limit):
    a, b = list(a), list(b)
    while len(a) + len(b) > limit:
        (a if len(a) > len(b) else b).pop()
    return a, b


def encode_one(a, b, max_seq_len):
    """ids, sentence ids and whether anything was cut, of one row, the 2019 way."""
    if b:
        kept_a, kept_b = truncate_by_popping(a, b, max_seq_len - 3)
        ids = [CLS, *kept_a, SEP, *kept_b, SEP]
        return ids, [0] * (len(kept_a) + 2) + [1] * (len(kept_b) + 1), (kept_a, kept_b) != (a, b)
    kept = a[: max_seq_len - 2]
    return [CLS, *kept, SEP], [0] * (len(kept) + 2), kept != a


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=8), st.integers(4, 20), st.booleans())
def test_rows_and_batches_equal_those_made_token_by_token(pairs, max_seq_len, single):
    pairs = [(a, [] if single else b) for a, b in pairs]
    rows = encode_rows([a for a, _ in pairs], None if single else [b for _, b in pairs], max_seq_len, CLS, SEP)
    rows.labels = np.arange(len(pairs))
    batch = make_batch(rows, pad_id=9, task_id=3)
    expected = [encode_one(a, b, max_seq_len) for a, b in pairs]
    longest = max(len(ids) for ids, _, _ in expected)
    for i, (ids, sentences, cut) in enumerate(expected):
        rest = longest - len(ids)
        assert batch["src_ids"][i].tolist() == ids + [9] * rest
        assert batch["sent_ids"][i].tolist() == sentences + [0] * rest
        assert batch["pos_ids"][i].tolist() == [*range(len(ids)), *[0] * rest]
        assert batch["input_mask"][i].tolist() == [1.0] * len(ids) + [0.0] * rest
        assert rows.cut[i] == cut
    assert (batch["task_ids"] == 3).all()
    assert batch["labels"].tolist() == [[i] for i in range(len(pairs))]
    assert "qids" not in batch
    dtypes = {name: array.dtype for name, array in batch.items()}
    assert dtypes.pop("input_mask") == np.float32
    assert set(dtypes.values()) == {np.dtype(np.int64)}
    assert {array.shape for name, array in batch.items() if name != "labels"} == {(len(pairs), longest)}


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 40))
def test_pair_truncation_equals_popping(len_a, len_b, limit):
    a, b = truncate_by_popping(range(len_a), range(len_b), limit)
    keep_a, keep_b = truncate_pair_lengths(np.array([len_a]), np.array([len_b]), limit)
    assert (keep_a[0], keep_b[0]) == (len(a), len(b))


def test_recorded_helpers():
    recorded = json.loads((GOLDEN / "2_readers/helpers.json").read_text())
    for case in recorded["truncate_seq_pair"]:
        keep_a, keep_b = truncate_pair_lengths(np.array([case["a"]]), np.array([case["b"]]), case["max"])
        assert (keep_a[0], keep_b[0]) == (len(case["out_a"]), len(case["out_b"]))
    case = recorded["pad_batch_data"]
    lengths = np.array([len(ids) for ids in case["insts"]])
    padded, mask = pad_flat(np.concatenate(case["insts"]), lengths, case["pad_idx"])
    assert padded[..., None].tolist() == case["out"][0]
    assert mask.astype(np.float32)[..., None].tolist() == case["out"][2]


@given(st.lists(st.integers(2, 20), max_size=40), st.integers(20, 90), st.booleans())
def test_cuts_equal_the_2019_loop(lengths, batch_size, in_tokens):
    expected, count, longest = [0], 0, 0
    for i, length in enumerate(lengths):
        longest = max(longest, length)
        fits = (count + 1) * longest <= batch_size if in_tokens else count < batch_size
        if fits:
            count += 1
        else:
            expected.append(i)
            count, longest = 1, length
    if count:
        expected.append(len(lengths))
    lengths = np.array(lengths, np.int32)
    assert all_cuts(lengths, batch_size, in_tokens, last=True) == expected
    closed = all_cuts(lengths, batch_size, in_tokens, last=False)
    assert closed == expected[: len(closed)]
    assert len(expected) - len(closed) <= 1


@pytest.mark.parametrize("case", ["ner_iob_in_tokens_train", "mrc_dev_in_tokens"])
def test_in_tokens_cuts_where_2019_did(case):
    meta = json.loads((GOLDEN / "2_readers/meta.json").read_text())[case]
    with np.load(GOLDEN / "2_readers/batches.npz", allow_pickle=False) as arrays:
        masks = [arrays[f"{case}/{i}/input_mask"] for i in range(meta["n_batches"])]
    epochs = meta["data_generator"]["epoch"]
    lengths = np.concatenate([mask.sum(axis=(1, 2)).astype(int) for mask in masks])
    borders = np.cumsum([0] + [len(mask) for mask in masks]).tolist()
    size = len(lengths) // epochs
    found = [[size * i + cut for cut in all_cuts(part, meta["data_generator"]["batch_size"], True, last=True)]
             for i, part in enumerate(np.split(lengths, epochs))]  # fmt: skip
    assert sorted({cut for cuts in found for cut in cuts}) == borders


def test_a_full_batch_in_tokens_is_known_from_the_row_that_does_not_fit():
    assert first_cut(np.array([5, 5, 5]), 15, True) is None
    assert first_cut(np.array([5, 5, 5, 2]), 15, True) == 3
    assert first_cut(np.array([5, 5, 6]), 15, True) == 2


@given(st.lists(texts, min_size=1, max_size=8), st.data())
def test_slices_and_selections_keep_rows_whole(lists, data):
    rows = encode_rows(lists, None, 10, CLS, SEP)
    rows.labels = np.arange(len(lists))
    index = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=10))
    border = data.draw(st.integers(0, len(index)))
    taken = rows.take(np.array(index, np.int64))
    again = concat_rows([taken.slice(0, border), taken.slice(border, len(index))])
    for some in (taken, again):
        assert some.labels.tolist() == index
        split = [some.ids[a:b].tolist() for a, b in zip(some.offsets[:-1], some.offsets[1:])]
        assert split == [encode_one(lists[i], [], 10)[0] for i in index]


def test_ragged_arange():
    assert ragged_arange(np.array([5, 0, 9]), np.array([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]
    assert ragged_arange(np.zeros(0, int), np.zeros(0, int)).tolist() == []
