"""The shell recipes, without training: syntax, messages, the commands they build, and where they stop.

python -m pytest tests/script/test_recipes.py
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from finetune import task_class
from finetune.training.args import parse
from finetune.training.settled import RUN
from propeller.launch import build_parser
from propeller.train.args import by_strategy
from tests.helpers.common import FIXTURES, ROOT, SHARED
from tests.helpers.shell import SCRIPT, clean_environment, executable, shell

RECIPES = sorted([*SCRIPT.glob("en_glue/*/*/task.sh"), *SCRIPT.glob("zh_task/*/run_*.sh")])
SEVERAL = SCRIPT / "zh_task/ernie_base/run_multitask.sh"  # its files are in a list, see test_multitask_recipe.py
ALONE = [recipe for recipe in RECIPES if recipe != SEVERAL]
SST2 = SCRIPT / "en_glue/ernie_base/SST-2/task.sh"
CHNSENTICORP = SCRIPT / "zh_task/ernie_base/run_ChnSentiCorp.sh"

# The published hyper-parameters: the rows of the 2019 recipes, and the batches and GPUs of the 2019 README, which win.
with open(FIXTURES / "recipes.json", encoding="utf-8") as _file:
    PUBLISHED = json.load(_file)
ROWS = PUBLISHED["rows"]
# Recipes without published hyper-parameters: theirs are those of another one, and they say so.
OURS = {f"zh_task/ernie_{size}/run_dureader.sh": f"zh_task/ernie_{size}/run_cmrc2018.sh" for size in ("base", "large")}


def name_of(path):
    return str(path.relative_to(SCRIPT))


def run_recipe(recipe, *flags, cwd=None, **settings):
    """Runs ``sh recipe flags`` with nothing but ``settings`` of the variables that recipes look at."""
    return shell(["sh", str(recipe), *flags], cwd=cwd, env=clean_environment(**settings))


def dry_run(recipe, *flags, **settings):
    """The commands a recipe would run, as one list of words a seed, and what it says on the way."""
    done = run_recipe(recipe, *flags, **{"DRY_RUN": 1, "MODEL_PATH": "/m", "TASK_DATA_PATH": "/d", **settings})
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()], done.stderr


def flags_of(words):
    """``{flag: value}`` of a command, the last of a flag given twice, as argparse takes it; not the launcher's."""
    script = [index for index, word in enumerate(words) if word.endswith(".py")][-1:]
    start = script[0] + 1 if script else next(index for index, word in enumerate(words) if word.startswith("--"))
    start += words[start - 1].endswith("finetune/__main__.py")  # the name of the task
    rest = words[start:]
    assert len(rest) % 2 == 0, rest
    return {flag[2:]: value for flag, value in zip(rest[::2], rest[1::2])}


@pytest.fixture
def fake_python(tmp_path):
    """A stand-in for Python that writes its arguments down and exits as FAKE_STATUS says when the seed is FAKE_SEED."""
    path = executable(
        tmp_path / "bin with blank" / "python",
        'printf "%s\\n" "$*" >>"$FAKE_RECORD"\n'
        'case "$*" in *"--random_seed $FAKE_SEED "*) exit "$FAKE_STATUS" ;; esac\n',
    )
    model, data = tmp_path / "model", tmp_path / "data"
    model.mkdir()
    data.mkdir()
    return {
        "PYTHON": path,
        "FAKE_RECORD": tmp_path / "record",
        "FAKE_SEED": "none",
        "FAKE_STATUS": 0,
        "MODEL_PATH": model,
        "TASK_DATA_PATH": data,
        "OUTPUT": tmp_path / "out",
    }


def recorded(fake):
    record = Path(fake["FAKE_RECORD"])
    return record.read_text().splitlines() if record.exists() else []


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


@pytest.mark.parametrize("path", sorted(SCRIPT.rglob("*.sh")), ids=name_of)
def test_shell_syntax(path):
    done = shell(["sh", "-n", str(path)])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("recipe", RECIPES, ids=name_of)
