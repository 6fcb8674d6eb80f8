"""The recipe of several tasks: its list, its command, and a run of it on the samples.

python -m pytest tests/script/test_multitask_recipe.py
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from finetune.multitask.args import parse
from script import report
from tests.helpers.common import ROOT
from tests.helpers.shell import SCRIPT, clean_environment, shell
from tests.helpers.tiny import characters, make_model

RECIPE = SCRIPT / "zh_task/ernie_base/run_multitask.sh"


def run(*flags, **settings):
    done = shell(["sh", str(RECIPE), *flags], env=clean_environment(**settings))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_program_takes_its_command_and_its_list(tmp_path):
    """The tasks are those of the recipes of one task, with as many labels and the same files."""
    words = shlex.split(run(DRY_RUN=1, MODEL_PATH="/m", TASK_DATA_PATH=ROOT / "data"))
    given = words[words.index("multitask") + 1 :]
    args = parse("python -m finetune multitask", given)
    assert args.path == str(SCRIPT / "zh_task/ernie_base/multitask.json")
    assert [(entry.name, entry.task, entry.weight) for entry in args.entries] == [
        ("reviews", "classify", 1.0), ("inference", "classify", 4.0), ("entities", "sequence_label", 2.0)
    ]  # fmt: skip
    for entry, name in zip(args.entries, ("ChnSentiCorp", "xnli", "msra_ner")):
        flags = entry.args
        paths = [flags.data.train_set, flags.data.dev_set, flags.data.test_set, flags.model.label_map_config]
        assert all(Path(path).is_file() for path in paths if path), paths
        text = (SCRIPT / f"zh_task/ernie_base/run_{name}.sh").read_text(encoding="utf-8")
        assert f"--num_labels {flags.model.num_labels}" in text
        (folder,) = [line for line in text.splitlines() if line.startswith("data=")]
        assert Path(flags.data.train_set).parent == ROOT / "data" / folder.rpartition("/")[2]
        assert flags.run.do_test
        assert flags.model.init_pretraining_params == "/m/params"


@pytest.mark.slow
def test_it_runs_on_the_samples_and_is_reported(tmp_path):
    make_model(tmp_path / "model", characters(ROOT / "data"), num_hidden_layers=1, max_position_embeddings=256)
    said = run("--max_steps", "7", "--validation_steps", "7", MODEL_PATH=tmp_path / "model", OUTPUT=tmp_path / "out",
               TASK_DATA_PATH=ROOT / "data", DEVICES="cpu", PYTHON=sys.executable)  # fmt: skip
    folder = tmp_path / "out/zh_task/ernie_base/multitask/seed_1"
    command = shlex.split(said.strip().splitlines()[-1])
    assert command[command.index("--model") + 1] == str(folder / "TASK/best")
    assert command[command.index("--predict_set") + 1] == "NEW.tsv"
    for name, task in (("reviews", "classify"), ("inference", "classify"), ("entities", "sequence_label")):
        assert json.loads((folder / name / "best/checkpoint.json").read_text())["task"] == task
        assert (folder / f"{name}_test.tsv").stat().st_size
    runs, unfinished = report.find_runs(tmp_path / "out")
    assert not unfinished
    assert set(runs) == {f"zh_task/ernie_base/multitask/{name}" for name in ("reviews", "inference", "entities")}
    (reviews,) = runs["zh_task/ernie_base/multitask/reviews"]
    assert {key for key in reviews.scores if key[2] == "acc"} == {("dev", 0, "acc")}
    assert "score" not in {name for found in runs.values() for run in found for _, _, name in run.scores}
