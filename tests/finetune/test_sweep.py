"""``python -m finetune.sweep``: the space, trials, what is cut short, and that it goes on.

python -m pytest tests/finetune/test_sweep.py
"""

import json
import logging
import subprocess
import sys

import pytest

from finetune.classification.flags import ClassificationFlags
from finetune.search_space import Choice, Range, read_space
from finetune.sweep import Sweep, SweepArgs, main
from finetune.training import runner
from propeller.errors import UserError
from propeller.flags import log_values
from propeller.train.trainer import Learner
from tests.helpers.common import ROOT
from tests.helpers.tiny import flags

SPACE = {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "batch_size": [4, 8]}


def space_of(folder, content):
    path = folder / "space.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


class Trial:
    """Records what is asked for."""

    def __init__(self):
        self.asked = []

    def __getattr__(self, name):
        return lambda *args, **more: self.asked.append((name, args, more))


def test_a_space(tmp_path):
    content = {**SPACE, "epoch": {"low": 2, "high": 6, "step": 2}, "warmup_proportion": {"low": 0, "high": 0.2}}
    space = read_space(space_of(tmp_path, content), ClassificationFlags)
    assert space["batch_size"] == Choice("batch_size", (4, 8))
    assert space["learning_rate"] == Range("learning_rate", 1e-4, 1e-2, log=True)
    assert space["epoch"] == Range("epoch", 2, 6, whole=True, step=2)
    trial = Trial()
    for entry in space.values():
        entry.suggest(trial)
    assert trial.asked == [
        ("suggest_float", ("learning_rate", 1e-4, 1e-2), {"step": None, "log": True}),
        ("suggest_categorical", ("batch_size", [4, 8]), {}),
        ("suggest_int", ("epoch", 2, 6), {"step": 2, "log": False}),
        ("suggest_float", ("warmup_proportion", 0, 0.2), {"step": None, "log": False}),
    ]


