"""Fixtures of several files: a Hugging Face directory that other software made, to be changed."""

import json
import shutil

import pytest
from safetensors.numpy import load_file, save_file

from tests.helpers.peers import PEERS


@pytest.fixture
def peer(tmp_path):
    """A copy of a peer's directory, to be changed: ``peer("bert")``."""
    return lambda name: shutil.copytree(PEERS / name, tmp_path / name)


@pytest.fixture
def edited(peer):
    """A copy of the BERT peer with its tensors or settings changed by a function."""

    def edit(change_tensors=None, change_config=None, name="bert"):
        folder = peer(name)
        tensors, values = load_file(folder / "model.safetensors"), json.loads((folder / "config.json").read_text())
        for change, content in ((change_tensors, tensors), (change_config, values)):
            if change:
                change(content)
        (folder / "model.safetensors").unlink()
        save_file(tensors, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(values))
        return folder

    return edit
