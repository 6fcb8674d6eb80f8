"""The pooling of a sentence-transformers directory, in a conversion and back."""

import json
import logging

import pytest

from ernie.convert import to_hf, to_params
from ernie.facts import FACTS, read_facts, write_facts
from ernie.foreign_pooling import longest_text, read_modules
from ernie.pooling import Pooling, trained_pooling
from propeller.errors import UserError
from tests.helpers.tiny import make_model


def write(folder, modes, kinds=("Transformer", "Pooling"), path="1_Pooling", first=""):
    """Write modules.json and the pooling's config.json; modes: content of that."""
    paths = (first, path, *(f"{number}_{kind}" for number, kind in enumerate(kinds[2:], 2)))
    steps = [
        {"idx": number, "name": str(number), "path": place, "type": f"sentence_transformers.models.{kind}"}
        for number, (place, kind) in enumerate(zip(paths, kinds))
    ]
    (folder / path).mkdir(parents=True)
    (folder / "modules.json").write_text(json.dumps(steps))
    (folder / path / "config.json").write_text(json.dumps(modes))
    return folder


@pytest.mark.parametrize(
    ("modes", "wanted"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "first"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_max_tokens": True, "word_embedding_dimension": 32}, "max"),
        ({"pooling_mode": "mean"}, "mean"),
    ],
    ids=["cls", "mean", "max", "word"],
)
@pytest.mark.parametrize("normalize", [False, True], ids=["plain", "normalized"])
def test_pooling_that_is_known(modes, wanted, normalize, tmp_path):
    kinds = ("Transformer", "Pooling", *(("Normalize",) if normalize else ()))
    assert read_modules(write(tmp_path, modes, kinds)) == {"pooling": wanted, "normalize": normalize}


@pytest.mark.parametrize(
    ("modes", "kinds", "message"),
    [
        ({"pooling_mode_lasttoken": True}, ("Transformer", "Pooling"), "pooling pooling_mode_lasttoken has no"),
        ({}, ("Transformer", "Pooling"), "pooling none has no"),
        (
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
            ("Transformer", "Pooling"),
            "pooling cls and mean has no",
        ),
        (
            {"pooling_mode_mean_tokens": True},
            ("Transformer", "Pooling", "Dense"),
            "the steps Transformer, Pooling, Dense",
        ),
    ],
    ids=["last", "none", "two", "dense"],
)
def test_pooling_without_counterpart(modes, kinds, message, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "ernie.convert"):
        assert read_modules(write(tmp_path, modes, kinds)) == {}
    assert message in caplog.text


def test_other_layouts(tmp_path):
    """Early versions kept the network in a folder of its own; a list beside it may be of another model."""
    root = write(tmp_path / "old", {"pooling_mode_mean_tokens": True}, first="0_Transformer")
    for name in ("0_Transformer", "other"):
        (root / name).mkdir()
    assert read_modules(root / "0_Transformer")["pooling"] == "mean"
    assert read_modules(root / "other") == {}
    assert read_modules(tmp_path) == {}
    assert longest_text(root) is None
    (root / "sentence_bert_config.json").write_text('{"max_seq_length": 20}')
    assert longest_text(root) == 20
    (root / "modules.json").write_text('{"0": "Transformer"}')
    with pytest.raises(UserError, match=r"modules.json: holds no list of JSON objects"):
        read_modules(root)


@pytest.mark.parametrize("name", ["mean", "max", "first", "cls"])
def test_there_and_back(name, tmp_path):
    """A conversion writes and reads the pooling; sentence-transformers has no step for the pooled [CLS]."""
    model = make_model(tmp_path / "model", use_task_id=False)
    write_facts(model, {"pooling": name, "normalize": True, "max_seq_len": 24})
    to_hf(model, tmp_path / "hf")
    assert (tmp_path / "hf/modules.json").is_file() == (name != "cls")
    to_params("hf", tmp_path / "hf", tmp_path / "again")
    wanted = None if name == "cls" else Pooling(name, normalize=True)
    assert trained_pooling(read_facts(tmp_path / "again" / "params")) == wanted
    assert json.loads((tmp_path / "again" / FACTS).read_text())["max_seq_len"] == 24
