"""Labels that nobody gave: found in the training file, in a stated order, kept with the model, named in predictions."""

import logging

import pytest

import finetune
from finetune import task_class
from finetune.labels import FoundLabels, find_labels, in_order, log_labels
from finetune.spec import read_record
from finetune.tagging.flags import SequenceLabelArgs
from finetune.training.main import main
from propeller.errors import UserError
from reader.row_encoder import LabelRule
from reader.tables.form import PLAIN
from tests.helpers.row_files import write_as
from tests.helpers.tagged import IOB, tagged, write_tagged
from tests.helpers.tiny import flags, sentences, write_tsv


def found(tmp_path, labels, num_labels=None, task="classify"):
    path = write_tsv(tmp_path / "rows.tsv", [(label, "text") for label in labels])
    return find_labels(task_class(task), path, PLAIN, num_labels)


@pytest.mark.parametrize(
    ("labels", "label_map", "num_labels"),
    [
        ("1 0 1", None, None),
        ("1 1", None, None),
        ("0 2 1 2", None, 3),
        ("3 1 2 1", {"1": 0, "2": 1, "3": 2}, None),
        ("1 2 5", None, None),
        ("9", None, None),
        ("pos neg pos", {"neg": 0, "pos": 1}, None),
        ("b B a é", {"B": 0, "a": 1, "b": 2, "é": 3}, None),
        ("2.0 1.0 10.0", {"1.0": 0, "2.0": 1, "10.0": 2}, None),
        ("true false", {"false": 0, "true": 1}, None),
        ("0 5 2", None, None),  # one is missing: the reader refuses 5
        ("0 1 pos", None, None),  # and here the word
        ("-1 0 1", None, None),
    ],
)
def test_which_labels_are_classes(tmp_path, labels, label_map, num_labels):
    assert found(tmp_path, labels.split())[:2] == (label_map, num_labels)


def test_the_flag_and_the_file_agree(tmp_path):
    assert found(tmp_path, "abc", 3).label_map == {"a": 0, "b": 1, "c": 2}
    assert found(tmp_path, "12345", 5).label_map == {str(star): star - 1 for star in range(1, 6)}
    assert found(tmp_path, "012", 2)[:2] == (None, None), "which the reader refuses"
    with pytest.raises(UserError, match=r"--num_labels 2: but .* has 3 labels \(a \(1\), b \(1\), c \(1\)\)"):
        found(tmp_path, "abc", 2)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([f"w{number}" for number in range(60)], "60 different labels in 60 rows: see that the label column"),
        ([f"w{number}" for number in range(1100)], "over 1000 different labels"),
        (["0.5", "3.25"], r"numbers such as 0.5: give .*--is_regression true"),
    ],
    ids=["a text", "many texts", "numbers"],
)
def test_a_column_that_holds_no_classes(tmp_path, labels, said):
    with pytest.raises(UserError, match=said):
        found(tmp_path, labels)


@pytest.mark.parametrize(
    ("task", "printed"),
    [
        ("multi_label_classification", "['sport' 'politics']"),
        ("multi_label_classification", "['sport', 'politics']"),
        ("multi_label_classification", '["sport"]'),
        ("multi_label_classification", "[0 1]"),
        ("multi_label_classification", "[  0   1 ... 998 999]"),
        ("sequence_label", "['B-PER' 'O']"),
        ("sequence_label", "[0, 1]"),
    ],
)
def test_lists_that_a_program_printed_are_no_labels(task, printed, tmp_path):
    with pytest.raises(UserError, match=r"rows.tsv, line 3: label is .* a printed list, .* as JSON lines or Parquet"):
        found(tmp_path, ["O", printed], task=task)


def test_labels_in_brackets(tmp_path):
    labels = ["[a]", "[b], [c]", "[7]"]
    assert list(found(tmp_path, labels, task="multi_label_classification").label_map) == ["[7]", "[a]", "[b]", "[c]"]
    assert list(found(tmp_path, ["[0 1]", "x"]).label_map) == ["[0 1]", "x"], "one label a row is a word"


def test_a_number_of_classes_that_is_given_is_believed(tmp_path):
    assert found(tmp_path, [f"w{number:04}" for number in range(1100)], 1100).label_map.keys() == {
        f"w{number:04}" for number in range(1100)
    }
    assert len(found(tmp_path, [f"w{number}" for number in range(60)], 60).label_map) == 60
    with pytest.raises(UserError, match="over 1100 different labels"):
        found(tmp_path, [f"w{number}" for number in range(1200)], 1100)