def test_a_recipe_is_short_and_passes_flags_on(recipe):
    lines = [line for line in recipe.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(lines) <= 15
    assert lines[0] == "#!/bin/sh"
    assert lines[-1].endswith('"$@"')


@pytest.mark.parametrize("recipe", RECIPES, ids=name_of)
def test_unset_paths_are_explained(recipe):
    done = run_recipe(recipe)
    assert done.returncode == 2
    assert "MODEL_PATH is not set" in done.stderr
    assert "export MODEL_PATH=" in done.stderr
    assert "https://ernie.bj.bcebos.com/" in done.stderr
    assert "TASK_DATA_PATH is not set" in done.stderr
    assert "export TASK_DATA_PATH=" in done.stderr


@pytest.mark.parametrize("name", ["TASK_DATA_PATH", "OUTPUT"])
def test_a_comma_in_a_path_is_said_to_separate_files(tmp_path, name):
    (tmp_path / "a,b").mkdir()
    paths = {"MODEL_PATH": tmp_path, "TASK_DATA_PATH": tmp_path, name: tmp_path / "a,b"}
    done = run_recipe(SST2, **paths)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: {name}={tmp_path / 'a,b'}: a comma separates files")


def test_a_path_that_is_no_folder_is_named(tmp_path):
    done = run_recipe(SST2, MODEL_PATH=tmp_path / "nowhere", TASK_DATA_PATH=tmp_path)
    assert done.returncode == 2
    assert f"MODEL_PATH={tmp_path / 'nowhere'} is not a folder" in done.stderr


@pytest.mark.parametrize("recipe", ALONE, ids=name_of)
def test_every_recipe_builds_a_command_without_the_test_set_among_the_dev_sets(recipe):
    commands, _ = dry_run(recipe)
    for words in commands:
        flags = flags_of(words)
        assert flags["init_pretraining_params"] == "/m/params"
        assert flags["train_set"].startswith("/d/")
        dev, test = flags["dev_set"].split(","), flags.get("test_set", "").split(",")
        assert not set(dev) & set(test)
        assert "test" not in " ".join(Path(path).name for path in dev)
        if flags["do_test"] == "true":
            assert len(flags["test_save"].split(",")) == len(test)


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


def test_a_folder_a_recipe_and_seed():
    commands, _ = dry_run(SST2, OUTPUT="/o", SEEDS="1 3")
    assert [flags_of(words)["checkpoints"] for words in commands] == [
        "/o/en_glue/ernie_base/SST-2/seed_1",
        "/o/en_glue/ernie_base/SST-2/seed_3",
    ]
    assert flags_of(commands[0])["log_file"] == "/o/en_glue/ernie_base/SST-2/seed_1/train.log"
    commands, _ = dry_run(CHNSENTICORP, OUTPUT="/o")
    assert flags_of(commands[0])["checkpoints"] == "/o/zh_task/ernie_base/ChnSentiCorp/seed_1"


def test_extra_flags_come_last_and_win():
    extra = ["--epoch", "1", "--dev_set", "a file,b's.tsv", "--batch_size", "16"]
    commands, said = dry_run(SST2, *extra, SEEDS=1)
    assert commands[0][-len(extra) :] == extra
    assert flags_of(commands[0])["epoch"] == "1"
    assert "128 (8 GPUs x 16)" in said


@pytest.mark.parametrize(
    ("recipe", "settings", "accumulated", "said"),
    [
        (SST2, {"DEVICES": "cpu"}, 8, "stays 256 (8 GPUs x 32): a step accumulates 8 batches of 32"),
        (SST2, {"DEVICES": "cpu", "KEEP_BATCH": 0}, 1, "the total batch is 32, not 256 (8 GPUs x 32)"),
        (SST2, {"CUDA_VISIBLE_DEVICES": "0"}, 8, "stays 256"),
        (SST2, {"DEVICES": "0,1,2"}, 4, "3 GPUs are visible, 2 used"),
        (SST2, {"DEVICES": "0,1,2", "KEEP_BATCH": 0}, 1, "the total batch is 96, not 256 (8 GPUs x 32)"),
        (SST2, {"DEVICES": "0,1,2,3,4,5,6,7"}, 1, ""),
        (SST2, {"DEVICES": "0,1,2,3,4,5,6,7,8"}, 1, "9 GPUs are visible, 8 used"),
        (SST2, {"DEVICES": "cpu:2"}, 4, "a step accumulates 4 batches of 32 in each of 2 processes"),
        (SST2, {"DEVICES": "cpu:3"}, 3, "stays near 256 (8 GPUs x 32), at 288"),
        (SST2, {"DEVICES": "cpu:1"}, 8, "stays 256"),
        (CHNSENTICORP, {"DEVICES": "0,1"}, 1, "2 GPUs are visible, 1 used"),
        (CHNSENTICORP, {"DEVICES": "cpu"}, 1, ""),
        (CHNSENTICORP, {"DEVICES": "0"}, 1, ""),
    ],
)
def test_the_total_batch_is_kept_on_fewer_devices(recipe, settings, accumulated, said):
    commands, stderr = dry_run(recipe, SEEDS=1, **settings)
    assert flags_of(commands[0])["gradient_accumulation_steps"] == str(accumulated)
    assert said in stderr
    assert bool(said) == bool(stderr)
    assert len(stderr.splitlines()) <= 2


def test_gpus_are_counted_as_the_driver_lists_them(tmp_path):
    executable(tmp_path / "nvidia-smi", 'echo "GPU 0: A (UUID: 1)"; echo "GPU 1: A (UUID: 2)"\n')
    _, said = dry_run(SST2, SEEDS=1, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert "a step accumulates 4 batches of 32 in each of 2 processes" in said
    _, said = dry_run(SST2, SEEDS=1, PATH=f"{tmp_path}:{os.environ['PATH']}", DEVICES="cpu")
    assert "processes" not in said


LAUNCHER = str(ROOT / "finetune_launch.py")


@pytest.mark.parametrize("recipe", RECIPES, ids=name_of)
def test_recipes_of_several_gpus_go_through_the_launcher(recipe):
    """A process a GPU on as many as are there; its flags are those the launcher knows."""
    (words, *_), _ = dry_run(recipe, DEVICES="0,1", OUTPUT="/o")
    if "LAUNCH=single" in recipe.read_text(encoding="utf-8"):
        assert LAUNCHER not in words
        return
    assert words[1] == LAUNCHER
    assert "OMP_NUM_THREADS" not in words[0], "the launcher shares the cores out"
    args = build_parser("finetune_launch.py").parse_args(words[2:])
    assert (args.nproc_per_node, args.backend, args.print_config) == ("2", "nccl", False)
    assert args.split_log_path == f"{flags_of(words)['checkpoints']}/log"
    assert "--use_cuda" in args.training_script_args


def test_cores_as_devices_train_in_several_processes():
    """Also where the hyper-parameters are for one GPU: then each process has its part of the batch."""
    for recipe, batch in ((SST2, 32), (CHNSENTICORP, 12)):
        (words, *_), _ = dry_run(recipe, DEVICES="cpu:2", SEEDS=1)
        args = build_parser("finetune_launch.py").parse_args(words[2:])
        assert (args.nproc_per_node, args.backend) == ("2", "gloo")
        assert flags_of(words)["use_cuda"] == "false"
        assert int(flags_of(words)["batch_size"]) == batch


def test_dry_run_is_a_flag_too(fake_python):
    done = run_recipe(SST2, "--dry_run", "--epoch", "1", **fake_python)
    assert done.returncode == 0, done.stderr
    assert not recorded(fake_python)
    assert len(done.stdout.splitlines()) == 5
    assert all(flags_of(shlex.split(line))["epoch"] == "1" for line in done.stdout.splitlines())


@pytest.mark.parametrize(("devices", "use_cuda"), [("auto", "auto"), ("cpu", "false"), ("0", "true")])
def test_devices_choose_use_cuda(devices, use_cuda):
    commands, _ = dry_run(CHNSENTICORP, DEVICES=devices)
    assert flags_of(commands[0])["use_cuda"] == use_cuda


def test_threads_are_the_cores_unless_set():
    commands, _ = dry_run(CHNSENTICORP)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert commands[0][0] == f"OMP_NUM_THREADS={cores}"
    commands, _ = dry_run(CHNSENTICORP, OMP_NUM_THREADS=3)
    assert commands[0][0] == "OMP_NUM_THREADS=3"


def test_fp16_is_overridden():
    commands, _ = dry_run(CHNSENTICORP, USE_FP16="true")
    assert flags_of(commands[0])["use_fp16"] == "true"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("SEEDS", "1,2"),
        ("DEVICES", "gpu"),
        ("DEVICES", "cpu:0"),
        ("DEVICES", "cpu:x"),
        ("KEEP_BATCH", "yes"),
        ("USE_FP16", "maybe"),
        ("PYTHON", "/no/such/python"),
    ],
)
def test_a_setting_with_a_wrong_value_is_refused(setting, value):
    done = run_recipe(SST2, **{"DRY_RUN": 1, "MODEL_PATH": "/m", "TASK_DATA_PATH": "/d", setting: value})
    assert done.returncode in (1, 2)
    assert f"error: {setting}={value}" in done.stderr
    assert not done.stdout


