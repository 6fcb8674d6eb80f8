"""The curves of a run that goes on: those of the checkpoint's step are there, whatever was written of them before."""

import json
import shutil
from types import SimpleNamespace

import pytest

from propeller.train.journal import Journal, left_in
from tests.helpers.kill_programs import scalars

RECORDS = [
    {"event": "train", "step": 1, "loss": 3.0},
    {"event": "train", "step": 2, "loss": 2.0},
    {"event": "dev", "step": 2, "acc": 0.5},
    {"event": "train", "step": 3, "loss": 1.0},
]


@pytest.mark.parametrize("ended", ["before the curves", "after them"])
@pytest.mark.parametrize(("evaluated", "kept"), [(2, RECORDS[:3]), (1, RECORDS[:2])], ids=["evaluated", "not yet"])
def test_records_of_the_checkpoints_step_are_curves(evaluated, kept, ended, tmp_path):
    journal = Journal(tmp_path)
    for record in RECORDS:
        journal.write(record)
    journal.close()
    if ended == "before the curves":
        shutil.rmtree(tmp_path / "events")
    journal = Journal(tmp_path)
    journal.before_train(None, SimpleNamespace(step=2, evaluated_step=evaluated))
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == kept
    journal.write({"event": "train", "step": 3, "loss": 0.5})
    journal.close()
    found = scalars(tmp_path / "events")
    assert found.get(("dev/acc", 2)) == (0.5 if evaluated == 2 else None)
    assert (found["train/loss", 2], found["train/loss", 3]) == (2.0, 0.5)
    assert found.get(("train/loss", 1)) == (3.0 if ended == "after them" else None)


def test_what_is_left_is_what_is_there(tmp_path):
    assert left_in(tmp_path) == "checkpoints"
    journal = Journal(tmp_path)
    for record in RECORDS:
        journal.write(record)
    journal.close()
    assert left_in(tmp_path) == "checkpoints, metrics.jsonl and events/"
    journal.draw()
    assert left_in(tmp_path) == "checkpoints, metrics.jsonl, events/ and curves.png"
