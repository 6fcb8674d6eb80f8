"""Checkpoints by step, name and index; weights in 2019's folders; the files of single variables."""

import logging

import numpy as np
import paddle
import pytest

from propeller.errors import UserError
from propeller.paddle.train import RunState
from propeller.train import program
from propeller.train.parameter_saver import Saver as ParameterSaver
from propeller.train.saver import Checkpoints, Saver
from propeller.variables import read_header, read_variable, write_variable


@pytest.fixture
def folder(tmp_path):
    saver = Saver(tmp_path / "run", write_variable, read_variable, keep=0)
    for step in (2, 4, 10):
        saver.save(step, {"w": np.full([2], step, "float32")}, {"m": np.zeros(1, "float32")}, {"step": step})
    saver.link("best", 4)
    yield tmp_path / "run"
    saver.close()


@pytest.mark.parametrize(
    ("ckpt", "step"),
    [(-1, 10), (-3, 2), (4, 4), ("4", 4), ("step_2", 2), ("model_2", 2), ("best", 4), ("last", 10)],
)
def test_a_checkpoint_is_found_by_step_name_or_index(folder, ckpt, step):
    found = Checkpoints(folder, read_variable)  # the folder is locked by a run meanwhile
    assert found.step_of(ckpt) == step
    np.testing.assert_array_equal(found.parameters(step)["w"], [step, step])


@pytest.mark.parametrize(
    "turned", [np.transpose, np.asfortranarray, lambda array: array[:, ::2]], ids=["transposed", "fortran", "sliced"]
)
def test_arrays_are_saved_as_they_read_and_not_as_they_lie(tmp_path, turned):
    """safetensors 0.8 writes the memory in its own order."""
    array = turned(np.arange(12, dtype="float32").reshape(3, 4))
    saver = Saver(tmp_path / "run", write_variable, read_variable)
    saver.save(1, {"w": array}, {"m": array, "scalar": np.array(2, "float32")}, {"step": 1})
    weights, moments, _ = saver.restore()
    saver.close()
    np.testing.assert_array_equal(weights["w"], array)
    np.testing.assert_array_equal(moments["m"], array)
    assert moments["scalar"].shape == ()


@pytest.mark.parametrize("ckpt", [-4, 3, "step_3", "worst", ""])
def test_one_that_is_not_there_is_an_error(folder, ckpt):
    with pytest.raises(UserError, match="no checkpoint .*: the steps that have one: 2, 4, 10"):
        Checkpoints(folder, read_variable).step_of(ckpt)


def test_restore_takes_the_newest_or_the_one_asked_for(tmp_path, folder):
    with pytest.raises(UserError, match="another process trains into it"):
        Saver(folder, write_variable, read_variable)
    saver = Saver(tmp_path / "other", write_variable, read_variable)
    assert saver.restore() is None
    for step in (1, 2):
        saver.save(step, {"w": np.full([1], step, "float32")}, {"m": np.zeros(1, "float32")}, {"step": step})
    assert saver.restore()[-1] == {"step": 2}
    parameters, moments, state = saver.restore(ckpt=1)
    assert (parameters["w"].tolist(), list(moments), state) == ([1.0], ["m"], {"step": 1})
    (saver.path(1) / "w").unlink()
    with pytest.raises(UserError, match="the checkpoint is damaged"):
        saver.restore(ckpt="step_1")
    saver.close()


def test_weights_of_2019(tmp_path, caplog):
    paddle.enable_static()
    main, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
        paddle.nn.Linear(3, 2)(paddle.static.data("x", [-1, 3]))
    executor = paddle.static.Executor(paddle.CPUPlace())
    executor.run(startup, scope=scope)
    with paddle.static.scope_guard(scope):
        saver = ParameterSaver(tmp_path, executor, main, max_ckpt_to_keep=2)
        assert saver.last_ckpt is None
        for step in (1, 5, 12):
            program.write(scope, executor.place, {"linear_0.b_0": np.full([2], step, "float32")})
            saver.save(RunState(gstep=step, time=1.5))
        assert saver.checkpoints() == ["model_5", "model_12"]
        assert saver.last_ckpt == "model_12"
        assert saver.restore("model_5") == RunState(gstep=5, time=1.5)
        np.testing.assert_array_equal(program.read(scope, "linear_0.b_0"), [5, 5])
        assert saver.restore().gstep == 12
        np.testing.assert_array_equal(program.read(scope, "linear_0.b_0"), [12, 12])
        (tmp_path / "model_5" / "linear_0.w_0").unlink()
        with caplog.at_level(logging.WARNING, "propeller.train"):
            saver.restore(0)
        assert "linear_0.w_0: missing, left as it is" in caplog.text
        write_variable(tmp_path / "model_5" / "linear_0.w_0", np.zeros([3, 9], "float32"))
        with pytest.raises(UserError, match=r"linear_0.w_0: of shape \[3, 9\], \[3, 2\] is needed"):
            saver.restore("model_5")
        with pytest.raises(UserError, match="no checkpoint 'model_1': those that are there: model_5, model_12"):
            saver.restore("model_1")


def test_a_variables_file_says_what_it_holds(tmp_path):
    array = np.arange(6, dtype="int64").reshape(2, 3)
    write_variable(tmp_path / "v", array)
    assert read_header(tmp_path / "v").shape == (2, 3)
    np.testing.assert_array_equal(read_variable(tmp_path / "v"), array)
    (tmp_path / "v").write_bytes((tmp_path / "v").read_bytes()[:-1])
    with pytest.raises(UserError, match="v: .* cut short"):
        read_variable(tmp_path / "v")
