"""Programs killed before a file operation and started again: a sample of the places, and what a fault looks like."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.kill_points import KINDS, spread
from tests.helpers import kill_programs
from tests.helpers.common import ROOT


def survived(folder, kinds, places):
    """kind -> (tried, survived), as the table of the benchmark says."""
    words = ["--kinds", *kinds, "--places", str(places), "--results", str(folder)]
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmark" / "kill_points.py"), *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    return {kind: (int(tried), int(good)) for kind, _, tried, good in rows}


def test_a_build_killed_anywhere(tmp_path):
    assert survived(tmp_path, ["build_data"], 8) == {"build_data": (8, 8)}


@pytest.mark.slow
def test_a_sample_of_every_kind(tmp_path):
    """All of them: python benchmark/kill_points.py."""
    assert survived(tmp_path, KINDS, 3) == dict.fromkeys(KINDS, (3, 3))


def leaves_a_part(inputs):
    part = Path(f"part-{os.getpid()}")
    part.touch()
    part.rename("whole")


def appends(inputs):
    with open("rows", "a") as file:
        file.write("row")
    Path("done").touch()


def cannot_go_on(inputs):
    Path("folder").mkdir()
    Path("folder/file").touch()


@pytest.mark.parametrize(
    ("program", "number", "expected"),
    [
        (leaves_a_part, 1, "part-.* is left over"),
        (appends, 1, "rows differs"),
        (cannot_go_on, 1, "second run ended with status 1: FileExistsError"),
        (appends, 0, "^$"),
        (appends, 2, "status 0 before it was killed"),
    ],
)
def test_a_fault_is_found(tmp_path, monkeypatch, program, number, expected):
    monkeypatch.setitem(kill_programs.KINDS, "build_data", program)
    programs = kill_programs.Programs(tmp_path / "runs", ["build_data"])
    assert programs.operations("build_data") == 2
    found = programs.killed("build_data", number)
    assert re.search(expected, found), found


def test_a_link_that_differs_is_found(tmp_path):
    for name, target in (("one", "step_1"), ("two", "step_2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "last").symlink_to(target)
    one, two = (kill_programs.picture(tmp_path / name) for name in ("one", "two"))
    assert kill_programs.difference(one, two) == "last differs"
    assert kill_programs.difference(one, {}) == "last is missing"


def test_places_are_evenly_spread():
    assert spread(10, None) == list(range(10))
    assert spread(10, 4) == [0, 3, 6, 9]
    assert spread(10, 1) == [0]
    assert spread(2, 5) == [0, 1]
