"""The published hyper-parameters: what the recipes of fine-tuning have of them, and what they feed the program."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from finetune import task_class
from finetune.training.args import parse
from finetune.training.settled import RUN
from propeller.train.args import by_strategy
from tests.helpers.common import FIXTURES, ROOT, SHARED
from tests.helpers.recipes import ALONE, RECIPES, dry_run, flags_of, name_of
from tests.helpers.shell import SCRIPT

# The published hyper-parameters: the rows of the 2019 recipes, and the batches and GPUs of the 2019 README, which win.
with open(FIXTURES / "recipes.json", encoding="utf-8") as _file:
    PUBLISHED = json.load(_file)
ROWS = PUBLISHED["rows"]
# Recipes without published hyper-parameters: theirs are those of another one, and they say so.
OURS = {f"zh_task/ernie_{size}/run_dureader.sh": f"zh_task/ernie_{size}/run_cmrc2018.sh" for size in ("base", "large")}


def test_every_row_has_its_recipe_and_a_recipe_without_a_row_says_so():
    names = {name_of(recipe) for recipe in RECIPES}
    assert len(ROWS) == 36
    assert set(ROWS) <= names
    for name in names - {*ROWS, *OURS}:
        assert "# hyper-parameters: ours" in (SCRIPT / name).read_text(encoding="utf-8"), name


@pytest.mark.beside("recipes.md")
def test_the_committed_numbers_are_those_of_the_table():
    found = 0
    for line in (SHARED / "recipes.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] not in ROWS:
            continue
        row = ROWS[cells[0]]
        names = ("batch", "GPUs", "epochs", "lr", "max_seq_len", "warmup", "weight_decay", "repeats")
        assert row["program"] == cells[1]
        assert [row[name] for name in names] == [float(cell) for cell in cells[2:10]]
        assert [row["flags"], row["data"]] == [dict(word.split("=") for word in cell.split()) for cell in cells[10:12]]
        found += 1
    assert found == 36


def published_batch(name, row):
    """(total batch, GPUs): the README's where it has them, else the row's."""
    task = name.split("/")[2].replace("run_", "").replace(".sh", "")
    size = "base" if "/ernie_base/" in name else "large"
    published = PUBLISHED["published_batches"].get(task)
    return (
        (published[size]["total"], published[size]["GPUs"]) if published else (row["batch"] * row["GPUs"], row["GPUs"])
    )


def facts(name):
    """The facts a recipe states before it calls ``recipe``."""
    (line,) = [line for line in (SCRIPT / name).read_text(encoding="utf-8").splitlines() if line.startswith("GPUS=")]
    return dict(word.split("=") for word in line.split())


@pytest.mark.parametrize("name", [*ROWS, *OURS])
def test_hyper_parameters_are_the_published_ones(name):
    row = ROWS[OURS.get(name, name)]
    total, gpus = published_batch(OURS.get(name, name), row)
    launch = "multi-process" if gpus > 1 else "single"
    assert facts(name) == {"GPUS": str(gpus), "LAUNCH": launch, "FP16": "false", "REPEATS": str(row["repeats"])}
    commands, _ = dry_run(SCRIPT / name, DEVICES="cpu")
    assert len(commands) == row["repeats"]
    numbers = {
        "epoch": row["epochs"],
        "learning_rate": row["lr"],
        "max_seq_len": row["max_seq_len"],
        "warmup_proportion": row["warmup"],
        "weight_decay": row["weight_decay"],
    }
    plain = {key: value for key, value in row["flags"].items() if not key.startswith("label_map")}
    maps = {value for key, value in row["flags"].items() if key.startswith("label_map")}
    for seed, words in enumerate(commands, start=1):
        assert words[2].endswith(f"/{row['program']}.py")
        flags = flags_of(words)
        assert {flag: float(flags[flag]) for flag in numbers} == numbers
        assert {flag: flags[flag].lower() for flag in plain} == {key: value.lower() for key, value in plain.items()}
        assert (
            {flags["label_map_config"]} == {f"/d/{path}" for path in maps} if maps else "label_map_config" not in flags
        )
        assert int(flags["batch_size"]) * gpus == total
        assert int(flags["gradient_accumulation_steps"]) == gpus
        assert flags["random_seed"] == str(seed)
        assert flags["lr_scheduler"] == "linear_warmup_decay"
        assert flags["use_fp16"] == "false"
        if row["program"] == "run_mrc":
            assert [flags[f] for f in ("max_query_length", "max_answer_length", "n_best_size")] == ["64", "100", "20"]


@pytest.mark.parametrize("name", ROWS)
def test_files_are_those_of_the_table_with_the_test_set_where_it_belongs(name):
    row = ROWS[name]
    flags = flags_of(dry_run(SCRIPT / name, SEEDS=1)[0][0])
    dev = [path for path in row["data"]["dev"].split(",") if not path.endswith("/test.tsv")]
    test = row["data"].get("test", "").split(",") if row["data"].get("test") else []
    moved = [path for path in row["data"]["dev"].split(",") if path.endswith("/test.tsv")]
    for flag, paths in {"train_set": [row["data"]["train"]], "dev_set": dev, "test_set": test or moved}.items():
        assert flags.get(flag, "") == ",".join(f"/d/{path}" for path in paths)
    diagnostic = row["data"].get("diagnostic")
    assert flags.get("diagnostic") == (f"/d/{diagnostic}" if diagnostic else None)
    assert ("diagnostic_save" in flags) == bool(diagnostic)
    assert flags["do_test"] == ("true" if test or moved else "false")


@pytest.mark.parametrize("recipe", ALONE, ids=name_of)
def test_the_program_takes_every_flag_of_the_recipe(recipe):
    """The words the recipe would run, through the program's own parser."""
    (words, *_), _ = dry_run(recipe)
    program, given = Path(words[2]).name, words[3:]
    if program == "__main__.py":  # python -m finetune TASK
        task, *given = given
    else:
        task = re.search(r'main, "[\w.]+", "(\w+)"', (ROOT / program).read_text(encoding="utf-8")).group(1)
    args = parse(program, "", given, task_class(task).flags)
    assert not args.ignored
    # As published: one evaluation per epoch in English, where 2019 had a million steps between two; more in Chinese.
    assert args.run.eval_strategy is None
    every, epochs = by_strategy(RUN["eval_strategy"], args.run.validation_steps)
    assert epochs
    assert (every == 0) == name_of(recipe).startswith("en_glue/")


@pytest.mark.parametrize("recipe", OURS)
def test_hyper_parameters_of_our_own_are_said_to_be(recipe):
    assert "these are ours" in (SCRIPT / recipe).read_text(encoding="utf-8")
