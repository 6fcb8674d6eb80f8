"""What somebody meets in the first hour: a quiet terminal and a whole log file, errors of settings before those of
files, predictions that stay apart, labels that are wrong, scores that nobody has to name."""

import json
import logging

import pytest

from ernie.config import NETWORK
from finetune import flags_of, task_class
from finetune.classification.regression import Regression
from finetune.prediction import args as prediction
from finetune.spec import read_record
from finetune.training.args import GROUPS, from_keywords, parse
from finetune.training.log_lines import all_flags
from finetune.training.main import main
from finetune.training.settled import settle_run
from pretrain.training import args as pretraining
from propeller import log as log_setup
from propeller.errors import UserError
from propeller.flags import changed, log_values
from propeller.train.args import log_path
from tests.helpers.tiny import flags, sentences, write_tsv

HEAD = "-----------  Configuration Arguments -----------"


def lines_of(text):
    return [line.partition("\t")[2] for line in text.splitlines()]


def test_the_terminal_shows_what_was_given_and_the_file_everything(model, data, tmp_path, capsys):
    folder = tmp_path / "run"
    given = {"test_set": None, "test_save": None, "epoch": 1, "bucket_window": 8, "label_smoothing": 0.1}
    main("run_classifier.py", "classify", flags(model, data, folder, **given))
    shown, whole = lines_of(capsys.readouterr().err), lines_of((folder / "train.log").read_text(encoding="utf8"))
    assert HEAD in whole
    assert "early_stop: 0" in whole
    assert "hidden_act: gelu" in whole
    assert [line for line in whole if line in shown] == shown
    assert len(shown) < 30
    (line,) = [line for line in shown if line.startswith("flags: ")]
    assert "--bucket_window 8" in line
    assert "--label_smoothing 0.1" in line
    assert "--use_cuda false" in line
    assert "early_stop" not in line
    assert line in shown[:3]


def test_what_a_flag_stands_for_is_not_shown_as_given(tmp_path):
    """--model stands for three flags, and a test set has a prediction file without a flag."""
    checkpoint = tmp_path / "best"
    checkpoint.mkdir()
    (checkpoint / "checkpoint.json").write_text(json.dumps({"task": "classify", NETWORK: {}}))
    (checkpoint / "vocab.txt").write_text("a\n")
    words = ["--model", str(checkpoint), "--test_set", "x.tsv", "--do_train", "false"]
    args = parse("t", "", [*words, "--vocab_path", "own.txt"], flags_of("classify").task)
    assert args.model.init_checkpoint == str(checkpoint)
    assert args.model.ernie_config_path.endswith("checkpoint.json")
    assert args.data.test_save.endswith("test_result")
    assert list(changed(all_flags(args), (*GROUPS.values(), type(args.task)))) == [
        "model", "vocab_path", "test_set", "do_train"
    ]  # fmt: skip
    given = prediction.parse("t", "", ["--model", str(checkpoint), "--predict_set", "x"], prediction.TableArgs)
    assert given.model.init_checkpoint == str(checkpoint)
    assert list(given.changed()) == ["model", "predict_set"]


@pytest.mark.parametrize(
    ("log_file", "folder", "expected"),
    [("auto", "run", "run/train.log"), ("auto", None, None), ("off", "run", None), ("x.log", None, "x.log")],
)
def test_where_the_log_goes(log_file, folder, expected):
    found = log_path(log_file, folder)
    assert (found and str(found)) == expected


def test_everything_is_shown_on_request(capsys):
    for everything in (False, True):
        log_setup.setup(everything=everything)
        log_values(logging.getLogger("ernie.test"), {"epoch": 3, "shuffle": True}, shown={"shuffle": True})
        shown = lines_of(capsys.readouterr().err)
        assert ("epoch: 3" in shown) is everything
        assert "flags: --shuffle true" in shown


def test_flags_that_differ_from_their_defaults():
    args = parse("p", "", ["--ernie_config_path", "c", "--vocab_path", "v", "--train_set", "t", "--epoch", "3"])
    values = {name: value for group in args[:4] for name, value in vars(group).items()}
    assert changed(values, GROUPS.values()) == {"ernie_config_path": "c", "vocab_path": "v", "train_set": "t"}


def test_a_log_that_cannot_be_written_is_told_before_the_run(tmp_path):
    with pytest.raises(UserError, match="a directory where the log is to be: name a file"):
        log_setup.setup(tmp_path)
    log_setup.setup(tmp_path / "a" / "b" / "run.log")
    assert not (tmp_path / "a").exists()
    logging.getLogger("ernie.test").info("a line")
    assert lines_of((tmp_path / "a" / "b" / "run.log").read_text()) == ["a line"]


