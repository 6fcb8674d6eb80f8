"""Rows of several texts that are read apart: their ids, what is no negative, the cache, positions, mistakes."""

import numpy as np
import pytest

from propeller.errors import UserError
from reader.several import COLUMNS, SeveralTextsReader
from tests.helpers.tiny import write_tsv
from tokenization import build_tokenizer

ROWS = [
    ("good film", "great story", "bad film"),
    ("dull", "poor cast", "a very lovely film and a very bright story"),
    ("good film", "fine", "grim"),
    ("the cast", "great story", "poor cast"),
    ("awful", "awful", "dull"),
]


@pytest.fixture(scope="module")
def tokenizer(model):
    return build_tokenizer("FullTokenizer", str(model / "vocab.txt"), True, False)


def reader_of(tmp_path, tokenizer, texts, rows=ROWS, **changes):
    path = write_tsv(tmp_path / "rows.tsv", [row[:texts] for row in rows], COLUMNS[:texts])
    given = {"max_seq_len": 8, "batch_size": 5, "label_kind": None, **changes}
    return SeveralTextsReader(path, tokenizer, texts=texts, **given)


@pytest.mark.parametrize("texts", [1, 2, 3])
def test_each_text_is_a_sequence_of_its_own(tmp_path, tokenizer, texts):
    batch, _ = next(reader_of(tmp_path, tokenizer, texts).batches())
    longest = max(len(ids) for row in ROWS for ids in tokenizer.encode_batch(list(row[:texts])))
    assert batch["src_ids"].shape == (5, texts, min(longest + 2, 8))
    assert not batch["sent_ids"].any()
    for row, fields, mask in zip(ROWS, batch["src_ids"], batch["input_mask"]):
        for ids, places, own in zip(tokenizer.encode_batch(list(row[:texts])), fields, mask):
            wanted = [tokenizer.cls_id, *ids[:6], tokenizer.sep_id]
            assert places[: len(wanted)].tolist() == wanted
            assert own.tolist() == [1.0] * len(wanted) + [0.0] * (len(places) - len(wanted))


def test_apart_they_are_rows(tmp_path, tokenizer):
    together, _ = next(reader_of(tmp_path, tokenizer, 3).batches())
    apart, _ = next(reader_of(tmp_path, tokenizer, 3, apart=True).batches())
    assert apart["src_ids"].shape[0] == 15
    assert apart["src_ids"].tolist() == together["src_ids"].reshape(15, -1).tolist()
    assert "same" not in apart


@pytest.mark.parametrize("texts", [1, 2, 3])
def test_what_is_no_negative(tmp_path, tokenizer, texts):
    """By the texts themselves, place by place."""
    rows = [*ROWS, ROWS[1]]
    batch, _ = next(reader_of(tmp_path, tokenizer, texts, rows, batch_size=6).batches())
    second = min(1, texts - 1)
    candidates = [(number, row[place]) for place in range(1, max(texts, 2)) for number, row in
                  enumerate([row if texts > 1 else (row[0], row[0]) for row in rows])]  # fmt: skip
    assert batch["same"].shape == (6, len(candidates))
    for number, row in enumerate(rows):
        for column, (other, text) in enumerate(candidates):
            equal = text in (row[0], row[second]) or (other != number and rows[other][0] == row[0])
            if column == number:  # its own second text is what is looked for
                equal = False
            assert batch["same"][number, column] == equal, (number, column)


@pytest.mark.parametrize("texts", [1, 2, 3])
def test_the_token_cache_gives_the_same(tmp_path, tokenizer, texts):
    def batches(**changes):
        reader = reader_of(tmp_path, tokenizer, texts, batch_size=2, epochs=2, shuffle=True, seed=3, **changes)
        return [batch for batch, _ in reader.batches()]

    plain = batches()
    for _ in range(2):  # the second epoch, and the second run, read it
        cached = batches(token_cache_dir=str(tmp_path / "cache"))
        assert len(cached) == len(plain) == 6
        for one, other in zip(plain, cached):
            assert one.keys() == other.keys()
            for name in one:
                np.testing.assert_array_equal(one[name], other[name])


def test_labels_and_a_position(tmp_path, tokenizer):
    rows = [(*row[:2], number / 2) for number, row in enumerate(ROWS)]
    path = write_tsv(tmp_path / "scored.tsv", rows, ("text_a", "text_b", "label"))
    reader = SeveralTextsReader(path, tokenizer, texts=2, max_seq_len=8, batch_size=2, label_kind="float")
    (first, place), *rest = list(reader.batches())
    assert first["labels"].tolist() == [[0.0], [0.5]]
    again = list(reader.batches(place.to_dict()))
    assert [batch["labels"].tolist() for batch, _ in again] == [batch["labels"].tolist() for batch, _ in rest]


def test_a_teachers_vectors_stay_with_their_rows(tmp_path, tokenizer):
    vectors = np.arange(10, dtype="float64").reshape(5, 2)
    reader = reader_of(tmp_path, tokenizer, 1, vectors=vectors, batch_size=3, shuffle=True, max_rows=4, seed=2)
    reader.table.drop([0])
    texts = {tuple(tokenizer.encode_batch([row[0]])[0]): number for number, row in enumerate(ROWS)}
    seen = 0
    for batch, _ in reader.batches():
        assert batch["teacher_vectors"].dtype == np.float32
        for ids, mask, found in zip(batch["src_ids"][:, 0], batch["input_mask"][:, 0], batch["teacher_vectors"]):
            number = texts[tuple(ids[1 : int(mask.sum()) - 1].tolist())]
            assert found.tolist() in ([vectors[0].tolist(), vectors[2].tolist()] if number in (0, 2) else
                                      [vectors[number].tolist()])  # fmt: skip
            seen += 1
    assert seen == 3


def test_vectors_that_do_not_fit_are_refused(tmp_path, tokenizer):
    with pytest.raises(UserError, match="--teacher_vectors has 4 vectors, .*rows.tsv 5 rows: give a vector for each"):
        reader_of(tmp_path, tokenizer, 1, vectors=np.zeros((4, 2)))
    vectors = np.zeros((5, 2))
    vectors[3, 1] = np.nan
    with pytest.raises(UserError, match="--teacher_vectors: vector 4 has numbers that are not finite"):
        list(reader_of(tmp_path, tokenizer, 1, vectors=vectors).batches())


def test_mistakes_name_file_line_and_remedy(tmp_path, tokenizer):
    path = write_tsv(tmp_path / "one.tsv", [("good",)], ("text_a",))
    for texts, message in (
        (2, r"one.tsv: column 'text_b' is missing: a row needs it here: add it, or name it with --text_pair_column"),
        (3, r"one.tsv: column 'text_b' is missing"),
    ):
        with pytest.raises(UserError, match=message):
            SeveralTextsReader(path, tokenizer, texts=texts, max_seq_len=8, batch_size=2, label_kind=None)
    reader = reader_of(tmp_path, tokenizer, 3, [*ROWS, ("good", "fine", " ")])
    assert [row.message.rpartition("rows.tsv, ")[2] for row in reader.survey().bad] == [
        "line 7: negative is empty; put its text there or remove the row"
    ]
    assert not reader.survey(allow_blank=True).bad
