"""python -m ernie.convert --half: weights at rest in float16."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from ernie.checkpoint import read_params
from ernie.convert import main
from propeller.errors import UserError
from propeller.variables import write_variable
from tests.helpers.common import files_that_others_cannot_read
from tests.helpers.tiny import make_model


def test_half_the_room_and_the_same_model_rounded(tmp_path):
    model = make_model(tmp_path / "model", use_task_id=False)
    for name, more in (("whole", ()), ("half", ("--half",))):
        assert main(["--from", "params", "--to", "hf", *more, str(model), str(tmp_path / name)]) == 0
        assert files_that_others_cannot_read(tmp_path / name) == []
    whole, half = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "half"))
    assert {array.dtype for array in half.values()} == {np.dtype("float16")}
    assert {name: array.shape for name, array in half.items()} == {name: array.shape for name, array in whole.items()}
    assert main(["--from", "hf", "--to", "params", str(tmp_path / "half"), str(tmp_path / "back")]) == 0
    before, after = read_params(model / "params"), read_params(tmp_path / "back" / "params")
    assert set(before) == set(after)
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array.astype("float16").astype("float32"), err_msg=name)


def test_what_float16_does_not_hold(tmp_path):
    model = make_model(tmp_path / "model", use_task_id=False)
    bias = read_params(model / "params")["pooled_fc.b_0"]
    write_variable(model / "params" / "pooled_fc.b_0", bias + np.float32(1e6))
    command = ["--from", "params", "--to", "hf", str(model), str(tmp_path / "out"), "--half"]
    with pytest.raises(UserError, match="pooler.dense.bias has values that float16 does not hold: convert without --h"):
        main(command)
    with pytest.raises(SystemExit):
        main(["--from", "hf", "--to", "params", "--half", str(model), str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
