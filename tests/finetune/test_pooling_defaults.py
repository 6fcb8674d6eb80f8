"""The vector that a text gets where nobody asks for one: what the model was trained with."""

import json
import logging
import shutil

import numpy as np
import pytest

import finetune
from ernie.convert import to_hf
from ernie.facts import write_facts
from ernie.pooling import Pooling
from finetune.embedding.pooling import settled
from propeller.errors import UserError
from tests.helpers.embedding import embed, from_bundle, write_rows
from tests.helpers.tiny import write_tsv

TEXTS = ["the film was good", "a very dull story"]


@pytest.mark.parametrize(
    ("record", "pooler", "otherwise", "wanted", "message"),
    [
        ({"pooling": "max", "normalize": True}, True, "cls", Pooling("max", True), "max, length 1: what the model"),
        ({"task": "classify"}, True, "mean", Pooling("cls"), "the task classify trained the pooled"),
        ({"task": "multi_label_classification"}, True, "mean", Pooling("cls"), "trained the pooled"),
        ({"task": "regression"}, True, "mean", Pooling("cls"), "the task regression trained the pooled"),
        ({"task": "sequence_label"}, True, "mean", Pooling("mean"), "does not say which vector was trained"),
        ({}, True, "mean", Pooling("mean"), "does not say which vector was trained"),
        ({}, True, "cls", Pooling("cls"), "cls is nearly the same for all texts; --pooling mean is the better start"),
        ({"task": "classify"}, False, "cls", Pooling("mean"), "the weights have no pooled"),
    ],
    ids=["stored", "classify", "labels", "regression", "tags", "python", "script", "no_pooler"],
)
def test_which_and_why(record, pooler, otherwise, wanted, message, caplog):
    with caplog.at_level(logging.INFO, "ernie.finetune"):
        assert settled(record, pooler, otherwise, "MODEL") == wanted
    assert message in caplog.text


def test_a_model_that_does_not_say(model, tmp_path, caplog):
    """Python takes the mean; the script of 2019 writes the pooled [CLS], as it did, and says so."""
    caplog.set_level(logging.INFO, "ernie.finetune")
    with finetune.load(model, use_cuda=False) as predictor:
        np.testing.assert_array_equal(predictor.embed(TEXTS), predictor.embed(TEXTS, pooling="mean"))
        assert predictor.describe()["pooling"] == "mean"
    assert "pooling mean: the model does not say which vector was trained" in caplog.text
    rows = write_rows(tmp_path)
    found = embed(model, rows, tmp_path / "script")
    assert found.manifest["pooling"] == "cls"
    assert "pooling cls, as in 2019" in found.log


def test_a_model_that_was_trained_for_vectors(model, tmp_path):
    """By the script, an inference model, Python and a converted directory alike; a flag wins."""
    own, rows = shutil.copytree(model, tmp_path / "own"), write_rows(tmp_path)
    write_facts(own, {"pooling": "first", "normalize": True, "for_cn": False, "max_seq_len": 24})
    saved = {"save_inference_model_path": tmp_path / "saved", "max_seq_len": None}
    found = embed(own, rows, tmp_path / "script", **saved)
    assert (found.manifest["pooling"], found.manifest["normalize"]) == ("first", True)
    states = np.array([row[0] for row in found.states])
    np.testing.assert_allclose(found.vectors, states / np.linalg.norm(states, axis=1, keepdims=True), atol=1e-6)
    bundle = from_bundle(tmp_path / "saved" / "params_inference_model")
    np.testing.assert_allclose(embed(own, rows, tmp_path / "bundle", **bundle).vectors, found.vectors, atol=1e-6)
    plain = embed(own, rows, tmp_path / "flag", pooling="mean", normalize="false")
    assert (plain.manifest["pooling"], plain.manifest["normalize"]) == ("mean", False)
    to_hf(own, tmp_path / "hf", model_type="ernie")
    vectors = []
    for folder in (own, tmp_path / "hf"):
        with finetune.load(folder, use_cuda=False) as predictor:
            assert predictor.describe()["pooling"] == "first"
            vectors.append(predictor.embed(TEXTS))
            np.testing.assert_array_equal(vectors[-1], predictor.embed(TEXTS, pooling="first", normalize=True))
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)


def test_a_file_of_sentences_and_columns_of_its_own(model, tmp_path):
    """A line is a text; columns that are not read are named in the log."""
    write_tsv(tmp_path / "rows.tsv", list(zip((7, 8), TEXTS)), ("id", "text_a"))
    (tmp_path / "rows.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    found = embed(model, tmp_path / "rows.tsv", tmp_path / "a")
    assert "columns that are not read: id" in found.log
    lines = embed(model, tmp_path / "rows.txt", tmp_path / "b")
    np.testing.assert_array_equal(lines.vectors, found.vectors)


def test_an_inference_model_without_a_pooling(model, tmp_path):
    """One of an earlier version gives three poolings: another is an error that names them."""
    rows = write_rows(tmp_path)
    embed(model, rows, tmp_path / "a", save_inference_model_path=tmp_path / "saved", no_top_layer="true")
    bundle = tmp_path / "saved" / "params_inference_model"
    manifest = json.loads((bundle / "bundle.json").read_text())
    assert manifest["outputs"] == ["cls", "mean", "max", "first"]
    with pytest.raises(UserError, match="--pooling.*sum"):
        embed(model, rows, tmp_path / "b", **from_bundle(bundle), pooling="sum")
