"""``--fused_encoder``: what it changes, what is said, and that a run goes on as it began.

python -m pytest tests/finetune/test_fused.py
"""

import json

import numpy as np
import pytest

from ernie import operators
from ernie.checkpoint import read_params
from finetune.training.main import main
from propeller.errors import UserError
from tests.helpers.operators import load_or_skip
from tests.helpers.runs import log_of, read_records
from tests.helpers.tiny import flags

HERE = "training with the fused operators"


@pytest.fixture(autouse=True)
def available():
    load_or_skip()


@pytest.fixture
def no_compiler(monkeypatch):
    """As in a new process on a machine without one."""
    monkeypatch.setattr(operators, "_loaded", [])
    monkeypatch.setenv("CXX", "no-such-compiler")


def run(model, data, folder, **changes):
    """A run; what it said."""
    given = {"epoch": 1, "do_test": "false", "validation_steps": 0, "eval_strategy": "steps", **changes}
    return log_of(main, "run_classifier.py", "classify", flags(model, data, folder, **given))


def flag_of(folder):
    return json.loads((folder / "run.json").read_text())["fingerprint"]["flag"]["--fused_encoder"]


def losses(folder):
    return [record["loss"] for record in read_records(folder) if record["event"] == "train"]


def test_the_masks_differ_and_without_dropout_the_weights_agree(model, data, tmp_path):
    for name, changes in (("masks", {}), ("none", {"head_dropout": 0})):
        quiet = tmp_path / name
        quiet.mkdir()
        config = json.loads((model / "ernie_config.json").read_text())
        if name == "none":
            config.update(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        (quiet / "config.json").write_text(json.dumps(config))
        changes["ernie_config_path"] = quiet / "config.json"
        said = run(model, data, quiet / "fused", **changes)
        assert HERE in said
        assert "of them cut to" in said
        assert "of the batches padding" not in said  # nothing was computed for it
        assert "fused_encoder: true" in (quiet / "fused/train.log").read_text()
        said = run(model, data, quiet / "plain", fused_encoder="false", **changes)
        assert HERE not in said
        assert "% of the batches padding" in said
        assert (flag_of(quiet / "fused"), flag_of(quiet / "plain")) == ("true", "false")
    apart = np.abs(np.subtract(losses(tmp_path / "masks/fused"), losses(tmp_path / "masks/plain")))
    assert apart.max() > 1e-4
    np.testing.assert_allclose(losses(tmp_path / "none/fused"), losses(tmp_path / "none/plain"), atol=1e-6)
    one, other = (read_params(tmp_path / "none" / name / "last") for name in ("fused", "plain"))
    for name, array in one.items():
        tolerance = 1e-2 if name.endswith("_key_fc.b_0") else 1e-4  # whose gradient is rounding noise
        np.testing.assert_allclose(array, other[name], atol=tolerance, err_msg=name)


def test_without_a_compiler_it_trains_with_paddles_and_goes_on_so(model, data, tmp_path, no_compiler, monkeypatch):
    said = run(model, data, tmp_path / "run")
    assert "training with Paddle's operators, padding included: for the fused ones there is no C++ compiler" in said
    assert flag_of(tmp_path / "run") == "false"
    with pytest.raises(UserError, match="--fused_encoder true: there is no C\\+\\+ compiler: install g\\+\\+"):
        run(model, data, tmp_path / "other", fused_encoder="true")
    monkeypatch.undo()
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**record, "finished": False}))
    assert HERE not in run(model, data, tmp_path / "run"), "it has a compiler now, and began without"
    assert flag_of(tmp_path / "run") == "false"
    with pytest.raises(UserError, match="run: --fused_encoder was 'false', now 'true'"):
        run(model, data, tmp_path / "run", fused_encoder="true")


def test_a_run_that_began_fused_needs_them_to_go_on(model, data, tmp_path, no_compiler, monkeypatch):
    monkeypatch.undo()
    run(model, data, tmp_path / "run")
    monkeypatch.setattr(operators, "_loaded", [])
    monkeypatch.setenv("CXX", "no-such-compiler")
    said = run(model, data, tmp_path / "run")
    assert "this run is finished" in said, "there is nothing to train"
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**record, "finished": False}))
    with pytest.raises(
        UserError, match="the run began with --fused_encoder true: there is no C\\+\\+ compiler.*--overwrite"
    ):
        run(model, data, tmp_path / "run")
