"""Shared by tests of recipes: the commands they would run, and the flags of those."""

from __future__ import annotations

import shlex

from pretrain.training.args import parse
from tests.helpers.shell import SCRIPT, clean_environment, shell

RECIPES = sorted([*SCRIPT.glob("en_glue/*/*/task.sh"), *SCRIPT.glob("zh_task/*/run_*.sh")])
SEVERAL = SCRIPT / "zh_task/ernie_base/run_multitask.sh"  # its files are in a list, see test_multitask_recipe.py
ALONE = [recipe for recipe in RECIPES if recipe != SEVERAL]
SST2 = SCRIPT / "en_glue/ernie_base/SST-2/task.sh"
CHNSENTICORP = SCRIPT / "zh_task/ernie_base/run_ChnSentiCorp.sh"


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


def dry_run_alone(recipe, *flags, **settings):
    """(words of the command, what is said on the way) of a recipe that runs one command."""
    done = run_recipe(recipe, "--dry_run", *flags, PYTHON="python3", **settings)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    return shlex.split(line), done.stderr


def parsed(words):
    """The flags of such a command as train.py understands them."""
    at = next(i for i, word in enumerate(words) if word.endswith("train.py"))
    return parse("train.py", "", words[at + 1 :])
