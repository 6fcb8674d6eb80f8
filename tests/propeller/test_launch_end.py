"""The ends of a launcher: signals that are passed on, no environment in files, nobody left when it is killed."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.launch import TOY, alive, assert_no_orphans, log, start, wait_for

SECRET = "hunter2-in-the-environment"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT])
def test_hangup_and_quit_are_passed_on_as_sigterm(tmp_path, number):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    words = ("--nproc_per_node", "2", "--backend", "gloo", TOY, "checkpoint", str(tmp_path))
    process = start(tmp_path, *words, TMPDIR=str(temporary))
    wait_for(tmp_path, "ready.0", "ready.1")
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number, output
    assert_no_orphans(tmp_path)
    assert all("written" in log(tmp_path, rank) for rank in (0, 1)), "they had the time for a checkpoint"
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="process groups are watched through /proc")
def test_a_killed_launcher_leaves_no_process_that_hangs_and_no_environment(tmp_path):
    """One rank is held by SIGSTOP: it takes no signal that lets it end by itself."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    words = ("--nproc_per_node", "2", "--backend", "gloo", "--stop_grace", "1", TOY, "sleep", str(tmp_path))
    process = start(tmp_path, *words, TMPDIR=str(temporary), MY_TOKEN=SECRET)
    wait_for(tmp_path, "ready.0", "ready.1")
    held = int((tmp_path / "pids.1").read_text().split()[0])
    assert SECRET in Path(f"/proc/{held}/environ").read_text(), "the ranks have it"
    os.kill(held, signal.SIGSTOP)
    process.kill()
    process.communicate(timeout=30)
    end = time.monotonic() + 30
    pids = [pid for path in tmp_path.glob("pids.*") for pid in path.read_text().split()]
    while any(alive(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.1)
    assert not [pid for pid in pids if alive(pid)]
    assert list(temporary.iterdir()) == []
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
