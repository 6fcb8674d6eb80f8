"""What is imported for nothing: neither a package nor --help nor a misspelt flag loads Paddle or what scores need."""

import re
import subprocess
import sys

import pytest

from finetune import TASKS
from tests.helpers.common import ROOT

HEAVY = {"matplotlib", "paddle", "scipy", "sklearn"}
PACKAGES = ("ernie", "finetune", "pretrain", "propeller", "reader", "tokenization")
FLAGS = ("finetune.training.args", "finetune.embedding.args", "finetune.prediction.args", "pretrain.training.args")
ENGINE = ("data", "hparams", "metrics", "paddle", "train.distribution", "utils.data", "variables")
OTHERS = ("ernie.convert", "ernie.facts", "finetune.api", "finetune.client", "finetune.metrics",
          "finetune.embedding.client", "finetune.embedding.server")  # fmt: skip
COMMANDS = (
    "distill.augment",
    "distill.label",
    "distill.shrink",
    "distill.vocab",
    "ernie.convert",
    "ernie.memory",
    "finetune.embedding.client",
    "finetune.embedding.resize",
    "finetune.embedding.server",
    "finetune.embedding.sts",
    "finetune.embedding.whiten",
    "finetune.prediction",
    "finetune.report",
    "finetune.score",
    "finetune.search",
    "finetune.split",
    "finetune.sweep",
    "pretrain.build_data",
    "pretrain.build_vocab",
    "pretrain.click_log",
    "pretrain.connectives",
    "pretrain.inspect",
    "propeller.tools.ckpt_inspector",
    "propeller.tools.start_server",
)
SCRIPTS = (
    "ernie_encoder.py",
    "finetune_launch.py",
    "infer_classifyer.py",
    "infer_mrc.py",
    "infer_sequence_labeling.py",
    "pretrain_launch.py",
    "run_classifier.py",
    "run_mrc.py",
    "run_sequence_labeling.py",
    "train.py",
)


@pytest.mark.parametrize("module", [*PACKAGES, *FLAGS, *OTHERS, *(f"propeller.{name}" for name in ENGINE)])
def test_an_import_loads_nothing_heavy(module):
    command = f"import sys, {module}; print(*(name for name in {sorted(HEAVY)} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def loaded(*arguments):
    """(exit status, standard output, top-level modules that a command imported, the other lines of its errors)."""
    command = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    names = {line.rsplit("|", 1)[1].strip().partition(".")[0] for line in lines if line.startswith("import time:")}
    return done.returncode, done.stdout, names, [line for line in lines if not line.startswith("import time:")]


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_and_a_misspelt_flag_load_nothing_heavy(script):
    status, out, names, _ = loaded(script, "--help")
    assert (status, names & HEAVY) == (0, set())
    assert re.match(rf"usage: (python )?{script} ", out)
    needed = [] if script.endswith("_launch.py") else ["--model", "m"]
    status, out, names, errors = loaded(script, *needed, "--use_cudda", "true")
    assert (status, out, names & HEAVY) == (2, "", set())
    assert re.match(r"error: .*--use_cudda", errors[-1])


@pytest.mark.parametrize("module", COMMANDS)
def test_help_of_a_command_loads_nothing_heavy(module):
    status, out, names, _ = loaded("-m", module, "--help")
    assert (status, names & HEAVY) == (0, set())
    assert out.startswith(f"usage: python -m {module} ")


@pytest.mark.parametrize("task", TASKS)
def test_help_of_a_task_loads_nothing_heavy(task):
    status, out, names, _ = loaded("-m", "finetune", task, "--help")
    assert (status, names & HEAVY) == (0, set())
    assert out.startswith(f"usage: python -m finetune {task} ")


def test_the_test_sees_what_is_loaded():
    assert "sklearn" in loaded("-c", "import sklearn")[2]
