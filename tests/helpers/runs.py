"""Shared by tests that train: what a run wrote, its log, and the same run in one process and in two."""

import json
import os
import subprocess
import sys
from contextlib import redirect_stderr
from io import StringIO

from tests.helpers.common import ROOT


def read_records(folder):
    """The records of a run's metrics.jsonl."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def messages_of(log):
    """The lines of a log without what stands before each."""
    return "\n".join(line.split("\t", 1)[-1] for line in log.splitlines())


def log_of(run, *arguments):
    """The messages of the log of a run in this process."""
    shown = StringIO()
    with redirect_stderr(shown):
        run(*arguments)
    return messages_of(shown.getvalue())


def run_as_process(command, **options):
    """Run a program of the repository to its end; returns what it said."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, command)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, **options)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    return done


def timeless_records(folder):
    """The records of a run without what differs from one start to the next: times and names of files."""
    lines = read_records(folder)
    return [{k: v for k, v in line.items() if k not in ("speed", "elapsed", "queue_size", "file")} for line in lines]


def in_processes(count, program, **options):
    """Run a program, a list of words, in so many processes that train together."""
    launcher = [ROOT / "finetune_launch.py", "--nproc_per_node", str(count)] if count > 1 else []
    return run_as_process([*launcher, *program], **{"cwd": ROOT, **options})


def at_a_terminal(command):
    """The bytes that a program of the repository writes to a terminal of 100 columns; it must end well."""
    import fcntl
    import pty
    import struct
    import termios

    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen([sys.executable, *map(str, command)], stdout=follower, stderr=follower)
    os.close(follower)
    shown = b""
    try:
        while chunk := os.read(leader, 65536):
            shown += chunk
    except OSError:  # the terminal closes with the process
        assert process.wait(timeout=60) == 0
    finally:
        os.close(leader)
    return shown
