"""--engine: every task's answers by ONNX Runtime and OpenVINO are Paddle's within 1e-5, wherever one predicts.

pytest -q -x tests/finetune/test_engines.py
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import finetune
from propeller.errors import UserError
from tests.helpers.common import ROOT
from tests.helpers.embedding import embed
from tests.helpers.predicting import fails, infer, table, train
from tests.helpers.served import make_bundle
from tests.helpers.service_toys import ask, children_of, wait_until
from tests.helpers.tiny import sentences, write_tsv

OTHERS = ("onnxruntime", "openvino")
SCRIPT = "infer_classifyer.py"
TEXTS = [text for _, text in sentences(9, seed=7)]
PAIRS = [(text, "the cast was dull") for text in TEXTS[:5]]
QUESTIONS = [("what was dull", text) for text in TEXTS[:5]] + [("the story", " ".join(TEXTS))]  # the last in windows
ITEMS = {
    "classify": TEXTS + PAIRS,
    "multi_label_classification": TEXTS + PAIRS,
    "regression": TEXTS + PAIRS,
    "sequence_label": TEXTS,
    "sequence_label_crf": TEXTS,
    "mrc": QUESTIONS,
    "prompt": TEXTS,
    "multiple_choice": [(text, TEXTS[:2]) for text in TEXTS] + [(text, "was it", TEXTS[2:5]) for text in TEXTS[:3]],
    "embed": TEXTS + PAIRS,
    "sentence_vectors": TEXTS,
}

for package in ("paddle2onnx", *OTHERS):
    pytest.importorskip(package)


@pytest.fixture(scope="module")
def bundles(model, tmp_path_factory):
    """task -> a bundle with ``model.onnx``, made once."""
    made = {}

    def get(task):
        if task not in made:
            made[task] = make_bundle(tmp_path_factory.mktemp("bundles") / task, model, task, onnx=True)
        return made[task]

    return get


@pytest.fixture(scope="module")
def checkpoint(model, data, tmp_path_factory):
    """A fine-tuned classifier."""
    return train("run_classifier.py", "classify", model, data, tmp_path_factory.mktemp("run") / "run")


def same(one, other):
    """Whether two answers are equal, numbers within 1e-5 (per unit where they are above one)."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return other == pytest.approx(one, rel=1e-5, abs=1e-5)
    return one == other


@pytest.mark.parametrize(
    "task", ["classify", *(pytest.param(name, marks=pytest.mark.slow) for name in sorted(ITEMS) if name != "classify")]
)
def test_every_task_answers_as_by_paddle(bundles, task):
    """Texts, pairs and windows, in batches of unlike rows; what is no number, as the label, is equal."""
    ours = finetune.load(bundles(task), engine="paddle", use_cuda="false", threads=1)(ITEMS[task], batch_size=4)
    assert len(ours) == len(ITEMS[task])
    for engine in OTHERS:
        theirs = finetune.load(bundles(task), engine=engine, use_cuda="false", threads=1)
        for size in (4, 1):
            for one, other in zip(ours, theirs(ITEMS[task], batch_size=size)):
                assert same(one, other), (engine, one, other)
    assert not same(ours, theirs(ITEMS[task][::-1], batch_size=4))  # what is compared tells rows apart


def test_every_task_is_compared():
    """But for students, whose ONNX files tests/distill compares."""
    assert ITEMS.keys() == {name for name in finetune.TASKS if not name.startswith("student")}


def test_of_equal_labels_the_first_counts_with_every_engine(model, tmp_path):
    """Two classes of the same weights: their probabilities differ in the last bits at most."""

    def tie(arrays):
        arrays["_cls_out_w"][:, 2] = arrays["_cls_out_w"][:, 1]
        arrays["_cls_out_b"][:] = [-50.0, 1.0, 1.0]

    folder = make_bundle(tmp_path / "tie", model, "classify", onnx=True, edit=tie)
    for engine in ("paddle", *OTHERS):
        predictor = finetune.load(folder, engine=engine, use_cuda="false", threads=1)
        for size in (1, 3, 9):
            answers = predictor(TEXTS, batch_size=size)
            assert {answer["label"] for answer in answers} == {"yes"}
            for answer in answers:
                assert answer["probabilities"]["yes"] == pytest.approx(0.5, abs=1e-6)


