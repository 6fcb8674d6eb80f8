"""What befalls a run from outside: signals, a full disk, damaged checkpoints, ranks that hang, another number of ranks.

python -m pytest tests/propeller/test_faults.py
"""

import contextlib
import json
import os
import resource
import signal
import subprocess

import numpy as np
import pytest

from propeller.errors import UserError
from propeller.files import is_full
from propeller.log import setup
from propeller.train.args import explain_difference
from propeller.train.differences import Difference
from propeller.train.faults import Stopped, guarded
from propeller.train.hooks import EarlyStopping, RunHook
from propeller.train.journal import Journal
from propeller.train.model import RunMode
from propeller.train.saver import DiskFull, Saver
from propeller.train.trainer import Evaluation, Learner, RunConfig
from propeller.variables import read_variable, write_variable
from reader.task_reader import TaskReader
from tests.helpers.tiny import sentences, write_tsv
from tests.helpers.trainer import ROWS, Batches, Toy, assert_same, records, train
from tokenization import build_tokenizer


class At(RunHook):
    """Does something after some step, or before its evaluation."""

    def __init__(self, step, act, before_evaluation=False):
        self.step, self.act, self.early = step, act, before_evaluation

    def after_step(self, learner, state):
        if state.step == self.step and not self.early:
            self.act(learner)

    def before_evaluation(self, learner, state, evaluation):
        if state.step == self.step and self.early:
            self.act(learner)


def ask(learner):
    learner.ask_to_stop("somebody wished so")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed run: state, weights, records."""
    return train(tmp_path_factory.mktemp("whole"))


def assert_ends_like(whole, folder, **options):
    """Going on in the folder ends as the undisturbed run did."""
    state, arrays, lines = train(folder, **options)
    assert_same(whole[1], arrays)
    assert lines == whole[2]
    for name in ("step", "best_score", "best_step", "position"):
        assert getattr(state, name) == getattr(whole[0], name)
    assert (folder / "best").resolve().name == f"step_{state.best_step}"
    assert (folder / "last").resolve().name == f"step_{state.step}"


@pytest.mark.parametrize("step", [1, 2, 3, 7, 8, 11])
def test_a_run_that_was_asked_to_stop_goes_on_to_the_same_end(tmp_path, whole, step):
    """At any step: with evaluations every 3 and checkpoints every 4 steps, and the end of an epoch every 4."""
    with pytest.raises(Stopped) as stopped:
        train(tmp_path, hooks=[At(step, ask)])
    assert stopped.value.reason == "somebody wished so"
    assert stopped.value.state.step == step + 1, "the step that runs is finished"
    assert (tmp_path / "last").resolve().name == f"step_{step + 1}"
    assert not any(line["event"] == "dev" and line["step"] == step + 1 for line in records(tmp_path)), "that can wait"
    assert_ends_like(whole, tmp_path)


@pytest.mark.parametrize("step", [3, 6, 12])
def test_an_evaluation_is_left_and_made_up_for(tmp_path, whole, step):
    """Of several sets, the first of which is done; the last evaluation of the run too."""
    sets = [Evaluation("dev", f"{name}.tsv", Batches(epochs=1).open) for name in ("dev", "more")]
    undisturbed = train(tmp_path / "whole", evaluations=sets)
    left = [sets[0], Evaluation("dev", "more.tsv", Batches(epochs=1).open)]

    class Second(RunHook):
        def before_evaluation(self, learner, state, evaluation):
            if state.step == step and evaluation.file == "more.tsv":
                ask(learner)

    with pytest.raises(Stopped) as stopped:
        train(tmp_path / "cut", hooks=[Second()], evaluations=left)
    assert stopped.value.state.step == step
    assert_ends_like(undisturbed, tmp_path / "cut", evaluations=sets)


def test_early_stopping_holds_for_a_run_that_was_killed_behind_it(tmp_path):
    class Flat(RunHook):
        def before_train(self, learner, state):
            learner.evaluate = lambda batches, task=None: {"loss": 1.0, "data_num": 1, "acc": 0.5}

    train(tmp_path, hooks=[Flat(), EarlyStopping(2)])
    state, _, _ = train(tmp_path, hooks=[Flat(), EarlyStopping(2)])
    assert state.step == 9, "no step more than the first time"
    state, _, _ = train(tmp_path, hooks=[Flat()], max_steps=9)
    assert state.step == 9


def learner_of(**config):
    return Learner(Toy, RunConfig(seed=7, **config))


def test_predictions_are_left_at_once(tmp_path):
    learner = learner_of()
    learner.parameter_shapes(RunMode.TRAIN)
    learner.write({"toy_w": np.zeros((4, 2), "float32"), "toy_b": np.zeros(2, "float32")})
    found = learner.predict(Batches(epochs=1)._batches(None))
    next(found)
    ask(learner)
    with pytest.raises(Stopped):
        next(found)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_a_guarded_run_behind_a_checkpoint(tmp_path, whole, number, caplog, capfd):
    before = [signal.getsignal(entry) for entry in (signal.SIGTERM, signal.SIGINT)]
    learner = learner_of(log_steps=2, eval_steps=3, save_steps=4, best_by="acc")
    twice = At(5, lambda learner: [os.kill(os.getpid(), number) for _ in range(2)])  # as a scheduler and a launcher do
    dev = [Evaluation("dev", "dev.tsv", Batches(epochs=1).open)]
    with contextlib.closing(Saver(tmp_path, write_variable, read_variable)) as saver:
        with caplog.at_level("WARNING", "propeller.train"), pytest.raises(SystemExit) as ended, guarded(learner):
            learner.train(Batches().open, ROWS, saver, dev, [Journal(tmp_path), twice])
    assert ended.value.code == 128 + number
    assert caplog.messages == [f"preempted by {number.name}, run again to continue"]
    assert f"{number.name}: stopping after this step" in capfd.readouterr().err
    assert [signal.getsignal(entry) for entry in (signal.SIGTERM, signal.SIGINT)] == before
    assert (tmp_path / "last").resolve().name == "step_6"
    assert_ends_like(whole, tmp_path)


def test_other_reasons_and_errors_pass_through_the_guard():
    learner = learner_of()
    with pytest.raises(Stopped), guarded(learner, hang_timeout=60):
        raise Stopped("somebody wished so")
    with pytest.raises(KeyError), guarded(learner):
        raise KeyError


@contextlib.contextmanager
def files_up_to(size):
    """No file may grow beyond so many bytes: what a full disk does, for any user and without filling one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class FullBetween(RunHook):
    """No room from one step to another."""

    def __init__(self, first, last=None, size=40):
        self.first, self.last, self.size = first, last, size
        self.limit = contextlib.ExitStack()

    def after_step(self, learner, state):
        if state.step == self.first:
            self.limit.enter_context(files_up_to(self.size))
        if state.step == self.last:
            self.limit.close()


