"""When a run is evaluated and saved, by which score its best checkpoint is picked; runs begun before these flags."""

import json

import pytest

import propeller.train.evaluating as evaluating
from finetune.classification.classifier import Classifier
from finetune.mrc.task import ReadingComprehension
from finetune.training.args import from_keywords
from finetune.training.main import main
from finetune.training.settled import settle_run
from propeller.errors import UserError
from propeller.train.checkpointing import Checkpointer
from tests.helpers.tiny import flags, write_tsv

STEPS = 5  # of an epoch: 40 rows in batches of 8


def run(model, data, folder, **changes):
    """A run of two epochs without predictions; the steps of its evaluations."""
    given = {"epoch": 2, "do_test": "false", "validation_steps": 3, "save_steps": 4, "keep_checkpoints": 0, **changes}
    main("run_classifier.py", "classify", flags(model, data, folder, **given))
    return [record["step"] for record in dev_records(folder)]


def dev_records(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["event"] == "dev"]


def scores_of(folder):
    return [{name: record[name] for name in ("step", "epoch", "loss", "acc")} for record in dev_records(folder)]


def saved(folder):
    return sorted(int(entry.name[5:]) for entry in folder.glob("step_*"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [3, 5, 6, 9, 10]),  # as in 2019: every --validation_steps, and each epoch
        ({"eval_strategy": "both"}, [3, 5, 6, 9, 10]),
        ({"eval_strategy": "steps"}, [3, 6, 9, 10]),
        ({"eval_strategy": "epoch"}, [5, 10]),
        ({"validation_steps": 1000000}, [5, 10]),  # as the recipes of 2019 have it
        ({"validation_steps": 0}, [5, 10]),
        ({"validation_steps": 0, "eval_strategy": "steps"}, [10]),
    ],
)
def test_when_it_is_evaluated(changes, expected, model, data, tmp_path):
    assert run(model, data, tmp_path / "run", **changes) == expected


@pytest.mark.parametrize(
    ("strategy", "expected"), [(None, [4, 8, 10]), ("steps", [4, 8, 10]), ("epoch", [5, 10]), ("both", [4, 5, 8, 10])]
)
def test_when_it_is_saved(strategy, expected, model, data, tmp_path):
    run(model, data, tmp_path / "run", save_strategy=strategy, do_val="false")
    assert saved(tmp_path / "run") == expected


@pytest.mark.slow
def test_the_metric_of_the_best_checkpoint(model, data, tmp_path):
    """Of a loss the lowest, of an accuracy the highest; without the flag that of --metric."""
    changes = {"learning_rate": 2e-2, "validation_steps": 1, "save_steps": 0, "epoch": 3}
    for name, direction in (("loss", min), ("acc", max), (None, max)):
        folder = tmp_path / str(name)
        run(model, data, folder, best_metric=name, **changes)
        records = dev_records(folder)
        best = direction(records, key=lambda record: record[name or "acc"])  # noqa: B023 - called at once
        assert json.loads((folder / "run.json").read_text())["best_step"] == best["step"]
    steps = [json.loads((tmp_path / name / "run.json").read_text())["best_step"] for name in ("loss", "acc")]
    assert steps[0] != steps[1], "this run tells the two apart"


