"""A table of one's own, as a newcomer has it: columns of other names, words as labels, pairs, typos, odd labels."""

import csv
import io
import logging
from pathlib import Path

import numpy as np
import pytest

import finetune
from distill.augment import main as augment
from finetune.embedding.main import main as embed
from finetune.labels import find_labels, log_labels
from finetune.pairs import warn_of_request
from finetune.prediction import main as prediction
from finetune.report import main as report
from finetune.split import main as split
from finetune.training.main import main as classify
from propeller import runtime
from propeller.errors import UserError
from propeller.train.saver import Saver
from reader.row_encoder import MODEL, ROWS, LabelRule
from reader.tables.form import TableForm
from tests.helpers.predicting import train, words
from tests.helpers.row_files import write_as
from tests.helpers.tiny import flags, sentences

HEADER = ("id", "subject", "body", "team")
PAIR = {"text_column": "body", "text_pair_column": "subject", "label_column": "team"}
TYPO = r"tickets.csv, line 1: no column 'taem' \(--label_column; there: id, subject, body, team\)"


def rows(count, seed):
    """Tickets; the text of every third has a line end, so that its line is not its row."""
    made = []
    for number, (label, text) in enumerate(sentences(count, seed)):
        body = text.replace(" ", "\n", 1) if number % 3 == 0 else text
        made.append((f"T-{number}", "the cast", body, ("billing", "sales")[label]))
    return made


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    write_as(folder / "tickets.csv", rows(40, 1), HEADER)
    write_as(folder / "dev.csv", rows(20, 2), HEADER)
    return folder


@pytest.fixture(scope="module")
def pairs(model, place, tmp_path_factory):
    """A model of pairs."""
    folder = tmp_path_factory.mktemp("run") / "run"
    return train("python -m finetune classify", "classify", model, place, folder, train_set=place / "tickets.csv",
                 dev_set=None, test_set=None, test_save=None, **PAIR)  # fmt: skip


def own(call, **given):
    return [*map(str, call), *words(**{"use_cuda": "false", **given})]


@pytest.fixture
def no_model(monkeypatch):
    """What is wrong is to be said before Paddle is made ready."""
    monkeypatch.setattr(runtime, "prepare", lambda: pytest.fail("a model was about to be loaded"))


def test_a_label_column_that_is_not_there(place, pairs, no_model, tmp_path):
    """The same words in every program, before a model is loaded and before output is looked at."""
    tickets, typo = place / "tickets.csv", {"text_column": "body", "label_column": "taem"}
    there = tmp_path / "there"
    there.mkdir()
    (there / "train.csv").write_text("")
    with pytest.raises(UserError, match=TYPO):
        split([str(tickets), "--output_dir", str(there), *words(**typo, use_cuda=None)])
    with pytest.raises(UserError, match=TYPO):
        augment([str(tickets), str(tmp_path / "more.tsv"), *words(**typo, use_cuda=None)])
    with pytest.raises(UserError, match=TYPO):
        report(own([pairs, tickets], output_dir=there, **typo))
    with pytest.raises(UserError, match=TYPO):
        prediction.main("infer_classifyer.py", ("classify",), own([], model=pairs, predict_set=tickets, **typo))
    with pytest.raises(UserError, match=r"no column 'subjct' \(--text_pair_column; there: id, subject, body, team\)"):
        embed("ernie_encoder.py", own([], model=pairs, data_set=tickets, output_dir=tmp_path / "vectors",
                                      text_column="body", text_pair_column="subjct"))  # fmt: skip
    assert not (tmp_path / "vectors").exists()


def test_a_column_that_standard_input_lacks(pairs, monkeypatch, tmp_path, capsys):
    """It is read before a model is loaded, and named."""
    given = own([], model=pairs, predict_set="-", output=tmp_path / "new.tsv", text_column="body", format="csv")
    with monkeypatch.context() as patched:
        patched.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"id,bdy\n1,good film\n")))
        patched.setattr("finetune.prediction.run.open_source", lambda *_: pytest.fail("a model was about to be loaded"))
        with pytest.raises(
            UserError, match=r"^standard input, line 1: no column 'body' \(--text_column; there: id, bdy"
        ):
            prediction.main("infer_classifyer.py", ("classify",), given)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"id,body\n1,good film\n")))
    prediction.main("infer_classifyer.py", ("classify",), given)
    assert "standard input: the model was trained on pairs of texts" in capsys.readouterr().err
    assert (tmp_path / "new.tsv").read_text().splitlines()[1].split("\t")[:2] == ["1", "good film"]


