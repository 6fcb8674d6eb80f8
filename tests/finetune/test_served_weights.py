"""The server of weights: a checkpoint, a model directory or a Hugging Face model as ``--model``.

pytest -q -x tests/finetune/test_served_weights.py
"""

import subprocess
import sys

import numpy as np
import pytest

import finetune
from finetune.prediction.model import InferenceModel
from finetune.serving.handler import open_handler
from propeller.errors import UserError
from propeller.service.client import ServiceClient
from propeller.service.handlers import as_bundle
from propeller.service.limits import Limits
from tests.helpers.common import FIXTURES, ROOT
from tests.helpers.foreign_models import write_classifier
from tests.helpers.served import make_bundle, respond
from tests.helpers.service_toys import wait_until
from tests.helpers.shell import clean_environment


def bundled(folder, handlers="finetune.serving", engine="auto", precision="fp32"):
    return as_bundle(handlers, folder, "false", engine, precision)


def test_a_model_directory_is_served_as_python_loads_it(model):
    with bundled(model) as bundle:
        handler, predictor = open_handler(bundle), InferenceModel.open(bundle, use_cuda="false").predictor
        answer = respond(handler, predictor, {"texts": ["good", "a dull film"]}, Limits())
    assert not bundle.exists()
    with finetune.load(model, use_cuda="false") as loaded:
        np.testing.assert_allclose(answer["embeddings"], loaded.embed(["good", "a dull film"]), atol=2e-5)


def test_what_is_no_weights_is_given_back(model, tmp_path):
    """An inference model, what is not there, and anything where the server takes arrays only."""
    ready = make_bundle(tmp_path / "bundle", model, "classify")
    for folder, handlers in ((ready, "finetune.serving"), (tmp_path / "no", "finetune.serving"), (model, "none")):
        with bundled(folder, handlers) as bundle:
            assert bundle == folder


def test_weights_have_no_8_bit_products(model):
    with pytest.raises(UserError, match=r"--precision int8: .* holds weights"), bundled(model, precision="int8"):
        pass


def test_a_directory_without_weights_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no checkpoint"), bundled(tmp_path):
        pass


@pytest.mark.slow
def test_a_hugging_face_model_over_the_command(tmp_path):
    """Its labels and its probabilities are those of finetune.load; the flag is --model; nothing is left."""
    folder, said, scratch = tmp_path / "classifier", tmp_path / "log", tmp_path / "scratch"
    scratch.mkdir()
    write_classifier(folder, FIXTURES / "peers/bert")
    words = ["--model", str(folder), "-p", "0", "--workers", "1", "--threads", "1", "--use_cuda", "false"]
    with open(said, "w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "propeller.tools.start_server", *words],
            cwd=ROOT, stderr=file, env={**clean_environment(), "TMPDIR": str(scratch)},
        )  # fmt: skip
    try:
        wait_until(lambda: process.poll() is not None or " at http://" in said.read_text(), 120)
        assert process.poll() is None, said.read_text()
        with ServiceClient(said.read_text().partition(" at ")[2].split()[0]) as client:
            (found,) = client.post("/predict", {"texts": ["the film"]})["predictions"]
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    with finetune.load(folder, use_cuda="false") as loaded:
        (wanted,) = loaded(["the film"])
    assert found["label"] == wanted["label"]
    assert found["probabilities"] == pytest.approx(wanted["probabilities"], abs=2e-5)
    assert set(found["probabilities"]) == {"bad", "good"}
    assert not list(scratch.glob("ernie-*"))
