"""The builder half, the commands that build and inspect shards, and the readers need no Paddle."""

import pkgutil
import subprocess
import sys

import pretrain.corpus
import pretrain.tasks
import reader
from pretrain import TASKS
from tests.helpers.common import ROOT

COMMANDS = ("build_data", "build_vocab", "inspect", "connectives", "click_log")
HIDDEN = """
import importlib, sys
sys.modules["paddle"] = None  # importing it is an error
for name in sys.argv[1:]:
    importlib.import_module(name)
    print(name)
from pretrain import TASKS, declared
print(*(declared(name).__name__ for name in TASKS))
"""


def modules(package):
    """Names of all modules of a package, those of its packages too."""
    return [module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]


def test_the_builder_half_and_the_readers_are_imported_with_paddle_hidden():
    names = [*modules(pretrain.corpus), *modules(pretrain.tasks), *modules(reader)]
    assert {place.partition(":")[0] for place in TASKS.values()} <= set(names)
    assert {"pretrain.corpus.builder", "reader.pretraining.reader", "reader.task_reader"} <= set(names)
    names += ["pretrain", "pretrain.declaration", "pretrain.classes", *(f"pretrain.{name}" for name in COMMANDS)]
    done = subprocess.run([sys.executable, "-c", HIDDEN, *names], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *imported, classes = done.stdout.splitlines()
    assert imported == names
    assert len(classes.split()) == len(TASKS)


def test_the_network_half_needs_paddle():
    """So that the test above would fail if a builder half had its network beside it."""
    code = 'import sys; sys.modules["paddle"] = None; import pretrain; pretrain.task_class("knowledge_masking")'
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "import of paddle halted" in done.stderr