def test_a_label_column_where_nothing_but_test_sets_is_read(model, place, pairs, tmp_path):
    given = {**PAIR, "label_column": "taem", "do_train": "false", "dev_set": None, "init_pretraining_params": None,
             "init_checkpoint": pairs, "test_set": place / "tickets.csv"}  # fmt: skip
    with pytest.raises(UserError, match=TYPO):
        classify("python -m finetune classify", "classify", flags(model, place, tmp_path / "run", **given))


def test_a_split_without_a_label_says_so(place, tmp_path, capsys):
    split([str(place / "tickets.csv"), "--output_dir", str(tmp_path), "--text_column", "body"])
    assert "no column 'label': rows are drawn whatever their labels; --label_column names it" in capsys.readouterr().err


def test_reports_keep_the_columns_and_number_the_rows(place, pairs, tmp_path, capsys):
    folder = tmp_path / "report"
    report(own([pairs, place / "dev.csv"], output_dir=folder, **PAIR))
    text = capsys.readouterr()
    assert "Likely label errors" not in text.out, "rows are in files"
    assert "trained on pairs" not in text.err
    given = dict(enumerate(rows(20, 2), 1))
    lines = np.cumsum([2, *(row[2].count("\n") + 1 for row in given.values())])
    for name, said in (("wrong.tsv", "predicted"), ("label_errors.tsv", "suggested")):
        with open(folder / name, encoding="utf8", newline="") as file:
            found = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
            header = list(found[0]) if found else []
        assert not found or header[:4] == ["row", "line", "label", said]
        for row in found:
            number, subject, body, team = given[int(row["row"])]
            assert (row["id"], row["text_b"], row["text_a"], row["label"]) == (
                number, subject, body.replace("\n", " "), team,
            )  # fmt: skip
            assert int(row["line"]) == lines[int(row["row"]) - 1]
    assert (folder / "wrong.tsv").read_text().count("\n") > 1


def test_a_model_of_pairs_is_given_single_texts(place, pairs, tmp_path, capsys):
    single = {"text_column": "body", "label_column": "team"}
    said = "the model was trained on pairs of texts, and these rows have one text"
    report(own([pairs, place / "dev.csv"], output_dir=tmp_path / "report", **single))
    assert said in capsys.readouterr().err
    new = {"model": pairs, "predict_set": place / "dev.csv", "output": tmp_path / "new.tsv"}
    prediction.main("infer_classifyer.py", ("classify",), own([], **new, **single))
    log = capsys.readouterr().err
    assert f"dev.csv: {said}" in log
    assert "--text_pair_column" in log
    embed("ernie_encoder.py", own([], model=pairs, data_set=place / "dev.csv", output_dir=tmp_path / "vectors",
                                  text_column="body", no_top_layer="true"))  # fmt: skip
    assert said in capsys.readouterr().err
    prediction.main("infer_classifyer.py", ("classify",), own([], **new, **PAIR))
    assert said not in capsys.readouterr().err


def test_a_model_of_pairs_is_asked_for_single_texts(pairs, caplog):
    """From Python, and so at the server, whose requests go through the same handler: once for all requests."""
    logging.getLogger("ernie").propagate = True
    with finetune.load(pairs, use_cuda=False) as predictor, caplog.at_level("WARNING", logger="ernie"):
        predictor([("good film", "the cast"), "dull film"])
        assert caplog.messages == []
        for texts in (["good film"], ["dull film", "good film"]):
            predictor(texts)
    (said,) = caplog.messages
    assert said.startswith("the model was trained on pairs of texts, and is asked for single ones, which it answers")


@pytest.mark.parametrize(
    ("pairs", "second", "warned"),
    [(True, ["", " "], True), (True, ["", "a"], False), (False, ["", "a"], True), (False, [""], False),
     (None, ["a"], False)],
)  # fmt: skip
def test_which_requests_are_warned_of(caplog, pairs, second, warned):
    logging.getLogger("ernie").propagate = True
    assert warn_of_request(pairs, [("text", each) for each in second]) is warned
    assert ["single texts" in message for message in caplog.messages] == ([not pairs] if warned else [])


