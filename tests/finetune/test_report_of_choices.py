"""finetune.report on multiple choice and on words in a template: places, options, wrong rows, the page.

python -m pytest tests/finetune/test_report_of_choices.py
"""

import csv
import json

import numpy as np
import pytest

from finetune.report import main as report
from finetune.reporting.options import by_count, by_length, place_names
from finetune.reporting.parts import count_texts
from finetune.training.main import main
from propeller.variables import write_variable
from reader.choices import ChoiceReader, Choices
from reader.prompts import Prompt, PromptReader
from tests.helpers.questions import make_task, questions, write_lines
from tests.helpers.tiny import CONFIG, VOCABULARY, flags, make_data, make_model, write_tsv
from tokenization import build_tokenizer

FILES = {"report.txt", "report.json", "report.html", "wrong.tsv", "label_errors.tsv", "confusion.png"}


@pytest.fixture(scope="module")
def tokenizer(model):
    return build_tokenizer("FullTokenizer", str(model / "vocab.txt"), True, False)


def rows_of(path):
    with open(path, encoding="utf8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_places_are_called_as_labels_are():
    options = [["a", "b"], ["c", "d", "e"]]
    assert place_names(Choices(), options) == ["0", "1", "2"]
    assert place_names(Choices(form="letter"), options) == ["A", "B", "C"]
    assert place_names(Choices(form="text"), options) == ["option 1", "option 2", "option 3"]


def test_tables_by_hand():
    counts, right = np.array([2, 2, 4, 4]), np.array([True, False, True, True])
    sure = np.array([0.5, 0.75, 1.0, 0.25])
    assert by_count(counts, right, sure).rows == [
        ["all", 4, 0.75, 0.375, 0.625], ["2 options", 2, 0.5, 0.5, 0.625], ["4 options", 2, 1.0, 0.25, 0.625],
    ]  # fmt: skip
    lengths = [[3, 5], [4, 4], [1, 2, 9]]  # of two that are equally long each is the longest
    assert by_length(lengths, np.array([0, 1, 1]), np.array([1, 0, 2])).rows == [
        ["the longest", pytest.approx(1 / 3), 1.0], ["the shortest", pytest.approx(2 / 3), pytest.approx(1 / 3)],
    ]  # fmt: skip


def test_lengths_are_those_that_the_network_reads(tokenizer, tmp_path):
    """Of options the longest row counts, [UNK] of every option; of a template, which is no piece of the text, too."""
    rows = [
        {"text_a": "the film was", "text_b": "", "choices": ["good", "a lovely story"], "label": 0},
        {"text_a": "a story", "text_b": "and", "choices": ["nothing", "grim", "never"], "label": 1},
        {"text_a": "the film", "text_b": "is", "choices": ["bad and poor and dull", "fine"], "label": 1},
    ]
    path = write_lines(tmp_path / "rows.jsonl", rows)
    reader = ChoiceReader(path, tokenizer, choices=Choices(), label_kind="choice", max_seq_len=9, batch_size=2)
    found = count_texts(reader)
    assert found.lengths.tolist() == [9, 7, 9]  # [CLS] and two [SEP], and the texts
    assert found.cut.tolist() == [False, False, True]
    assert found.unknown.tolist() == [0, 2, 0]
    assert found.pieces.tolist() == [7, 6, 9]
    path = write_tsv(tmp_path / "rows.tsv", [(0, "a good film"), (1, "the grim story was never very bright")])
    prompt = Prompt.of("{text_a} is {mask} .", tokenizer, (1, 2))
    reader = PromptReader(path, tokenizer, prompt=prompt, num_labels=2, max_seq_len=10, batch_size=2)
    found = count_texts(reader)
    assert found.lengths.tolist() == [9, 10]
    assert found.cut.tolist() == [False, True]
    assert found.unknown.tolist() == [0, 1]
    assert found.pieces.tolist() == [3, 7]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["number", "text"])
