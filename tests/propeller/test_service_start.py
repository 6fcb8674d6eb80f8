"""python -m propeller.tools.start_server: its flags, and a real bundle served from the first line to the last."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from propeller.bundle import read_bundle
from propeller.service.client import InferenceClient, ServiceClient
from propeller.service.predictor import Predictor
from propeller.tools.start_server import build_parser, parse, share
from tests.helpers.common import ROOT
from tests.helpers.served import make_bundle
from tests.helpers.service_toys import ask, children_of, wait_until
from tests.helpers.tiny import VOCABULARY


@pytest.fixture(scope="module")
def bundle(model, tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundle") / "classify", model, "classify")


@pytest.fixture(scope="module")
def served(bundle, tmp_path_factory):
    """(process, address, file of what it says) of a server with one worker."""
    said = tmp_path_factory.mktemp("server") / "log"
    flags = [
        "-m",
        str(bundle),
        "-p",
        "0",
        "--workers",
        "1",
        "--threads",
        "1",
        "--use_cuda",
        "false",
        "--max_texts",
        "9",
    ]
    with open(said, "w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "propeller.tools.start_server", *flags], cwd=ROOT, stderr=file
        )
    try:
        wait_until(lambda: process.poll() is not None or " at http://" in said.read_text(), 60)
        assert process.poll() is None, said.read_text()
        yield process, said.read_text().partition(" at ")[2].split()[0], said
    finally:
        process.kill()
        process.wait()


def batch(rows, length):
    random = np.random.RandomState(rows)
    ids = random.randint(5, len(VOCABULARY), (rows, length))
    ones = np.ones_like(ids)
    return {"src_ids": ids, "sent_ids": 0 * ids, "pos_ids": np.arange(length) * ones, "task_ids": 0 * ids,
            "input_mask": ones.astype("float32")}  # fmt: skip


def test_arrays_are_those_of_the_predictor(served, bundle):
    predictor = Predictor(read_bundle(bundle), threads=1)
    with InferenceClient(served[1], batch_size=4) as client:
        for rows, length in ((1, 3), (9, 12), (2, 40)):
            arrays = batch(rows, length)
            outputs = client(*(arrays[name] for name in predictor.input_names))
            assert len(outputs) == 1
            assert outputs[0] is outputs["probs"]
            as_in_2019 = client(*(arrays[name][..., None] for name in predictor.input_names))
            np.testing.assert_allclose(as_in_2019[0], outputs[0], atol=2e-5)
            with pytest.raises(KeyError):
                outputs["nothing"]
            for name in predictor.output_names:
                found, wanted = outputs[name], predictor.run(arrays)[name]
                assert found.dtype == wanted.dtype
                np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_texts_are_answered_whatever_they_share_a_batch_with(served):
    texts = ["a very good film", "dull", "the story was grim and the cast was awful , very awful", "lovely"]
    with ServiceClient(served[1]) as client:
        together = client.post("/predict", {"texts": texts})["predictions"]
        alone = [client.post("/predict", {"texts": [text]})["predictions"][0] for text in texts]
    assert [one["label"] for one in together] == [one["label"] for one in alone]
    for one, other in zip(together, alone):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"src_ids": [[-1]]}, "-1 is outside"),
        ({"src_ids": [[len(VOCABULARY)]]}, f"{len(VOCABULARY)} is outside"),
        ({"pos_ids": [[40]]}, "40 is outside"),
        ({"input_mask": [["a"]]}, "numbers"),
    ],
)
def test_what_the_model_has_no_vector_for_is_refused(served, change, words):
    inputs = {name: array.tolist() for name, array in batch(1, 1).items()}
    status, _, body = ask(served[1], "POST", "/arrays", json.dumps({"inputs": {**inputs, **change}}))
    assert status == 400
    assert words in json.loads(body)["error"]["message"]


def test_the_page_and_the_facts(served):
    assert b"<html" in ask(served[1], "GET", "/")[2]
    said = json.loads(ask(served[1], "GET", "/info")[2])
    assert (said["task"], said["limits"]["max_texts"]) == ("classify", 9)


def test_a_killed_worker_loads_the_model_again_and_the_server_stops_well(served):
    process, url, said = served
    (worker,) = children_of(process)
    os.kill(worker, signal.SIGKILL)
    with ServiceClient(url) as client:
        assert len(client.post("/predict", {"texts": ["good", "bad"]})["predictions"]) == 2
    process.terminate()
    assert process.wait(30) == 0
    assert "killed by signal 9: starting another" in said.read_text()
    assert "Traceback" not in said.read_text()


def start_server(*flags):
    return subprocess.run(
        [sys.executable, "-m", "propeller.tools.start_server", *flags],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "-m"),
        (["-m", "/nowhere"], "/nowhere: no such directory"),
        (["-m", "x", "--max_batch_sise", "3"], "--max_batch_size"),
        (["-m", "x", "--workers", "0"], "--workers must be at least 1"),
        (["-m", "x", "--threads", "-1"], "--threads must be at least 1"),
        (["-m", "x", "-p", "70000"], "-p 70000"),
        (["-m", "x", "-p", "web"], "-p"),
        (["-m", "x", "--deadline_s", "0"], "--deadline_s"),
        (["-m", "x", "--max_texts", "9", "--queue_size", "8"], "--queue_size 8"),
        (["-m", "x", "--precision", "int4"], "bf16"),
        (["-m", "x", "--use_cuda", "gpu"], "auto"),
        (["-m", "x", "--max_connections", "100000000"], "--max_connections"),
        (["-m", "x", "--host", "no.such.host.invalid"], "not an address"),
    ],
    ids=str,
)
def test_bad_flags_are_one_line_and_status_2(flags, words):
    done = start_server(*flags)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert words in line


def test_help_is_complete_and_needs_nothing():
    done = start_server("--help")
    assert done.returncode == 0
    for action in build_parser()._actions:
        assert action.help
        for option in action.option_strings:
            assert option in done.stdout


def test_cores_are_shared_out():
    assert [share(None, None, cores) for cores in (1, 2, 8, 16, 60)] == [(1, 1), (2, 1), (8, 1), (8, 2), (7, 8)]
    assert [share(2, None, cores) for cores in (1, 2, 8)] == [(2, 1), (2, 1), (2, 4)]
    assert [share(None, 4, cores) for cores in (1, 2, 8)] == [(1, 4), (1, 4), (2, 4)]
    assert share(3, 5, 2) == (3, 5)
    assert share(None, None, 8, on_gpu=True) == (1, 8)


def test_threads_of_the_environment_are_those_of_each_worker(monkeypatch):
    assert [share(None, None, cores, given=1) for cores in (1, 2, 60)] == [(1, 1), (2, 1), (8, 1)]
    assert [share(None, None, cores, given=4) for cores in (2, 8)] == [(1, 4), (2, 4)]
    assert share(3, None, 8, given=2) == (3, 2)
    assert share(None, 4, 8, given=1) == (2, 4)
    assert share(None, None, 8, on_gpu=True, given=2) == (1, 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert parse(["--model", "x"]).given_threads == 5


def test_a_bundle_that_is_damaged(bundle, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder)
    path = folder / "model.pdiparams"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    done = start_server("-m", str(folder), "-p", "0")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: {path}: damaged")
    assert "Traceback" not in done.stderr
