"""A file looked at before anything is made of it."""

import pytest

import reader.survey as surveys
from reader.survey import is_placeholder, label_fields, survey
from reader.task_reader import TaskReader
from reader.tsv import TsvFile
from tests.helpers.said import Said
from tests.helpers.tiny import VOCABULARY, make_model
from tokenization import build_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    model = make_model(tmp_path_factory.mktemp("survey") / "tiny")
    return build_tokenizer("FullTokenizer", str(model / "vocab.txt"), True, False, None)


def reader_of(path, tokenizer, **changes):
    return TaskReader(path, tokenizer, **{"max_seq_len": 16, "batch_size": 2, "num_labels": 2, **changes})


def test_bad_rows_their_lines_and_the_others_in_their_order(tmp_path, tokenizer):
    path = tmp_path / "a.tsv"
    path.write_bytes(b"text_a\tlabel\ngood\t1\n\nbad\t0\n \t1\nfilm\t5\nstory\t1\t2\n\xff\t0\r\ncast\t1\r\nthe\t0")
    reader = reader_of(path, tokenizer)
    found = survey(reader)
    assert [row.line for row in found.bad] == [3, 5, 6, 7, 8]
    assert found.rows == 9
    assert all(row.message.startswith(f"{path}, line {row.line}: ") for row in found.bad)
    reader.leave_out(found)
    assert reader.table.dropped == (3, 5, 6, 7, 8)
    rows = [batch["src_ids"][:, 1].tolist() for batch, _ in reader.batches()]
    assert rows == [[VOCABULARY.index(word) for word in pair] for pair in (("good", "bad"), ("cast", "the"))]
    assert [batch["labels"].ravel().tolist() for batch, _ in reader.batches()] == [[1, 0], [1, 0]]
    assert len(survey(reader_of(path, tokenizer), allow_blank=True).bad) == 4


def test_a_cache_of_the_whole_file_is_not_that_of_a_part(tmp_path, tokenizer):
    path = tmp_path / "a.tsv"
    path.write_text("text_a\tlabel\ngood\t1\n \t1\nbad\t0\n")
    given = {"token_cache_dir": str(tmp_path / "cache")}
    whole = reader_of(path, tokenizer, **given)
    assert sum(len(batch["src_ids"]) for batch, _ in whole.batches()) == 3
    part = reader_of(path, tokenizer, **given)
    part.leave_out(survey(part))
    for _ in range(2):
        assert sum(len(batch["src_ids"]) for batch, _ in part.batches()) == 2


def test_pieces_are_counted_without_special_ones(tmp_path, tokenizer):
    path = tmp_path / "a.tsv"
    path.write_text("text_a\tlabel\ngood zebra\t1\nbad film\t0\n")
    found = survey(reader_of(path, tokenizer))
    assert (found.pieces, found.unknown, found.labels) == (4, 1, {"0", "1"})


def test_rows_of_which_only_marks_are_known_are_counted(tmp_path, tokenizer):
    """Half of the pieces of such a row are known, and nothing of what it says."""
    path = tmp_path / "a.tsv"
    assert "." in VOCABULARY
    path.write_text("text_a\tlabel\nzebra .\t1\ngood zebra\t0\n. .\t1\nzebra quagga . .\t0\nbad film .\t0\n")
    found = survey(reader_of(path, tokenizer))
    assert (found.wordless, found.sampled) == (2, 5)


def test_a_long_check_tells_how_far_it_is(tmp_path, tokenizer, monkeypatch):
    path = tmp_path / "a.tsv"
    path.write_text("text_a\tlabel\n" + "good\t1\n" * 5)
    monkeypatch.setattr(surveys, "CHUNK_ROWS", 2)
    monkeypatch.setattr(surveys, "TELL_EVERY", -1.0)
    with Said() as said:
        survey(reader_of(path, tokenizer))
    assert f"checking {path}: 4 of 5 rows" in said.text
    assert f"checked {path} in" in said.text


def test_labels_that_are_placeholders(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("label\ttext_a\n-1\tgood\n\tbad\nNone\tbad\n")
    assert list(label_fields(TsvFile(path))) == ["-1", "", "None"]
    assert all(map(is_placeholder, label_fields(TsvFile(path))))
    assert not is_placeholder("None", {"None": 0})
    assert not is_placeholder("0")
    path.write_text("text_a\ngood\n")
    assert not list(label_fields(TsvFile(path)))
