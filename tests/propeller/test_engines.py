"""The engines that run a bundle: what each is given, which one is taken, and what is refused.

pytest -q -x tests/propeller/test_engines.py
"""

import os
import subprocess
import sys

import numpy as np
import pytest

from propeller import runtime
from propeller.bundle import ONNX, Bundle, read_bundle
from propeller.errors import UserError
from propeller.service import engines
from propeller.service.engines import check_engine, choose_engine, describe, open_engine, uses_gpu
from propeller.service.predictor import Predictor
from tests.helpers.bundle import batch_of, export
from tests.helpers.common import ROOT

OTHERS = ("onnxruntime", "openvino")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, model):
    """A bundle with ``model.onnx``."""
    for package in ("paddle2onnx", *OTHERS):
        pytest.importorskip(package)
    return read_bundle(export(tmp_path_factory.mktemp("bundle") / "b", model, onnx=True)[1])


def fake(*files):
    """A bundle that was never written, for the choice alone."""
    return Bundle("saved", "classify", [], [], {}, dict.fromkeys(files))


@pytest.fixture
def installed(monkeypatch):
    """Call it with the engines that are to be installed."""

    def only(*names):
        monkeypatch.setattr(engines, "is_installed", names.__contains__)

    return only


@pytest.mark.parametrize(
    ("names", "files", "precision", "gpu", "taken", "why"),
    [
        (("paddle", *OTHERS), (ONNX,), "fp32", False, "openvino", "the fastest"),
        (("paddle", "onnxruntime"), (ONNX,), "fp32", False, "onnxruntime", "openvino is faster: python -m pip"),
        (("paddle",), (ONNX,), "fp32", False, "paddle", "openvino is faster: python -m pip install -r"),
        (("paddle", *OTHERS), (), "fp32", False, "paddle", "no model.onnx, which an inference"),
        (("paddle", *OTHERS), (ONNX,), "fp32", True, "paddle", "GPU"),
        (("paddle", *OTHERS), (ONNX,), "bf16", False, "openvino", "the fastest"),
        (("paddle", "onnxruntime"), (ONNX,), "bf16", False, "paddle", "openvino is faster"),
    ],
    ids=["all", "two", "one", "no-file", "gpu", "bf16", "bf16-two"],
)
def test_auto_takes_the_fastest_of_those_that_can(installed, names, files, precision, gpu, taken, why):
    installed(*names)
    choice = choose_engine(fake(*files), "auto", precision, gpu)
    assert choice.name == taken
    assert why in choice.why


@pytest.mark.parametrize("engine", ["paddle", *OTHERS])
def test_an_engine_that_is_asked_for_is_taken(installed, engine):
    installed("paddle", *OTHERS)
    assert choose_engine(fake(ONNX), engine).name == engine


@pytest.mark.parametrize(
    ("engine", "precision", "message"),
    [
        ("tvm", "fp32", "--engine tvm: unknown; choose one of auto, paddle, onnxruntime, openvino"),
        ("paddle", "int4", "--precision int4: unknown"),
        ("onnxruntime", "bf16", "does not compute in bf16: give --engine openvino or paddle"),
        ("openvino", "fp32", "openvino is not installed: python -m pip install -r requirements-engines.txt"),
    ],
    ids=["unknown", "precision", "not-bf16", "not-installed"],
)
def test_what_no_bundle_can_be_run_with(installed, engine, precision, message):
    installed("paddle", "onnxruntime")
    with pytest.raises(UserError, match=message):
        check_engine(engine, precision)
    with pytest.raises(UserError, match=message):
        choose_engine(fake(ONNX), engine, precision)


def test_a_bundle_without_the_file_is_told_how_to_get_it(installed):
    installed("paddle", *OTHERS)
    with pytest.raises(UserError, match=r"saved: has no model.onnx, which --engine openvino runs: .* --onnx true, or"):
        choose_engine(fake(), "openvino")


def test_the_device(monkeypatch):
    """Paddle alone is asked whether there is a GPU; the others refuse one that is asked for."""
    monkeypatch.setattr(runtime, "on_gpu", lambda use_cuda: use_cuda != "false")
    assert [uses_gpu(name, "auto") for name in ("auto", "paddle", *OTHERS)] == [True, True, False, False]
    assert not uses_gpu("paddle", "false")
    with pytest.raises(UserError, match="--engine onnxruntime: runs on a CPU here: give --use_cuda false"):
        uses_gpu("onnxruntime", True)
    with pytest.raises(UserError, match="use_cuda"):
        uses_gpu("onnxruntime", "perhaps")


