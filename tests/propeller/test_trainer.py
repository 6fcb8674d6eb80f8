"""The engine on a toy model: steps, checkpoints, resuming, hooks, journal."""

import contextlib
import json
import struct

import numpy as np
import pytest

from propeller.errors import UserError
from propeller.train import program
from propeller.train.differences import first_difference
from propeller.train.distribution import Ranks
from propeller.train.faults import Stopped
from propeller.train.hooks import EarlyStopping, RunHook
from propeller.train.model import RunMode
from propeller.train.saver import Saver
from propeller.train.shared import SharedSaver
from propeller.variables import read_variable, write_variable
from tests.helpers.trainer import ROWS, Batches, assert_same, records, train


def test_a_run_learns_and_leaves_what_it_says(tmp_path):
    state, _, lines = train(tmp_path)
    assert state.step == 12, "4 batches an epoch, the last one short, 3 epochs"
    assert [line["step"] for line in lines if line["event"] == "train"] == [2, 4, 6, 8, 10, 12]
    dev = [line for line in lines if line["event"] == "dev"]
    assert [line["step"] for line in dev] == [3, 6, 9, 12]
    assert all(line["data_num"] == ROWS for line in dev)
    assert dev[-1]["loss"] < dev[0]["loss"]
    saved = json.loads((tmp_path / "last" / "checkpoint.json").read_text())
    assert saved["step"] == 12
    assert {"toy_w", "toy_b", "training_state/optimizer.safetensors", "training_state/state.json"} == set(
        saved["files"]
    )
    assert (tmp_path / "curves.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_two_runs_with_one_seed_are_bit_equal_and_another_seed_is_not(tmp_path):
    _, first, lines = train(tmp_path / "a")
    _, second, again = train(tmp_path / "b")
    assert_same(first, second)
    assert lines == again
    _, third, _ = train(tmp_path / "c", seed=8)
    assert not np.array_equal(first["toy_w"], third["toy_w"])


@pytest.mark.parametrize(
    ("accumulate", "stop_after"), [*((1, step) for step in range(1, 12)), *((3, step) for step in range(1, 6))]
)
def test_a_run_stopped_anywhere_ends_with_the_same_weights(tmp_path, stop_after, accumulate):
    """Dies without a word after some step; what was written since the last checkpoint is done again, bit for bit."""

    class Die(RunHook):
        def after_step(self, learner, state):
            if state.step == stop_after:
                raise KeyboardInterrupt

    whole_state, whole, lines = train(tmp_path / "whole", accumulate=accumulate)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", hooks=[Die()], accumulate=accumulate)
    state, arrays, resumed = train(tmp_path / "cut", accumulate=accumulate)
    assert_same(whole, arrays)
    assert resumed == lines
    assert (state.step, state.best_score, state.best_step) == (
        whole_state.step,
        whole_state.best_score,
        whole_state.best_step,
    )


def steps_of(lines, event="dev"):
    return [line["step"] for line in lines if line["event"] == event]


@pytest.mark.parametrize(
    ("config", "evaluated"),
    [
        ({"eval_steps": 0}, [12]),
        ({"eval_steps": 0, "eval_epochs": True}, [4, 8, 12]),
        ({"eval_steps": 6, "eval_epochs": True}, [4, 6, 8, 12]),
        ({"eval_steps": 0, "eval_epochs": True, "accumulate": 3}, [2, 4, 6]),
    ],
)
def test_evaluation_at_the_end_of_each_epoch(tmp_path, config, evaluated):
    _, _, lines = train(tmp_path, **config)
    assert steps_of(lines) == evaluated


def test_checkpoints_at_the_end_of_each_epoch(tmp_path):
    train(tmp_path, keep=0, save_steps=0, save_epochs=True, eval_steps=0, best_by="loss")
    assert sorted(entry.name for entry in tmp_path.glob("step_*")) == ["step_12", "step_4", "step_8"]


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("where", ["before_evaluation", "after_evaluation", "after_step"])
@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_run_stopped_at_the_end_of_an_epoch_goes_on_exactly(tmp_path, epoch, where, accumulate):
    """Killed around the evaluation and the checkpoint of an epoch's end: records, scores, weights, patience."""
    config = {"eval_steps": 0, "eval_epochs": True, "save_steps": 0, "save_epochs": True, "accumulate": accumulate}
    step = (epoch + 1) * (4 if accumulate == 1 else 2)

    def die(self, learner, state, *facts):
        if state.step == step:
            raise KeyboardInterrupt

    whole_state, whole, lines = train(tmp_path / "whole", hooks=[EarlyStopping(9)], **config)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", hooks=[type("Die", (RunHook,), {where: die})(), EarlyStopping(9)], **config)
    state, arrays, resumed = train(tmp_path / "cut", hooks=[EarlyStopping(9)], **config)
    assert_same(whole, arrays)
    assert resumed == lines
    for name in ("step", "best_score", "best_step", "best_epoch", "waited", "epoch"):
        assert getattr(state, name) == getattr(whole_state, name), name


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_run_asked_to_stop_at_the_end_of_an_epoch_makes_its_evaluation_up(tmp_path, epoch):
    class Ask(RunHook):
        def after_run(self, learner, state, values):
            if state is not None and state.step == 4 * epoch + 3:
                learner.ask_to_stop("enough")

    config = {"eval_steps": 0, "eval_epochs": True, "save_steps": 0}
    _, whole, lines = train(tmp_path / "whole", **config)
    with pytest.raises(Stopped):
        train(tmp_path / "cut", hooks=[Ask()], **config)
    assert steps_of(records(tmp_path / "cut")) == [4] * epoch
    _, arrays, resumed = train(tmp_path / "cut", **config)
    assert_same(whole, arrays)
    assert resumed == lines


def test_the_direction_of_the_best_score(tmp_path):
    """Of a loss the lowest is the best, of an accuracy the highest."""

    class Falling(RunHook):
        def before_train(self, learner, state):
            values = iter([0.9, 0.5, 0.7, 0.6])

            def evaluate(batches, task=None):
                value = next(values)
                return {"loss": value, "data_num": 1, "acc": value, "dev_ppl": value}

            learner.evaluate = evaluate

    best = {name: train(tmp_path / name, hooks=[Falling()], best_by=name)[0].best_step
            for name in ("loss", "dev_ppl", "acc")}  # fmt: skip
    assert best == {"loss": 6, "dev_ppl": 6, "acc": 3}


def test_a_best_score_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"^best_by f1: the evaluation of dev\.tsv has no score .* one of loss, acc$"):
        train(tmp_path, best_by="f1")


