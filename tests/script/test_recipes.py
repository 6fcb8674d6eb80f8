"""The shell recipes, without training: syntax, messages, the commands they build, and where they stop.

python -m pytest tests/script/test_recipes.py
"""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

import pytest

from propeller.launch import build_parser
from tests.helpers.common import ROOT
from tests.helpers.recipes import ALONE, CHNSENTICORP, RECIPES, SST2, dry_run, flags_of, name_of, run_recipe
from tests.helpers.shell import SCRIPT, executable, shell


def empty_model(folder):
    """The parts of a model that a recipe looks for; returns the folder."""
    (folder / "params").mkdir(parents=True)
    for name in ("ernie_config.json", "vocab.txt"):
        (folder / name).touch()
    return folder


@pytest.fixture
def fake_python(tmp_path):
    """A stand-in for Python that writes its arguments down and exits as FAKE_STATUS says when the seed is FAKE_SEED."""
    path = executable(
        tmp_path / "bin with blank" / "python",
        'printf "%s\\n" "$*" >>"$FAKE_RECORD"\n'
        'case "$*" in *"--random_seed $FAKE_SEED "*) exit "$FAKE_STATUS" ;; esac\n',
    )
    model, data = tmp_path / "model", tmp_path / "data"
    empty_model(model)
    for task in ("SST-2", "chnsenticorp"):
        for split in ("train", "dev", "test"):
            table = data / task / f"{split}.tsv"
            table.parent.mkdir(parents=True, exist_ok=True)
            table.write_text("label\ttext_a\n")
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


def test_a_hugging_face_model_is_given_as_it_is(tmp_path):
    (tmp_path / "config.json").touch()
    (words,), _ = dry_run(SST2, MODEL_PATH=tmp_path, SEEDS=1, DEVICES="cpu")
    flags = flags_of(words)
    assert flags["model"] == str(tmp_path)
    assert not {"ernie_config_path", "vocab_path", "init_pretraining_params"} & flags.keys()


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


@pytest.mark.parametrize("there", [False, True])
def test_gpus_that_are_not_there_have_a_remedy(fake_python, tmp_path, there):
    executable(tmp_path / "bin" / "nvidia-smi", 'echo "GPU 0: A (UUID: 1)"\n' if there else "exit 1\n")
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    given = {**fake_python, "DEVICES": "0", "FAKE_SEED": 1, "FAKE_STATUS": 2, "PATH": path}
    done = run_recipe(CHNSENTICORP, **given)
    assert done.returncode == 2
    assert ("DEVICES=0 asks for GPUs, and nvidia-smi shows none: set DEVICES=auto" in done.stderr) != there


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


def renamed(fake, **changes):
    """Settings where files of the data or of the model have moved: old -> new, below the folder of both."""
    base = Path(fake["MODEL_PATH"]).parent
    for old, new in changes.items():
        (base / new).parent.mkdir(parents=True, exist_ok=True)
        (base / old.replace("__", "/")).rename(base / new)
    return fake


@pytest.mark.parametrize(
    ("moved", "settings", "said"),
    [
        ({"data__chnsenticorp": "data/Chn-SentiCorp"}, {}, "there is {base}/data/Chn-SentiCorp: rename it"),
        ({"data__chnsenticorp": "data/chnsentiCor"}, {}, "there is {base}/data/chnsentiCor: rename it to chnsenticorp"),
        ({"data__chnsenticorp": "data/zh/chnsenticorp"}, {}, "/train.tsv is: set TASK_DATA_PATH={base}/data/zh"),
        ({}, {"TASK_DATA_PATH": "data/chnsenticorp"}, "set TASK_DATA_PATH to the folder above, {base}/data"),
        ({"data__chnsenticorp": "gone"}, {}, "has no folder chnsenticorp (there: SST-2); docs/recipes.md"),
        ({"data__chnsenticorp/dev.tsv": "gone"}, {}, "({base}/data/chnsenticorp has test.tsv, train.tsv): add it"),
        ({}, {"MODEL_PATH": "model/params"}, "ernie_config.json, vocab.txt: did you mean MODEL_PATH={base}/model?"),
        ({"model": "models/zh"}, {"MODEL_PATH": "models"}, "did you mean MODEL_PATH={base}/models/zh?"),
        ({"model__vocab.txt": "gone"}, {}, "has no vocab.txt: give --ernie_config_path FILE and --vocab_path FILE"),
        ({"model__params": "gone"}, {}, "no params (there: ernie_config.json, vocab.txt): name a model's folder"),
        (
            {"model__params": "gone", "model__vocab.txt": "model/checkpoint.json"},
            {},
            "give --init_checkpoint {base}/model behind",
        ),
    ],
    ids=[
        *("dash", "letter", "above", "below", "no-folder", "no-file"),
        *("params", "several", "weights", "no-weights", "checkpoint"),
    ],
)
def test_a_model_or_data_elsewhere_are_found(fake_python, tmp_path, moved, settings, said):
    renamed(fake_python, **moved)
    given = {name: tmp_path / value for name, value in settings.items()}
    done = run_recipe(CHNSENTICORP, **{**fake_python, **given})
    assert done.returncode == 2
    assert said.format(base=tmp_path) in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not recorded(fake_python)


def test_flags_may_stand_for_what_the_model_and_the_data_lack(fake_python):
    renamed(fake_python, **{"model__vocab.txt": "gone", "data__chnsenticorp/test.tsv": "away"})
    done = run_recipe(CHNSENTICORP, "--vocab_path", "/v", "--do_test=false", **fake_python)
    assert done.returncode == 0, done.stderr
    assert "--vocab_path /v" in recorded(fake_python)[0]


def test_data_that_are_not_converted_are_told(fake_python):
    table = Path(fake_python["TASK_DATA_PATH"]) / "SST-2" / "train.tsv"
    table.write_text("sentence\tlabel\nfine\t1\n")
    done = run_recipe(SST2, **fake_python)
    assert done.returncode == 2
    assert f"{table}, line 1: no column text_a" in done.stderr
    assert f"(sh {ROOT}/script/en_glue/preprocess/cvt.sh {fake_python['TASK_DATA_PATH']} OUT_DIR)" in done.stderr
    done = run_recipe(SST2, "--text_column", "sentence", SEEDS=1, **fake_python)
    assert done.returncode == 0, done.stderr


def test_several_test_sets_get_a_prediction_file_each():
    commands, _ = dry_run(CHNSENTICORP, "--test_set", "/d/m/test.tsv,/d/mm/test.tsv", OUTPUT="/o")
    folder = "/o/zh_task/ernie_base/ChnSentiCorp/seed_1"
    assert flags_of(commands[0])["test_save"] == f"{folder}/test_out_1.tsv,{folder}/test_out_2.tsv"