def left_behind(folder):
    return sorted(entry.name for entry in folder.iterdir() if ".new" in entry.name or ".old" in entry.name)


def test_a_full_disk_costs_checkpoints_and_records_but_not_the_run(tmp_path, whole, caplog):
    """No room from step 4 to 10: the checkpoint of 8 and the best ones of 6 and 9 cannot be written, that of 12 can."""
    hook = FullBetween(4, 10)
    with hook.limit, caplog.at_level("INFO", "propeller.train"):
        state, arrays, lines = train(tmp_path, hooks=[hook])
    assert_same(whole[1], arrays)
    said = [message for message in caplog.messages if "checkpoint" in message and "training goes on" in message]
    why = f"{tmp_path / 'step_8'}: no checkpoint written (File too large), the last one is {tmp_path / 'step_4'}: "
    assert any(message.startswith(why) for message in said)
    assert "make room, or give a smaller number of checkpoints to keep" in said[0]
    assert len(said) == len({message.split(":")[0] for message in said}), "once each"
    kept = {entry.name for entry in tmp_path.glob("step_*")}
    assert kept == {"step_3", "step_4", "step_12"} | {f"step_{state.best_step}"}
    assert left_behind(tmp_path) == []
    assert (tmp_path / "best").resolve().is_dir()
    assert (tmp_path / "last").resolve().name == "step_12"
    missing = [line for line in whole[2] if line not in lines]
    assert missing, "the records of steps 6 and 8"
    assert {line["step"] for line in missing} <= {6, 8, 9, 10}
    assert [line for line in whole[2] if line in lines] == lines, "what is there is whole and in order"
    assert sum("metrics.jsonl: not written" in message for message in caplog.messages) == 1
    assert sum("metrics.jsonl: written again" in message for message in caplog.messages) == 1
    assert sum("events: not written" in message for message in caplog.messages) == 1


