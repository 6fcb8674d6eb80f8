"""Training in several processes over gloo, of a toy model: the steps, weights and scores of one process.

python -m pytest tests/propeller/test_parallel.py
"""

import json
import signal
import socket
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from ernie.checkpoint import read_params
from propeller.train.distribution import GradientReducer, ParallelRanks, Ranks, add_numbers, pack, unpack
from tests.helpers.common import ROOT
from tests.helpers.launch import launcher
from tests.helpers.shell import clean_environment

TOY = str(ROOT / "tests" / "helpers" / "parallel_toy.py")


def run(words, log, status=0):
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == status, done.stderr
    log.write_text(done.stderr)
    return done.stderr


def train_toy(folder, processes, **given):
    """-> for each rank its arrays (``losses``, ``predicted``, weights) and what it said."""
    folder.mkdir(exist_ok=True)
    run([*launcher(folder, processes), TOY, str(folder), json.dumps(given)], folder / "said")
    ranks = []
    for rank in range(processes):
        with np.load(folder / f"rank{rank}.npz") as arrays:
            ranks.append(({**arrays}, json.loads((folder / f"rank{rank}.json").read_text())))
    return ranks


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "given", "alone"),
    [
        # 20 rows: batches of 7, 7 and 6, so the last step of an epoch has one for the first rank only; with dropout
        (2, {"size": 7}, {"size": 7, "accumulate": 2}),
        pytest.param(
            2, {"size": 3, "accumulate": 2, "bucket_mb": 1e-6}, {"size": 3, "accumulate": 4}, marks=pytest.mark.slow
        ),
        # a rank that never has a batch
        pytest.param(3, {"size": 10}, {"size": 10, "accumulate": 2}, marks=pytest.mark.slow),
    ],
)
def test_steps_are_those_of_one_process(tmp_path, processes, given, alone):
    ((wanted, said),) = train_toy(tmp_path / "alone", 1, **alone)
    found = train_toy(tmp_path / "shared", processes, **given)
    for arrays, other in found:
        np.testing.assert_allclose(arrays["losses"], wanted["losses"], atol=1e-5)
        for name in ("toy_w", "toy_b"):
            np.testing.assert_allclose(arrays[name], wanted[name], atol=1e-6)
            np.testing.assert_array_equal(arrays[name], found[0][0][name], err_msg="alike on all ranks, bit for bit")
        np.testing.assert_array_equal(arrays["predicted"], wanted["predicted"], err_msg="in the order of the file")
        assert other["scores"]["data_num"] == said["scores"]["data_num"] == 20
        assert other["scores"]["acc"] == said["scores"]["acc"]
        assert other["state"] == found[0][1]["state"]
        for key in ("step", "batches", "epoch", "rows", "position", "best_step", "best_score", "window_examples"):
            assert other["state"][key] == said["state"][key]
    checkpoint = read_params(tmp_path / "shared" / "run" / "last")
    np.testing.assert_array_equal(checkpoint["toy_w"], found[0][0]["toy_w"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "accumulate"),
    [(1, 1), pytest.param(0, 1, marks=pytest.mark.slow), pytest.param(1, 2, marks=pytest.mark.slow)],
)
def test_infinities_on_one_rank_make_all_skip_the_step(tmp_path, rank, accumulate):
    """The loss scale looks at sums over the ranks. Of an epoch's four batches the second rank has every other."""
    scaling = {"initial": 64.0, "incr_every_n_steps": 2, "decr_every_n_nan_or_inf": 1, "decr_ratio": 0.25}
    given = {"size": 5, "epochs": 6, "scaling": scaling, "bad": [[1, 15 + 5 * rank], [3, 5 + 5 * rank]]}
    ((wanted, said),) = train_toy(tmp_path / "alone", 1, accumulate=2 * accumulate, **given)
    found = train_toy(tmp_path / "shared", 2, accumulate=accumulate, **given)
    assert said["state"]["skipped"] == 2
    assert len(set(wanted["scales"])) > 2, "it rose and fell"
    moments = [name for name in wanted if "moment" in name or "pow_acc" in name]
    assert moments
    for arrays, other in found:
        assert {key: other["state"][key] for key in ("step", "skipped", "batches")} == {
            key: said["state"][key] for key in ("step", "skipped", "batches")
        }
        np.testing.assert_array_equal(arrays["scales"], wanted["scales"])
        np.testing.assert_allclose(arrays["losses"], wanted["losses"], atol=1e-5)
        for name in ("toy_w", "toy_b", *moments):
            assert np.isfinite(arrays[name]).all()
            np.testing.assert_allclose(arrays[name], wanted[name], atol=1e-6, err_msg=name)
        for name in set(arrays) - {"losses", "predicted"}:
            np.testing.assert_array_equal(arrays[name], found[0][0][name], err_msg="alike on all ranks, bit for bit")