def test_accumulated_steps_close_at_the_end_of_an_epoch(tmp_path):
    state, _, _ = train(tmp_path, accumulate=3)
    assert state.step == 6, "4 batches an epoch: a step of 3 and a step of 1"
    assert state.batches == 12


def test_a_closed_learner_holds_no_values(tmp_path):
    """Paddle keeps scopes, so a process with many runs would keep the weights and moments of all of them."""
    kept = []

    class Keep(RunHook):
        def before_train(self, learner, state):
            kept.append(learner)

    train(tmp_path, hooks=[Keep()], max_steps=2, accumulate=2, evaluations=[])
    (learner,) = kept
    names = [*learner.parameter_shapes(RunMode.TRAIN), *learner.graphs.optimizer_variables()]
    assert len(names) > 4
    assert all(program.has(learner.scope, name) for name in names)
    learner.close()
    assert not any(program.has(learner.scope, name) for name in [*names, "toy_w@GRADIENT_SUM"])


def test_max_steps_ends_the_run(tmp_path):
    state, _, lines = train(tmp_path, max_steps=5)
    assert state.step == 5
    assert lines[-1]["step"] == 5
    assert lines[-1]["event"] == "dev"


def test_last_checkpoints_and_the_best_stay(tmp_path):
    class Worse(RunHook):
        """The first evaluation is the best one."""

        def before_train(self, learner, state):
            scores = iter([0.9, 0.8, 0.7, 0.6])
            learner.evaluate = lambda batches, task=None: {"loss": 1.0, "data_num": 1, "acc": next(scores)}

    state, _, _ = train(tmp_path, hooks=[Worse()], save_steps=1, keep=2)
    assert state.best_step == 3
    assert sorted(entry.name for entry in tmp_path.glob("step_*")) == ["step_11", "step_12", "step_3"]
    assert (tmp_path / "best").resolve().name == "step_3"
    assert (tmp_path / "last").resolve().name == "step_12"


def test_early_stopping(tmp_path):
    class Flat(RunHook):
        def before_train(self, learner, state):
            learner.evaluate = lambda batches, task=None: {"loss": 1.0, "data_num": 1, "acc": 0.5}

    state, _, _ = train(tmp_path, hooks=[Flat(), EarlyStopping(2)])
    assert state.step == 9, "evaluations at 3 (the best), 6, 9"
    assert "2 evaluations" in state.stop


def test_a_loss_that_is_no_number_stops_the_run_and_spares_the_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"step 6 \(epoch 1\): the loss is (nan|inf): lower the learning rate or"):
        train(tmp_path, batches=Batches(spoil=(1, 6)))
    assert (tmp_path / "last").resolve().name == "step_4"
    for name in ("toy_w", "toy_b"):
        assert np.isfinite(read_variable(tmp_path / "last" / name)).all()


