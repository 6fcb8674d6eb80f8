"""docs/distillation.md and distill/README.md: their commands, in order, and the flags and files they name.

python -m pytest tests/docs/test_distillation_docs.py -m slow
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import fields

import pytest

from distill.augment import AugmentArgs
from distill.students.flags import StudentFlags
from tests.helpers.common import ROOT
from tests.helpers.tiny import characters, make_model

TEXT = (ROOT / "docs" / "distillation.md").read_text(encoding="utf-8")
README = (ROOT / "distill" / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [shlex.split(line) for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]


@pytest.mark.slow
def test_every_command_runs_and_the_student_predicts(tmp_path):
    """In their order, with a tiny model in place of MODEL and a folder of the test in place of output."""
    make_model(tmp_path / "MODEL", characters(ROOT / "data"), max_position_embeddings=128)

    def place(word):
        if word.startswith("output/") or word == "output":
            return str(tmp_path / word)
        return word.replace("MODEL", str(tmp_path / "MODEL"))

    (tmp_path / "output").mkdir()
    for command in COMMANDS:
        assert command[0] == "python"
        words = [sys.executable, *map(place, command[1:])]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stderr[-1500:])
    lines = (tmp_path / "output/student_predictions.tsv").read_text(encoding="utf8").splitlines()
    assert len(lines) == len((ROOT / "data/SST-2/test.tsv").read_text(encoding="utf8").splitlines())
    assert (tmp_path / "output/small_student/best/checkpoint.json").is_file()
    assert (tmp_path / "output/student_model/best_inference_model/bundle.json").is_file()


def test_the_flags_in_the_tables_have_the_defaults_they_have():
    found = dict(re.findall(r"^\| `--(\w+_weight)` \|.*\| (\d+) \|$", TEXT, re.MULTILINE))
    given = {entry.name: entry.default for entry in fields(StudentFlags)}
    assert found == {"gold_weight": "1", "soft_weight": "1", "mse_weight": "0", "hard_weight": "0"}
    assert (given["gold_weight"], given["hard_weight"]) == (1.0, 0.0)
    for name, value in re.findall(r"`--(p_\w+)`, ([\d.]+)", TEXT):
        assert getattr(AugmentArgs(), name) == float(value)
    assert len(re.findall(r"`--(p_\w+)`, ([\d.]+)", TEXT)) == 3


def test_what_is_named_exists():
    for text in (TEXT, README):
        for flag in re.findall(r"--(\w+_(?:set|ratio|labelled|retries|labels|weight))\b", text):
            assert flag in {entry.name for entry in fields(StudentFlags)} | {"train_set", "dev_set", "predict_set"}, (
                flag
            )
        for path in re.findall(r"`?((?:config|distill|benchmark|script)/[\w/.]+\.(?:json|sh|py))", text):
            assert (ROOT / path).is_file(), path
        for module in re.findall(r"python -m (distill\.\w+)", text):
            assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), module