def test_one_folder_for_several_seeds_is_refused():
    done = run_recipe(SST2, "--checkpoints", "/c", DRY_RUN=1, MODEL_PATH="/m", TASK_DATA_PATH="/d")
    assert done.returncode == 2
    assert "SEEDS=1" in done.stderr
    commands, _ = dry_run(SST2, "--checkpoints", "/c", SEEDS=1)
    assert flags_of(commands[0])["checkpoints"] == "/c"


def test_all_seeds_run_and_the_next_command_is_printed(fake_python, tmp_path):
    done = run_recipe(SST2, "--max_seq_len", "64", cwd=tmp_path, **fake_python)
    assert done.returncode == 0, done.stderr
    assert [f"--random_seed {seed} " in line for seed, line in enumerate(recorded(fake_python), start=1)] == [True] * 5
    command = shlex.split(done.stdout.strip().splitlines()[-1])
    assert command[:2] == [str(fake_python["PYTHON"]), str(ROOT / "infer_classifyer.py")]
    flags = flags_of(command[2:])
    assert flags["model"] == f"{tmp_path}/out/en_glue/ernie_base/SST-2/seed_1/best"
    assert (flags["predict_set"], flags["output"]) == ("NEW.tsv", "NEW_predictions.tsv")


def test_the_first_failure_stops_the_recipe_with_its_status(fake_python):
    done = run_recipe(SST2, **{**fake_python, "FAKE_SEED": 2, "FAKE_STATUS": 3})
    assert done.returncode == 3
    assert len(recorded(fake_python)) == 2
    assert "seed 2 stopped with exit status 3" in done.stderr
    assert "next" not in done.stdout