def refused(model, place, folder, **given):
    """The message with which a training is refused, which leaves no directory."""
    values = {"test_set": None, "test_save": None, "dev_set": None, **PAIR, "text_pair_column": None, **given}
    with pytest.raises(UserError) as caught:
        classify("python -m finetune classify", "classify", flags(model, place, folder, **values))
    assert not folder.exists()
    return str(caught.value)


def test_rows_that_training_refuses(model, place, tmp_path):
    """The user's column is named, and every remedy is one that works."""
    good = rows(20, 1)
    blank = write_as(tmp_path / "blank.csv", [*good, ("T", "s", "good film", " ")], HEADER)
    assert "blank.csv, line 29: column 'team' is empty; put a label there or remove the row" in refused(
        model, place, tmp_path / "a", train_set=blank
    )
    bare = write_as(tmp_path / "bare.jsonl", [*good, ("T", "s", " ", "sales")], HEADER)
    assert "bare.jsonl, line 21: column 'body' is empty; put its text there or remove the row" in refused(
        model, place, tmp_path / "b", train_set=bare
    )
    for number, (label, hint) in enumerate((("refund", ""), ("Billing", "; did you mean 'billing'?"))):
        dev = write_as(tmp_path / "dev.csv", [*rows(3, 2)[1:], ("T", "s", "good film", label)], HEADER)
        message = refused(model, place, tmp_path / f"c{number}", train_set=place / "tickets.csv", dev_set=dev)
        assert message.endswith(
            f"dev.csv, line 4: label '{label}' is in no training row (there: billing, sales){hint}; correct it, or add "
            "rows with it to the training file; or leave it out with --on_bad skip"
        )


def test_a_model_does_not_learn_a_label_from_a_flag():
    rule = LabelRule("class", {"billing": 0, "sales": 1}, 2, origin=MODEL)
    with pytest.raises(
        ValueError, match=r"^label 'refund' is unknown to the model, which has billing, sales; correct it$"
    ):
        rule.read("refund")
    with pytest.raises(ValueError, match=r"label ' sales' begins or ends with a blank: take it out$"):
        rule.read(" sales")
    with pytest.raises(ValueError, match=r"labels are from 0 to 1: correct it$"):
        LabelRule("class", None, 2, origin=MODEL).read("2")
    with pytest.raises(ValueError, match="is in no training row"):
        LabelRule("set", {"billing": 0, "sales": 1}, 2, origin=ROWS).read("billing,refund")
    for kind, mapping in (("class", {"a": 0}), ("class", None), ("float", None)):
        with pytest.raises(ValueError, match=r"^column 'team' is empty; put a label there or remove the row$"):
            LabelRule(kind, mapping).read(" ", "column 'team'")
    assert LabelRule("class", {"": 0, "a": 1}).read("") == 0


def test_labels_that_differ_in_case_or_blanks_are_told(tmp_path, caplog):
    from finetune.classification.classifier import Classifier

    labels = ["billing", "Billing", "sales", "sales  team", "sales team"]
    path = write_as(tmp_path / "rows.jsonl", [(label, "good") for label in labels])
    logging.getLogger("ernie").propagate = True
    with caplog.at_level("WARNING", logger="ernie"):
        log_labels(path, find_labels(Classifier, path, TableForm(), None))
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "alone are classes of their own: 'Billing' (1), 'billing' (1); write them alike" in said[0]
    assert "'sales  team' (1), 'sales team' (1)" in said[1]


def test_flags_that_need_a_dev_set(model, place, tmp_path):
    tickets = {"train_set": place / "tickets.csv"}
    for name, value in (("early_stop", 2), ("best_metric", "loss"), ("eval_strategy", "epoch")):
        assert f"--{name} {value} needs --dev_set: " in refused(
            model, place, tmp_path / "r", **tickets, **{name: value}
        )
        given = {**tickets, "dev_set": place / "dev.csv", "do_val": "false", name: value}
        assert f"--{name} {value} needs --do_val true: " in refused(model, place, tmp_path / "r", **given)


def test_a_folder_that_was_not_used_goes_with_its_saver(tmp_path):
    folder = tmp_path / "new" / "run"
    saver = Saver(folder, None, None)
    assert folder.is_dir()
    saver.close()
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    Saver(tmp_path / "old", None, None).close()
    assert (tmp_path / "old").is_dir(), "one that was there stays"
    saver = Saver(folder, None, None)
    saver.claim({"flag": 1})
    saver.close()
    assert sorted(path.name for path in Path(folder).iterdir()) == [".lock", "run.json"]
