"""Fixtures of several test files: a tiny model and tiny data, made once a file."""

import logging
import sys

import pytest

from propeller.log import LOGGERS
from tests.tiny import make_data, make_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Folder of a model: params/, ernie_config.json, vocab.txt."""
    return make_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folder of a task: train.tsv, dev.tsv, test.tsv."""
    return make_data(tmp_path_factory.mktemp("data") / "task")


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
    _as_new()
    yield
    _as_new()
