"""Distillation in two processes: the student of one process, and one folder of the teacher's answers.

python -m pytest tests/distill/test_processes.py -m slow
"""

import re
import subprocess
import sys

import numpy as np
import pytest

from distill.students.classifier import Student
from distill.students.flags import StudentFlags
from ernie.checkpoint import read_params
from finetune.spec import ModelSpec, Reading
from propeller.errors import UserError
from tests.helpers.common import ROOT
from tests.helpers.launch import launcher
from tests.helpers.served import make_bundle
from tests.helpers.students import student_flags, write_shape, write_unlabelled

RUN = str(ROOT / "finetune" / "__main__.py")
ASKED = re.compile(r"u\.tsv: the teacher was asked (?:for (\d+) rows|nothing)")


def run(folder, processes, words):
    command = [sys.executable, *launcher(folder, processes), RUN, "student", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


@pytest.mark.slow
def test_two_processes_make_the_student_of_one(model, data, tmp_path):
    """Batches of 4 in two processes are one of 8. Both ask the teacher, and put its answers into one folder."""
    bundle = make_bundle(tmp_path / "teacher", model, "classify", label_map=None, num_labels=2)
    found, asked = [], []
    for processes in (2, 1):
        folder = tmp_path / str(processes)
        folder.mkdir()
        path = write_unlabelled(folder / "u.tsv", 24)
        given = {"unlabelled_set": path, "teacher": bundle, "do_test": "false", "epoch": 2, "validation_steps": 0,
                 "save_steps": 0, "batch_size": 8 // processes}  # fmt: skip
        words = student_flags(write_shape(folder, "bow"), model, data, folder / "run", **given)
        said = run(folder, processes, words)
        # Of two processes, one may find every answer given by the other already; some rows may be asked for by both.
        logs = [said] if processes == 1 else [log.read_text() for log in sorted((folder / "log").rglob("job.log.*"))]
        numbers = [int(number or 0) for log in logs for number in ASKED.findall(log)]
        assert len(numbers) == processes
        assert sum(numbers) >= 24
        assert "waited for batches in" in said
        found.append(read_params(folder / "run" / "last"))
        asked.append(np.load(folder / "u.tsv.teacher" / "logits.npy"))
    assert found[0].keys() == found[1].keys()
    for name, array in found[0].items():
        np.testing.assert_allclose(array, found[1][name], atol=1e-5, err_msg=name)
    known = np.isfinite(asked[0]) & np.isfinite(asked[1])
    assert known.all()
    np.testing.assert_array_equal(asked[0], asked[1])


def test_a_run_goes_on_in_as_many_processes_as_it_began_in(data, model, tmp_path, labels_of_nobody):
    """Of one process every second batch is the teacher's, of two every second pair: the steps are others."""

    def reader(size):
        settings = StudentFlags(unlabelled_set=labels_of_nobody)
        spec = ModelSpec(tokenizer="WholeWordTokenizer", settings=settings)
        reading = Reading(batch_size=4, training=True, world_size=size)
        tokenizer = spec.build_tokenizer(Student, model / "vocab.txt")
        return Student.open_reader(str(data / "train.tsv"), tokenizer, spec, reading)

    _, place = next(reader(2).batches())
    assert place.processes == 2
    assert next(reader(2).batches(place.to_dict()))[1].rows == 16
    with pytest.raises(UserError, match="learns from a teacher in 2 processes.*go on in as many, not 1"):
        reader(1).batches(place.to_dict())


@pytest.fixture
def labels_of_nobody(tmp_path):
    """A file of rows beside labels that are all there."""
    from distill.rows import open_table
    from distill.soft_labels import SoftLabels, folder_of

    path = write_unlabelled(tmp_path / "u.tsv", 24)
    facts = {"task": "classify", "labels": ["0", "1"], "columns": 2}
    with SoftLabels.open_or_make(folder_of(path), open_table(path).sha256, 24, facts, path) as labels:
        labels.put(np.arange(24), np.zeros((24, 2), np.float32))
        labels.finish()
    return path
