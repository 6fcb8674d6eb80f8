"""The quickstart as its user runs it, downloads and all: slow, and skipped where the package registry is out of reach.

python -m pytest tests/script/test_quickstart_run.py
"""

import re
import shutil
import subprocess

import pytest

from tests.helpers.common import ROOT
from tests.helpers.shell import clean_environment

LIMIT = 1500  # seconds: far beyond what it takes, so that a hang ends


def copy_of_the_tracked_files(folder):
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for name in filter(None, (name.decode() for name in names)):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def quickstart(folder, *flags):
    settings = {"VENV": ROOT / ".venv"} if (ROOT / ".venv").exists() else {}
    done = subprocess.run(
        ["sh", str(folder / "script/quickstart.sh"), *flags],
        env=clean_environment(DEVICES="cpu", **settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    if done.returncode and "could not get the package" in done.stdout:
        pytest.skip("the package registry is out of reach: " + done.stdout.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.mark.slow
def test_quickstart_from_an_empty_clone_and_once_more(tmp_path):
    folder = copy_of_the_tracked_files(tmp_path / "clone")
    output = quickstart(folder)
    accuracy = float(re.search(r"Accuracy on 1000 held-out sentences: (\d\.\d+)", output).group(1))
    assert accuracy >= 0.84
    results = folder / "output/quickstart/en_glue/ernie_base/SST-2/seed_1"
    for name in ("best", "last", "train.log", "metrics.jsonl", "curves.png"):
        assert (results / name).exists()
    assert len(re.findall(r"^ +(?:positive|negative) +0\.\d+ ", output, re.M)) == 5
    assert "717 of SST-2's 872 dev rows" in output
    weights = (results / "last/word_embedding").stat()
    again = quickstart(folder)
    assert "this run is finished" in again
    assert f"Accuracy on 1000 held-out sentences: {accuracy:.4f}" in again
    assert (results / "last/word_embedding").stat().st_mtime_ns == weights.st_mtime_ns, "nothing was trained again"