def test_labels_do_not_change_with_what_is_beside_a_row(bundles):
    """As with Paddle: padding and neighbours change less than the rule of ties allows for."""
    for engine in OTHERS:
        predictor = finetune.load(bundles("classify"), engine=engine, use_cuda="false", threads=1)
        alone, together = predictor(TEXTS, batch_size=1), predictor(TEXTS, batch_size=9)
        assert [answer["label"] for answer in alone] == [answer["label"] for answer in together]
        for one, other in zip(alone, together):
            assert one["probabilities"] == pytest.approx(other["probabilities"], abs=2e-6)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_tsv(tmp_path_factory.mktemp("rows") / "rows.tsv", [[text] for text in TEXTS], ["text_a"])


def predicted(folder, rows, tmp_path, **changes):
    """(rows of the file, log) of the script over an inference model."""
    out = tmp_path / "out.tsv"
    _, log = infer(SCRIPT, inference_model=folder, predict_set=rows, output=out, **changes)
    return table(out.read_text(encoding="utf8"))[1], log


@pytest.mark.slow
def test_the_script_says_which_engine_it_takes(bundles, rows, tmp_path):
    """auto takes OpenVINO here; all give the same labels, and the probabilities within 1e-5."""
    folder, found = bundles("classify"), {}
    for engine, line in (
        ("paddle", "engine: paddle 3.3.1, fp32, "),
        ("onnxruntime", "engine: onnxruntime 1."),
        ("auto", "engine: openvino 20"),
    ):
        found[engine], log = predicted(folder, rows, tmp_path, engine=engine)
        assert log.count("\tengine: ") == 1 + log.count(f"\tengine: {engine}\n")
        assert line in log
    assert "(the fastest)" in log
    for other in ("onnxruntime", "auto"):
        for one, two in zip(found["paddle"], found[other]):
            assert one[:2] == two[:2]
            assert list(map(float, one[2:])) == pytest.approx(list(map(float, two[2:])), abs=1e-5)


def test_a_model_without_the_file(model, rows, tmp_path):
    """auto takes Paddle and says why; an engine that is asked for is one line with the way to the file."""
    folder = make_bundle(tmp_path / "b", model, "classify")
    _, log = predicted(folder, rows, tmp_path)
    assert "(no model.onnx, which an inference model saved with --onnx true has)" in log
    fails(SCRIPT, f"{folder}: has no model.onnx, which --engine openvino runs", "--onnx true",
          inference_model=folder, predict_set=rows, engine="openvino")  # fmt: skip
    with pytest.raises(UserError, match="has no model.onnx"):
        finetune.load(folder, engine="onnxruntime")


