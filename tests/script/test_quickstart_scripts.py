"""What the quickstart stands on, without downloads: the virtual environment's messages, and the report at the end.

python -m pytest tests/script/test_quickstart_scripts.py
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest

from ernie.checkpoint import read_params
from ernie.convert import main as convert
from tests.helpers.common import ROOT
from tests.helpers.shell import SCRIPT, clean_environment, executable, shell
from tests.helpers.tiny import make_model


def env_functions(commands, **settings):
    """Runs functions of script/env.sh."""
    program = f'set -eu; ROOT={shlex.quote(str(ROOT))}; . "$ROOT/script/env.sh"; {commands}'
    return shell(["sh", "-c", program], env=clean_environment(**settings))


def test_an_unsupported_python_is_refused(tmp_path):
    old = executable(tmp_path / "python", "exit 1\n")
    done = env_functions("make_venv", VENV=tmp_path / "venv", PYTHON=old)
    assert done.returncode == 1
    assert f"PYTHON={old} is not a Python 3.9 - 3.12" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_a_python_without_venv_is_named_with_the_remedy(tmp_path):
    bare = executable(tmp_path / "python", 'case "$*" in *ensurepip*) exit 1 ;; esac\n')
    done = env_functions("make_venv", VENV=tmp_path / "venv", PYTHON=bare)
    assert done.returncode == 1
    assert "python3-venv" in done.stderr


def test_the_package_that_could_not_be_got_is_named(tmp_path):
    words = "ERROR: No matching distribution found for seqeval<2,>=1.2.2"
    executable(tmp_path / "venv/bin/python", f'echo "{words}" >&2\nexit 1\n')
    done = env_functions("install_requirements requirements.txt; echo went on", VENV=tmp_path / "venv")
    assert done.returncode == 1
    assert "could not get the package seqeval<2,>=1.2.2 (requirements.txt)" in done.stderr
    assert words in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "venv/installed_requirements").exists()


def test_requirements_are_installed_once(tmp_path):
    record = tmp_path / "record"
    executable(tmp_path / "venv/bin/python", f'printf "%s\\n" "$*" >>{shlex.quote(str(record))}\n')
    for _ in range(2):
        done = env_functions("install_requirements requirements.txt", VENV=tmp_path / "venv")
        assert done.returncode == 0, done.stderr
    assert len(record.read_text().splitlines()) == 1
    done = env_functions("install_requirements requirements.txt", VENV=tmp_path / "venv", PADDLE="gpu")
    assert done.returncode == 0, done.stderr
    uninstall, install = record.read_text().splitlines()[1:]
    assert "uninstall" in uninstall
    assert "requirements-gpu.txt" in install
    assert "paddlepaddle==" not in (tmp_path / "venv/requirements_without_paddle.txt").read_text()


@pytest.fixture
def finished_run(tmp_path):
    """What a finished run leaves behind, as far as the report reads it."""
    checkpoints, data = tmp_path / "a run", tmp_path / "data"
    checkpoints.mkdir()
    data.mkdir()
    entries = [
        {"step": 1, "epoch": 1, "event": "train", "loss": 0.7},
        {"step": 2, "epoch": 1, "event": "dev", "acc": 0.875},
        {"step": 4, "epoch": 1, "event": "dev", "acc": 0.75},
    ]
    (checkpoints / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    (checkpoints / "test_out.tsv.1.2").write_text("0.0\t[0.6 0.4]\n" * 10)
    (checkpoints / "test_out.tsv.1.10").write_text("1.0\t[0.1 0.9]\n" * 10)
    rows = "label\ttext_a\n" + "".join(f"{row % 2}\tsentence {row}\n" for row in range(10))
    for name in ("dev.tsv", "test.tsv"):
        (data / name).write_text(rows)
    return checkpoints, data


def report(checkpoints, data):
    program = SCRIPT / "demo" / "quickstart_report.py"
    return shell([sys.executable, program, "--checkpoints", checkpoints, "--data", data])


def test_the_report_shows_the_last_predictions(finished_run):
    done = report(*finished_run)
    assert done.returncode == 0, done.stderr
    assert "Accuracy on 10 held-out sentences: 0.7500 after the last step, 4" in done.stdout
    assert "best: 0.8750 after step 2" in done.stdout
    samples = [line.split() for line in done.stdout.splitlines() if line.startswith("  positive")]
    assert samples == [["positive", "0.900", "wrong", "sentence", str(row)] for row in (0, 2, 4, 6, 8)]
    (command,) = [line for line in done.stdout.splitlines() if "infer_classifyer.py" in line]
    best = shlex.split(command)[shlex.split(command).index("--model") + 1]
    assert best == str(finished_run[0] / "best")
    assert "717 of SST-2's 872 dev rows" in done.stdout


def quickstart(tmp_path, *flags, script=SCRIPT, **settings):
    """(the script with a Python that only records what it is to run, its lines)."""
    record = tmp_path / "record"
    executable(tmp_path / "venv/bin/python", f'printf "%s\\n" "$*" >>{shlex.quote(str(record))}\n')
    environment = clean_environment(VENV=tmp_path / "venv", **settings)
    done = shell(["sh", script / "quickstart.sh", *flags], env=environment)
    return done, record.read_text().splitlines() if record.exists() else []


def test_the_model_alone_is_made_and_the_next_commands_are_those_of_the_page(tmp_path):
    done, ran = quickstart(tmp_path, "--model_only")
    assert done.returncode == 0, done.stderr
    assert "demo_data.py encoder --out" in ran[-1]
    assert not [line for line in ran if "sentiment" in line or "check_flags" in line or "finetune" in line]
    assert "output/quickstart/model" in done.stdout
    printed = [line.strip() for line in done.stdout.replace("\\\n", " ").splitlines()]
    printed = [" ".join(line.split()) for line in printed if line.startswith("python -m")]
    page = (ROOT / "docs/finetuning.md").read_text(encoding="utf8").replace("\\\n", " ")
    page = [
        " ".join(line.split()).replace("--model MODEL", "--model output/quickstart/model") for line in page.splitlines()
    ]
    assert [line.split()[2] for line in printed] == ["finetune.split", "finetune", "finetune.report"]
    assert [line for line in printed if line not in page] == []


def test_the_model_alone_takes_no_flags_of_a_training(tmp_path):
    done, ran = quickstart(tmp_path, "--epoch", "1", "--model_only")
    assert (done.returncode, ran) == (2, [])
    assert "--model_only trains nothing and takes no other flags" in done.stderr


def test_in_chinese_it_is_the_demonstration_of_reviews(tmp_path):
    settings = {"OUTPUT": tmp_path / "out", "ROWS": 30, "DRY_RUN": 1, "DEVICES": "cpu"}
    done, ran = quickstart(tmp_path, "--zh", "--epoch", "2", **settings)
    assert done.returncode == 0, done.stderr
    assert "starting from random weights: there is no encoder in" in done.stderr
    assert [line for line in ran if "demo_data.py reviews" in line]
    assert "run_classifier.py" in done.stdout
    assert done.stdout.rstrip().endswith("--epoch 2")
    assert not [line for line in ran if "demo_data.py encoder" in line or "--zh" in line]


def chinese_model_only(tmp_path):
    """``--zh --model_only`` in a repository of its own, which has no output/ but what is put there."""
    folder = tmp_path / "clone/script"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("quickstart.sh", "env.sh", "zh_encoder.sh"):
        shutil.copy(SCRIPT / name, folder)
    return quickstart(tmp_path, "--zh", "--model_only", script=folder)


def test_the_chinese_encoder_must_be_there(tmp_path):
    done, ran = chinese_model_only(tmp_path)
    assert (done.returncode, ran) == (2, [])
    assert (
        f"there is no Chinese encoder in {tmp_path}/clone/output/zh_encoder: make it with sh script/zh_task"
        in done.stderr
    )


def test_the_chinese_encoder_comes_with_the_commands_of_the_guide(tmp_path):
    model = tmp_path / "clone/output/zh_encoder/model"
    model.mkdir(parents=True)
    (model / "ernie_config.json").write_text("{}")
    (tmp_path / "clone/requirements.txt").write_text("")
    done, ran = chinese_model_only(tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line for line in ran if "ernie.convert" in line or "demo_data" in line] == []
    printed = [" ".join(line.split()) for line in done.stdout.replace("\\\n", " ").splitlines()]
    printed = [line for line in printed if line.startswith("python -m")]
    guide = (ROOT / "docs/guide_zh.md").read_text(encoding="utf8").replace("\\\n", " ")
    guide = [" ".join(line.split()) for line in guide.splitlines()]
    assert [line.split()[2] for line in printed] == ["finetune.split", "finetune", "finetune.report"]
    assert [line for line in printed if line not in guide] == []


def test_the_chinese_encoder_is_made_of_its_weights(tmp_path):
    """These alone are passed on; a training that is under way is left alone."""
    folder, model = tmp_path / "zh_encoder", make_model(tmp_path / "m", use_task_id=False)
    assert convert(["--from", "params", "--to", "hf", "--half", str(model), str(folder / "weights")]) == 0
    executable(tmp_path / "venv/bin/python", f'exec {shlex.quote(sys.executable)} "$@"\n')
    command = f'. "$ROOT/script/zh_encoder.sh"; zh_encoder {shlex.quote(str(folder))}'
    for _ in range(2):
        done = env_functions(command, VENV=tmp_path / "venv")
        assert (done.returncode, done.stdout) == (0, f"{folder}/model\n"), done.stderr
    wanted, made = read_params(model / "params"), read_params(folder / "model/params")
    assert set(made) == set(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(made[name], array.astype(np.float16).astype(np.float32), err_msg=name)
    (folder / "model/ernie_config.json").unlink()
    done = env_functions(command, VENV=tmp_path / "venv")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", ["quickstart.sh", "demo/reviews.sh", "demo/cloze.sh"])
@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_prints_the_head_of_the_script_and_makes_nothing(name, word, tmp_path):
    environment = clean_environment(VENV=tmp_path / "venv", OUTPUT=tmp_path / "output")
    done = subprocess.run(
        ["sh", str(SCRIPT / name), "--epoch", "1", word], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"    sh script/{name} [flags of run_" in done.stdout
    assert "ROOT=" not in done.stdout
    assert (name != "quickstart.sh") or "sh script/quickstart.sh --model_only " in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("metrics.jsonl", None, "metrics.jsonl is missing"),
        ("metrics.jsonl", "{broken\n", "line 1 is not JSON"),
        ("metrics.jsonl", "", "no dev evaluation"),
        ("test_out.tsv.1.10", "1.0\n" * 10, "line 1 is not a label"),
        ("test_out.tsv.1.10", "1.0\t[0.1 0.9]\n", "has 1 lines for 10 rows"),
    ],
)
def test_the_report_names_what_is_missing(finished_run, name, content, said):
    checkpoints, data = finished_run
    if content is None:
        (checkpoints / name).unlink()
    else:
        (checkpoints / name).write_text(content)
    done = report(checkpoints, data)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
