"""Fixtures of several test files: a tiny model and tiny data, made once a file."""

import logging
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from propeller.log import LOGGERS
from tests.helpers.common import SHARED
from tests.helpers.tiny import make_data, make_model

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Folder of a model: params/, ernie_config.json, vocab.txt."""
    return make_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folder of a task: train.tsv, dev.tsv, test.tsv."""
    return make_data(tmp_path_factory.mktemp("data") / "task")


# Files that take minutes come first: where a core takes a file after the other, the last ones should be short.
FIRST = (
    "script/test_quickstart_run.py",
    "finetune/test_learnability.py",
    "propeller/test_faults_processes.py",
    "finetune/test_several_processes.py",
    "propeller/test_parallel.py",
    "docs/test_pretraining_docs.py",
    "docs/test_finetuning_docs.py",
    "docs/test_pages.py",
    "docs/test_readme.py",
    "script/test_demos.py",
    "finetune/test_run_classifier.py",
    "propeller/test_flags.py",
)


def pytest_collection_modifyitems(config, items):
    """Long files first. Tests on published data are not collected without them: nobody is told to fetch them."""
    here = Path(__file__).parent
    ranks = {here / name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: ranks.get(item.path, len(FIRST)))

    def has_its_data(item):
        return all((SHARED / path).exists() for mark in item.iter_markers("beside") for path in mark.args)

    config.hook.pytest_deselected(items=[item for item in items if not has_its_data(item)])
    items[:] = [item for item in items if has_its_data(item)]


def _as_new():
    for name in LOGGERS:
        logger = logging.getLogger(name)
        for handler in logger.handlers:
            handler.close()
        logger.handlers[:], logger.propagate = [], True
        logger.setLevel(logging.NOTSET)
    if "paddle" in sys.modules:
        sys.modules["paddle"].disable_static()


@pytest.fixture(autouse=True)
def process_as_new():
    """An entry script sets up loggers and Paddle's static mode; a test that runs one here must not leave them so."""
    ending = signal.getsignal(signal.SIGTERM)
    _as_new()
    yield
    _as_new()
    left = signal.getsignal(signal.SIGTERM)
    if left is not ending:
        signal.signal(signal.SIGTERM, ending or signal.SIG_DFL)
    assert left is ending, "a handler of SIGTERM is left behind"
