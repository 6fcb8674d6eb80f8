"""script/zh_task/preprocess/c3.py: texts with questions as distributed become rows with options."""

import json

import pytest

from propeller.errors import UserError
from reader.choices import ChoiceReader, Choices
from script.zh_task.preprocess import c3
from tests.helpers.tiny import make_model
from tokenization import build_tokenizer

TEXTS = [
    [["男：你好。", "女：你好。"],
     [{"question": "谁先说话？", "choice": ["男的", "女的"], "answer": "男的"},
      {"question": "他们说什么？", "choice": ["再见", "谢谢", "你好"], "answer": "你好"}], "1"],
]  # fmt: skip


def write(folder, name, texts):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(texts, ensure_ascii=False), encoding="utf8")


def test_questions_become_rows_that_the_reader_takes(tmp_path, capsys):
    write(tmp_path / "raw", "d-train.json", TEXTS)
    write(tmp_path / "raw", "c3-m-train.json", TEXTS)
    unanswered = [[TEXTS[0][0], [{"question": "谁？", "choice": ["男的", "女的"]}], "2"]]
    write(tmp_path / "raw", "m-test.json", unanswered)
    assert c3.main([str(tmp_path / "raw"), str(tmp_path / "out")]) == 0
    assert "train.jsonl: 4 questions" in capsys.readouterr().out
    rows = [json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text(encoding="utf8").splitlines()]
    assert rows[1] == {
        "text_a": "男：你好。女：你好。",
        "text_b": "他们说什么？",
        "choices": ["再见", "谢谢", "你好"],
        "label": 2,
    }
    model = make_model(tmp_path / "model")
    tokenizer = build_tokenizer("FullTokenizer", str(model / "vocab.txt"), True, True)
    given = {"choices": Choices(), "max_seq_len": 24, "batch_size": 4}
    batch, _ = next(ChoiceReader(tmp_path / "out/train.jsonl", tokenizer, label_kind="choice", **given).batches())
    assert batch["labels"].ravel().tolist() == [0, 2, 0, 2]
    assert ChoiceReader(tmp_path / "out/test.jsonl", tokenizer, label_kind=None, **given).num_examples == 1


def test_other_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="none of d-train.json and the others is there"):
        c3.main([str(tmp_path), str(tmp_path / "out")])
    write(tmp_path / "raw", "d-train.json", [[["a"], [{"question": "q", "choice": ["x"], "answer": "y"}], "1"]])
    with pytest.raises(UserError, match=r"d-train.json, text 1: not a text with questions"):
        c3.main([str(tmp_path / "raw"), str(tmp_path / "out")])