BAD = [
    ("[1]", "give an object of flags and their values"),
    ("{", "line 1: not JSON"),
    ({"learning_rat": [1]}, "learning_rat: is no flag of the task"),
    ({"checkpoints": ["a", "b"]}, "checkpoints: is the same for all trials"),
    ({"epoch": []}, "epoch: give a list of values, or"),
    ({"epoch": {"low": 1}}, "epoch: give a list of values, or"),
    ({"epoch": {"low": 1, "high": 2.5}}, "epoch: low, high and step must be whole numbers"),
    ({"epoch": {"low": 3, "high": 2}}, "epoch: low must not be above high"),
    ({"learning_rate": {"low": 0, "high": 1, "log": True}}, "learning_rate: with log, low must be above 0"),
    ({"learning_rate": {"low": "a", "high": 1}}, "learning_rate: low, high and step must be numbers"),
    ({"lr_scheduler": {"low": 0, "high": 1}}, "lr_scheduler: is no number: give a list of its values"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_a_bad_space(case, tmp_path):
    content, message = BAD[case]
    with pytest.raises(UserError) as error:
        read_space(space_of(tmp_path, content), ClassificationFlags)
    assert message in str(error.value)


def words_of(model, data, folder, space, **changes):
    given = {"epoch": 2, "validation_steps": 0, "save_steps": 2, "skip_steps": 100, "sweep_trials": 3, **changes}
    return ["classify", *flags(model, data, folder / "sweep", sweep_space=space_of(folder, space), **given)]


def table_of(folder):
    header, *rows = [line.split("\t") for line in (folder / "sweep/sweep.tsv").read_text().splitlines()]
    return [dict(zip(header, row)) for row in rows]


def test_without_optuna_it_says_what_to_install(model, data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match="needs optuna: python -m pip install -r requirements-sweep.txt"):
        main(words_of(model, data, tmp_path, SPACE))


@pytest.mark.parametrize("verbose", ["false", "true"])
def test_verbose_shows_every_flag_of_a_trial(verbose, model, data, tmp_path, monkeypatch, capsys):
    def run(self):
        log_values(logging.getLogger("ernie.test"), {"epoch": 3})
        return "best"

    monkeypatch.setattr("finetune.sweep.Sweep.run", run)
    main(words_of(model, data, tmp_path, SPACE, verbose=verbose))
    assert ("epoch: 3" in capsys.readouterr().err) is (verbose == "true")
    (path,) = tmp_path.rglob("train.log")
    assert "epoch: 3" in path.read_text(encoding="utf8")


def test_a_sweep_whose_record_has_the_default_length_goes_on(model, data, tmp_path):
    """Before flags could tell that it was not given, it was recorded."""
    pytest.importorskip("optuna")
    (tmp_path / "space.json").write_text(json.dumps(SPACE))
    given = {"train_set": str(data / "train.tsv"), "dev_set": str(data / "dev.tsv"), "do_train": True, "do_val": True,
             "model": str(model), "checkpoints": str(tmp_path)}  # fmt: skip
    sweep = Sweep("classify", SweepArgs(sweep_space=str(tmp_path / "space.json")), given)
    study = sweep._open()
    record = study.user_attrs["record"]
    assert "max_seq_len" not in record["flags"]
    study.set_user_attr("record", {**record, "flags": {**record["flags"], "max_seq_len": 512}})
    sweep._open()
    study.set_user_attr("record", {**record, "flags": {**record["flags"], "max_seq_len": 256}})
    with pytest.raises(UserError, match=r"flags\.max_seq_len was 256, now None"):
        sweep._open()


def test_help_and_a_wrong_task():
    done = subprocess.run(
        [sys.executable, "-m", "finetune.sweep", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("usage: python -m finetune.sweep TASK --sweep_space FILE")
    with pytest.raises(UserError, match="task 'clasify' is unknown"):
        main(["clasify"])


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_sweep_that_was_killed_goes_on(sampler, model, data, tmp_path, capsys, monkeypatch):
    pytest.importorskip("optuna")
    words = words_of(model, data, tmp_path, SPACE, sweep_sampler=sampler)
    train, begun = Learner.train, []

    def killed(self, *args):
        begun.append(1)
        if len(begun) == 2:

            class Kill(runner.RunHook):
                def after_step(self, learner, state):
                    if state.step == 3:
                        raise SystemExit(143)

            args = (*args[:4], [*args[4], Kill()])
        return train(self, *args)

    monkeypatch.setattr(Learner, "train", killed)
    with pytest.raises(SystemExit):
        main(words)
    assert len(table_of(tmp_path)) == 1
    main(words)
    folder = tmp_path / "sweep"
    assert sorted(path.name for path in folder.glob("trial_*")) == ["trial_0", "trial_1", "trial_3"]
    rows = table_of(tmp_path)
    assert [row["state"] for row in rows] == ["complete"] * 3
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert len({row["learning_rate"] for row in rows}) == 3, "a sampler that begins anew proposes something else"
    for row in rows:
        record = json.loads((folder / row["folder"] / "run.json").read_text())
        assert record["finished"]
        assert str(record["fingerprint"]["flag"]["--learning_rate"]) == row["learning_rate"]
        assert str(record["fingerprint"]["flag"]["--batch_size"]) == row["batch_size"]
    best = f"best: {scores[0]:.6f} in {folder / rows[0]['folder']}: --learning_rate {rows[0]['learning_rate']}"
    assert best in capsys.readouterr().out
    before = len(begun)
    main(words)
    assert len(begun) == before, "all trials are there"
    with pytest.raises(UserError, match=r"holds another sweep: flags.epoch was 2, now 3; give another --checkpoints"):
        main(words_of(model, data, tmp_path, SPACE, epoch=3))


@pytest.mark.slow
def test_hopeless_trials_are_cut_short(model, data, tmp_path):
    """A rate of nearly 0 learns nothing: after its first epoch it is below the median of the others."""
    optuna = pytest.importorskip("optuna")

    def words(trials):
        space = {"learning_rate": [1e-12, 5e-3]}
        return words_of(model, data, tmp_path, space, sweep_trials=trials, best_metric="loss")

    main(words(1))
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "sweep/study.journal"))
    )
    study = optuna.load_study(study_name="classify", storage=storage)
    for rate in (5e-3, 5e-3, 5e-3, 5e-3, 1e-12):
        study.enqueue_trial({"learning_rate": rate})
    main(words(6))
    states = [trial.state.name for trial in study.get_trials()]
    assert states[:5] == ["COMPLETE"] * 5, "the first five are never cut"
    (last,) = [row for row in table_of(tmp_path) if row["folder"] == "trial_5"]
    assert last["state"] == "pruned"
    assert json.loads((tmp_path / "sweep/trial_5/run.json").read_text())["steps"] == 5
