"""The converters do not call a file converted of which hardly anything survived."""

import json

import pytest

from propeller.errors import UserError
from script import convert_table
from script.en_glue.preprocess import convert as glue
from script.zh_task.preprocess import convert as zh


def test_a_table_of_other_labels(tmp_path):
    raw = tmp_path / "raw" / "CoLA"
    raw.mkdir(parents=True)
    (raw / "train.tsv").write_text("gj04\t1\t\tFine.\n" + "gj04\tyes\t\tIt was.\n" * 3)
    words = r"3 of 4 rows refused, most of them: unknown label 'yes' \(first: line 2\); .*--allow_refused"
    with pytest.raises(UserError, match=words):
        glue.main([str(tmp_path / "raw"), str(tmp_path / "out")])
    assert not (tmp_path / "out" / "CoLA" / "train.tsv").exists()
    assert glue.main([str(tmp_path / "raw"), str(tmp_path / "out"), "--allow_refused"]) == 0
    assert (tmp_path / "out" / "CoLA" / "train.tsv").read_text().splitlines() == ["text_a\tlabel", "Fine.\t1"]


def test_questions_most_of_which_have_no_answer_in_their_context(tmp_path):
    raw = tmp_path / "raw" / "cmrc2018"
    raw.mkdir(parents=True)
    qas = [{"id": f"q{i}", "question": "何时？", "answers": [{"text": text, "answer_start": -1}]}
           for i, text in enumerate(["1850年", 7.5, {}, {}])]  # fmt: skip
    paragraphs = [{"id": "p", "context": "水磨建于1850年。", "qas": qas}]
    content = {"version": "v1.0", "data": [{"title": "", "paragraphs": paragraphs}]}
    (raw / "cmrc2018_train.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="of 4 rows refused, .*--allow_refused"):
        zh.main([str(tmp_path / "raw"), str(tmp_path / "out")])
    assert not (tmp_path / "out" / "cmrc2018" / "train.json").exists()
    assert zh.main(["--allow_refused", str(tmp_path / "raw"), str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "cmrc2018" / "train.json").exists()


def test_a_table_whose_text_column_is_mostly_blank(tmp_path):
    path, out = tmp_path / "a.csv", tmp_path / "a.tsv"
    path.write_text("label,text_a\n1,good\n0,\n0,\n")
    with pytest.raises(UserError, match="2 of 3 rows refused, most of them: text_a is empty"):
        convert_table.main([str(path), str(out)])
    assert convert_table.main([str(path), str(out), "--allow_refused"]) == 0
    assert len(out.read_text().splitlines()) == 2