def test_no_log_is_left_of_a_run_that_never_began(model, data, tmp_path):
    with pytest.raises(UserError, match="max_position_embeddings"):
        main("p", "classify", flags(model, data, tmp_path / "run", max_seq_len=4000))
    assert not (tmp_path / "run").exists()


SETTINGS = {
    "learning rate": ("classify", {"warmup_proportion": 2}, "--warmup_proportion must be"),
    "length": ("classify", {"max_seq_len": 4000}, "--max_seq_len 4000"),
    "metric": ("classify", {"metric": "pearson_and_spearman"}, "is for numbers"),
    "f1": ("classify", {"f1_average": "macro"}, "has no F1"),
    "best": ("classify", {"best_metric": "speed"}, "--best_metric speed"),
    "windows": ("classify", {"window_stride": 4}, "--window_stride is for texts in windows"),
    "threshold": ("classify", {"multi_label": True, "label_separator": "\t"}, "--label_separator"),
    "stride": ("mrc", {"doc_stride": 0}, "--doc_stride must be at least 1"),
    "task id": ("sequence_label", {"task_id": 9}, "task_id"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_wrong_setting_is_said_before_a_missing_file(case, model, tmp_path):
    task, changes, message = SETTINGS[case]
    given = {"model": model, "train_set": tmp_path / "missing.tsv", "checkpoints": tmp_path / "run", "max_seq_len": 24}
    with pytest.raises(UserError, match=message):
        settle_run(task_class(task), from_keywords({**given, **changes}, flags_of(task).task))
    if task == "classify":
        with pytest.raises(UserError, match="missing.tsv"):
            settle_run(task_class(task), from_keywords(given, flags_of(task).task))


def test_wrong_settings_come_first_on_the_command_line_too():
    needed = ["--ernie_config_path", "c", "--vocab_path", "v"]
    with pytest.raises(UserError, match="--batch_size must be at least 1"):
        parse("p", "", [*needed, "--batch_size", "0"])
    with pytest.raises(UserError, match="training needs --train_set; --do_train false evaluates and predicts only"):
        parse("p", "", needed)
    with pytest.raises(UserError, match="no model: give --model, the directory of a model or a checkpoint; see p --he"):
        parse("p", "", [])
    with pytest.raises(UserError, match="--vocab_path is missing"):
        parse("p", "", needed[:2])
    with pytest.raises(UserError, match="--batch_size must be 1 or more"):
        pretraining.parse("p", "", [*needed, "--batch_size", "0"])
    with pytest.raises(UserError, match="training needs --train_filelist"):
        pretraining.parse("p", "", needed)


@pytest.mark.parametrize(("sets", "expected"), [("a", "o/test_result"), ("a,b", "o/test_result,o/test_result_2")])
def test_predictions_lie_in_the_directory_of_their_run(sets, expected):
    words = ["--ernie_config_path", "c", "--vocab_path", "v", "--train_set", "t", "--test_set", sets]
    assert parse("p", "", [*words, "--checkpoints", "o"]).data.test_save == expected
    assert parse("p", "", [*words, "--test_save", sets]).data.test_save == sets


def test_a_wrong_label_is_told_with_its_line_and_the_flag(model, data, tmp_path):
    rows = sentences(30, 4)
    rows[16] = ("7", "the film")
    wrong = write_tsv(tmp_path / "train.tsv", rows)
    for changes, message in (
        ({"num_labels": 2}, "train.tsv, line 18: label 7 is out of range; labels are from 0 to 1: .* or --num_labels"),
        (
            {"label_map_config": tmp_path / "map.json"},
            r"line 18: label '7' is not in .* \(0, 1\); .*--label_map_config",
        ),
    ):
        (tmp_path / "map.json").write_text(json.dumps({"0": 0, "1": 1}))
        with pytest.raises(UserError, match=message):
            main("p", "classify", flags(model, data, tmp_path / "run", train_set=wrong, random_seed=5, **changes))


def test_regression_has_a_score_that_nobody_names(model, tmp_path):
    rows = [(0.5 * (number % 3), text) for number, (_, text) in enumerate(sentences(24, 6))]
    train = write_tsv(tmp_path / "train.tsv", rows)
    folder = tmp_path / "run"
    given = {"dev_set": train, "test_set": None, "test_save": None, "epoch": 1, "train_set": train}
    main("p", "regression", flags(model, tmp_path, folder, **given))
    record = json.loads((folder / "run.json").read_text())["fingerprint"]["flag"]
    assert record["--metric"] == "pearson_and_spearman"
    assert read_record(folder / "best")["metric"] == "pearson_and_spearman"
    args = from_keywords({"model": model, "train_set": train, "metric": "acc_and_f1"}, Regression.flags)
    with pytest.raises(UserError, match="--metric acc_and_f1 is for classes: of numbers it is pearson_and_spearman"):
        settle_run(Regression, args)