def test_multiple_choice(form, tmp_path, capsys):
    task, rows = make_task(tmp_path / "task"), questions(40, 7)
    if form == "text":
        rows = [row for row in rows if len(set(row["choices"])) == len(row["choices"])]
        rows = [{**row, "label": row["choices"][row["label"]]} for row in rows]
    path = write_lines(tmp_path / "rows.jsonl", rows)
    main("python -m finetune multiple_choice", "multiple_choice",
         flags(task / "model", task, tmp_path / "run", choice_labels=form, train_set=path, dev_set=path, epoch=1,
               test_set=None, test_save=None, learning_rate=1e-3))  # fmt: skip
    assert report([str(tmp_path / "run/best"), path, "--output_dir", str(tmp_path / "r"), "--use_cuda", "false"]) == 0
    assert {entry.name for entry in (tmp_path / "r").iterdir()} == FILES
    facts, wrong = json.loads((tmp_path / "r/report.json").read_text()), rows_of(tmp_path / "r/wrong.tsv")
    events = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    best = max(event["acc"] for event in events if event.get("event") == "dev")
    assert facts["accuracy"] == pytest.approx(best)
    assert facts["wrong"] == len(wrong) == round((1 - best) * len(rows))
    assert facts["by_chance"] == pytest.approx(np.mean([1 / len(row["choices"]) for row in rows]))
    assert np.sum(facts["confusion"]["counts"]) == facts["rows"] == len(rows)
    assert np.trace(facts["confusion"]["counts"]) == len(rows) - len(wrong)
    sure = [float(row["confidence"]) for row in wrong]
    assert sure == sorted(sure, reverse=True)
    for found in wrong:
        row = rows[int(found["line"]) - 1]
        assert found["label"] == str(row["label"])
        label = row["choices"].index(row["label"]) if form == "text" else row["label"]
        assert found["right option"] == row["choices"][label] != found["chosen option"]
        assert found["chosen option"] in row["choices"]
        assert (found["text_a"], found["text_b"]) == (row["text_a"], row["text_b"])
    titles = [table["title"] for table in facts["tables"]]
    assert titles == ["Places", "Number of options", "Length of options", "Lengths and unknown pieces"]
    page = (tmp_path / "r/report.html").read_text()
    assert all(title in page for title in (*titles, "Confusion matrix", "Wrong rows", "Likely label errors"))
    assert "Places" in capsys.readouterr().out


@pytest.mark.slow
def test_a_word_in_a_template(tmp_path):
    model, data = make_model(tmp_path / "model", num_hidden_layers=1), make_data(tmp_path / "data")
    hidden, size = CONFIG["hidden_size"], len(VOCABULARY)
    random = np.random.RandomState(6)
    for name, array in {
        "trans_fc.w_0": random.randn(hidden, hidden) * 0.1, "trans_fc.b_0": np.zeros(hidden),
        "trans_layer_norm_scale": np.ones(hidden), "trans_layer_norm_bias": np.zeros(hidden),
        "out_fc.b_0": random.randn(size) * 0.1,
    }.items():  # fmt: skip
        write_variable(model / "params" / f"mask_lm_{name}", array.astype("float32"))
    (tmp_path / "labels.json").write_text(json.dumps({"0": 0, "1": 1}))
    main("python -m finetune prompt", "prompt",
         flags(model, data, tmp_path / "run", template="{text_a} is {mask} .", label_words="0=bad,1=good story",
               label_map_config=tmp_path / "labels.json", epoch=1, test_set=None, test_save=None))  # fmt: skip
    path = str(data / "dev.tsv")
    report([str(tmp_path / "run/last"), path, "--output_dir", str(tmp_path / "r"), "--use_cuda", "false"])
    assert {entry.name for entry in (tmp_path / "r").iterdir()} == FILES
    facts, wrong = json.loads((tmp_path / "r/report.json").read_text()), rows_of(tmp_path / "r/wrong.tsv")
    events = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    (*_, last) = [event["acc"] for event in events if event.get("event") == "dev"]
    assert facts["accuracy"] == pytest.approx(last)
    assert facts["classes"].keys() == {"0", "1"}
    assert len(wrong) == facts["wrong"] == round((1 - last) * 13)
    assert all(0.5 <= float(row["confidence"]) <= 1 for row in wrong)
