"""Fixtures of several files: a teacher, and rows with its logits."""

import subprocess
import sys

import pytest

from distill import label
from tests.helpers.common import ROOT
from tests.helpers.predicting import words
from tests.helpers.students import (
    train_teacher,
    write_unlabelled,
)


@pytest.fixture(scope="module")
def teacher(model, data, tmp_path_factory):
    """The folder of a teacher's bundle."""
    folder = tmp_path_factory.mktemp("teacher")
    last = train_teacher(model, data, folder / "run")
    done = subprocess.run(
        [sys.executable, "-m", "finetune.prediction", *words(init_checkpoint=last, do_prediction="false",
                                                             save_inference_model_path=folder)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "last_inference_model"


@pytest.fixture(scope="module")
def labelled(teacher, tmp_path_factory):
    """A file of unlabelled rows with the teacher's logits beside it."""
    path = write_unlabelled(tmp_path_factory.mktemp("unlabelled") / "unlabelled.tsv")
    assert label.main([str(teacher), path, "--use_cuda", "false"]) == 0
    return path
