"""What befalls whole processes and groups of them: the entry script and the launcher as their user has them.

python -m pytest tests/propeller/test_faults_processes.py
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ernie.checkpoint import read_params
from propeller.train.faults import ALONE_TIMEOUT, HUNG
from propeller.train.saver import Saver
from propeller.variables import read_variable, write_variable
from tests.helpers.common import ROOT
from tests.helpers.launch import launcher
from tests.helpers.pretraining import make_shards, pretrain_flags
from tests.helpers.runs import timeless_records
from tests.helpers.tiny import flags

pytestmark = pytest.mark.slow
EPOCHS, STEPS = 24, 72  # 40 rows: two batches of 8 a step, and one more at the end of an epoch


def start(folder, processes, words, script="run_classifier.py", **options):
    folder.mkdir(parents=True, exist_ok=True)
    script = str(ROOT / script)
    command = [*launcher(folder, processes), script]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PADDLE_")}
    return subprocess.Popen(
        [sys.executable, *command, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**kept, "OMP_NUM_THREADS": "1"},
        **options,
    )


def end(process, status=0):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == status, output
    return output


def words_of(model, data, folder, processes, **changes):
    given = {"epoch": EPOCHS, "skip_steps": 1, "save_steps": 20, "validation_steps": 9, "learning_rate": 1e-3}
    given["gradient_accumulation_steps"] = 2 // processes
    return flags(model, data, folder / "run", **{**given, **changes})


def train(model, data, folder, processes, status=0, **changes):
    return end(start(folder, processes, words_of(model, data, folder, processes, **changes)), status)


def wait_for_records(folder, count, process):
    path, begin = folder / "run" / "metrics.jsonl", time.monotonic()
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() - begin < 120
        time.sleep(0.01)


def preempt(model, data, folder, processes, records, pick=lambda process: process.pid, number=signal.SIGTERM):
    """Start, send the signal when so many records are written; -> output, the step it stopped at."""
    process = start(folder, processes, words_of(model, data, folder, processes))
    wait_for_records(folder, records, process)
    os.kill(pick(process), number)
    output = end(process, 128 + number)
    step = json.loads((folder / "run" / "last" / "checkpoint.json").read_text())["step"]
    assert step < STEPS, "it was stopped before its end"
    return output, step


def assert_weights(one, other, exactly=True):
    one, other = (read_params(folder / "run" / "last") for folder in (one, other))
    assert one.keys() == other.keys()
    for name in one:
        if exactly:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
        elif not name.endswith("key_fc.b_0"):  # changes no loss: Adam moves it by rounding errors
            np.testing.assert_allclose(one[name], other[name], atol=1e-4, err_msg=name)


def stored(folder):
    return json.loads((folder / "run" / "last" / "training_state" / "state.json").read_text())


@pytest.fixture(scope="module")
def whole(model, data, tmp_path_factory):
    """processes -> the folder of an undisturbed run."""
    folders = {}
    for processes in (1, 2):
        folders[processes] = tmp_path_factory.mktemp("whole") / str(processes)
        train(model, data, folders[processes], processes)
        assert stored(folders[processes])["step"] == STEPS
    return folders


@pytest.mark.parametrize("processes", [1, 2])
def test_preempted_and_run_again_a_run_ends_with_the_same_bits(model, data, tmp_path, whole, processes):
    output, step = preempt(model, data, tmp_path, processes, 12)
    assert "preempted by SIGTERM, run again to continue" in output
    assert f"saved checkpoint {tmp_path / 'run' / f'step_{step}'}" in output
    for rank in range(processes) if processes > 1 else ():
        assert "preempted by SIGTERM" in (tmp_path / "log" / f"job.log.{rank}").read_text(), "all ranks, at one step"
    again = train(model, data, tmp_path, processes)
    assert f"continue from step {step}," in again
    assert_weights(tmp_path, whole[processes])
    assert timeless_records(tmp_path / "run") == timeless_records(whole[processes] / "run")


def second_rank(process):
    """The process id of rank 1 of a launcher."""
    for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        if "PADDLE_TRAINER_ID=1" in Path(f"/proc/{pid}/environ").read_text().split("\0"):
            return int(pid)
    raise AssertionError("no second rank")


def test_one_rank_alone_is_told(model, data, tmp_path, whole):
    """The signal reaches the second rank only; all stop at one step."""
    _, step = preempt(model, data, tmp_path, 2, 12, second_rank)
    assert f"continue from step {step}," in train(model, data, tmp_path, 2)
    assert_weights(tmp_path, whole[2])


def test_ctrl_c_is_a_wish_too(model, data, tmp_path, whole):
    output, _ = preempt(model, data, tmp_path, 1, 12, number=signal.SIGINT)
    assert "preempted by SIGINT, run again to continue" in output
    train(model, data, tmp_path, 1)
    assert_weights(tmp_path, whole[1])


@pytest.mark.parametrize("processes", [1, 2])
def test_pre_training_is_preempted_too(model, tmp_path, processes):
    """Also as a group: the launcher gets the signal, all ranks stop at one step, and the launcher exits with 143."""
    shards = make_shards(tmp_path / "shards")
    for name, stops in (("whole", False), ("cut", True)):
        words = pretrain_flags(
            model, shards, tmp_path / name / "run", num_train_steps=60, epoch=60, skip_steps=1, save_steps=50
        )
        process = start(tmp_path / name, processes, words, "train.py")
        if stops:
            wait_for_records(tmp_path / name, 12, process)
            process.send_signal(signal.SIGTERM)
            assert "preempted by SIGTERM, run again to continue" in end(process, 143)
            step = stored(tmp_path / name)["step"]
            assert step < 60
            for rank in range(processes) if processes > 1 else ():
                said = (tmp_path / name / "log" / f"job.log.{rank}").read_text()
                assert "preempted by SIGTERM" in said
            process = start(tmp_path / name, processes, words, "train.py")
        output = end(process)
    assert f"continue from step {step}," in output
    assert_weights(tmp_path / "whole", tmp_path / "cut")
    assert timeless_records(tmp_path / "whole" / "run") == timeless_records(tmp_path / "cut" / "run")


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_run_goes_on_in_another_number_of_processes(model, data, tmp_path, whole, before, after):
    """The same steps, so the same weights up to rounding; rows and steps are those of the undisturbed run."""
    _, step = preempt(model, data, tmp_path, before, 12)
    wrong = train(model, data, tmp_path, after, status=2, gradient_accumulation_steps=after)
    assert (
        "its step has 2 batches (processes x --gradient_accumulation_steps), "
        f"this one's {after**2} ({after} x {after}): "
        f"to continue it in {after} process(es) give --gradient_accumulation_steps {2 // after}"
    ) in wrong
    assert f"continue from step {step}," in train(model, data, tmp_path, after)
    assert_weights(tmp_path, whole[after], exactly=False)
    keys = ("step", "batches", "epoch", "rows", "position")
    assert [stored(tmp_path)[key] for key in keys] == [stored(whole[after])[key] for key in keys]
    losses = [
        [line["loss"] for line in timeless_records(folder / "run") if line["event"] == "train"]
        for folder in (tmp_path, whole[1])
    ]
    np.testing.assert_allclose(*losses, atol=1e-4)


def test_a_disk_without_room_for_any_checkpoint(model, data, tmp_path):
    """An error at the end, since nothing of the run would be left; with room, the run is made."""
    limit = (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    words = words_of(model, data, tmp_path, 1, epoch=3, token_cache_dir="off")
    process = start(tmp_path, 1, words, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    output = end(process, 2)
    assert "no checkpoint written (File too large), there is none before it: make room" in output
    assert output.count("training goes on") >= 1, "the best one, at step 9"
    assert output.splitlines()[-1].startswith("error: ")
    assert not list((tmp_path / "run").glob("*step_*"))
    end(start(tmp_path, 1, words))


def hang(folder, timeout, rank, processes=2):
    folder.mkdir(exist_ok=True)
    os.mkfifo(folder / "rows.fifo")
    return start(folder, processes, [str(folder), str(timeout), str(rank)], "tests/helpers/fault_toy.py")


def test_a_rank_that_waits_for_ever_ends_the_group_with_all_stacks(tmp_path):
    output = end(hang(tmp_path, 4, 1), HUNG)
    assert "no step for too long (--hang_timeout); the logs say what each rank was doing" in output
    logs = [(tmp_path / "log" / f"job.log.{rank}").read_text() for rank in (0, 1)]
    for rank, text in enumerate(logs):
        assert f"no step for 4 s (--hang_timeout): rank {rank} of 2 hangs, or waits for one that does" in text
        assert "most recent call first" in text
    assert "wait_for_a_row_that_never_comes" in logs[1]
    assert "wait_for_a_row_that_never_comes" not in logs[0]
    assert "_run" in logs[0], "it waits in a collective"


def test_one_process_is_watched_where_asked_for(tmp_path):
    output = end(hang(tmp_path, 2, 0, processes=1), HUNG)
    assert "no step for 2 s (--hang_timeout): this process hangs" in output
    assert "wait_for_a_row_that_never_comes" in output
    assert "run again to continue from the last checkpoint" in output
    assert read_checkpoint(tmp_path)


def test_one_process_is_watched_by_default(tmp_path):
    """For two hours; here the default is made two seconds."""
    assert ALONE_TIMEOUT == 7200
    output = end(hang(tmp_path, "default=2", 0, processes=1), HUNG)
    assert "no step for 2 s (--hang_timeout): this process hangs" in output
    assert read_checkpoint(tmp_path)


def read_checkpoint(folder):
    """The step of the toy's last checkpoint, which is whole."""
    with contextlib.closing(Saver(folder / "run", write_variable, read_variable)) as saver:
        weights, _, state = saver.restore()
    assert weights.keys()
    return state["step"]


