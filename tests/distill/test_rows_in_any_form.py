"""Distillation from any form of file: the teacher's word stays with its row, the commands take the columns' flags."""

from dataclasses import replace

import numpy as np
import pytest

from distill import augment, vocab
from distill.questions import questions_of
from distill.rows import open_table
from distill.sources import Source
from distill.taught import TaughtReader
from propeller.errors import UserError
from reader.tables.form import TableForm
from tests.fixtures.reader_toy import ToyTokenizer
from tests.helpers.row_files import FORMS, write_as

ROWS = [("a fine film", 1, 7), ("a dull\tfilm", 0, 8), ("the cast was fine", 1, 9)]
NAMES = ["--text_column", "review"]


@pytest.mark.parametrize("form", ["tsv", "jsonl"])
def test_the_teachers_word_stays_with_its_row(tmp_path, form):
    """Of rows that are drawn (--max_train_rows), and of what is left of them without the bad ones."""
    path = write_as(tmp_path / f"rows.{form}", [(number, "a word" if number % 5 else "") for number in range(30)])

    class Says(Source):
        def take(self, numbers):
            return np.asarray(numbers, np.float32).reshape(-1, 1)

    reader = TaughtReader(path, ToyTokenizer(), source=Says(), columns=1, is_labelled=True, max_seq_len=8, batch_size=4,
                          shuffle=True, seed=2, max_rows=20)  # fmt: skip
    reader.leave_out(reader.survey())
    seen = [
        (batch["labels"].ravel().tolist(), batch["teacher_logits"].ravel().tolist()) for batch, _ in reader.batches()
    ]
    assert 10 < sum(len(labels) for labels, _ in seen) < 20
    assert all(labels == said for labels, said in seen)


def test_logits_of_one_column_are_none_of_another(tmp_path):
    path = write_as(tmp_path / "rows.csv", ROWS, ("review", "label", "id"))
    one = open_table(path, form=TableForm(text_a="review"))
    assert one.identity != open_table(path, form=TableForm(text_a="id")).identity
    assert one.identity == open_table(path, form=TableForm(text_a="review")).identity


def test_logits_belong_to_texts_whichever_column_is_the_label(tmp_path):
    path = write_as(tmp_path / "rows.csv", ROWS, ("review", "label", "id"))
    plain = open_table(path, form=TableForm(text_a="review"))
    labelled = open_table(path, form=TableForm(text_a="review", label="id"))
    assert plain.text_identity == labelled.text_identity
    assert plain.text_identity != open_table(path, form=TableForm(text_a="id")).text_identity
    same = write_as(tmp_path / "rows.tsv", ROWS, ("text_a", "label", "qid"))
    assert open_table(same).text_identity == open_table(same).identity == open_table(same).sha256


def test_tokens_in_lists_are_questions(tmp_path):
    path = write_as(tmp_path / "rows.jsonl", [(["a", "b c"],), (["d"],)], ("text_a",))
    questions = questions_of(open_table(path, lists=True), {"task": "sequence_label"})
    assert questions.total == 3


@pytest.mark.parametrize("form", FORMS)
def test_a_vocabulary_and_copies(tmp_path, form):
    path = write_as(tmp_path / f"rows.{form}", ROWS, ("review", "label", "id"))
    assert vocab.main([path, "--output", str(tmp_path / "vocab.txt"), *NAMES]) == 0
    assert "dull" in (tmp_path / "vocab.txt").read_text().splitlines()
    given = ["--segmenter", "english", "--copies", "1", *NAMES]
    assert augment.main([path, str(tmp_path / "out.tsv"), *given]) == 0
    header, *lines = (tmp_path / "out.tsv").read_text().splitlines()
    assert header == "text_a"
    assert len(lines) >= 3
    assert not any("\t" in line for line in lines)


@pytest.mark.parametrize("form", FORMS)
def test_copies_go_with_the_rows_they_are_made_of(tmp_path, form):
    """One --text_column reads both: the copies have text_a, whatever the rows call it."""
    path = write_as(tmp_path / f"rows.{form}", ROWS, ("review", "label", "id"))
    copies = str(tmp_path / "copies.tsv")
    assert augment.main([path, copies, "--segmenter", "english", "--copies", "1", *NAMES]) == 0
    assert vocab.main([path, copies, "--output", str(tmp_path / "vocab.txt"), *NAMES]) == 0
    assert "dull" in (tmp_path / "vocab.txt").read_text().splitlines()
    loose = TableForm(text_a="review", label="label", or_ours=True)
    assert open_table(copies, form=loose).text_identity == open_table(copies).text_identity
    assert open_table(path, form=loose).identity == open_table(path, form=replace(loose, or_ours=False)).identity
    with pytest.raises(UserError, match=r"no column 'boddy' \(--text_column; there: text_a\)"):
        open_table(copies, form=TableForm(text_a="boddy"))
