"""A temporary directory that several programs share: filled once, gone with the last of them."""

import os
import subprocess
import sys
import tempfile

import pytest

from propeller.errors import UserError
from propeller.shared_scratch import SharedScratch, place_of
from tests.helpers.common import ROOT

PROGRAM = """
import sys, time
from propeller.shared_scratch import SharedScratch

def fill(path):
    time.sleep(0.2)
    path.mkdir()
    print("filled", flush=True)

scratch = SharedScratch("ernie-test-", "k", fill)
assert scratch.path.is_dir()
print("in", flush=True)
sys.stdin.readline()
assert scratch.path.is_dir()
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def start(folder):
    environment = {**os.environ, "TMPDIR": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def left(folder):
    return [path.name for path in folder.glob("ernie-test-*")]


def test_one_fills_it_for_all_and_the_last_removes_it(tmp_path):
    programs = [start(tmp_path) for _ in range(3)]
    try:
        said = []
        for program in programs:
            while (line := program.stdout.readline()) != "in\n":
                said.append(line)
        assert said == ["filled\n"]
        for program in programs:
            assert len(left(tmp_path)) == 1
            program.communicate("\n", timeout=60)
            assert program.returncode == 0
        assert left(tmp_path) == []
    finally:
        for program in programs:
            program.kill()
            program.wait()


def test_what_a_killed_program_left_is_used_again_or_removed(tmp_path, place):
    program = start(tmp_path)
    assert [program.stdout.readline() for _ in range(2)] == ["filled\n", "in\n"]
    program.kill()
    program.wait()
    program.stdout.close()
    program.stdin.close()
    assert len(left(place)) == 1
    again = SharedScratch("ernie-test-", "k", lambda path: pytest.fail("it is filled"))
    again.cleanup()
    assert left(place) == []
    (place / place_of("ernie-test-", "old").parent.name).mkdir()
    SharedScratch("ernie-test-", "k", lambda path: path.mkdir()).cleanup()
    assert left(place) == []


def test_nothing_is_left_of_what_could_not_be_made(place):
    def fill(path):
        (path.parent / "half").touch()
        raise UserError("no")

    with pytest.raises(UserError, match="^no$"):
        SharedScratch("ernie-test-", "k", fill)
    assert left(place) == []


def test_a_link_in_its_place_is_not_followed(place):
    (place / "elsewhere").mkdir()
    place_of("ernie-test-", "k").parent.symlink_to(place / "elsewhere")
    with pytest.raises(UserError, match="set TMPDIR to a local directory that is yours"):
        SharedScratch("ernie-test-", "k", lambda path: path.mkdir())
    assert list((place / "elsewhere").iterdir()) == []
