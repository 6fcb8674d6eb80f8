"""finetune.report: scores by class and type as scikit-learn and seqeval have them, wrong rows in order, a safe page."""

import csv
import html.parser
import json
import re

import numpy as np
import pytest
from sklearn.metrics import classification_report, confusion_matrix

from finetune.report import main as report
from finetune.reporting import picture
from finetune.reporting.classes import class_table, confusion, suspects
from finetune.reporting.parts import Matrix, Report, Table, bands
from finetune.reporting.picture import chosen_classes, draw, font_of
from finetune.reporting.tags import Counts, type_table
from finetune.reporting.writing import as_json, as_page, as_text, as_tsv, in_columns, matrix_table
from finetune.scoring.tags import score_tags
from propeller.errors import UserError
from tests.helpers.predicting import train
from tests.helpers.row_files import write_as
from tests.helpers.squad import squad
from tests.helpers.tagged import IOB, tagged, write_tagged
from tests.helpers.tiny import GOOD, OTHER, sentences, write_tsv

FILES = {"report.txt", "report.json", "report.html", "wrong.tsv", "label_errors.tsv", "confusion.png"}


def rows_of(path):
    with open(path, encoding="utf8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.mark.parametrize("seed", range(6))
def test_scores_by_class_are_those_of_scikit_learn(seed):
    """With classes that are never predicted, and one without a row."""
    random = np.random.RandomState(seed)
    given, guesses = random.randint(0, 5, 40), random.choice([0, 1, 1, 2, 6], 40)
    labels = [f"c{number}" for number in range(7)]
    counts = confusion(given, guesses, 7)
    np.testing.assert_array_equal(counts, confusion_matrix(given, guesses, labels=range(7)))
    table, facts = class_table(Matrix(labels, counts))
    wanted = classification_report(
        given, guesses, labels=range(7), target_names=labels, output_dict=True, zero_division=0
    )
    for name, precision, recall, f1, support in table.rows[:7]:
        want = wanted[name]
        assert (precision, recall, f1, support) == pytest.approx(tuple(want.values()))
        assert facts["classes"][name]["f1"] == f1
    there = classification_report(given, guesses, output_dict=True, zero_division=0)  # of classes that occur
    for row, name in zip(table.rows[7:], ("macro avg", "weighted avg")):
        assert row[1:] == pytest.approx(list(there[name].values()))
    assert facts["accuracy"] == pytest.approx(np.mean(given == guesses))


def test_scores_by_type_are_those_of_seqeval():
    from seqeval.metrics import classification_report as by_type
    from seqeval.metrics.sequence_labeling import get_entities

    random, counts = np.random.RandomState(1), Counts()
    names = ["B-PER", "I-PER", "B-LOC", "I-LOC", "O"]
    truth, guess = ([list(random.choice(names, 9)) for _ in range(30)] for _ in range(2))
    guess = [[one if random.rand() < 0.7 else other for one, other in zip(*pair)] for pair in zip(truth, guess)]
    for one, other in zip(truth, guess):
        counts.add(set(get_entities(one)), set(get_entities(other)))
    table, facts = type_table(counts)
    wanted = by_type(truth, guess, output_dict=True)
    for kind in ("LOC", "PER"):
        assert list(facts["types"][kind].values()) == pytest.approx(list(wanted[kind].values()))
    assert table.rows[-1][1:5] == pytest.approx(list(wanted["micro avg"].values()))
    assert table.rows[-2][1:4] == pytest.approx(list(wanted["macro avg"].values())[:3])


def test_entities_taken_for_others_and_moved_ones():
    counts = Counts()
    given, guessed = {("PER", 0, 1), ("LOC", 3, 3), ("LOC", 5, 6)}, {("LOC", 0, 1), ("LOC", 5, 7), ("PER", 9, 9)}
    counts.add(given, guessed)
    assert counts.pairs == {("PER", "LOC"): 1, ("LOC", "(none)"): 2, ("(none)", "LOC"): 1, ("(none)", "PER"): 1}
    assert counts.moved == {"PER": 0, "LOC": 1}


def test_labels_that_are_probably_wrong_by_hand():
    """Means of the labelled rows: class 0 (0.9 + 0.8 + 0.1) / 3 = 0.6, class 1 (0.7 + 0.5) / 2 = 0.6, class 2 none."""
    probs = np.array([[0.9, 0.1, 0], [0.8, 0.2, 0], [0.1, 0.7, 0.2], [0.3, 0.7, 0], [0.5, 0.5, 0]])
    guesses = np.array([0, 0, 1, 1, 0])
    assert suspects(probs, np.array([0, 0, 0, 1, 1]), guesses).tolist() == [-1, -1, 1, -1, -1]
    assert suspects(probs, np.array([0, 0, 1, 1, 1]), guesses).tolist() == [-1, -1, -1, -1, -1]


def test_a_class_that_is_never_predicted_is_not_suggested():
    """Its mean over its rows is as low as in every other row, which all would reach."""
    probs = np.array([[0.6, 0.1, 0.3], [0.5, 0.2, 0.3], [0.2, 0.5, 0.3], [0.45, 0.25, 0.3]])
    given, guesses = np.array([0, 0, 1, 2]), np.array([0, 0, 1, 0])
    assert suspects(probs, given, guesses).tolist() == [-1, -1, -1, -1]
    assert suspects(probs, given, np.array([0, 0, 1, 2])).tolist() != [-1, -1, -1, -1], "once it is predicted, it is"
    matrix = Matrix(["billing", "sales", "account", "idle"], confusion(given, guesses, 4))
    table, _ = class_table(matrix)
    assert table.about == "Accuracy 0.7500 of 4 rows. account: never predicted; 1 rows have it."


def test_bands_of_length_hold_every_row_once():
    for lengths in (np.arange(3, 40), np.full(7, 5), np.array([3, 3, 3, 9]), np.array([4])):
        found = bands(lengths, "tokens")
        assert np.sum([own for _, own in found], axis=0).tolist() == [1] * len(lengths)
    few = np.array([1, 1, 1, 2, 2, 4, 5])
    assert [name for name, _ in bands(few, "characters of the text")] == [
        "1 character of the text", "2 characters of the text", "3-5 characters of the text",
    ]  # fmt: skip
    assert [name for name, _ in bands(np.ones(3, int), "windows")] == ["1 window"]
    assert [name for name, _ in bands(np.arange(3, 43), "tokens")] == [
        "3-11 tokens", "12-21 tokens", "22-31 tokens", "32-42 tokens",
    ]  # fmt: skip


NASTY = "<script>alert('x')</script>\t&amp; \"q\"\nnext"


def nasty_report():
    made = Report("classify", "a<b>.tsv", facts={"rows": 2, "classes": {}})
    made.tables = [Table("T<i>", "about & so", ["<b>", "n"], [[NASTY, 0.5]])]
    made.matrix = Matrix(["<u>", "水$"], np.array([[3, 1], [0, 2]]))
    made.wrong = Table("Wrong", "", ["line", "text"], [[number, NASTY] for number in range(1200)])
    return made


def test_the_picture_has_the_names_or_the_page_their_numbers(monkeypatch, tmp_path):
    """Matplotlib's own font has é and ~, and no Chinese; so the picture has numbers where no other font is there."""
    own = font_of("é~")
    assert own.name == "DejaVuSans.ttf"
    assert font_of("好", [own]) is None
    assert font_of("a", [tmp_path / "none.ttf", own]) == own
    assert draw(Matrix(["café", "thé"], np.eye(2, dtype=int)), tmp_path / "p.png") == {}
    assert draw(Matrix(["a\tb", "c"], np.eye(2, dtype=int)), tmp_path / "p.png") == {0: "a\tb", 1: "c"}
    monkeypatch.setattr(picture, "font_of", lambda characters: None)
    made = Report("classify", "rows.tsv", matrix=Matrix(["好", "<坏>"], np.eye(2, dtype=int)))
    key = draw(made.matrix, tmp_path / "p.png")
    assert key == {0: "好", 1: "<坏>"}
    assert "<p>Classes in the picture: 0 好, 1 &lt;坏&gt;</p>" in as_page(made, tmp_path / "p.png", key)


def test_the_page_escapes_texts_and_loads_nothing(tmp_path):
    made = nasty_report()
    draw(made.matrix, tmp_path / "p.png")
    page = as_page(made, tmp_path / "p.png")
    seen, texts = [], []

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            seen.append((tag, dict(attrs)))

        def handle_data(self, data):
            texts.append(data)

    Reader().feed(page)
    assert not {"script", "u", "i", "b", "link"} & {tag for tag, _ in seen}
    assert all(attrs[name].startswith("data:image/png;base64,") for _, attrs in seen for name in attrs if name == "src")
    assert NASTY in texts
    assert "".join(texts).count("alert") == 1001, "a thousand of the wrong rows, and the table's"
    assert "200 more are in the TSV file." in page


def test_plain_words_and_counts_that_mean_something(tmp_path):
    """Names of facts are for report.json; a count in a heading is that of the rows, not of a table's lines."""
    made = nasty_report()
    made.facts.update(unknown_share=0.25, tag_accuracy=0.5, suspects=3, scored_as="SQuAD")
    made.matrix = Matrix(["PER", "(none)"], np.array([[3, 1], [2, 0]]), "(none)")
    text, page = as_text(made), as_page(made)
    for name in ("share of [UNK] among the word pieces", "share of the tags that are right", "likely label errors"):
        assert f"\n{name}: " in text
        assert f"<td>{name}</td>" in page
    assert "scored as: SQuAD" in text
    assert "unknown_share" not in text + page
    assert as_json(made)["unknown_share"] == 0.25
    assert in_columns(matrix_table(made.matrix)) == ["label   PER  (none)", "PER       3       1", "(none)    2"]
    assert re.findall("<h2>(.*?)</h2>", page) == ["T&lt;i&gt;", "Confusion matrix", "Wrong (1200)"]


def test_text_and_tsv():
    made = nasty_report()
    text = as_text(made)
    assert "a<b>.tsv: classify" in text
    lines = in_columns(matrix_table(made.matrix))
    assert [line.rstrip() for line in lines] == ["label  <u>  水$", "<u>      3    1", "水$      0    2"]
    assert len({len(line) for line in as_tsv(made.wrong).splitlines()[1:2]}) == 1
    assert as_tsv(made.wrong).count("\n") == 1201, "a line per row whatever is in the texts"
    many = Matrix([f"c{n}" for n in range(50)], np.eye(50, dtype=np.int64) + np.eye(50, k=7, dtype=np.int64))
    assert len(chosen_classes(many)) == 30
    assert "20 others are left out" in matrix_table(many).about


def test_a_classifier(model, data, tmp_path, capsys):
    words = ("awful", "splendid")
    rows = [(words[label], text, number) for number, (label, text) in enumerate(sentences(30, 4))]
    path = write_as(tmp_path / "rows.csv", rows, ("verdict", "review", "id"))
    named = {"text_column": "review", "label_column": "verdict"}
    checkpoint = train("run_classifier.py", "classify", model, data, tmp_path / "run", train_set=path, **named)
    flags = [str(word) for pair in named.items() for word in (f"--{pair[0]}", pair[1])]
    call = [str(checkpoint), path, "--output_dir", str(tmp_path / "report"), "--use_cuda", "false", *flags]
    assert report(call) == 0
    assert {entry.name for entry in (tmp_path / "report").iterdir()} == FILES
    facts = json.loads((tmp_path / "report" / "report.json").read_text())
    wrong = rows_of(tmp_path / "report" / "wrong.tsv")
    assert facts["rows"] == 30
    assert facts["accuracy"] == pytest.approx(1 - len(wrong) / 30)
    assert np.sum(facts["confusion"]["counts"]) == 30
    sure = [float(row["confidence"]) for row in wrong]
    assert sure == sorted(sure, reverse=True)
    for row in wrong:
        label, text, number = rows[int(row["line"]) - 2]
        assert (row["label"], row["text_a"], row["id"]) == (label, text, str(number))
        assert int(row["row"]) == int(row["line"]) - 1
        assert row["predicted"] == words[label == "awful"]
    said = capsys.readouterr()
    assert "Most confused" in said.out
    assert f"the report is in the directory {tmp_path / 'report'}: confusion.png, label_errors.tsv, " in said.err
    with pytest.raises(UserError, match="exists already: name another folder, or give --overwrite"):
        report(call)
    bare = write_tsv(tmp_path / "bare.tsv", [["good film"]], ["text_a"])
    with pytest.raises(
        UserError, match=r"column 'label' is missing \(there: text_a\); add it, or name it with --label_"
    ):
        report([str(checkpoint), bare, "--output_dir", str(tmp_path / "other"), "--use_cuda", "false"])


@pytest.mark.slow
def test_a_tagger(model, tmp_path):
    """Its F1 is that of finetune.score, windows over long sentences among them."""
    write_tagged(tmp_path / "train.tsv", tagged(60, 1, 15))
    path = write_tagged(tmp_path / "dev.tsv", tagged(20, 4, 60))
    (tmp_path / "map.json").write_text(json.dumps(IOB))
    given = {"test_set": path, "do_test": "true", "learning_rate": 1e-2, "epoch": 2, "num_labels": 5}
    given["label_map_config"] = tmp_path / "map.json"
    train("run_sequence_labeling.py", "sequence_label", model, tmp_path, tmp_path / "run", **given)
    report([str(tmp_path / "run" / "last"), path, "--output_dir", str(tmp_path / "report"), "--use_cuda", "false"])
    facts = json.loads((tmp_path / "report" / "report.json").read_text())
    (predictions,) = (tmp_path / "run").glob("test_out.tsv.*")
    scores = score_tags(predictions, path)
    assert (facts["f1"], facts["precision"], facts["tag_accuracy"]) == pytest.approx(
        (scores["f1"], scores["precision"], scores["tag_acc"])
    )
    assert facts["entities"] == scores["entities"]
    assert facts["types"].keys() == {"LOC", "PER"}
    assert facts["sentences"] == 20
    assert len(rows_of(tmp_path / "report" / "wrong.tsv")) == facts["wrong"]


@pytest.mark.slow
def test_reading_comprehension(model, tmp_path):
    random, paragraphs = np.random.RandomState(1), []
    for number in range(24):
        words = list(random.choice(OTHER[:9], 5 if number % 3 else 30))
        answer = random.choice(GOOD)
        words.insert(random.randint(len(words)), answer)
        paragraphs.append((" ".join(words), [(f"q{number}", "the cast ?", answer, answer)]))
    path = squad(tmp_path / "train.json", *paragraphs)
    own = {"doc_stride": 8, "max_answer_length": 4, "n_best_size": 5, "test_set": None, "do_val": "true", "epoch": 1}
    train("run_mrc.py", "mrc", model, tmp_path, tmp_path / "run", train_set=path, dev_set=path, **own)
    report([str(tmp_path / "run" / "last"), path, "--output_dir", str(tmp_path / "report"), "--use_cuda", "false"])
    facts = json.loads((tmp_path / "report" / "report.json").read_text())
    events = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    last = [each for each in events if each.get("event") == "dev"][-1]
    assert (100 * facts["em"], 100 * facts["f1"]) == pytest.approx((last["em"], last["f1"]))
    assert facts["several_windows"] == 8
    assert {entry.name for entry in (tmp_path / "report").iterdir()} == FILES - {"confusion.png"}
    (questions, *_) = facts["tables"]
    assert questions["rows"][0]["count"] == 24


@pytest.mark.slow
def test_a_regression(model, tmp_path):
    rows = [(f"{label * 2.5:.2f}", text) for label, text in sentences(30, 1)]
    path = write_tsv(tmp_path / "train.tsv", rows)
    train("run_classifier.py", "classify", model, tmp_path, tmp_path / "run", is_regression="true", num_labels=1,
          metric="pearson_and_spearman")  # fmt: skip
    report([str(tmp_path / "run" / "last"), path, "--output_dir", str(tmp_path / "report"), "--use_cuda", "false"])
    wrong = rows_of(tmp_path / "report" / "wrong.tsv")
    off = [abs(float(row["difference"])) for row in wrong]
    assert off == sorted(off, reverse=True)
    facts = json.loads((tmp_path / "report" / "report.json").read_text())
    assert facts["mean_error"] == pytest.approx(np.mean(off), abs=1e-3)