def test_a_rank_that_was_stopped_ends_the_group(model, data, tmp_path, whole):
    """By SIGSTOP: it can print nothing. What is run again ends as if nothing had been."""
    process = start(tmp_path, 2, words_of(model, data, tmp_path, 2, hang_timeout=4))
    wait_for_records(tmp_path, 25, process)
    os.kill(second_rank(process), signal.SIGSTOP)
    output = end(process, HUNG)
    assert "rank 0 ended with exit status 124: no step for too long" in output
    assert "no step for 4 s (--hang_timeout): rank 0 of 2 hangs, or waits for one that does" in output
    step = stored(tmp_path)["step"]  # of the newest checkpoint: which one depends on when the signal came
    assert 0 < step < STEPS
    assert f"continue from step {step}," in train(model, data, tmp_path, 2)
    assert_weights(tmp_path, whole[2])


def test_a_rank_that_fails_has_the_others_show_their_stacks(tmp_path):
    process = hang(tmp_path, 300, 1)
    begin = time.monotonic()
    while not (tmp_path / "four.0").exists() or not (tmp_path / "four.1").exists():
        assert time.monotonic() - begin < 120
        time.sleep(0.05)
    time.sleep(1)
    os.kill(int((tmp_path / "four.0").read_text()), signal.SIGKILL)
    end(process, 128 + signal.SIGKILL)
    assert "wait_for_a_row_that_never_comes" in (tmp_path / "log" / "job.log.1").read_text()
