"""The options of training as flags: what they come to, what is refused, that runs go on and are recorded.

python -m pytest tests/finetune/test_training_options.py
"""

import json
from dataclasses import fields

import numpy as np
import pytest

from distill.students.config import StudentConfig
from ernie.checkpoint import read_params
from ernie.config import ErnieConfig
from ernie.optimization import SCHEDULERS
from finetune import TASKS, task_class
from finetune.spec import ModelSpec
from finetune.training.args import TrainArgs, from_keywords
from finetune.training.fingerprint import FORMER
from finetune.training.main import main
from finetune.training.options import DEFAULTS, OPTIONS
from finetune.training.schedule import log_plan, make_optimizer, num_steps, optimization
from finetune.training.settled import settle_run
from finetune.training.train_model import check_model_options, loss_options
from propeller.errors import UserError
from propeller.train.averaging import Averaged
from propeller.train.faults import Stopped
from propeller.train.hooks import RunHook
from propeller.train.trainer import Learner
from reader.batch_reader import drawn
from tests.helpers.runs import log_of
from tests.helpers.tiny import CONFIG, flags, write_tsv

FILES = {"ernie_config_path": "c", "vocab_path": "v", "train_set": "t"}


def given(**changes):
    return from_keywords({**FILES, **changes}, task_class("classify").flags)


def run(model, data, folder, **changes):
    """A run without predictions; what it said."""
    values = {"epoch": 2, "do_test": "false", "validation_steps": 0, "eval_strategy": "steps", **changes}
    return log_of(main, "run_classifier.py", "classify", flags(model, data, folder, **values))


def record_of(folder):
    return json.loads((folder / "run.json").read_text())


def test_the_flags_reach_the_optimiser():
    args = given(
        max_steps=50, lr_scheduler="cosine", lr_end=1e-6, beta1=0.8, beta2=0.95, adam_epsilon=1e-6, max_grad_norm=0,
        layer_lr_decay=0.9, learning_rate=1e-4, warmup_proportion=0.2, weight_decay=0.1,
    )  # fmt: skip
    config = optimization(args, num_steps(args, None, 1000), ErnieConfig(CONFIG))
    found = (config.num_train_steps, config.warmup_steps, config.scheduler, config.end_rate, config.power)
    assert found == (50, 10, "cosine", 1e-6, 1.0)
    found = (config.beta1, config.beta2, config.epsilon, config.clip_norm, config.layer_decay, config.layers)
    assert found == (0.8, 0.95, 1e-6, 0.0, 0.9, 2)
    assert optimization(given(lr_scheduler="polynomial", lr_power=2), 9, ErnieConfig(CONFIG)).power == 2.0
    assert num_steps(args, None, 1000, whole=True) == 50
    assert not isinstance(make_optimizer(args, 50, ErnieConfig(CONFIG)), Averaged)


def plan(rows, caplog, **changes):
    """The lines on the steps of a run, number by name."""
    caplog.clear()
    no_memory = type("Task", (), {"memory_line": staticmethod(lambda *args, **more: None), "needs_head": True})
    with caplog.at_level("INFO", "ernie.finetune"):
        log_plan(given(**changes), no_memory, ModelSpec(max_seq_len=8), None, "Place(cpu)", rows)
    lines = (line.partition(": ") for line in caplog.messages)
    return {name.removeprefix("Num "): number.partition(" ")[0] for name, _, number in lines if "steps" in name}


def test_the_log_counts_the_steps_that_are_made(caplog):
    """With a short last batch there are more than the schedule's, which 2019 rounded down."""
    few = {"batch_size": 4, "epoch": 3, "warmup_proportion": 0.5}
    assert plan(8, caplog, **few) == {"Max train steps": "6", "warmup steps": "3"}
    assert plan(9, caplog, **few) == {"Max train steps": "9", "warmup steps": "3", "schedule steps": "6"}
    assert plan(9, caplog, max_steps=4, **few) == {"Max train steps": "4", "warmup steps": "2"}
    assert plan(9, caplog, in_tokens=True, **{**few, "batch_size": 32}) == {"Max train steps": "6", "warmup steps": "3"}


