"""What the tests of batch prediction share: the scripts as their user starts them, and checkpoints to predict with."""

from __future__ import annotations

import subprocess
import sys

import pytest

from finetune.prediction import main as prediction
from finetune.training.main import main
from propeller.errors import UserError
from tests.helpers.common import ROOT
from tests.helpers.tiny import flags


def words(**changes):
    """A command line; a change of None leaves the flag out."""
    values = {"use_cuda": "false", **changes}
    return [word for name, value in values.items() if value is not None for word in (f"--{name}", str(value))]


def infer(script, status=0, stdin=None, **changes):
    """(standard output, standard error) of a script; its exit status is checked."""
    command = [sys.executable, str(ROOT / script), *words(**changes)]
    done = subprocess.run(
        command, capture_output=True, text=True, encoding="utf8", input=stdin, check=False, timeout=300
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    if status == 2:
        last = done.stderr.splitlines()[-1]
        assert last.startswith("error: "), last
        return done.stdout, last
    return done.stdout, done.stderr


TASKS = {
    "infer_classifyer.py": ("classify", "regression", "multi_label_classification"),
    "infer_sequence_labeling.py": ("sequence_label", "sequence_label_crf"),
    "infer_mrc.py": ("mrc",),
}


def fails(script, *expected, **changes):
    """Expect one line with all the words, from the script's main in this process, which is quicker."""
    with pytest.raises(UserError) as caught:
        prediction.main(script, TASKS[script], words(**changes))
    message = str(caught.value)
    assert "\n" not in message
    for word in expected:
        assert str(word) in message, message


def train(script, task, model, data, folder, **changes):
    """Fine-tune for an epoch; returns the folder of the last checkpoint."""
    main(script, task, flags(model, data, folder, **{"epoch": 1, "do_val": "false", "do_test": "false", **changes}))
    return folder / "last"


def rerun(script, task, model, data, checkpoint, path, save, **changes):
    """What the fine-tuning script predicts of a file with a checkpoint, without training: the lines of its file."""
    given = {
        "do_train": "false",
        "do_val": "false",
        "init_checkpoint": checkpoint,
        "init_pretraining_params": None,
        "test_set": path,
        "test_save": save,
        **changes,
    }
    main(script, task, flags(model, data, save.parent / "unused", **given))
    return save.read_text(encoding="utf8").splitlines()


def table(text):
    """(header, rows) of a TSV."""
    header, *rows = [line.split("\t") for line in text.splitlines()]
    assert all(len(row) == len(header) for row in rows)
    return header, rows