def test_a_metric_that_is_not_there_is_named_before_the_first_step(model, data, tmp_path):
    message = r"--best_metric f1: this task's evaluations have no such score: give one of loss, acc$"
    with pytest.raises(UserError, match=message):
        run(model, data, tmp_path / "run", best_metric="f1")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "lower"),
    [*((name, True) for name in ("loss", "mask_lm_loss", "ppl", "perplexity", "batch_ppl", "mae", "mse", "error")),
     *((name, False) for name in ("acc", "f1", "corr", "lossless", "em", "avg"))],
)  # fmt: skip
def test_directions(name, lower):
    assert evaluating.lower_is_better(name) is lower


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_killed_at_the_end_of_an_epoch_goes_on_exactly(when, model, data, tmp_path, monkeypatch):
    changes = {"eval_strategy": "epoch", "save_strategy": "epoch", "epoch": 3}
    expected = run(model, data, tmp_path / "whole", **changes)

    class Killed(BaseException):
        pass

    save = Checkpointer.save

    def killed(self, state, last=False):
        if when == "after":
            save(self, state, last)
        if state.step == 2 * STEPS:
            raise Killed
        return save(self, state, last)

    with monkeypatch.context() as patched:
        patched.setattr(Checkpointer, "save", killed)
        with pytest.raises(Killed):
            run(model, data, tmp_path / "cut", **changes)
    assert saved(tmp_path / "cut") == [5, 10], "a checkpoint is held while it is evaluated"
    assert run(model, data, tmp_path / "cut", **changes) == expected == [5, 10, 15]
    assert scores_of(tmp_path / "cut") == scores_of(tmp_path / "whole")
    assert (tmp_path / "cut" / "best").readlink() == (tmp_path / "whole" / "best").readlink()
    for path in (tmp_path / "whole" / "last").iterdir():
        if path.is_file() and path.name != "checkpoint.json":
            assert path.read_bytes() == (tmp_path / "cut" / "last" / path.name).read_bytes(), path.name


def settled(model, task, folder, **changes):
    rows = write_tsv(folder.parent / "train.tsv", [("0", "good"), ("1", "bad")])
    given = {
        "ernie_config_path": model / "ernie_config.json", "vocab_path": model / "vocab.txt", "train_set": rows,
        "dev_set": rows, "max_seq_len": 24, "checkpoints": folder, **changes,
    }  # fmt: skip
    return settle_run(task, from_keywords(given, task.flags))


@pytest.mark.parametrize(("task", "former", "best"), [(Classifier, 0.1, "acc"), (ReadingComprehension, 0.0, "avg")])
def test_a_run_begun_before_there_were_these_flags_goes_on_as_it_began(task, former, best, model, tmp_path):
    new = {"eval_strategy": "both", "head_dropout": 0.1, "best_metric": best}
    new["fused_encoder"] = settled(model, task, tmp_path / "run").run["fused_encoder"]  # as this machine can
    assert settled(model, task, tmp_path / "run").run == new
    (tmp_path / "run" / "step_4").mkdir(parents=True)
    record = {"fingerprint": {"flag": {"--epoch": 3}}, "finished": False}
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    old = {"eval_strategy": "steps", "head_dropout": former, "best_metric": best, "fused_encoder": "false"}
    found = settled(model, task, tmp_path / "run")
    assert found.run == old
    assert found.spec.dropout == former
    assert settled(model, task, tmp_path / "run", overwrite=True).run == new
    given = {"eval_strategy": "epoch", "head_dropout": 0.3}
    assert settled(model, task, tmp_path / "run", **given).run == {**old, **given}  # the saver will refuse the folder
    record["fingerprint"]["flag"].update({"--eval_strategy": "epoch", "--head_dropout": 0.3})
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    kept = {**new, "fused_encoder": "false"}
    assert settled(model, task, tmp_path / "run").run == kept, "another run's flag is not taken over"


def test_a_run_begun_before_says_what_it_began_with(model, data, tmp_path):
    folder = tmp_path / "run"
    run(model, data, folder, epoch=1, eval_strategy="steps")
    path = folder / "run.json"
    record = json.loads(path.read_text())
    for name in ("--eval_strategy", "--head_dropout", "--best_metric", "--f1_average"):
        del record["fingerprint"]["flag"][name]
    path.write_text(json.dumps(record))
    run(model, data, folder, epoch=1)  # finished, and known again
    run(model, data, folder, epoch=1, best_metric="acc", eval_strategy="steps", head_dropout=0.1)
    for name, value, was in (("eval_strategy", "both", "'steps'"), ("head_dropout", 0.2, "0.1"),
                             ("best_metric", "loss", "'acc'")):  # fmt: skip
        with pytest.raises(UserError, match=f"run: --{name} was {was}, now {value!r}"):
            run(model, data, folder, epoch=1, **{name: value})


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_that_cannot_be(rate, model, data, tmp_path):
    with pytest.raises(UserError, match=r"--head_dropout must be from 0 to below 1, not"):
        run(model, data, tmp_path / "run", head_dropout=rate)