def test_help_needs_no_paths_and_reaches_the_program(fake_python):
    done = run_recipe(SST2, "--help", **{**fake_python, "MODEL_PATH": "", "TASK_DATA_PATH": ""})
    assert done.returncode == 0
    assert "KEEP_BATCH" in done.stdout
    assert recorded(fake_python) == [f"{ROOT}/run_classifier.py --help"]


def test_a_recipe_runs_from_anywhere_and_leaves_relative_paths_to_the_user(fake_python, tmp_path):
    settings = {**fake_python, "MODEL_PATH": "model", "TASK_DATA_PATH": "data", "OUTPUT": "out", "SEEDS": 1}
    done = run_recipe(os.path.relpath(SST2, tmp_path), cwd=tmp_path, **settings)
    assert done.returncode == 0, done.stderr
    assert "--vocab_path model/vocab.txt" in recorded(fake_python)[0]


def test_a_repository_in_a_folder_with_a_blank_and_the_word_script(fake_python, tmp_path):
    copy = tmp_path / "my script" / "script" / "repo"
    shutil.copytree(SCRIPT, copy / "script")
    done = run_recipe(copy / "script" / name_of(CHNSENTICORP), **fake_python)
    assert done.returncode == 0, done.stderr
    assert recorded(fake_python)[0].startswith(f"{copy}/run_classifier.py ")


def test_several_test_sets_get_a_prediction_file_each():
    commands, _ = dry_run(CHNSENTICORP, "--test_set", "/d/m/test.tsv,/d/mm/test.tsv", OUTPUT="/o")
    folder = "/o/zh_task/ernie_base/ChnSentiCorp/seed_1"
    assert flags_of(commands[0])["test_save"] == f"{folder}/test_out_1.tsv,{folder}/test_out_2.tsv"
