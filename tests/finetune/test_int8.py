"""--precision int8: made, compared and refused at export, and run.

pytest -q -x tests/finetune/test_int8.py
"""

import logging
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

import finetune
from finetune import task_class
from finetune.prediction.int8 import Int8
from propeller import runtime
from propeller.bundle import read_bundle
from propeller.errors import UserError
from propeller.service.engines import choose_engine, describe
from tests.helpers.embedding import embed
from tests.helpers.predicting import fails, infer, table, train
from tests.helpers.tiny import sentences, write_tsv

SCRIPT = "infer_classifyer.py"
for package in ("paddle2onnx", "onnxruntime", "ml_dtypes"):
    pytest.importorskip(package)


@pytest.fixture(scope="module")
def checkpoint(model, data, tmp_path_factory):
    return train("run_classifier.py", "classify", model, data, tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module")
def saved(checkpoint, data, tmp_path_factory):
    """(the int8 inference model, the log of its export)."""
    folder = tmp_path_factory.mktemp("saved")
    _, log = infer(SCRIPT, init_checkpoint=checkpoint, do_prediction="false", save_inference_model_path=folder,
                   precision="int8", calibration_set=data / "dev.tsv", max_loss=1)  # fmt: skip
    return folder / "last_inference_model", log


def test_the_export_says_what_changes_and_the_sizes(saved):
    folder, log = saved
    assert "of 13 answers change, accuracy " in log
    assert "(--max_loss 1); " in log
    assert " MB instead of " in log
    files = read_bundle(folder).files
    assert "model.int8.onnx" in files
    assert "model.onnx" not in files, "it was not asked for"
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_it_is_run_near_fp32_and_not_as_fp32(saved, tmp_path):
    rows = write_tsv(tmp_path / "rows.tsv", [[text] for _, text in sentences(9, seed=7)], ["text_a"])
    exact = finetune.load(saved[0], use_cuda="false")([text for _, text in sentences(9, seed=7)])
    _, log = infer(SCRIPT, inference_model=saved[0], predict_set=rows, output=tmp_path / "o.tsv", precision="int8")
    assert "engine: onnxruntime 1." in log
    assert ", int8, " in log
    found = [list(map(float, row[2:])) for row in table((tmp_path / "o.tsv").read_text())[1]]
    wanted = [list(answer["probabilities"].values()) for answer in exact]
    far = np.abs(np.array(found) - wanted).max()
    assert 1e-6 < far < 0.2


@pytest.mark.slow
def test_too_much_lost_writes_nothing(checkpoint, data, tmp_path, monkeypatch):
    """The loss is that of the rows: here every label is made another."""
    given = {"init_checkpoint": checkpoint, "do_prediction": "false", "save_inference_model_path": tmp_path / "s",
             "precision": "int8", "calibration_set": data / "dev.tsv"}  # fmt: skip
    changed = classmethod(lambda cls, exact, rough, batch, spec: np.ones(len(exact["probs"])))
    with monkeypatch.context() as patch:
        patch.setattr(task_class("classify"), "answers_changed", changed)
        fails(SCRIPT, "int8: 100.00% of 13 answers change", "over --max_loss 0.02: nothing was written", **given)
        assert not (tmp_path / "s").exists()
    infer(SCRIPT, status=2, **{**given, "calibration_set": tmp_path / "none.tsv"})
    assert not (tmp_path / "s").exists()


def test_flags_that_do_not_go_together(checkpoint, saved, data, tmp_path):
    rows = {"predict_set": data / "dev.tsv"}
    weights = {"init_checkpoint": checkpoint, **rows}
    fails(SCRIPT, "--precision int8: give --calibration_set", **weights, precision="int8")
    fails(SCRIPT, "--calibration_set is for making an int8 model", **weights, calibration_set=data / "dev.tsv")
    fails(SCRIPT, "--max_loss 2: a share", **weights, max_loss=2)
    fails(SCRIPT, "--engine openvino: does not compute in int8", inference_model=saved[0], engine="openvino",
          precision="int8", **rows)  # fmt: skip
    with pytest.raises(UserError, match="precision int8 is of inference models that were saved so"):
        finetune.load(checkpoint, precision="int8")


def test_a_model_that_was_not_saved_so(checkpoint, data, tmp_path):
    infer(SCRIPT, init_checkpoint=checkpoint, do_prediction="false", save_inference_model_path=tmp_path)
    fails(SCRIPT, "has no model.int8.onnx, which --precision int8 runs", "--precision int8 --calibration_set ROWS",
          inference_model=tmp_path, predict_set=data / "dev.tsv", precision="int8")  # fmt: skip


def test_a_processor_that_gains_nothing_is_named(saved, monkeypatch):
    bundle = read_bundle(saved[0])
    choice = choose_engine(bundle, "auto", "int8")
    monkeypatch.setattr(runtime, "cpu_has_vnni", lambda: False)
    assert "int8 gains little here: this processor has no VNNI" in describe(choice, "int8", 1)
    assert "VNNI" not in describe(choice, "fp32", 1)
    monkeypatch.setattr(runtime, "cpu_has_vnni", lambda: True)
    assert "VNNI" not in describe(choice, "int8", 1)


@pytest.mark.parametrize(
    ("task", "outputs", "place", "wanted"),
    [
        ("classify", {"probs": (2, 3)}, (1, 2), [0, 1]),
        ("sequence_label", {"probs": (2, 3, 4)}, (1, 0, 2), [0, 0, 0, 1, 0]),
        ("mrc", {"start_logits": (2, 3), "end_logits": (2, 3)}, (1, 1), [0, 1]),
        ("regression", {"logits": (2, 1)}, (1, 0), [0, 1]),
    ],
    ids=["classify", "sequence_label", "mrc", "regression"],
)
def test_what_counts_as_another_answer(task, outputs, place, wanted):
    """Padding does not count."""
    exact = {name: np.zeros(shape, "float32") for name, shape in outputs.items()}
    rough = {name: array.copy() for name, array in exact.items()}
    rough[next(iter(outputs))][place] = 5.0
    batch = {"input_mask": np.array([[1, 1, 1], [1, 1, 0]], "float32")}
    changed = task_class(task).answers_changed(exact, rough, batch, None)
    assert changed.tolist() == wanted
    if task in ("sequence_label", "mrc"):
        rough[next(iter(outputs))][1, 2] = 9.0  # where the second row is padded
        assert task_class(task).answers_changed(exact, rough, batch, None).tolist() == wanted


def test_vectors_change_by_their_angle():
    exact, rough = {"cls": np.array([[3.0, 0.0], [1.0, 0.0]])}, {"cls": np.array([[6.0, 0.0], [0.0, 2.0]])}
    assert task_class("embed").answers_changed(exact, rough, {}, None).tolist() == [0.0, 1.0]


@pytest.mark.slow
def test_the_encoder(model, data, tmp_path):
    """ernie_encoder.py makes one, says how far vectors move, and runs it; a bound of 0 is refused."""
    rows = write_tsv(tmp_path / "rows.tsv", [[text] for _, text in sentences(9, seed=7)], ["text_a"])
    exact = embed(model, rows, tmp_path / "a")
    given = {"precision": "int8", "calibration_set": rows}
    found = embed(model, rows, tmp_path / "b", save_inference_model_path=tmp_path / "s", **given, max_loss=0.5)
    assert "of 9 answers change (--max_loss 0.5)" in found.log
    assert 1e-6 < np.abs(found.vectors - exact.vectors).max() < 0.2
    with pytest.raises(UserError, match="over --max_loss 0: nothing was written"):
        embed(model, rows, tmp_path / "c", **given, max_loss=0)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["regression", "sequence_label", "mrc", "embed"])
def test_every_task_can_be_compared(model, data, tmp_path, task, caplog):
    """On a bundle of random weights with both files: the reader of each task, and a loss that is a share."""
    from ernie.onnx_int8 import write_int8
    from finetune.prediction.model import InferenceModel
    from tests.helpers.served import make_bundle
    from tests.helpers.squad import squad

    folder = make_bundle(tmp_path / "b", model, task, onnx=True)
    write_int8(folder)
    opened = InferenceModel.open(folder, with_predictor=False)
    if task == "mrc":
        rows = squad(
            tmp_path / "rows.json", ("the story was dull and the cast was good", [("q", "what was dull", "story")])
        )
    else:
        rows = write_tsv(tmp_path / "rows.tsv", [[text] for _, text in sentences(9, seed=7)], ["text_a"])
    made = SimpleNamespace(task=opened.task, spec=opened.spec, tokenizer=opened.tokenizer)
    with caplog.at_level(logging.INFO, logger="ernie.finetune"):
        Int8(str(rows), 1.0).check(folder, made)
    assert "answers change" in caplog.text
    shutil.rmtree(folder)