def test_a_taught_tagger_may_have_the_teachers_tokens(tmp_path):
    rows = [("a", "B-PER", "A"), ("b", "O", "B")]
    path = write_tsv(tmp_path / "rows.tsv", rows, ("text_a", "label", "teacher_a"))
    task = task_class("student_sequence_label")
    assert list(find_labels(task, path, PLAIN, None, task.flags()).label_map) == ["B-PER", "I-PER", "O"]


def test_regression_and_answers_have_none(tmp_path):
    assert found(tmp_path, ["0.5", "a"], task="regression")[:2] == (None, None)
    assert find_labels(task_class("mrc"), "no file", PLAIN, None) == FoundLabels()


def test_tags_by_type_with_o_last(tmp_path):
    path = write_tagged(tmp_path / "rows.tsv", [(["a", "b"], ["I-PER", "B-PER"]), (["c"], ["B-LOC"])])
    made = find_labels(task_class("sequence_label"), path, PLAIN, None, SequenceLabelArgs())
    assert list(made.label_map) == ["B-LOC", "I-LOC", "B-PER", "I-PER", "O"]


def test_numbers_by_value_and_words_by_code_points():
    assert in_order({"10", "9", "1e1"}) == ["9", "10", "1e1"]
    assert in_order({"10", "9", "a"}) == ["10", "9", "a"]


def test_a_prediction_names_the_words(model, tmp_path):
    words = ("awful", "splendid")
    for name, count, seed in (("train", 40, 1), ("dev", 13, 2)):
        rows = [(words[label], text) for label, text in sentences(count, seed)]
        write_as(tmp_path / f"{name}.jsonl", rows, ("verdict", "text"))
    given = {"train_set": tmp_path / "train.jsonl", "dev_set": tmp_path / "dev.jsonl", "test_set": None, "epoch": 1,
             "save_steps": 0, "validation_steps": 0, "text_column": "text", "label_column": "verdict"}  # fmt: skip
    main("run_classifier.py", "classify", flags(model, tmp_path, tmp_path / "run", **given))
    record = read_record(tmp_path / "run" / "last")
    assert (record["label_map"], record["num_labels"]) == ({"awful": 0, "splendid": 1}, 2)
    answers = finetune.load(tmp_path / "run" / "last", use_cuda=False)(["a good film", "a bad film"])
    assert [list(answer["probabilities"]) for answer in answers] == [["awful", "splendid"]] * 2
    assert {answer["label"] for answer in answers} <= {"awful", "splendid"}
    write_as(tmp_path / "dev.jsonl", [("odd", "a good film")], ("verdict", "text"))
    with pytest.raises(UserError, match=r"dev.jsonl, line 1: label 'odd' is in no training row \(there: awful, sple"):
        main("run_classifier.py", "classify", flags(model, tmp_path, tmp_path / "other", **given))


def test_the_log_has_the_classes_with_their_rows(tmp_path, caplog):
    caplog.set_level(logging.INFO, "ernie.finetune")
    log_labels(str(tmp_path / "rows.tsv"), found(tmp_path, ["b", "a", "b"]))
    assert caplog.messages[-1].endswith("rows.tsv, in the order of their classes: a (1), b (2)")


@pytest.mark.slow
def test_a_tagger_without_a_label_map(model, tmp_path):
    for name, seed in (("train", 1), ("dev", 2)):
        write_tagged(tmp_path / f"{name}.tsv", tagged(30, seed))
    result = finetune.train(
        "sequence_label", model=model, train_set=tmp_path / "train.tsv", dev_set=tmp_path / "dev.tsv", epoch=1,
        max_seq_len=24, use_cuda=False, for_cn=False, checkpoints=tmp_path / "run",
    )  # fmt: skip
    assert set(read_record(result.folder / "last")["label_map"]) == set(IOB)


@pytest.mark.parametrize("form", ["tsv", "csv", "jsonl"])
def test_a_label_with_a_blank_at_its_end_is_no_class_of_its_own(form, tmp_path):
    """It is refused by its line, or left out at request; blanks around numbers stay allowed."""
    rows = [("good", "a"), ("bad", "b"), ("good ", "c"), (" bad", "d")]
    path = write_as(tmp_path / f"rows.{form}", rows)
    found = find_labels(task_class("classify"), path, PLAIN, None)
    assert found.label_map == {"bad": 0, "good": 1}
    rule = LabelRule("class", found.label_map, 2)
    for text in ("good ", " bad"):
        with pytest.raises(ValueError, match="begins or ends with a blank: take it out"):
            rule.read(text)
    assert LabelRule("class", {"good ": 0}, 1).read("good ") == 0  # somebody named it so
    assert LabelRule("class", None, 3).read(" 2") == 2
    with pytest.raises(ValueError, match="'good ' begins or ends with a blank"):
        LabelRule("class", None, 3).read("good ")
