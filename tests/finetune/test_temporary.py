"""What prediction writes for itself goes with what it was written for."""

import io
import os
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import pytest

from finetune.prediction.run import STANDARD, _named_file
from propeller.errors import UserError
from propeller.files import Scratch
from tests.helpers.common import ROOT

OWNER = """
from propeller.files import Scratch
owner = Scratch("ernie-load-")
(owner.path / "weights").write_text("a copy")
print(owner.path.is_dir())
"""


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_converted_model_goes_with_its_owner(scratch):
    owner = Scratch("ernie-load-")
    (owner.path / "weights").write_text("a copy")
    assert [owner.path] == list(scratch.iterdir())
    del owner
    assert list(scratch.iterdir()) == []


def test_a_converted_model_goes_at_the_end_of_the_program(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", OWNER], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"
    assert [path for path in tmp_path.iterdir() if path.name.startswith("ernie-load-")] == []


def test_standard_input_is_copied_and_the_copy_goes(scratch, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"text_a\na film\n")))

    def read():
        with _named_file(STANDARD) as name:
            with open(name, "rb") as file:
                assert file.read() == b"text_a\na film\n"
            assert len(list(scratch.iterdir())) == 1
            raise UserError(f"{name}, line 2: bad")

    with pytest.raises(UserError, match=r"^standard input, line 2: bad$"):
        read()
    assert list(scratch.iterdir()) == []
