"""Fixtures of several test files: a tiny model and tiny data, made once a file."""

import pytest

from tests.tiny import make_data, make_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Folder of a model: params/, ernie_config.json, vocab.txt."""
    return make_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folder of a task: train.tsv, dev.tsv, test.tsv."""
    return make_data(tmp_path_factory.mktemp("data") / "task")
