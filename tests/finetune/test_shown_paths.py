"""Log lines and errors name what the user gave, not the temporary directories that a program makes."""

import io
import sys
import tempfile
from types import SimpleNamespace

import pytest

import finetune
from finetune.embedding.main import main as embed
from finetune.prediction import main as prediction
from propeller import log as log_setup
from propeller.errors import UserError
from propeller.service.handlers import as_bundle
from propeller.shown import show_as, shown, temporary_model
from tests.helpers.predicting import TASKS, train, words
from tests.helpers.tiny import write_tsv


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    path = tmp_path / "scratch"
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    return path


def test_the_longest_path_counts_and_names_may_hold_others(tmp_path):
    show_as({tmp_path / "a": "model", tmp_path / "a" / "params": "weights"})
    show_as({tmp_path / "b": temporary_model(tmp_path / "a" / "params")})
    text = f"{tmp_path}/a/params, {tmp_path}/a/vocab.txt, {tmp_path}/b, {tmp_path}/c"
    assert shown(text) == f"weights, model/vocab.txt, weights (temporary inference model), {tmp_path}/c"
    assert str(UserError(f"{tmp_path}/a: no")) == "model: no"


def test_predictions_of_a_checkpoint(model, data, scratch, tmp_path, capfd, monkeypatch):
    checkpoint = train("p", "classify", model, data, tmp_path / "run", save_steps=0)
    rows = "text_a\na fine film\n"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(rows.encode())))
    capfd.readouterr()
    given = {"model": checkpoint, "predict_set": "-", "output": tmp_path / "out.tsv"}
    prediction.main("p", TASKS["infer_classifyer.py"], words(**given))
    said = capfd.readouterr().err
    assert "predicted 1 rows" in said
    assert "inference model to" not in said
    assert str(scratch) not in said
    saved = {"save_inference_model_path": tmp_path / "saved", "do_prediction": "false"}
    prediction.main("p", TASKS["infer_classifyer.py"], words(model=checkpoint, **saved))
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "inference model to" in line]
    assert line.endswith(f"save inference model to {tmp_path / 'saved' / 'last_inference_model'}")


def test_vectors_python_and_the_server(model, scratch, tmp_path, capfd):
    rows = write_tsv(tmp_path / "rows.tsv", [("good film",), ("bad",)], ("text_a",))
    embed("p", words(model=model, data_set=rows, output_dir=tmp_path / "out", pooling="mean", no_top_layer="true"))
    log_setup.setup()
    with finetune.load(model, use_cuda=False) as loaded:
        assert shown(str(loaded.model.bundle.folder)) == f"{model / 'params'} (temporary inference model)"
    with as_bundle("finetune.serving", model, "false", "auto", "fp32") as bundle:
        assert shown(str(bundle)) == f"{model} (temporary inference model)"
    said = capfd.readouterr().err
    assert f"{model} holds weights" in said
    assert str(scratch) not in said
    assert "inference model to" not in said
