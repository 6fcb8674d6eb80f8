"""Flags are checked before anything is installed, by a Python that has nothing but its standard library.

python -m pytest tests/script/test_check_flags.py
"""

import sys

import pytest

from script.demo.check_flags import TASK_OF
from tests.helpers.common import ROOT
from tests.helpers.shell import clean_environment, executable, shell

SCRIPTS = (
    "script/quickstart.sh",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "script/demo").glob("*.sh") if path.stem != "common"),
    "script/en/pretrain.sh",
    "script/en/pretrain_ernie2.sh",
    "script/zh_task/pretrain.sh",
    "script/zh_task/pretrain_ernie2.sh",
    "distill/script/demo_films.sh",
    "distill/script/demo_reviews.sh",
)


@pytest.fixture
def bare(tmp_path):
    """A Python without packages."""
    return executable(tmp_path / "python", f'exec "{sys.executable}" -S -E "$@"\n')


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_typo_ends_a_script_before_it_makes_anything(script, bare, tmp_path):
    places = {"VENV": tmp_path / "venv", "OUTPUT": tmp_path / "output"}
    done = shell(["sh", str(ROOT / script), "--sedes", "1"], env=clean_environment(PYTHON=bare, **places))
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: unknown argument --sedes: ")
    assert line.endswith(f"see sh {ROOT / script} --help")
    assert [path.name for path in tmp_path.iterdir()] == ["python"]


@pytest.mark.parametrize(
    ("program", "flags"),
    [
        *((program, ["--epoch", "1", "--dry_run", "--save_steps", "5"]) for program in TASK_OF),
        ("train.py", ["--batch_size", "8", "--dry_run"]),
        ("benchmark/distillation.py", ["--students", "bow", "cnn", "--seeds", "1"]),
    ],
)
def test_right_flags_pass(program, flags, bare):
    done = shell([str(bare), str(ROOT / "script/demo/check_flags.py"), "the script", program, *flags])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_value_of_the_wrong_kind_is_told(bare):
    done = shell([str(bare), str(ROOT / "script/demo/check_flags.py"), "the script", "run_mrc.py", "--epoch", "few"])
    assert done.returncode == 2
    assert done.stderr == "error: argument --epoch: invalid int value: 'few'; see the script --help\n"
