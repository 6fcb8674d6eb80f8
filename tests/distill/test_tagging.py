"""Students of sequence labelling: trained by the common entry, predicted, served."""

import json

import pytest

import finetune
from finetune.prediction.main import main as predict
from finetune.serving.handler import open_handler
from propeller.errors import UserError
from propeller.service.limits import Limits
from tests.helpers.predicting import words
from tests.helpers.runs import read_records
from tests.helpers.served import respond
from tests.helpers.students import train_student, write_shape
from tests.helpers.tagged import IOB, tagged, write_tagged


@pytest.fixture(scope="module")
def tags(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tags")
    for name, count, seed in (("train", 60, 1), ("dev", 12, 2), ("test", 6, 3)):
        write_tagged(folder / f"{name}.tsv", tagged(count, seed))
    (folder / "map.json").write_text(json.dumps(IOB))
    return folder


def train(network, model, tags, folder, **changes):
    given = {"label_map_config": tags / "map.json", "num_labels": 5, "epoch": 20, "tokenizer": None, **changes}
    return train_student(write_shape(folder, network), model, tags, folder / "run", "student_sequence_label", **given)


@pytest.mark.parametrize("network", ["cnn", "bilstm"])
def test_a_student_tags_and_serves(network, model, tags, tmp_path):
    """It learns the tags of words, and files, Python and requests agree."""
    last = train(network, model, tags, tmp_path)
    lines = read_records(tmp_path / "run")
    assert [line["f1"] for line in lines if line["event"] == "dev"][-1] > 0.8
    flags = words(init_checkpoint=last, predict_set=tags / "test.tsv", output=tmp_path / "out.tsv",
                  save_inference_model_path=tmp_path)  # fmt: skip
    assert predict("python -m finetune.prediction", (), flags) == 0
    header, *rows = (tmp_path / "out.tsv").read_text(encoding="utf8").splitlines()
    assert header.split("\t")[:3] == ["text_a", "gold_label", "tags"]
    tokens = [row.split("\t")[0].split("\2") for row in rows]
    here = finetune.load(last)(tokens)
    assert [[token["tag"] for token in each["tokens"]] for each in here] == [
        row.split("\t")[2].split("\2") for row in rows
    ]
    bundle = tmp_path / "last_inference_model"
    handler = open_handler(bundle)
    served = respond(handler, finetune.load(bundle)._model.predictor, {"tokens": tokens}, Limits())["predictions"]
    assert [each["entities"] for each in served] == [each["entities"] for each in here]


@pytest.mark.parametrize(
    ("network", "changes", "told"),
    [("bow", {}, "a bag of words has no places to tag"), ("cnn", {"pairs": True}, "'pairs' compares two texts")],
    ids=["bag of words", "pairs"],
)
def test_networks_that_cannot_tag_are_told(network, changes, told, model, tags, tmp_path):
    shape = write_shape(tmp_path, network, **changes)
    with pytest.raises(UserError, match=told):
        train_student(shape, model, tags, tmp_path / "run", "student_sequence_label", num_labels=5,
                      label_map_config=tags / "map.json")  # fmt: skip
