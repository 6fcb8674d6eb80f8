"""Names with a foreign prefix: the encoder is found, taken, and said so; messages are short and name what is there."""

import json
import logging
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ernie.checkpoint import read_params
from ernie.convert import to_params
from ernie.foreign_names import plain_names
from propeller.errors import UserError
from tests.helpers.common import FIXTURES

BERT = FIXTURES / "peers" / "bert"
WORDS = "embeddings.word_embeddings.weight"


@pytest.fixture
def renamed(tmp_path):
    """Make a copy of the BERT peer whose weights have other names: ``renamed(lambda name: "module." + name)``."""

    def make(rename, **settings):
        folder = shutil.copytree(BERT, tmp_path / "hf")
        tensors = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        save_file({rename(name): array for name, array in tensors.items()}, folder / "model.safetensors")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **settings}))
        return folder

    return make


def bare(name):
    return name.removeprefix("bert.")


@pytest.mark.parametrize(
    ("prefix", "rename"),
    [
        ("module.bert.", lambda name: f"module.{name}"),
        ("0.auto_model.", lambda name: f"0.auto_model.{bare(name)}" if name.startswith("bert.") else bare(name)),
        ("text_encoder.", lambda name: name.replace("bert.", "text_encoder.")),
        ("bert.bert.", lambda name: f"bert.{name}"),
        ("roberta.", lambda name: name.replace("bert.", "roberta.")),
        ("_orig_mod.module.bert.", lambda name: f"_orig_mod.module.{name}"),
        ("model.encoder.", lambda name: name.replace("bert.", "model.encoder.")),
        ("base_model.model.bert.", lambda name: f"base_model.model.{name}"),
    ],
)
def test_a_prefix_is_found_and_told(renamed, tmp_path, caplog, prefix, rename):
    caplog.set_level(logging.INFO, "ernie.convert")
    to_params("hf", BERT, tmp_path / "plain")
    assert "begin with" not in caplog.text
    to_params("hf", renamed(rename), tmp_path / "out")
    assert f"the names of the encoder's weights begin with '{prefix}': taken without that" in caplog.text
    wanted, found = read_params(tmp_path / "plain" / "params"), read_params(tmp_path / "out" / "params")
    assert wanted.keys() == found.keys()  # the heads beside the encoder too
    for name, array in wanted.items():
        np.testing.assert_array_equal(array, found[name], err_msg=name)


def test_of_two_encoders_one_has_to_be_named(renamed, tmp_path):
    folder = renamed(lambda name: name.replace("bert.", "query."))
    tensors = load_file(folder / "model.safetensors")
    others = {
        "doc." + name.removeprefix("query."): array + 1 for name, array in tensors.items() if name.startswith("query.")
    }
    save_file({**tensors, **others}, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"2 encoders, under doc\., query\.: --prefix doc\. --ignore_unexpected takes"):
        to_params("hf", folder, tmp_path / "out")
    with pytest.raises(UserError, match=r"--prefix title: .* has no encoder there: give doc\. or query\."):
        to_params("hf", folder, tmp_path / "out", prefix="title")
    for number, prefix in enumerate(("doc.", "query")):
        out = tmp_path / f"out{number}"
        to_params("hf", folder, out, prefix=prefix, ignore_unexpected=True)
        word = tensors["query." + WORDS] + (prefix == "doc.")
        np.testing.assert_array_equal(read_params(out / "params")["word_embedding"], word)


def test_messages_are_short(renamed, tmp_path, caplog):
    caplog.set_level(logging.INFO, "ernie.convert")
    folder = renamed(lambda name: "lm." + name.replace("word_embeddings", "wte"))
    with pytest.raises(UserError, match="no encoder of BERT's or ERNIE's kind: .* and 43 more: give a model") as error:
        to_params("hf", folder, tmp_path / "out")
    assert len(str(error.value)) < 500
    shutil.rmtree(folder)
    folder = renamed(lambda name: name, num_hidden_layers=1)
    to_params("hf", folder, tmp_path / "out", ignore_unexpected=True)
    assert "left out 16 weights: bert.encoder.layer.1.attention.output.LayerNorm.bias, " in caplog.text
    assert max(map(len, caplog.messages)) < 500


@pytest.mark.parametrize(
    ("names", "prefix", "plain"),
    [
        ([WORDS, "pooler.dense.bias"], "", [WORDS, "pooler.dense.bias"]),
        (["ernie." + WORDS, "cls.predictions.decoder_bias"], "ernie.", [WORDS, "cls.predictions.decoder_bias"]),
        (["0.auto_model." + WORDS, "2.linear.weight"], "0.auto_model.", [WORDS, "2.linear.weight"]),
        (["module.bert." + WORDS, "module.classifier.bias"], "module.bert.", [WORDS, "classifier.bias"]),
        (
            ["a.b." + WORDS, "a.b.embeddings.LayerNorm.gamma", "a.c"],
            "a.b.",
            [WORDS, "embeddings.LayerNorm.weight", "c"],
        ),
    ],
)
def test_plain_names(tmp_path, names, prefix, plain):
    found = plain_names(names, tmp_path)
    assert (found.prefix, list(found.names), list(found.names.values())) == (prefix, plain, names)
