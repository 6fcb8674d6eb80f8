"""Regression: against what the 2019 code computed, against scipy, and as its user starts it."""

import json
import re
import subprocess
import sys

import numpy as np
import paddle
import pytest
from scipy import stats

from ernie.checkpoint import read_params
from ernie.config import ErnieConfig
from finetune import metrics
from finetune.classification.regression import Regression
from finetune.spec import ModelSpec
from finetune.training.main import main
from propeller.errors import UserError
from propeller.train import program
from propeller.train.model import RunMode
from tests.helpers.common import GOLDEN, ROOT
from tests.helpers.modeling import CASES, batch_of
from tests.helpers.runs import read_records
from tests.helpers.tiny import flags, sentences, write_tsv

HEAD = ModelSpec(num_labels=1, metric="pearson_and_spearman")
FLAGS = {"is_classify": "false", "is_regression": "true", "num_labels": 1, "metric": "pearson_and_spearman"}
NUMBER = r"-?\d+\.\d{6}"


def scored(count, seed):
    """(label, text): a number that depends on the telling word and on the length."""
    return [(f"{2 * label - 1 + len(text) / 400:.3f}", text) for label, text in sentences(count, seed)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "task"
    folder.mkdir()
    for name, count, seed in (("train", 200, 1), ("dev", 33, 2), ("test", 7, 3)):
        write_tsv(folder / f"{name}.tsv", scored(count, seed))
    return folder


@pytest.fixture(scope="module")
def recorded():
    with open(GOLDEN / "5_metrics" / "classify_metrics.json") as file:
        return json.load(file)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("batch", ["b0", "b1"])
def test_the_network_equals_2019(case, batch):
    folder = GOLDEN / "3_model" / case
    config, io = ErnieConfig(str(folder / "ernie_config.json")), np.load(folder / "io.npz")
    heads = np.load(folder / "params.npz")
    paddle.enable_static()
    place, scope = paddle.CPUPlace(), paddle.static.Scope()
    executor = paddle.static.Executor(place)
    graph = program.build(lambda mode: Regression(config, HEAD, mode), RunMode.EVAL)
    arrays = {**read_params(str(folder / "params"))}
    arrays.update({name: heads[f"{name}@reg"] for name in ("_cls_out_w", "_cls_out_b")})
    wanted = program.parameters(graph.main)
    assert wanted["_cls_out_w"] == (config.hidden_size, 1)
    program.write(scope, place, {name: arrays[name] for name in wanted})
    feed = {**batch_of(io, batch), "labels": io[f"{batch}/reg/in_labels"]}
    feed = {name: feed[name] for name in graph.feeds}
    fetched = executor.run(graph.main, feed=feed, fetch_list=list(graph.fetches.values()), scope=scope)
    outputs = dict(zip(graph.fetches, fetched))
    np.testing.assert_allclose(outputs["scores/0"], io[f"{batch}/reg/logits"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(outputs["loss"], io[f"{batch}/reg/loss"].squeeze(), atol=1e-5, rtol=1e-5)


def test_correlations_equal_2019(recorded):
    for case in recorded["pearson"]:
        if "raised" in case["out"]:
            wanted = dict.fromkeys(("pearson", "spearmanr", "corr"), 0.0)  # 2019 stopped on a single row
        else:
            wanted = {name: 0.0 if value == "nan" else value for name, value in case["out"].items()}
        ours = metrics.pearson_and_spearman(np.array(case["scores"])[:, None], np.array(case["labels"])[:, None])
        assert ours == pytest.approx(wanted)


def test_correlations_equal_scipy():
    random = np.random.RandomState(3)
    predicted, labels = random.randn(200), np.round(random.rand(200) * 5, 1)
    ours = metrics.pearson_and_spearman(predicted, labels)
    assert ours["pearson"] == pytest.approx(stats.pearsonr(predicted, labels)[0])
    assert ours["spearmanr"] == pytest.approx(stats.spearmanr(predicted, labels)[0])
    assert ours["corr"] == pytest.approx((ours["pearson"] + ours["spearmanr"]) / 2)


def test_the_evaluation_line_equals_2019(recorded):
    case = recorded["evaluate_regression"][0]
    predicted, labels = (np.concatenate([batch[i] for batch in case["inputs"]]) for i in (1, 2))
    scores = {"loss": 0.0, "data_num": 7, **metrics.pearson_and_spearman(predicted, labels)}
    assert f"[dev evaluation] {Regression.evaluation_line(HEAD, scores, 0.0)}" == case["out"]


def lines_of(logits):
    return [Regression.legacy_line({"logits": row}, {}, HEAD) for row in logits]


def test_prediction_lines_equal_2019(recorded):
    case = recorded["predict_regression"]
    assert lines_of(np.array(case["preds"], "float32")[:, None]) == case["lines"]
    lines = (GOLDEN / "6_cli" / "out" / "reg_test.1.9").read_text().splitlines()
    values = np.array([[float(line.split("\t")[0])] for line in lines], "float32")
    assert lines_of(values) == lines


@pytest.mark.slow
def test_a_run_from_beginning_to_end(model, data, tmp_path):
    """Train, evaluate, predict; then the last checkpoint alone gives the same numbers."""
    folder = tmp_path / "run"
    command = [sys.executable, str(ROOT / "run_classifier.py")]
    done = subprocess.run(
        [*command, *flags(model, data, folder, **FLAGS, epoch=6, learning_rate=2e-3, validation_steps=25)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = done.stdout + done.stderr
    assert re.search(rf"epoch: 0, progress: 16/200, step: 2, ave loss: {NUMBER}, speed: {NUMBER} steps/s", text)
    line = rf"\[dev evaluation\] (ave loss: {NUMBER}, pearson:{NUMBER}, spearman:{NUMBER}, corr:{NUMBER}), elapsed time"
    evaluations = re.findall(line, text)
    assert len(evaluations) == 6
    assert re.search(r"\[test evaluation\] ave loss: ", text)
    figures = read_records(folder)
    last = [row for row in figures if row["event"] == "dev"][-1]
    assert last["corr"] > 0.8, "it learns"
    # The loss is the true one: the mean squared error of the predictions.
    tested = next(row for row in figures if row["event"] == "test" and row["checkpoint"] == "last")
    predicted = [float(row.split("\t")[0]) for row in (folder / "test_out.tsv.5.150").read_text().splitlines()]
    labels = [float(row.split("\t")[0]) for row in (data / "test.tsv").read_text().splitlines()[1:]]
    assert tested["loss"] == pytest.approx(np.mean(np.square(np.subtract(predicted, labels))), rel=1e-5)
    best = max((row for row in figures if row["event"] == "dev"), key=lambda row: row["corr"])
    assert (folder / "best").resolve().name == f"step_{best['step']}"
    assert json.loads((folder / "best" / "checkpoint.json").read_text())["task"] == "regression"
    alone = {
        "do_train": "false",
        "train_set": None,
        "init_pretraining_params": None,
        "init_checkpoint": folder / "last",
    }
    main(
        "run_classifier.py",
        "classify",
        flags(model, data, tmp_path / "unused", **FLAGS, **alone, test_save=tmp_path / "p"),
    )
    again = [float(row.split("\t")[0]) for row in (tmp_path / "p").read_text().splitlines()]
    np.testing.assert_allclose(again, predicted, atol=1e-5)


def test_diagnostics_are_predicted_with_the_last_and_with_the_best_checkpoint(model, data, tmp_path):
    """GLUE's diagnostic file has no labels; here the first evaluation stays the best one."""
    ax = write_tsv(tmp_path / "ax.tsv", [(i, text) for i, (_, text) in enumerate(sentences(5, 8))], ["qid", "text_a"])
    folder = tmp_path / "run"
    changes = {"epoch": 1, "diagnostic": ax, "diagnostic_save": folder / "ax_out", "test_set": None}
    write_tsv(tmp_path / "dev.tsv", [(1, text) for _, text in sentences(6, 9)])
    # Every class is 1 in the dev rows, and every one is 0 in the training rows: training makes it worse.
    write_tsv(tmp_path / "train.tsv", [(0, text) for _, text in sentences(40, 1)])
    given = {"validation_steps": 1, "save_steps": 1, "learning_rate": 2e-2, "warmup_proportion": 0.4}
    main("run_classifier.py", "classify", flags(model, tmp_path, folder, **changes, **given))
    steps = {name: (folder / name).resolve().name.split("_")[1] for name in ("best", "last")}
    files = sorted(path.name for path in folder.glob("ax_out.*"))
    assert files == sorted({f"ax_out.0.{steps['best']}", f"ax_out.0.{steps['last']}"})
    for name in files:
        assert [line.split("\t")[0] for line in (folder / name).read_text().splitlines()] == list("01234")
    assert steps["best"] != steps["last"]
    assert len({(folder / name).read_text() for name in files}) == 2


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("2.5", "good"), ("high", "bad")], ["line 3", "'high'", "number"]),
        ([("2.5", "good"), ("nan", "bad")], ["line 3", "'nan'", "number"]),
        ([("2.5", "good"), ("", "bad")], ["line 3", "number"]),
    ],
)
def test_labels_that_are_no_numbers(model, data, tmp_path, rows, words):
    train = write_tsv(tmp_path / "train.tsv", rows)
    with pytest.raises(UserError) as caught:
        main("run_classifier.py", "classify", flags(model, data, tmp_path / "run", **FLAGS, train_set=train))
    assert all(word in str(caught.value) for word in [train, *words])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metric": "acc_and_f1"}, ["--metric acc_and_f1 is for classes", "pearson_and_spearman"]),
        ({"num_labels": 2}, ["--is_regression", "--num_labels 1"]),
        ({"label_map_config": "map.json"}, ["--label_map_config"]),
        ({"is_regression": "false"}, ["--is_classify false", "--is_regression true"]),
        ({"is_regression": "false", "is_classify": "true"}, ["--metric pearson_and_spearman", "--is_regression true"]),
    ],
    ids=str,
)
def test_flags_that_do_not_go_together(model, data, tmp_path, changes, words):
    with pytest.raises(UserError) as caught:
        main("run_classifier.py", "classify", flags(model, data, tmp_path / "run", **{**FLAGS, **changes}))
    assert all(word in str(caught.value) for word in words)
