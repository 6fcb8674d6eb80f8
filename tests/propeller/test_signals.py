"""What is temporary goes at SIGTERM and SIGHUP, and after kill -9 at the next start."""

import os
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from propeller.errors import exit_on_user_error
from propeller.files import temporary_directory
from propeller.signals import ended_by_signals
from tests.helpers.common import ROOT
from tests.helpers.killing import fork
from tests.helpers.service_toys import wait_until

PROGRAM = """
import sys, time
from pathlib import Path
from propeller.errors import exit_on_user_error
from propeller.files import atomic_directory, atomic_text, temporary_directory

def main(folder, paddle):
    if paddle:
        from propeller import runtime
        runtime.prepare()
    with temporary_directory("ernie-test-") as scratch, atomic_directory(folder / "model") as model:
        with atomic_text(folder / "rows.tsv") as file:
            (scratch / "weights").write_text("a copy")
            (model / "weights").write_text("a copy")
            file.write("a row")
            (folder / "ready").touch()
            time.sleep(60)

exit_on_user_error(main, Path(sys.argv[1]), sys.argv[2] == "paddle")
"""


def start(folder, *words, before=None):
    (folder / "tmp").mkdir(exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(folder / "tmp")}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), *words], cwd=ROOT, env=environment,
        stderr=subprocess.PIPE, text=True, preexec_fn=before,
    )  # fmt: skip
    wait_until(lambda: (folder / "ready").exists() or process.poll() is not None, 60)
    (folder / "ready").unlink()
    return process


def left(folder):
    return sorted(path.name for path in [*folder.iterdir(), *(folder / "tmp").iterdir()] if path.name != "tmp")


@pytest.mark.parametrize(
    ("number", "with_paddle"), [(signal.SIGTERM, ""), (signal.SIGHUP, ""), (signal.SIGTERM, "paddle")]
)
def test_a_signal_leaves_nothing(tmp_path, number, with_paddle):
    process = start(tmp_path, with_paddle)
    assert len(left(tmp_path)) == 3
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert left(tmp_path) == []
    assert "Traceback" not in said
    assert "FatalError" not in said, "Paddle's own handler"


def test_the_next_start_clears_what_a_killed_process_left(tmp_path):
    process = start(tmp_path, "")
    process.kill()
    process.communicate()
    before = left(tmp_path)
    assert len(before) == 3
    living = start(tmp_path, "")
    assert len(left(tmp_path)) == 3
    assert not set(before) & set(left(tmp_path))
    other = start(tmp_path, "")
    assert len(left(tmp_path)) == 6, "what living processes use stays"
    for process in (living, other):
        process.terminate()
        process.communicate(timeout=30)
    assert left(tmp_path) == []


def test_nohup_is_respected(tmp_path):
    process = start(tmp_path, "", before=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.terminate()
    assert process.wait(30) == 128 + signal.SIGTERM


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, ended_by_signals():
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(SystemExit) as ended:
        exit_on_user_error(lambda: 3)
    assert ended.value.code == 3
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_forked_process_ends_as_any_other():
    with ended_by_signals():
        child = fork()
        if child == 0:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


def test_only_own_directories_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "ernie-test-notes").mkdir()
    (tmp_path / "ernie-test-tmp-notes").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "ernie-test-tmp-abcdefgh").symlink_to(tmp_path / "elsewhere")
    with temporary_directory("ernie-test-") as scratch:
        assert scratch.stat().st_mode & 0o777 == 0o700
        assert len(list(tmp_path.iterdir())) == 5
    assert len(list(tmp_path.iterdir())) == 4