def test_a_damaged_checkpoint_is_passed_over(tmp_path, caplog):
    _, whole, _ = train(tmp_path / "whole")
    train(tmp_path / "cut", max_steps=8)
    path = tmp_path / "cut" / "step_8" / "training_state" / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with caplog.at_level("WARNING", "propeller.train"):
        _, arrays, _ = train(tmp_path / "cut")
    assert "passed over" in caplog.text
    assert "step_8" in caplog.text
    assert_same(whole, arrays)


def test_event_files_hold_the_same_numbers(tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    _, _, lines = train(tmp_path)
    found = {}
    for path in (tmp_path / "events").iterdir():
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + length])
            found.update({(value.tag, event.step): value.simple_value for value in event.summary.value})
            at += 16 + length
    for line in lines:
        assert found[f"{line['event']}/loss", line["step"]] == pytest.approx(line["loss"], rel=1e-6)


def test_a_line_cut_short_by_a_kill_is_dropped(tmp_path):
    _, _, lines = train(tmp_path / "whole")
    train(tmp_path / "cut", max_steps=4)
    with open(tmp_path / "cut" / "metrics.jsonl", "a") as file:
        file.write('{"event": "train", "step": 5, "lo')
    _, _, resumed = train(tmp_path / "cut")
    assert [line for line in resumed if line["step"] > 4] == [line for line in lines if line["step"] > 4]


def claim(folder, fingerprint, **options):
    with contextlib.closing(Saver(folder, write_variable, read_variable)) as saver:
        return saver.claim(fingerprint, **options)


def test_a_folder_belongs_to_one_run(tmp_path):
    assert claim(tmp_path, {"flag": {"lr": 1.0}, "seed": 1}) == "new"
    assert claim(tmp_path, {"flag": {"lr": 3.0}, "seed": 1}) == "new", "no checkpoint yet: nothing to lose"
    assert claim(tmp_path, {"flag": {"lr": 1.0}, "seed": 1}) == "new"
    (tmp_path / "step_3").mkdir()
    assert claim(tmp_path, {"flag": {"lr": 1.0}, "seed": 1}) == "resume"
    with pytest.raises(UserError, match=r"flag\.lr was 1\.0, now 2\.0; .*give overwrite=True"):
        claim(tmp_path, {"flag": {"lr": 2.0}, "seed": 1})
    (tmp_path / "mine.txt").write_text("stays")
    assert claim(tmp_path, {"flag": {"lr": 2.0}, "seed": 1}, overwrite=True) == "new"
    assert not (tmp_path / "step_3").exists()
    assert (tmp_path / "mine.txt").exists()


def test_a_record_that_lacks_a_later_entry_means_what_runs_did_then(tmp_path):
    former = {"flag": {"strategy": "steps", "lr": 9.0}, "seed": 5}
    claim(tmp_path, {"flag": {"lr": 1.0}, "data": {}})
    (tmp_path / "step_3").mkdir()
    assert claim(tmp_path, {"flag": {"lr": 1.0, "strategy": "steps"}, "data": {}, "seed": 5}, former=former) == "resume"
    with pytest.raises(UserError, match=r"flag\.strategy was 'steps', now 'both'"):
        claim(tmp_path, {"flag": {"lr": 1.0, "strategy": "both"}, "data": {}, "seed": 5}, former=former)


def test_a_finished_run_says_so(tmp_path):
    claim(tmp_path, {"seed": 1})
    with contextlib.closing(Saver(tmp_path, write_variable, read_variable)) as saver:
        saver.finish(steps=3)
    assert claim(tmp_path, {"seed": 1}) == "finished"


def test_unknown_checkpoints_are_not_trained_over(tmp_path):
    (tmp_path / "step_100").mkdir(parents=True)
    with pytest.raises(UserError, match="give overwrite=True"):
        claim(tmp_path, {"seed": 1})


def test_two_processes_cannot_train_into_one_folder(tmp_path):
    with contextlib.closing(Saver(tmp_path, write_variable, read_variable)):
        with pytest.raises(UserError, match="another process"):
            Saver(tmp_path, write_variable, read_variable)


def test_first_difference():
    assert first_difference({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 2}}) is None
    assert first_difference({"b": {"c": 2}}, {"b": {"c": 3}}) == ("b.c", 2, 3)
    assert str(first_difference({}, {"x": 1})) == "x was None, now 1"


def test_a_rank_that_does_not_write_takes_every_call_of_a_saver(tmp_path):
    class Second(Ranks):
        rank, size = 1, 2

    saver = SharedSaver(Second(), lambda: pytest.fail("the second rank opens no folder"))
    saver.save(1, {}, {}, {})
    saver.link("best", 1)
    saver.prune(1)
    saver.finish(steps=1)
    assert (saver.restore(), saver.parameters(1)) == (None, None)
    saver.close()
    assert not hasattr(saver, "folder"), "what a saver has besides is not made up"
    assert not any(tmp_path.iterdir())
