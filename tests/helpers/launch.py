"""Programs under the launcher: the words that start several processes, and toy processes."""

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.helpers.common import ROOT

TOY = str(ROOT / "tests" / "helpers" / "rank_toy.py")


def launcher(folder, processes):
    """The words before a program that start it in so many processes, their logs in ``folder/log``; none for one."""
    if processes == 1:
        return []
    words = [str(ROOT / "finetune_launch.py"), "--print_config", "false", "--backend", "gloo"]
    return [*words, "--nproc_per_node", str(processes), "--split_log_path", str(folder / "log")]


def start(folder, *words, **environment):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PADDLE_", "OMP_"))}
    here = folder / "here"
    here.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, str(ROOT / "finetune_launch.py"), "--print_config", "false", "--split_log_path",
         str(folder / "log"), *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**kept, **environment}, cwd=here,
    )  # fmt: skip


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def assert_no_orphans(folder, within=0.0):
    end = time.monotonic() + within
    pids = [pid for path in folder.glob("pids.*") for pid in path.read_text().split()]
    assert pids
    while (left := [pid for pid in pids if alive(pid)]) and time.monotonic() < end:
        time.sleep(0.1)
    assert not left


def wait_for(folder, *names):
    end = time.monotonic() + 60
    while not all((folder / name).exists() for name in names):
        assert time.monotonic() < end
        time.sleep(0.05)


def log(folder, rank):
    return (folder / "log" / f"job.log.{rank}").read_text()