def test_no_room_for_the_last_checkpoint_is_an_error(tmp_path, whole):
    hook = FullBetween(10)
    with hook.limit, pytest.raises(UserError, match=r"step_12: no checkpoint written .*step_8: make room.*run again"):
        train(tmp_path, hooks=[hook])
    assert left_behind(tmp_path) == []
    state, arrays, _ = train(tmp_path)
    assert state.step == 12
    assert_same(whole[1], arrays)


def test_no_room_to_stop_is_an_error_too(tmp_path, whole):
    hook = FullBetween(5)
    with hook.limit, pytest.raises(UserError, match=r"step_6: no checkpoint written .*step_4: make room"):
        train(tmp_path, hooks=[hook, At(5, ask)])
    _, arrays, _ = train(tmp_path)
    assert_same(whole[1], arrays)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_file_system_that_is_full(tmp_path):
    """The system's own answer (ENOSPC), in the parameters or in the optimiser's file."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(tmp_path)], check=False).returncode:
        pytest.skip("mount is not allowed")
    try:
        arrays = {"w": np.zeros(40_000, "float32")}
        with contextlib.closing(Saver(tmp_path, write_variable, read_variable)) as saver:
            saver.save(1, arrays, {}, {"step": 1})
            for optimizer in ({}, {"moment": np.zeros(60_000, "float32")}):
                big = {"w": np.zeros(120_000, "float32")} if not optimizer else arrays
                with pytest.raises(DiskFull, match=r"step_2: .*No space left on device.*step_1"):
                    saver.save(2, big, optimizer, {"step": 2})
                assert left_behind(tmp_path) == []
                assert saver.restore()[2] == {"step": 1}
            saver.save(2, arrays, {}, {"step": 2})
            assert saver.restore()[2] == {"step": 2}
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_no_room_for_the_record_of_a_run(tmp_path):
    with contextlib.closing(Saver(tmp_path, write_variable, read_variable)) as saver:
        with files_up_to(5), pytest.raises(UserError, match=r"run\.json: cannot be written \(File too large\)"):
            saver.claim({"seed": 1})
        assert saver.claim({"seed": 1}) == "new"


def test_other_errors_of_the_disk_are_errors(tmp_path):
    def broken(path, array):
        raise PermissionError(13, "Permission denied", str(path))

    with contextlib.closing(Saver(tmp_path, broken, read_variable)) as saver, pytest.raises(PermissionError):
        saver.save(1, {"w": np.zeros(1)}, {}, {})
    assert not is_full(PermissionError(13, "no"))
    assert left_behind(tmp_path) == []


def test_the_log_file_of_a_full_disk_is_said_once(tmp_path, capsys):
    import logging

    setup(tmp_path / "train.log")
    with files_up_to(10):
        for _ in range(3):
            logging.getLogger("ernie.x").info("a line")
    said = capsys.readouterr().err
    assert said.count("train.log: not written (File too large): make room") == 1
    assert "Traceback" not in said
    assert said.count("a line") == 3


def cut(path):
    path.write_bytes(path.read_bytes()[:-10])


def spoil(path):
    content = path.read_bytes()
    path.write_bytes(b"\xff" * 8 + content[8:])


def empty_names(path):
    path.write_text("{}")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("toy_w", cut),
        ("toy_w", os.remove),
        ("toy_w", spoil),
        ("training_state/optimizer.safetensors", cut),
        ("training_state/optimizer.safetensors", spoil),
        ("training_state/state.json", cut),
        ("training_state/state.json", spoil),
        ("training_state/state.json", os.remove),
        ("checkpoint.json", cut),
        ("checkpoint.json", os.remove),
        ("checkpoint.json", empty_names),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_in_one_line(tmp_path, whole, caplog, name, damage):
    """The one before is taken, the journal cut back to it, and the damaged one does not count as one of the last."""

    class Die(RunHook):
        def after_step(self, learner, state):
            if state.step == 11:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, hooks=[Die()])
    damage(tmp_path / "step_9" / name) if (tmp_path / "step_9").exists() else None
    damage(tmp_path / "step_8" / name)
    newest = [step for step in (9, 8) if (tmp_path / f"step_{step}").exists()]
    with caplog.at_level("WARNING", "propeller.train"):
        assert_ends_like(whole, tmp_path, keep=1)
    said = [message for message in caplog.messages if "passed over" in message]
    assert len(said) == len(newest)
    assert all("\n" not in message and f"step_{step}" in message for message, step in zip(said, newest))
    assert (tmp_path / f"step_{newest[0]}.damaged").is_dir()


def test_no_checkpoint_is_whole(tmp_path, whole, caplog):
    train(tmp_path, max_steps=2)
    (tmp_path / "step_2" / "toy_w").unlink()
    with caplog.at_level("WARNING", "propeller.train"):
        assert_ends_like(whole, tmp_path)
    assert "step_2" in caplog.text


def test_another_batch_of_a_step_is_explained():
    def explained(size, was, now):
        return explain_difference(Difference("flag.--gradient_accumulation_steps", was, now), size)

    assert explained(1, 4, 1) == (
        "its step has 4 batches (processes x --gradient_accumulation_steps), this one's 1 (1 x 1): "
        "to continue it in 1 process(es) give --gradient_accumulation_steps 4"
    )
    assert explained(2, 4, 6).endswith(
        "6 (2 x 3): to continue it in 2 process(es) give --gradient_accumulation_steps 2"
    )
    assert "run it in a number of processes that divides 4" in explained(3, 4, 3)
    assert explain_difference(Difference("flag.--epoch", 1, 2), 2) == "--epoch was 1, now 2"


def test_of_a_checksum_it_is_said_what_has_changed():
    for name in ("tokenizer", "of.sentiment.tokenizer"):
        assert explain_difference(Difference(name, "1f", "2e"), 1).startswith("its tokenizer is another one: the vocab")
    for was in ("1f", None):
        told = explain_difference(Difference("initial_weights.sha256", was, "2e"), 1)
        assert told == "it began with other weights, or with none"


@pytest.mark.parametrize("batching", [{}, {"bucket_window": 16}, {"in_tokens": True, "batch_size": 96}])
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3)])
def test_no_row_is_lost_or_repeated_in_another_number_of_ranks(model, tmp_path, batching, before, after):
    """Every row is told by its length and words; the order of steps is that of one process, wherever it changes."""
    path = write_tsv(tmp_path / "rows.tsv", [(i, text) for i, (_, text) in enumerate(sentences(53, 4))])
    tokenizer = build_tokenizer("FullTokenizer", str(model / "vocab.txt"), True, False)
    options = {"max_seq_len": 24, "batch_size": 4, "shuffle": True, "seed": 3, "epochs": 2, "even": True,
               "label_kind": "class", **batching}  # fmt: skip

    def steps(size, start=None):
        """(ids of the rows of a step, the position after it), of steps of 6 batches."""
        readers = [TaskReader(path, tokenizer, rank=rank, world_size=size, **options) for rank in range(size)]
        turns, step = 0, []
        for places in zip(*(reader.batches(start) for reader in readers)):
            assert len({json.dumps(position.to_dict()) for _, position in places}) == 1
            step += [label for batch, _ in places if batch is not None for label in batch["labels"].ravel().tolist()]
            turns += 1
            if turns * size == 6 or places[0][1].rows == 53:
                yield step, places[0][1].to_dict()
                turns, step = 0, []

    undisturbed = list(steps(1))
    for epoch in (0, 1):
        rows = [row for step, position in undisturbed if position["epoch"] == epoch for row in step]
        assert sorted(rows) == list(range(53))
    for done in range(1, len(undisturbed)):
        first = [found for found, _ in zip(steps(before), range(done))]
        rest = list(steps(after, first[-1][1]))
        assert [sorted(step) for step, _ in first + rest] == [sorted(step) for step, _ in undisturbed]