def test_the_line_of_the_log(installed):
    pytest.importorskip("openvino")
    installed("paddle", *OTHERS)
    line = describe(choose_engine(fake(ONNX)), "fp32", 1)
    assert line.startswith("engine: openvino 20")
    assert line.endswith(", fp32, 1 thread (the fastest)")
    assert describe(choose_engine(fake()), "fp32", 2).startswith("engine: paddle 3.")
    assert f"{runtime.threads()} thread" in describe(choose_engine(fake()), "fp32", None)


def test_the_environment_says_how_many_threads(monkeypatch):
    """In the line and in the engine; an argument wins over it."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    made = []
    monkeypatch.setattr(engines, "PaddleEngine", lambda bundle, precision, threads, use_gpu: made.append(threads))
    for given, wanted in ((None, 3), (2, 2)):
        assert f", {wanted} threads" in describe(choose_engine(fake()), "fp32", given)
        open_engine("paddle", fake(), threads=given)
        assert made.pop() == wanted


@pytest.mark.parametrize("engine", OTHERS)
def test_equals_paddle_whatever_the_shape(bundle, engine):
    ours, theirs = Predictor(bundle, threads=1), Predictor(bundle, threads=1, engine=engine)
    assert theirs.output_names == ours.output_names
    for rows, length in ((1, 1), (1, 3), (5, 16), (2, 40), (5, 16)):
        batch = batch_of(rows, length, seed=rows) if length > 1 else {k: v[:1, :1] for k, v in batch_of(1, 3).items()}
        expected, found = ours.run(batch), theirs.run(batch)
        assert list(found) == list(expected)
        for name, array in expected.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("engine", OTHERS)
def test_a_result_is_not_overwritten_by_the_next(bundle, engine):
    predictor = Predictor(bundle, threads=1, engine=engine)
    first = predictor.run(batch_of(3, 9))
    kept = {name: array.copy() for name, array in first.items()}
    predictor.run(batch_of(3, 9, seed=1))
    for name, array in kept.items():
        np.testing.assert_array_equal(first[name], array)


def test_threads_and_precision_reach_the_engine(bundle):
    for threads in (1, 2):
        session = open_engine("onnxruntime", bundle, threads=threads)._session
        assert session.get_session_options().intra_op_num_threads == threads
    import openvino

    def properties(engine):
        compiled = engine._request.get_compiled_model()
        names = ("INFERENCE_NUM_THREADS", "INFERENCE_PRECISION_HINT", "ENABLE_CPU_PINNING", "NUM_STREAMS")
        return [compiled.get_property(name) for name in names]

    assert properties(open_engine("openvino", bundle, threads=1)) == [1, openvino.Type.f32, False, 1]
    if runtime.cores() > 1:
        assert properties(open_engine("openvino", bundle, threads=2))[0] == 2
    if runtime.cpu_has_bf16():
        assert properties(open_engine("openvino", bundle, "bf16", threads=1))[1] == openvino.Type.bf16


def test_bf16_of_openvino_is_near(bundle):
    if not runtime.cpu_has_bf16():
        with pytest.raises(UserError, match="no AVX-512"):
            Predictor(bundle, "bf16", engine="openvino")
        return
    batch = batch_of(4, 16)
    exact, found = (Predictor(bundle, kind, 1, engine="openvino").run(batch)["probs"] for kind in ("fp32", "bf16"))
    assert found.dtype == np.float32
    assert 1e-6 < np.abs(exact - found).max() < 0.1


def test_nothing_is_reported_to_the_makers(bundle, tmp_path):
    """Both libraries report their use by default, and keep files for it in the home."""
    code = f"""
import sys
from propeller.bundle import read_bundle
from propeller.service.engines import open_engine
for name in ("openvino", "onnxruntime"):
    open_engine(name, read_bundle({str(bundle.folder)!r}), threads=1)
assert "openvino_telemetry" not in sys.modules
"""
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
