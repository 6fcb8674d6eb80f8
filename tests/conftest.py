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


@pytest.fixture(autouse=True)
def process_as_it_was():
    """An entry script sets up loggers and Paddle's static mode; a test that runs one here must not leave them so."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before):
        for handler in logger.handlers:
            if handler not in handlers:
                handler.close()
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)
    if "paddle" in sys.modules:
        sys.modules["paddle"].disable_static()