@pytest.mark.slow
def test_a_run_goes_on_in_another_number_of_processes(tmp_path):
    ((whole, _),) = train_toy(tmp_path / "whole", 1, size=3, accumulate=2)
    train_toy(tmp_path / "moved", 2, size=3, max_steps=5)
    ((arrays, said),) = train_toy(tmp_path / "moved", 1, size=3, accumulate=2, max_steps=8)
    assert said["state"]["step"] == 8
    np.testing.assert_allclose(arrays["losses"], whole["losses"][5:8], atol=1e-5)
    for arrays, _ in train_toy(tmp_path / "moved", 2, size=3):
        np.testing.assert_allclose(arrays["losses"], whole["losses"][8:], atol=1e-5)
        np.testing.assert_allclose(arrays["toy_w"], whole["toy_w"], atol=1e-6)


@pytest.mark.slow
def test_all_ranks_stop_at_one_step(tmp_path):
    """The last rank is asked after its step 3, and tells the others with the next one."""
    for _, said in train_toy(tmp_path, 2, size=3, ask=3):
        assert said["state"]["step"] == 4
        assert said["state"]["saved_step"] == 4
        assert said["stopped"] == "the last rank was asked"


MEETING = """
import os, sys
import paddle
from propeller.train.distribution import ParallelRanks
rank, port = int(sys.argv[1]), int(sys.argv[2])
ranks = ParallelRanks.of_store(paddle.base.core.TCPStore("127.0.0.1", port, rank == 0, 2, 60), rank, 2)
for _ in range(3):
    ranks.barrier()
print("met", flush=True)
os._exit(0)
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_first_rank_may_end_right_behind_a_meeting():
    words = [sys.executable, "-c", MEETING]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    port = str(free_port())
    given = {"cwd": ROOT, "env": clean_environment(), **pipes}
    ranks = [subprocess.Popen([*words, str(rank), port], **given) for rank in range(2)]
    for rank in ranks:
        output, errors = rank.communicate(timeout=120)
        assert (rank.returncode, output) == (0, "met\n"), errors


def test_a_signal_does_not_break_a_meeting():
    """Paddle's store by itself takes an interrupted system call for an error."""
    ranks = ParallelRanks.of_store(paddle.base.core.TCPStore("127.0.0.1", free_port(), True, 1, 60), 0, 1)
    signals = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: signals.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        for _ in range(10):
            ranks.barrier()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert signals, "they came all the same"


def test_values_travel_without_pickle():
    value = {
        "text": "ä\u4e2d", "none": None, "numbers": [1, 2.5, True, float("inf")], "empty": {},
        "ids": np.arange(6).reshape(2, 3), "half": np.zeros((0, 4), "float16"), "one": np.float32(1.5),
        "3": np.int64(4), "turned": np.arange(6.0).reshape(2, 3).T, "nested": [{"x": np.ones(2, bool)}],
    }  # fmt: skip
    found = unpack(pack(value))
    assert list(found) == list(value)
    for name in ("ids", "half", "turned"):
        np.testing.assert_array_equal(found[name], value[name])
        assert found[name].dtype == value[name].dtype
    assert (found["one"], found["3"]) == (1.5, 4)
    assert found["nested"][0]["x"].tolist() == [True, True]
    assert {key: found[key] for key in ("text", "none", "numbers", "empty")} == {
        key: value[key] for key in ("text", "none", "numbers", "empty")
    }
    with pytest.raises(TypeError, match="Python objects"):
        pack(np.array([object()]))


def test_turns_come_in_the_order_of_the_file():
    class Three(Ranks):
        """Rank 0 of three; what the others have is known."""

        size = 3
        others = [[["b"], ["e"], None], [["c", "C"], None, None]]

        def all_gather(self, value):
            return [value, *(other.pop(0) for other in self.others)]

    assert list(Three().in_order([["a", "A"], ["d"]])) == ["a", "A", "b", "c", "C", "d", "e"]


def test_numbers_are_added_by_name():
    assert add_numbers([{"a": 1, "b": 0.5}, {}, {"a": 2, "c": 1}]) == {"a": 3, "b": 0.5, "c": 1}


def test_buckets_are_full_or_one_large_gradient_each():
    def grad(size, dtype="float32"):
        return (size, SimpleNamespace(shape=[size], dtype=dtype))

    pairs = [grad(100), grad(600), grad(200), grad(5000), grad(300), grad(10, "float16")]
    found = GradientReducer(1000 * 4 / 2**20).buckets(pairs)
    assert [[size for size, _ in bucket] for bucket in found] == [[10], [300], [5000], [200, 600, 100]]
