"""The launcher: what its flags come to; its processes when one fails, at a signal, on two nodes."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from propeller.errors import UserError
from propeller.launch import build_parser, make_plan
from propeller.runtime import cores
from tests.helpers.common import ROOT
from tests.helpers.launch import TOY, alive, assert_no_orphans, log, start, wait_for


def plan(*words, visible=0, threads=None):
    return make_plan(build_parser("finetune_launch.py").parse_args([*words]), visible, threads)


def test_flags_of_2019_come_to_a_process_a_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    words = ["--nproc_per_node", "2", "--selected_gpus", "1,3", "--node_ips", "10.0.0.1,10.0.0.2", "--node_id", "1"]
    words += ["--print_config", "False", "--split_log_path", "logs", "--log_prefix", "mrc_", TOY, "--epoch", "1"]
    made = plan(*words, visible=4)
    assert made.command == (TOY, "--epoch", "1")
    assert (made.processes, made.gpus) == (2, ("1", "3"))
    assert (made.nodes, made.node, made.master, made.address) == (2, 1, "10.0.0.1:6170", "10.0.0.2")
    assert made.logs == "logs/mrc_job.log."


def test_auto_is_a_process_a_gpu_or_a_core():
    assert plan(TOY, visible=3).gpus == ("0", "1", "2")
    assert plan(TOY, "--use_cuda", "true", "--use_cuda", "false", visible=3).processes == min(cores(), 8)
    assert plan("--nproc_per_node", "1", TOY).threads == cores()
    assert plan("--nproc_per_node", "64", TOY).threads == 1
    assert plan("--nproc_per_node", "64", TOY, threads="3").threads == 3, "the user's OMP_NUM_THREADS"
    assert plan("--backend", "gloo", "--nproc_per_node", "2", TOY, visible=3).gpus == ()


@pytest.mark.parametrize(
    ("words", "visible", "message"),
    [
        (["--nproc_per_node", "3", TOY], 2, "--nproc_per_node 3 for 2 GPUs"),
        (["--nproc_per_node", "0", TOY], 0, "a number from 1, or auto"),
        (["--nproc_per_node", "two", TOY], 0, "a number from 1, or auto"),
        (["--selected_gpus", "0,2", TOY], 2, "different numbers from 0 to 1"),
        (["--selected_gpus", "1,1", TOY], 2, "different numbers"),
        (["--backend", "nccl", TOY], 0, "needs GPUs, and there are none"),
        (["--nnodes", "2", TOY], 0, "needs --master HOST:PORT"),
        (["--nnodes", "2", "--master", "here", TOY], 0, "give HOST:PORT"),
        (["--node_ips", "a,b", TOY], 0, "--node_id None of 2 machines"),
        (["--node_ips", "a,b", "--nnodes", "3", TOY], 0, "--nnodes 3 but --node_ips has 2"),
        (["nowhere.py"], 0, "nowhere.py: no such script"),
        (["--max_restart", "1", TOY], 0, "did you mean --max_restarts. see .* --help"),
        ([TOY, "--use_cuda", "True"], 0, "--use_cuda true needs a GPU, .* has none: give --use_cuda auto"),
        (["--max_restarts", "-1", TOY], 0, "--max_restarts must be 0 or more"),
    ],
)
def test_flags_that_do_not_go_together(words, visible, message):
    with pytest.raises(UserError, match=message):
        plan(*words, visible=visible)


def test_pretrain_launch_takes_the_same_command_lines(tmp_path):
    """The launcher of pre-training in 2019's place; its flags as 2019's pretrain.sh gave them."""
    script = tmp_path / "job.py"
    script.write_text("import os, sys; print('rank', os.environ['PADDLE_TRAINER_ID'], sys.argv[1:])")
    words = ["--nproc_per_node", "2", "--selected_gpus", "0,1", "--node_ips", "127.0.0.1", "--node_id", "0"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "pretrain_launch.py"), *words, "--backend", "gloo", str(script), "--use_cuda",
         "False"],
        capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for rank in (0, 1):
        log = (tmp_path / "log" / f"job.log.{rank}").read_text()
        assert f"rank {rank} ['--use_cuda', 'False']" in log
    done = subprocess.run(
        [sys.executable, str(ROOT / "pretrain_launch.py"), "--nproc_per_nod", "2", str(script)],
        capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "pretrain_launch.py --help" in done.stderr


def run(folder, *words, status=0, **environment):
    process = start(folder, *words, **environment)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == status, output
    assert_no_orphans(folder)
    return output


def test_each_process_is_told_its_place_and_rank_0_is_shown(tmp_path):
    output = run(tmp_path, "--nproc_per_node", "2", "--backend", "gloo", TOY, "ok", str(tmp_path))
    for rank in (0, 1):
        words = log(tmp_path, rank).splitlines()[0].split()
        assert words[:4] == ["rank", str(rank), "2", "gloo"]
        assert words[4] == str(max(cores() // 2, 1))
    assert "rank 0 done" in output
    assert "rank 1" not in output
    assert sorted(path.name for path in (tmp_path / "log").iterdir()) == ["job.log.0", "job.log.1"], "nothing else"
    assert not (tmp_path / "here" / "log").exists(), "Paddle's own, with the environment in it"


@pytest.mark.parametrize(("what", "status"), [("die", 7), ("killed", 128 + 9)])
def test_a_rank_that_dies_ends_the_group_with_its_status(tmp_path, what, status):
    begin = time.monotonic()
    output = run(tmp_path, "--nproc_per_node", "3", "--backend", "gloo", TOY, what, str(tmp_path), status=status)
    assert time.monotonic() - begin < 60, "of 600 that the others would have slept"
    assert f"rank 1 ended with exit status {status}" in output
    assert what != "die" or "last words" in output, "the last lines of that rank"


@pytest.mark.parametrize(("who", "apart"), [("0, 1", False), ("1,", True)], ids=["both", "one"])
def test_what_all_ranks_say_of_a_mistake_is_shown_once(tmp_path, who, apart):
    script = tmp_path / "mistaken.py"
    script.write_text(
        "import os, sys, time\n"
        "rank = int(os.environ['PADDLE_TRAINER_ID'])\n"
        f"if rank in ({who}):\n"
        "    time.sleep(0.3 * (1 - rank))\n"
        "    print('error: the same', file=sys.stderr)\n"
        "    sys.exit(2)\n"
        "print('rank 0 waits', file=sys.stderr)\n"
        "time.sleep(60)\n"
    )
    process = start(tmp_path, "--nproc_per_node", "2", "--backend", "gloo", str(script))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2, output
    assert output.count("error: the same") == 1
    assert ("the last lines of" in output) == apart


@pytest.mark.parametrize(
    ("number", "what", "status"), [(signal.SIGINT, "sleep", 130), (signal.SIGTERM, "checkpoint", 143)]
)
def test_a_signal_reaches_all_and_leaves_nobody(tmp_path, number, what, status):
    process = start(tmp_path, "--nproc_per_node", "2", "--backend", "gloo", TOY, what, str(tmp_path))
    wait_for(tmp_path, "ready.0", "ready.1")
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == status, output
    assert_no_orphans(tmp_path)
    assert what != "checkpoint" or all("written" in log(tmp_path, rank) for rank in (0, 1)), "they had the time"


def test_a_second_signal_does_not_wait(tmp_path):
    process = start(tmp_path, "--nproc_per_node", "1", "--backend", "gloo", TOY, "checkpoint", str(tmp_path))
    wait_for(tmp_path, "ready.0")
    os.kill(int((tmp_path / "pids.0").read_text().split()[0]), signal.SIGSTOP)  # it cannot end by itself
    process.send_signal(signal.SIGTERM)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert_no_orphans(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal at the death of a parent is Linux's")
def test_a_launcher_that_is_killed_takes_its_ranks_along(tmp_path):
    process = start(tmp_path, "--nproc_per_node", "2", "--backend", "gloo", TOY, "parent", str(tmp_path))
    wait_for(tmp_path, "ready.0", "ready.1")
    process.kill()
    process.communicate(timeout=30)
    ranks = [path.read_text().split() for path in tmp_path.glob("pids.*")]
    end = time.monotonic() + 20
    while any(alive(pid) for pid, _ in ranks) and time.monotonic() < end:
        time.sleep(0.1)
    try:
        assert not any(alive(pid) for pid, _ in ranks)
    finally:
        for _, helper in ranks:
            with contextlib.suppress(ProcessLookupError):  # the guard ends what ranks have started
                os.kill(int(helper), signal.SIGKILL)


def test_max_restarts(tmp_path):
    words = ("--nproc_per_node", "2", "--backend", "gloo", "--max_restarts", "2", TOY, "once", str(tmp_path))
    output = run(tmp_path, *words)
    assert "rank 1 ended with exit status 5" in output
    assert "starting all processes again, 1 of 2 times" in output
    assert "rank 0 done" in output


def test_ports_in_use_are_passed_over(tmp_path):
    with socket.socket() as one, socket.socket() as other:
        one.bind(("", 0))
        port = one.getsockname()[1]
        try:
            other.bind(("", port + 1))
        except OSError:
            pytest.skip("the next port is somebody else's")
        run(tmp_path, "--nproc_per_node", "2", TOY, "ok", str(tmp_path), PORT_RANGE=f"{port}:{port + 40}")
    endpoint = log(tmp_path, 0).splitlines()[0].split()[5]
    assert int(endpoint.split(":")[1]) not in (port, port + 1)


@pytest.mark.slow
@pytest.mark.parametrize(("what", "status"), [("ok", 0), ("die", 7)])
def test_two_nodes_on_loopback(tmp_path, what, status):
    """Two launchers meet; a rank that dies on one node ends the other's, too."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    words = ["--backend", "gloo", "--node_ips", "127.0.0.1,127.0.0.1", "--master", f"127.0.0.1:{port}"]
    processes = [
        start(tmp_path, *words, "--node_id", str(node), "--nproc_per_node", "2", TOY, what, str(tmp_path))
        for node in (0, 1)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [status, status], outputs
    assert_no_orphans(tmp_path)
    assert [log(tmp_path, rank).split()[:3] for rank in range(4)] == [["rank", str(rank), "4"] for rank in range(4)]
    assert len({log(tmp_path, rank).splitlines()[0].split()[5] for rank in range(4)}) == 1, "one meeting point"
    assert what == "ok" or "another node failed" in outputs[1]
