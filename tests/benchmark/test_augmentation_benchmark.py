"""benchmark/augmentation.py: its figures and what it compares, on a few rows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from argparse import Namespace

from benchmark import augmentation
from benchmark.parts.common import Bench
from tests.helpers.common import ROOT
from tests.helpers.tiny import sentences, write_tsv


def arguments(folder, **changes):
    values = {"data": write_tsv(folder / "train.tsv", sentences(30, 1)), "rows": 12, "copies": 3, "num_workers": 2,
              "work": str(folder / "work"), "results": str(folder), "segmenters": ["english"]}  # fmt: skip
    return Namespace(**values, minutes=5, again=False, **changes)


def test_a_few_rows(tmp_path, capsys):
    """The first rows are augmented; two processes write the same file; nothing is measured twice."""
    args = arguments(tmp_path)
    assert augmentation.main(args) in (0, 1)
    first = capsys.readouterr().out
    assert first.startswith("english: 36 rows of 12 in ")
    assert "english: 2 processes, their start included: " in first
    assert "the file is the same" in first
    cells = json.loads((tmp_path / "augmentation.json").read_text())["cells"]
    assert set(cells) == {*(f"english round {number}" for number in range(1, 6)), "english workers"}
    augmentation.main(args)
    assert capsys.readouterr().out == first


def test_the_target_is_judged_without_the_segmenter(tmp_path, capsys):
    """Ten seconds of which the segmenter takes nine are one; another file of the processes fails."""
    args = arguments(tmp_path)
    (tmp_path / "work").mkdir()
    bench = Bench("augmentation", args, {}, tmp_path)
    rounds = {f"english round {number}": [9.0, 10.0 + number, 30_000, "a"] for number in range(1, 6)}
    bench.stored["cells"].update({**rounds, "english round 1": [9.0, 10.0, 30_000, "a"]})
    for digest, good in (("a", True), ("b", False)):
        bench.stored["cells"]["english workers"] = [5.0, 30_000, digest]
        assert augmentation.measure(bench, "english", args) == good
        out = capsys.readouterr().out
        assert "3,000 rows/s in all, 30,000 beside the segmenter, 20,000 reached" in out
        assert f"the file is {'the same' if good else 'another one'}" in out
    bench.stored["cells"].update({key: [*cell[:2], 15_000, "a"] for key, cell in rounds.items()})
    assert not augmentation.measure(bench, "english", args)
    assert "20,000 not reached" in capsys.readouterr().out


def test_help_shows_the_command():
    command = [sys.executable, "benchmark/augmentation.py", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert re.search("python benchmark/augmentation.py --segmenters jieba", done.stdout)
