"""Prediction of files as people have them: their own columns are copied, labels kept and scored; lines of text."""

import io
import json
import re
from contextlib import redirect_stderr, redirect_stdout
from types import SimpleNamespace

import numpy as np
import pytest

from finetune import metrics
from finetune.classification import thresholds
from finetune.prediction import main as prediction
from finetune.prediction.formats import CopiedColumns
from finetune.training.main import main
from tests.helpers.predicting import TASKS, fails, table, train, words
from tests.helpers.row_files import write_as
from tests.helpers.squad import squad
from tests.helpers.tagged import IOB, tagged, write_tagged
from tests.helpers.tiny import flags, sentences, write_tsv

CLASSIFY = "infer_classifyer.py"
FORMS = ("tsv", "csv", "jsonl", "json", "parquet")
WORDS = ("bad", "good")
MAP = {"bad": 0, "good": 1}


def predict(script, path, **given):
    """Predict in this process: what was printed, and the log."""
    printed, log = io.TextIOWrapper(io.BytesIO(), "utf8"), io.StringIO()
    with redirect_stderr(log), redirect_stdout(printed):
        prediction.main(script, TASKS[script], words(predict_set=path, **given))
    return SimpleNamespace(log=log.getvalue())


def said(found):
    """Name -> score of the line with the scores."""
    (line,) = [line for line in found.log.splitlines() if "scores of " in line]
    parts = line.rpartition("labelled ")[2].partition(": ")[2].split(", ")
    return {name: float(value) for name, value in (part.split(": ") for part in parts)}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Rows with words as labels, and a label map."""
    folder = tmp_path_factory.mktemp("named") / "data"
    folder.mkdir()
    rows = [(WORDS[label], text) for label, text in sentences(40, 1)]
    write_tsv(folder / "train.tsv", rows)
    (folder / "map.json").write_text(json.dumps(MAP))
    return folder


@pytest.fixture(scope="module")
def checkpoint(model, place, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    return train("run_classifier.py", "classify", model, place, folder, metric="acc_and_f1", epoch=2,
                 learning_rate=1e-3, label_map_config=place / "map.json")  # fmt: skip


@pytest.fixture(scope="module")
def given(model, checkpoint):
    return {"init_checkpoint": checkpoint, "vocab_path": model / "vocab.txt"}


ROWS = [(WORDS[label], text) for label, text in sentences(23, 5)]


@pytest.mark.parametrize("form", FORMS)
def test_columns_and_labels_of_every_form(form, given, tmp_path):
    """They stand in the output as they were; the scores are those of an evaluation."""
    own = [(100 + at, text, label, "a, b", at / 2) for at, (label, text) in enumerate(ROWS)]
    path = write_as(tmp_path / f"rows.{form}", own, ("id", "text_a", "label", "note", "prob_x"))
    found = predict(CLASSIFY, path, **given, output=tmp_path / "out.tsv")
    header, rows = table((tmp_path / "out.tsv").read_text(encoding="utf8"))
    assert header == ["id", "text_a", "gold_label", "note", "input_prob_x", "label", "prob_bad", "prob_good"]
    for row, (number, text, label, note, value) in zip(rows, own):
        assert row[:4] == [str(number), text, label, note]
        assert float(row[4]) == value
    probs = np.array([[float(share) for share in row[-2:]] for row in rows])
    wanted = metrics.acc_and_f1(probs, [MAP[label] for label, _ in ROWS])
    assert said(found) == pytest.approx(wanted, abs=1e-6)
    assert "scores of 23 labelled rows: " in found.log
    assert "columns that are copied, not read: id, note, prob_x" in found.log


@pytest.mark.parametrize("form", ["tsv", "jsonl"])
def test_json_lines_keep_types(form, given, tmp_path):
    own = [(7, "good film", "good", True), (8, "dull", "bad", None)]
    own = own if form == "jsonl" else [tuple("" if value is None else str(value) for value in row) for row in own]
    path = write_as(tmp_path / f"rows.{form}", own, ("id", "text_a", "label", "seen"))
    predict(CLASSIFY, path, **given, output=tmp_path / "out", output_format="jsonl")
    objects = [json.loads(line) for line in (tmp_path / "out").read_text(encoding="utf8").splitlines()]
    assert list(objects[0]) == ["id", "text_a", "gold_label", "seen", "label", "label_id", "probabilities"]
    assert [(row["id"], row["text_a"], row["gold_label"], row["seen"]) for row in objects] == own


def test_keys_of_later_rows_are_copied_too(given, tmp_path):
    rows = [{"text_a": "good"}, {"text_a": "bad", "tags": ["x", {"y": 1}]}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    predict(CLASSIFY, tmp_path / "rows.jsonl", **given, output=tmp_path / "out.tsv")
    header, found = table((tmp_path / "out.tsv").read_text(encoding="utf8"))
    assert header[:2] == ["text_a", "input_tags"]
    assert [row[1] for row in found] == ["", '["x", {"y": 1}]']


def test_chosen_columns(given, tmp_path):
    """A label of another name; ``text_a`` and ``label`` are columns like others then."""
    own = [("good", "good film", "other", "x"), ("bad", "dull", "text", "y")]
    path = write_as(tmp_path / "rows.csv", own, ("stars", "review", "text_a", "label"))
    chosen = {"text_column": "review", "label_column": "stars"}
    found = predict(CLASSIFY, path, **given, **chosen, output=tmp_path / "out.tsv")
    header, rows = table((tmp_path / "out.tsv").read_text(encoding="utf8"))
    assert header[:4] == ["gold_label", "text_a", "input_text_a", "input_label"]
    assert [tuple(row[:4]) for row in rows] == own
    assert "scores of 2 labelled rows" in found.log
    fails(CLASSIFY, "no column 'mark' (--label_column;", **given, predict_set=path, text_column="review",
          label_column="mark", output=tmp_path / "none")  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "scored", "said"),
    [
        (("good", "wonderful", "bad"), 2, "1 labels are kept and not compared, the first: .*line 3: label 'wonderful'"),
        (("-1", "-1", "-1"), 0, ""),
        (("", "good", "?"), 1, ""),
    ],
    ids=["unknown", "placeholders", "some"],
)
def test_labels_end_no_prediction(labels, scored, said, given, tmp_path):
    path = write_tsv(tmp_path / "rows.tsv", list(zip(labels, ("good", "dull", "fine"))))
    found = predict(CLASSIFY, path, **given, output=tmp_path / "out.tsv")
    header, rows = table((tmp_path / "out.tsv").read_text(encoding="utf8"))
    assert [row[header.index("gold_label")] for row in rows] == list(labels)
    assert (f"scores of {scored} labelled rows" in found.log) == bool(scored)
    assert bool(said) == ("not compared" in found.log)
    assert re.search(said, found.log)


@pytest.mark.parametrize("copied", ["true", "false"])
def test_without_copies(copied, given, tmp_path):
    path = write_tsv(tmp_path / "rows.tsv", [(1, *row) for row in ROWS], ("id", "label", "text_a"))
    found = predict(CLASSIFY, path, **given, copy_columns=copied, output=tmp_path / "out.tsv")
    header, _ = table((tmp_path / "out.tsv").read_text(encoding="utf8"))
    assert header[:-3] == (["id", "gold_label", "text_a"] if copied == "true" else [])
    assert "scores of 23 labelled rows" in found.log


def test_numbers_and_rankings(model, data, tmp_path):
    """A regression by its correlations, a ranking by its questions; without qids it has accuracy and F1."""
    rows = [(label / 2, text) for label, text in sentences(30, 2)]
    folder = tmp_path / "numbers"
    folder.mkdir()
    write_tsv(folder / "train.tsv", rows)
    number = {"is_regression": "true", "num_labels": 1, "metric": "pearson_and_spearman"}
    own = train("run_classifier.py", "classify", model, folder, tmp_path / "a", **number)
    base = {"vocab_path": model / "vocab.txt"}
    path = write_tsv(tmp_path / "rows.tsv", [(at, value - 1, text) for at, (value, text) in enumerate(rows)],
                     ("score", "label", "text_a"))  # fmt: skip
    found = predict(CLASSIFY, path, init_checkpoint=own, **base, output=tmp_path / "out.tsv")
    header, lines = table((tmp_path / "out.tsv").read_text(encoding="utf8"))
    assert header == ["input_score", "gold_label", "text_a", "score"]
    wanted = metrics.pearson_and_spearman([float(row[3]) for row in lines], [float(row[1]) for row in lines])
    assert said(found) == pytest.approx(wanted, abs=1e-5)
    ranking = train("run_classifier.py", "classify", model, data, tmp_path / "b", metric="acc_and_f1_and_mrr")
    asked = [(at // 4, label, text) for at, (label, text) in enumerate(sentences(24, 3))]
    path = write_tsv(tmp_path / "asked.tsv", asked, ("qid", "label", "text_a"))
    found = predict(CLASSIFY, path, init_checkpoint=ranking, **base, output=tmp_path / "ranked.tsv")
    _, lines = table((tmp_path / "ranked.tsv").read_text(encoding="utf8"))
    probs = np.array([[float(share) for share in row[-2:]] for row in lines])
    wanted = metrics.acc_and_f1_and_mrr(probs, [label for _, label, _ in asked], [qid for qid, _, _ in asked])
    assert said(found) == pytest.approx(wanted, abs=1e-5)
    path = write_tsv(tmp_path / "plain.tsv", [row[1:] for row in asked])
    found = predict(CLASSIFY, path, init_checkpoint=ranking, **base, output=tmp_path / "plain_out.tsv")
    assert set(said(found)) == {"acc", "f1", "acc_and_f1"}


def test_label_sets(model, tmp_path):
    """Lists and joined labels; an empty field has none."""
    sets = [["good", "film"], [], ["bad"], ["film"]] * 6
    texts = [text for _, text in sentences(24, 4)]
    folder = tmp_path / "data"
    folder.mkdir()
    write_tsv(folder / "train.tsv", [(",".join(labels), text) for labels, text in zip(sets, texts)])
    (tmp_path / "map.json").write_text('{"good": 0, "bad": 1, "film": 2}')
    own = train("run_classifier.py", "classify", model, folder, tmp_path / "run", multi_label="true",
                label_map_config=tmp_path / "map.json")  # fmt: skip
    path = write_as(tmp_path / "rows.jsonl", list(zip(sets, texts)))
    base = {"init_checkpoint": own, "vocab_path": model / "vocab.txt"}
    found = predict(CLASSIFY, path, **base, output=tmp_path / "out.jsonl", output_format="jsonl")
    objects = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf8").splitlines()]
    assert [row["gold_label"] or [] for row in objects] == sets
    probs = np.array([list(row["probabilities"].values()) for row in objects])
    labels = np.array([[float(name in own) for name in ("good", "bad", "film")] for own in sets])
    assert said(found) == pytest.approx(thresholds.set_scores(probs >= 0.5, labels), abs=1e-6)
    predict(CLASSIFY, path, **base, output=tmp_path / "out.tsv")
    header, rows = table((tmp_path / "out.tsv").read_text(encoding="utf8"))
    assert [row[header.index("gold_label")] for row in rows[:2]] == ["good,film", ""]


# ---------------------------------------------------------------- tags and answers


@pytest.fixture(scope="module")
def tagger(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tags") / "data"
    folder.mkdir()
    write_tagged(folder / "train.tsv", tagged(60, 1, 12))
    (folder / "map.json").write_text(json.dumps(IOB))
    own = {"label_map_config": folder / "map.json", "num_labels": 5}
    trained = train("run_sequence_labeling.py", "sequence_label", model, folder, folder / "run", learning_rate=1e-2,
                    epoch=3, **own)  # fmt: skip
    return {"init_checkpoint": trained, "vocab_path": model / "vocab.txt"}


TAGGED = tagged(20, 6, 30)
INFER_TAGS = "infer_sequence_labeling.py"


@pytest.mark.parametrize("form", ["tsv", "jsonl"])
@pytest.mark.parametrize("long_text", ["window", "cut"])
def test_tags_are_kept_and_scored_as_in_an_evaluation(form, long_text, model, tagger, tmp_path):
    plain = write_tagged(tmp_path / "plain.tsv", TAGGED)
    (tmp_path / "map.json").write_text(json.dumps(IOB))
    shown = io.StringIO()
    with redirect_stderr(shown):
        main("run_sequence_labeling.py", "sequence_label",
             flags(model, tmp_path, tmp_path / "unused", do_train="false", do_test="false", dev_set=plain,
                   init_checkpoint=tagger["init_checkpoint"], init_pretraining_params=None, long_text=long_text,
                   label_map_config=tmp_path / "map.json", num_labels=5))  # fmt: skip
    (line,) = [line for line in shown.getvalue().splitlines() if "[dev evaluation]" in line]
    joint = "\x02".join
    rows = [(at, *((tokens, tags) if form == "jsonl" else (joint(tokens), joint(tags))))
            for at, (tokens, tags) in enumerate(TAGGED)]  # fmt: skip
    path = write_as(tmp_path / f"rows.{form}", rows, ("id", "text_a", "label"))
    found = predict(INFER_TAGS, path, **tagger, long_text=long_text, output=tmp_path / "out.tsv")
    for name, value in said(found).items():
        assert f"{name}: {value:f}" in line
    header, lines = table((tmp_path / "out.tsv").read_text(encoding="utf8"))
    assert header == ["text_a", "id", "gold_label", "tags", "probabilities", "entities"]
    wanted = [[joint(tokens), str(at), joint(tags)] for at, (tokens, tags) in enumerate(TAGGED)]
    assert [row[:3] for row in lines] == wanted
    predict(INFER_TAGS, path, **tagger, output=tmp_path / "out.jsonl", output_format="jsonl")
    first = json.loads((tmp_path / "out.jsonl").read_text(encoding="utf8").splitlines()[0])
    assert list(first) == ["text", "id", "gold_label", "tokens", "tags", "probabilities", "entities"]
    assert first["gold_label"] == TAGGED[0][1]


def test_tags_that_do_not_fit_end_no_prediction(tagger, tmp_path):
    rows = [("good films", "B-PER I-PER"), ("bad casts", "B-LOC"), ("the story", "O B-ORG"), ("very", "O")]
    path = write_tsv(tmp_path / "rows.tsv", rows, ("text_a", "label"))
    found = predict(INFER_TAGS, path, **tagger, output=tmp_path / "out.tsv")
    assert "2 labels are kept and not compared, the first: " in found.log
    assert "line 3: 2 tokens but 1 tags" in found.log
    assert "scores of 2 labelled sentences: f1: " in found.log
    running = predict(INFER_TAGS, path, **tagger, output=tmp_path / "out.tsv", tokenized="false")
    assert "its labels are kept and not compared: with --tokenized false" in running.log
    header, lines = table((tmp_path / "out.tsv").read_text(encoding="utf8"))
    assert header == ["text_a", "gold_label", "tokens", "tags", "probabilities", "entities"]
    assert [row[1] for row in lines] == [tags for _, tags in rows]


@pytest.mark.parametrize("negative", ["false", "true"])
def test_answers_are_scored(negative, model, tmp_path):
    questions = [(f"the story was {word} . a film", [(f"q{at}", "the cast ?", word, word)])
                 for at, word in enumerate(("good", "fine", "dull", "poor"))]  # fmt: skip
    path = squad(tmp_path / "asked.json", *questions)
    if negative == "true":
        content = json.loads((tmp_path / "asked.json").read_text())
        asked = content["data"][0]["paragraphs"][0]["qas"][0]
        asked.update(answers=[], is_impossible=True)
        (tmp_path / "asked.json").write_text(json.dumps(content))
    own = {"train_set": path, "dev_set": path, "test_set": None, "epoch": 1, "doc_stride": 8, "max_answer_length": 4,
           "n_best_size": 5, "version_2_with_negative": negative}  # fmt: skip
    shown = io.StringIO()
    with redirect_stderr(shown):
        main("run_mrc.py", "mrc", flags(model, tmp_path, tmp_path / "run", **own))
    base = {"init_checkpoint": tmp_path / "run" / "last", "vocab_path": model / "vocab.txt"}
    found = predict("infer_mrc.py", path, **base, output=tmp_path / "answers")
    line = [line for line in shown.getvalue().splitlines() if "[dev evaluation]" in line][-1]
    for name in ("em", "f1", "avg"):
        assert f"{name}: {said(found)[name]:f}" in line
    assert said(found)["question_num"] == 4


# ---------------------------------------------------------------- lines of text


def test_a_file_of_sentences(given, tmp_path):
    """A line each, whatever is in it; blank lines at the end, a BOM and CRLF are no text."""
    texts = ["good film", "tabs\tare text", '"quoted", and', "text_a"]
    (tmp_path / "mine.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(texts).encode() + b"\r\n\r\n\r\n")
    predict(CLASSIFY, tmp_path / "mine.txt", **given, output=tmp_path / "out.tsv", allow_unk="true")
    header, rows = table((tmp_path / "out.tsv").read_text(encoding="utf8"))
    assert header == ["text_a", "label", "prob_bad", "prob_good"]
    assert [row[0] for row in rows] == [text.replace("\t", " ") for text in texts]
    (tmp_path / "one.txt").write_text("a good film")
    predict(CLASSIFY, tmp_path / "one.txt", **given, output=tmp_path / "out.tsv")
    assert len((tmp_path / "out.tsv").read_text().splitlines()) == 2
    write_tsv(tmp_path / "named.txt", [("good", "good film")])
    found = predict(CLASSIFY, tmp_path / "named.txt", **given, output=tmp_path / "out.tsv")
    assert "scores of 1 labelled row" in found.log
    (tmp_path / "rows.dat").write_text("good\nbad\n")
    predict(CLASSIFY, tmp_path / "rows.dat", **given, output=tmp_path / "out.tsv", format="txt")
    assert len((tmp_path / "out.tsv").read_text().splitlines()) == 3


def test_bad_files_of_sentences(given, tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("good\n\nbad\n")
    fails(
        CLASSIFY,
        f"{path}, line 2: the line is empty; put its text there or remove the row",
        "--on_bad skip",
        **given,
        predict_set=path,
    )
    found = predict(CLASSIFY, path, **given, output=tmp_path / "out.tsv", on_bad="skip")
    assert "lines 2; the first" in found.log
    path.write_text("\n\n")
    fails(CLASSIFY, f"{path}, line 1: the file is empty", **given, predict_set=path)
    path.write_bytes("好".encode("gbk") + b"\n")
    fails(CLASSIFY, f"{path}, line 1", "iconv", **given, predict_set=path)


def test_running_text_of_a_file_of_sentences(tagger, tmp_path):
    """Words and marks are found here; ``--tokenized true`` reads blanks alone."""
    (tmp_path / "mine.txt").write_text("the good films, and bad casts.\n")
    for tokenized, count in ((None, 8), ("true", 6)):
        predict(INFER_TAGS, tmp_path / "mine.txt", **tagger, tokenized=tokenized, allow_unk="true",
                output=tmp_path / "out.jsonl", output_format="jsonl")  # fmt: skip
        assert len(json.loads((tmp_path / "out.jsonl").read_text())["tokens"]) == count


def test_names_of_copied_columns():
    """Doubled and unnamed columns keep apart; a label of a list becomes one again."""
    columns = CopiedColumns(["text_a", "+id", "+id_2", "+prob_a", "+input_text", "+text", "label"])
    assert list(columns.shown({"id_2"}).values()) == [
        "text_a", "id", "input_id_2", "input_prob_a", "input_text", "input_input_text", "gold_label"
    ]  # fmt: skip
    assert CopiedColumns.value("label", "a\x03b\x03") == ["a", "b"]
    assert CopiedColumns.value("choices", "a\x03b\x03") == ["a", "b"]
    assert CopiedColumns.value("choices", "a|b") == "a|b"
    assert columns.cell("choices", "a\x03b\x03") == '["a", "b"]'
    assert CopiedColumns.value("+id", "17") == 17
    assert columns.cell("label", "a\x03b\x03", ";") == "a;b"
    assert columns.cell("+id", "null") == ""