def test_flags_that_do_not_go_together(bundles, checkpoint, rows, tmp_path):
    given = {"init_checkpoint": checkpoint, "predict_set": rows, "engine": "openvino"}
    fails(SCRIPT, "--engine openvino", "--onnx true", **given, save_inference_model_path=tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
    fails(SCRIPT, "--engine onnxruntime", "bf16", **{**given, "engine": "onnxruntime", "precision": "bf16"})
    fails(SCRIPT, "--engine", "tvm", "onnxruntime", **{**given, "engine": "tvm"})
    fails(SCRIPT, "--engine openvino: runs on a CPU here", inference_model=bundles("classify"), predict_set=rows,
          engine="openvino", use_cuda="true")  # fmt: skip


def test_a_damaged_file_is_found(bundles, tmp_path):
    shutil.copytree(bundles("classify"), tmp_path / "b")
    with open(tmp_path / "b" / "model.onnx", "r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    with pytest.raises(UserError, match=r"model.onnx: damaged, its sha256"):
        finetune.load(tmp_path / "b", engine="openvino")


@pytest.mark.slow
def test_a_checkpoint_is_made_ready_for_the_engine(checkpoint, rows, tmp_path):
    """Script, ``python -m finetune.prediction`` and API, without leaving a file."""
    infer(SCRIPT, init_checkpoint=checkpoint, predict_set=rows, output=tmp_path / "paddle.tsv", engine="paddle")
    expected = table((tmp_path / "paddle.tsv").read_text())[1]
    out = tmp_path / "out.tsv"
    words = ["--init_checkpoint", checkpoint, "--predict_set", rows, "--output", out, "--engine", "onnxruntime"]
    command = [sys.executable, "-m", "finetune.prediction", *map(str, words), "--use_cuda", "false"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "engine: onnxruntime 1." in done.stderr
    answers = finetune.load(checkpoint, engine="openvino", use_cuda="false")(TEXTS)
    for row, one, answer in zip(expected, table(out.read_text())[1], answers):
        assert row[:2] == one[:2] == [row[0], answer["label"]]
        for found in (map(float, one[2:]), answer["probabilities"].values()):
            assert list(map(float, row[2:])) == pytest.approx(list(found), abs=1e-5)


@pytest.mark.slow
def test_the_encoder_by_another_engine(model, rows, tmp_path):
    """ernie_encoder.py from weights, and from the inference model that it saved."""
    plain = embed(model, rows, tmp_path / "plain", engine="paddle")
    found = embed(
        model, rows, tmp_path / "a", engine="openvino", onnx="true", save_inference_model_path=tmp_path / "saved"
    )
    assert "engine: openvino 20" in found.log
    (saved,) = (tmp_path / "saved").iterdir()
    unused = ("init_pretraining_params", "ernie_config_path", "vocab_path", "for_cn")
    again = embed(model, rows, tmp_path / "b", engine="onnxruntime", inference_model=saved, **dict.fromkeys(unused))
    assert "engine: onnxruntime 1." in again.log
    for other in (found, again):
        np.testing.assert_allclose(other.vectors, plain.vectors, atol=1e-5)
        for one, two in zip(plain.states, other.states):
            np.testing.assert_allclose(one, two, atol=1e-5)
    assert (plain.manifest["engine"], found.manifest["engine"]) == ("paddle", "openvino")


def serve(folder, said, *flags):
    """(process, address) of a server of one worker."""
    command = [sys.executable, "-m", "propeller.tools.start_server", "-m", folder, "-p", 0, "--workers", 1,
               "--threads", 1, "--use_cuda", "false", *flags]  # fmt: skip
    with open(said, "w") as file:
        process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stderr=file)
    wait_until(lambda: process.poll() is not None or " at http://" in said.read_text(), 90)
    assert process.poll() is None, said.read_text()
    return process, said.read_text().partition(" at ")[2].split()[0]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["auto", "onnxruntime", "paddle"])
def test_the_server(bundles, tmp_path, engine):
    """It says what computes, in the log and to those who ask; a worker loads Paddle only where it is the engine."""
    folder = bundles("classify")
    expected = finetune.load(folder, engine="paddle", use_cuda="false")(TEXTS)
    process, url = serve(folder, tmp_path / "log", "--engine", engine)
    try:
        taken = {"auto": "openvino"}.get(engine, engine)
        body = json.dumps({"texts": TEXTS}).encode()
        answers = json.loads(ask(url, "POST", "/predict", body)[2])["predictions"]
        for one, two in zip(expected, answers):
            assert same(one, two)
        assert json.loads(ask(url, "GET", "/info")[2])["engine"] == taken
        (worker,) = children_of(process)
        assert ("libpaddle" in Path(f"/proc/{worker}/maps").read_text()) == (taken == "paddle")
    finally:
        process.terminate()
        process.wait(30)
    log = (tmp_path / "log").read_text()
    assert log.count(f"engine: {taken} ") == 1
    assert f"{taken} " in log
    assert "fp32, 1 thread (" in log


@pytest.mark.slow
def test_the_server_of_an_encoder(model, tmp_path):
    """From weights: a temporary inference model with the engine's file."""
    command = [sys.executable, "-m", "finetune.embedding.server", "-m", model, "-p", "0", "--workers", "1", "--threads",
               "1", "--use_cuda", "false", "--engine", "openvino"]  # fmt: skip
    with open(tmp_path / "log", "w") as file:
        process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stderr=file)
    try:
        wait_until(lambda: process.poll() is not None or " at http://" in (tmp_path / "log").read_text(), 90)
        said = (tmp_path / "log").read_text()
        assert "engine: openvino 20" in said
        url = said.partition(" at ")[2].split()[0]
        answer = json.loads(ask(url, "POST", "/predict", json.dumps({"texts": TEXTS, "pooling": "mean"}).encode())[2])
        expected = finetune.load(model, use_cuda="false").embed(TEXTS)  # the mean; the server of 2019 gives cls
        np.testing.assert_allclose(answer["embeddings"], expected, atol=1e-5)
    finally:
        process.terminate()
        process.wait(30)


def test_the_server_refuses_in_one_line(model, tmp_path):
    folder = make_bundle(tmp_path / "b", model, "classify")
    for flags, words in (
        (["--engine", "openvino"], "has no model.onnx, which --engine openvino runs"),
        (["--engine", "onnxruntime", "--precision", "bf16"], "does not compute in bf16"),
        (["--engine", "tvm"], "--engine"),
    ):
        command = [sys.executable, "-m", "propeller.tools.start_server", "-m", str(folder), "-p", "0", *flags]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].startswith("error: ")
        assert words in done.stderr.splitlines()[-1]