def test_the_flags_reach_the_means():
    ema = make_optimizer(given(ema_decay=0.9), 100, ErnieConfig(CONFIG))
    assert [ema.rate(step) for step in (0, 1000)] == [1.0, pytest.approx(0.1)]
    swa = make_optimizer(given(swa_start=0.75, swa_every=5), 100, ErnieConfig(CONFIG))
    assert [swa.rate(step) for step in (74, 75, 76, 80)] == [1.0, 1.0, 0.0, 0.5]


def test_defaults_change_nothing_and_old_records_mean_them():
    args = given()
    config = optimization(args, 10, ErnieConfig(CONFIG))
    assert (config.beta1, config.beta2, config.epsilon, config.clip_norm) == (0.9, 0.999, 1e-8, 1.0)
    assert not loss_options(args.loss).changes
    names = {entry.name for group in OPTIONS for entry in fields(group)} | {"early_stop_min_gain"}
    assert set(DEFAULTS) == names
    assert {name: FORMER[name] for name in names} == DEFAULTS
    (choices,) = [entry.metadata["choices"] for entry in fields(TrainArgs) if entry.name == "lr_scheduler"]
    assert choices == SCHEDULERS


REFUSED = [
    ({"max_steps": -1}, "--max_steps must be 0 or more, not -1"),
    ({"beta1": 1.0}, "--beta1 must be from 0 to below 1, not 1"),
    ({"beta2": -0.1}, "--beta2 must be from 0 to below 1, not -0.1"),
    ({"adam_epsilon": 0.0}, "--adam_epsilon must be above 0, not 0"),
    ({"max_grad_norm": -1.0}, "--max_grad_norm must be 0 or more, not -1"),
    ({"layer_lr_decay": 1.5}, "--layer_lr_decay must be above 0, 1 at most, not 1.5"),
    ({"freeze_layers": -1}, "--freeze_layers must be 0 or more, not -1"),
    ({"label_smoothing": 1.0}, "--label_smoothing must be from 0 to below 1, not 1"),
    ({"focal_gamma": float("nan")}, "--focal_gamma must be 0 or more, not nan"),
    ({"rdrop_alpha": -1.0}, "--rdrop_alpha must be 0 or more, not -1"),
    ({"fgm_epsilon": -1.0}, "--fgm_epsilon must be 0 or more, not -1"),
    ({"ema_decay": 1.0}, "--ema_decay must be from 0 to below 1, not 1"),
    ({"swa_start": 1.5}, "--swa_start must be from 0 to 1, not 1.5"),
    ({"swa_every": 0}, "--swa_every must be 1 or more, not 0"),
    ({"early_stop_min_gain": -1.0}, "--early_stop_min_gain must be 0 or more, not -1"),
    ({"class_weights": "1,x"}, "--class_weights 1,x: give a number from 0 on for each class, as in 1,2.5, or balanced"),
    ({"class_weights": "0,0"}, "--class_weights 0,0: give a number"),
    ({"lr_power": 2.0}, "--lr_power needs --lr_scheduler polynomial: give that too, or leave it out"),
    ({"lr_end": 1e-6}, "--lr_end needs --lr_scheduler cosine or polynomial"),
    ({"lr_end": 1.0, "lr_scheduler": "cosine"}, "--lr_end must be from 0 to --learning_rate, not 1"),
    ({"swa_every": 2}, "--swa_every needs --swa_start below 1"),
    ({"early_stop_min_gain": 0.1}, "--early_stop_min_gain needs --early_stop above 0"),
    ({"ema_decay": 0.9, "swa_start": 0.5}, "--ema_decay with --swa_start: give one of them"),
    ({"fgm_epsilon": 1.0, "use_recompute": True}, "--fgm_epsilon with --use_recompute: leave one of them out"),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_what_is_refused(case):
    changes, message = REFUSED[case]
    with pytest.raises(UserError) as error:
        given(**changes)
    assert str(error.value).startswith(message)


UNFIT = [
    ("classify", {"class_weights": "1,2,3"}, "--class_weights has 3 numbers for 2 classes: give one for each"),
    ("classify", {"freeze_layers": 3}, "--freeze_layers 3: the network has 2 layers: give fewer"),
    ("classify", {"freeze_embeddings": True, "fgm_epsilon": 1.0}, "--fgm_epsilon needs the gradient of the embeddings"),
    ("regression", {"label_smoothing": 0.1}, "--label_smoothing: the task regression has no such loss: leave it out"),
    ("mrc", {"focal_gamma": 1.0}, "--focal_gamma: the task mrc has no such loss: leave it out"),
    ("student", {"rdrop_alpha": 1.0}, "--rdrop_alpha: the task student with a teacher has no such loss: leave it out"),
]


@pytest.mark.parametrize("case", range(len(UNFIT)))
def test_what_does_not_fit_the_task(case, model, tmp_path):
    name, changes, message = UNFIT[case]
    task = task_class(name)
    more = {"is_regression": True, "metric": "pearson_and_spearman"} if name == "regression" else {}
    more = {"unlabelled_set": "u"} if name == "student" else more
    files = {"ernie_config_path": str(model / "ernie_config.json"), "vocab_path": str(model / "vocab.txt")}
    files["train_set"] = write_tsv(tmp_path / "train.tsv", [("0", "good"), ("1", "bad")])
    values = {**FILES, **files, **more, "max_seq_len": 24, "do_train": True, "for_cn": False, **changes}
    cls = task_class("classify") if name == "regression" else task
    labels = {"num_labels": 1} if name == "regression" else {}
    with pytest.raises(UserError) as error:
        settle_run(cls, from_keywords({**values, **labels}, cls.flags))
    assert str(error.value).startswith(message)


def test_networks_without_layers_have_none_to_freeze():
    config = StudentConfig({"network": "bow", "vocab_size": 30, "embedding_size": 4})
    for changes in ({"freeze_layers": 1}, {"freeze_embeddings": True}, {"layer_lr_decay": 0.9}, {"fgm_epsilon": 1.0}):
        args = given(**changes)
        task = task_class("classify")
        with pytest.raises(UserError, match=f"--{next(iter(changes))} is for networks of encoder layers"):
            check_model_options(args, task, None, config)


def test_every_task_says_which_losses_it_knows():
    known = {name: set(task_class(name).loss_flags) for name in TASKS if task_class(name).trains}
    every = {entry.name for entry in fields(OPTIONS[1])}
    assert {name for name, names in known.items() if names == every} >= {"classify", "sequence_label", "student"}
    for name, names in known.items():
        task = task_class(name)
        assert names <= every
        assert ("rdrop_alpha" in names) == (task.divergence is not task_class("embed").divergence)


def test_a_loss_of_its_own_inherits_no_flags():
    class Other(task_class("classify")):
        def loss(self, predictions, label):
            return predictions["logits"].mean()

    class Same(task_class("classify")):
        pass

    assert Other.loss_flags == ("fgm_epsilon",)
    assert Same.loss_flags == task_class("classify").loss_flags


def test_balanced_weights_count_what_the_loss_counts():
    labels = np.array([[[2, 0, 1, 2, 2, 2]], [[2, 0, 2, 2, 2, 2]]], "int64").reshape([2, 6])
    task, spec = task_class("sequence_label"), type("Spec", (), {"num_labels": 3})
    counts = task.count_classes({"labels": labels, "seq_lens": np.array([[4], [3]])}, spec)
    assert counts.tolist() == [2, 1, 4]
    assert task_class("classify").count_classes({"labels": np.array([[1], [1]])}, spec).tolist() == [0, 2, 0]


def test_balanced_weights_are_those_of_the_rows_that_are_trained_on(model, data, tmp_path):
    """--max_train_rows draws them; a class that none of them has is said to be missing there."""
    rows = (data / "train.tsv").read_text().splitlines()[1:]
    kept = drawn(len(rows), 15, 1)
    ones = sum(rows[row].startswith("1") for row in kept)
    assert 0 < ones < 15
    assert ones / 15 != sum(row.startswith("1") for row in rows) / len(rows)
    given = {"max_steps": 2, "class_weights": "balanced", "max_train_rows": 15}
    said = run(model, data, tmp_path / "run", **given)
    assert f"class weights: 0 {15 / (2 * (15 - ones)):.4f}, 1 {15 / (2 * ones):.4f}\n" in said
    with pytest.raises(UserError, match="or raise --max_train_rows"):
        run(model, data, tmp_path / "few", **{**given, "max_train_rows": 1})


def test_a_run_of_so_many_steps_with_balanced_weights(model, data, tmp_path):
    """Beyond --epoch, too; records of runs from before these flags are those of runs without them."""
    rows = (data / "train.tsv").read_text().splitlines()[1:]
    ones = sum(row.startswith("1") for row in rows)
    said = run(model, data, tmp_path / "run", max_steps=7, epoch=1, class_weights="balanced")
    expected = [len(rows) / (2 * count) for count in (len(rows) - ones, ones)]
    assert "class weights: 0 {:.4f}, 1 {:.4f}\n".format(*expected) in said
    assert "Max train steps: 7\n" in said
    record = record_of(tmp_path / "run")
    assert record["steps"] == 7
    recorded = record["fingerprint"]["flag"]
    assert recorded["--class_weights"] == "balanced"
    assert {name: recorded[f"--{name}"] for name in DEFAULTS} == {
        **DEFAULTS, "max_steps": 7, "class_weights": "balanced"
    }  # fmt: skip
    with pytest.raises(UserError, match=r"--max_steps was 7, now 8"):
        run(model, data, tmp_path / "run", max_steps=8, epoch=1, class_weights="balanced")
    run(model, data, tmp_path / "old", epoch=1)
    record = record_of(tmp_path / "old")
    for name in DEFAULTS:
        del record["fingerprint"]["flag"][f"--{name}"]
    (tmp_path / "old" / "run.json").write_text(json.dumps(record))
    assert "this run is finished" in run(model, data, tmp_path / "old", epoch=1)
    with pytest.raises(UserError, match="--label_smoothing was 0.0, now 0.1"):
        run(model, data, tmp_path / "old", epoch=1, label_smoothing=0.1)


EVERYTHING = {
    "class_weights": "1,1.5", "label_smoothing": 0.1, "focal_gamma": 1.0, "rdrop_alpha": 1.0, "fgm_epsilon": 0.5,
    "layer_lr_decay": 0.8, "lr_scheduler": "cosine", "beta2": 0.98, "max_grad_norm": 0.5,
}  # fmt: skip


class Stop(RunHook):
    def __init__(self, step):
        self.step = step

    def after_step(self, learner, state):
        if state.step == self.step:
            learner.ask_to_stop("the test says so")


@pytest.mark.slow
@pytest.mark.parametrize("fused", ["false", "auto"])
@pytest.mark.parametrize("averaging", [{"ema_decay": 0.9}, {"swa_start": 0.3, "swa_every": 2}], ids=["ema", "swa"])
def test_a_run_with_everything_goes_on_exactly(fused, averaging, model, data, tmp_path, monkeypatch):
    changes = {**EVERYTHING, **averaging, "gradient_accumulation_steps": 2, "fused_encoder": fused, "batch_size": 4}
    run(model, data, tmp_path / "whole", **changes)
    train = Learner.train

    def cut(self, open_batches, size, saver, evaluations, hooks):
        return train(self, open_batches, size, saver, evaluations, [*hooks, Stop(5)])

    monkeypatch.setattr(Learner, "train", cut)
    with pytest.raises(Stopped):
        run(model, data, tmp_path / "cut", **changes)
    monkeypatch.undo()
    said = run(model, data, tmp_path / "cut", **changes)
    assert "continue from step 6" in said
    one, other = (read_params(tmp_path / name / "last") for name in ("whole", "cut"))
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


@pytest.mark.slow
def test_frozen_weights_stay(model, data, tmp_path):
    run(model, data, tmp_path / "run", freeze_layers=1, ema_decay=0.5, max_steps=3)
    before, after = read_params(model / "params"), read_params(tmp_path / "run" / "last")
    same = {name for name in before if np.array_equal(before[name], after[name])}
    assert {"word_embedding", "pre_encoder_layer_norm_bias", "encoder_layer_0_ffn_fc_1.w_0"} <= same
    assert not {name for name in same if name.startswith(("encoder_layer_1", "pooled", "_cls"))}
