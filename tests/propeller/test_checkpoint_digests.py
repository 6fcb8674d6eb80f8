"""One flipped bit in a checkpoint is found before it is loaded, and the checkpoint before is taken."""

import contextlib
import json

import numpy as np
import pytest

from ernie.checkpoint import load_params
from propeller.errors import UserError
from propeller.train.saver import Saver, verify_checkpoint
from propeller.variables import read_variable, write_variable

WEIGHT = np.arange(6, dtype="float32").reshape(2, 3)


@pytest.fixture
def run(tmp_path):
    """The folder of a run with two checkpoints."""
    with contextlib.closing(Saver(tmp_path, write_variable, read_variable)) as saver:
        saver.claim({"seed": 1})
        for step in (1, 2):
            saver.save(step, {"weight": WEIGHT * step}, {"moment": WEIGHT}, {"step": step, "best_step": 1})
    return tmp_path


def flip(path):
    """Another bit, the same size."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def restored(folder, **options):
    with contextlib.closing(Saver(folder, write_variable, read_variable, **options)) as saver:
        return saver.restore()


@pytest.mark.parametrize("name", ["weight", "training_state/optimizer.safetensors"])
def test_a_flipped_bit_costs_one_checkpoint(run, name, caplog):
    flip(run / "step_2" / name)
    parameters, _, state = restored(run)
    assert state["step"] == 1
    assert np.array_equal(parameters["weight"], WEIGHT)
    (said,) = [record.message for record in caplog.records if "passed over" in record.message]
    assert f"step_2/{name}: the checkpoint is damaged, its sha256" in said
    assert {path.name for path in run.glob("step_*")} == {"step_1", "step_2.damaged"}
    assert (run / "last").resolve().name == "step_1"


def test_the_check_can_be_left_out(run):
    flip(run / "step_2" / "weight")
    assert restored(run, verify=False)[-1]["step"] == 2


def test_weights_alone_are_checked_too(run):
    wanted = {"weight": (2, 3)}
    flip(run / "step_2" / "training_state" / "optimizer.safetensors")
    assert np.array_equal(load_params(run / "step_2", wanted)[0]["weight"], WEIGHT * 2), "the weights are whole"
    flip(run / "step_2" / "weight")
    with pytest.raises(UserError, match=r"step_2/weight: the checkpoint is damaged") as error:
        load_params(run / "step_2", wanted)
    described = run / "step_2" / "checkpoint.json"
    assert f"remove sha256 from {described}" in str(error.value)
    facts = json.loads(described.read_text())
    assert set(facts.pop("sha256")) == set(facts["files"]), "each file has one"
    described.write_text(json.dumps(facts))
    load_params(run / "step_2", wanted)


def test_checkpoints_without_digests_are_taken_as_they_are(run, tmp_path):
    described = run / "step_2" / "checkpoint.json"
    facts = json.loads(described.read_text())
    del facts["sha256"]
    described.write_text(json.dumps(facts))
    assert restored(run)[-1]["step"] == 2
    verify_checkpoint(tmp_path / "nowhere")


def test_a_note_is_added_to_the_record_and_the_checkpoint_stays_whole(run):
    """What an evaluation found: nested entries are merged, and another state keeps them."""
    with contextlib.closing(Saver(run, write_variable, read_variable)) as saver:
        before = json.loads((run / "step_2" / "checkpoint.json").read_text())
        saver.note(2, {"flags": {"threshold": "0.3"}})
        saver.note(2, {"flags": {"other": 1}})
        saver.note(7, {"flags": {"threshold": "0.3"}})  # there is no such checkpoint
        saver.restate(2, {"step": 2, "best_step": 2})
        after = json.loads((run / "step_2" / "checkpoint.json").read_text())
        assert after["flags"] == {"threshold": "0.3", "other": 1}
        assert {name for name in before if before[name] != after.get(name)} <= {"files", "sha256"}
        verify_checkpoint(run / "step_2")
    assert restored(run)[-1]["best_step"] == 2
    assert not (run / "step_7").exists()
