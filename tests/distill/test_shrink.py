"""Transformer students made of a teacher's layers."""

import json

import numpy as np
import pytest

from distill import shrink
from ernie.checkpoint import read_params
from ernie.facts import read_facts
from propeller.errors import UserError
from tests.helpers.students import train_student
from tests.helpers.tiny import make_model


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("teacher") / "model", num_hidden_layers=4)


@pytest.mark.parametrize(
    ("words", "layers"),
    [(["--layers", "3,1"], [3, 1]), (["--keep", "2"], [1, 3]), (["--keep", "3"], [0, 1, 3])],
    ids=["named", "two", "three"],
)
def test_the_layers_are_the_teachers(words, layers, teacher, tmp_path):
    assert shrink.main([str(teacher), str(tmp_path / "s"), *words]) == 0
    theirs, ours = read_params(teacher / "params"), read_params(tmp_path / "s" / "params")
    for number, layer in enumerate(layers):
        for end in ("multi_head_att_query_fc.w_0", "post_ffn_layer_norm_scale"):
            mine = ours[f"encoder_layer_{number}_{end}"]
            np.testing.assert_array_equal(mine, theirs[f"encoder_layer_{layer}_{end}"])
    np.testing.assert_array_equal(ours["word_embedding"], theirs["word_embedding"])
    assert len(ours) == len(theirs) - (4 - len(layers)) * 16
    config = json.loads((tmp_path / "s" / "ernie_config.json").read_text())
    assert config["num_hidden_layers"] == len(layers)
    assert (tmp_path / "s" / "vocab.txt").read_bytes() == (teacher / "vocab.txt").read_bytes()


def test_the_strongest_neurons_stay(teacher, tmp_path):
    """Of each layer those with the largest product of norms, in their order; a student trains with them."""
    assert shrink.main([str(teacher), str(tmp_path / "s"), "--layers", "2", "--intermediate_size", "5"]) == 0
    theirs, ours = read_params(teacher / "params"), read_params(tmp_path / "s" / "params")
    into, out = theirs["encoder_layer_2_ffn_fc_0.w_0"], theirs["encoder_layer_2_ffn_fc_1.w_0"]
    strength = [np.sqrt((into[:, n] ** 2).sum() * (out[n] ** 2).sum()) for n in range(into.shape[1])]
    kept = sorted(sorted(range(len(strength)), key=lambda n: strength[n])[-5:])
    np.testing.assert_array_equal(ours["encoder_layer_0_ffn_fc_0.w_0"], into[:, kept])
    np.testing.assert_array_equal(ours["encoder_layer_0_ffn_fc_0.b_0"], theirs["encoder_layer_2_ffn_fc_0.b_0"][kept])
    np.testing.assert_array_equal(ours["encoder_layer_0_ffn_fc_1.w_0"], out[kept])
    config = json.loads((tmp_path / "s" / "ernie_config.json").read_text())
    assert (config["intermediate_size"], config["num_hidden_layers"]) == (5, 1)


def test_a_checkpoint_is_a_teacher_too(teacher, data, tmp_path):
    """Its head is left out, and how its text is read comes along."""
    last = train_student(teacher / "ernie_config.json", teacher, data, tmp_path / "run", epoch=1, do_test="false",
                         tokenizer=None, init_pretraining_params=teacher / "params")  # fmt: skip
    shrink.main([str(last), str(tmp_path / "s"), "--layers", "3"])
    np.testing.assert_array_equal(
        read_params(tmp_path / "s" / "params")["encoder_layer_0_ffn_fc_0.w_0"],
        read_params(last)["encoder_layer_3_ffn_fc_0.w_0"],
    )
    assert "_cls_out_w" not in read_params(tmp_path / "s" / "params")
    assert read_facts(tmp_path / "s" / "params") == {
        "tokenizer": "FullTokenizer",
        "do_lower_case": True,
        "for_cn": False,
    }
    train_student(tmp_path / "s" / "ernie_config.json", tmp_path / "s", data, tmp_path / "run2", epoch=1, for_cn=None,
                  tokenizer=None, init_pretraining_params=tmp_path / "s" / "params", do_test="false")  # fmt: skip
    assert json.loads((tmp_path / "run2" / "last" / "checkpoint.json").read_text())["for_cn"] is False


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "give --layers 2,5 or --keep 2"),
        (["--layers", "1", "--keep", "1"], "give --layers 2,5 or --keep 2"),
        (["--layers", "4"], "has the layers 0 to 3"),
        (["--layers", "a"], "whole numbers"),
        (["--keep", "5"], "--keep must be from 1 to 4"),
        (["--keep", "0"], "--keep must be from 1 to 4"),
        (["--keep", "1", "--intermediate_size", "999"], "--intermediate_size must be from 1 to 128"),
    ],
    ids=["none", "both", "beyond", "word", "many", "nothing", "wide"],
)
def test_wrong_flags_are_told(words, told, teacher, tmp_path):
    with pytest.raises(UserError) as caught:
        shrink.main([str(teacher), str(tmp_path / "s"), *words])
    assert told in str(caught.value)
    assert not (tmp_path / "s").exists()


def test_what_is_there_stays_unless_asked(teacher, tmp_path):
    (tmp_path / "s").mkdir()
    with pytest.raises(UserError, match="exists already"):
        shrink.main([str(teacher), str(tmp_path / "s"), "--keep", "1"])
    shrink.main([str(teacher), str(tmp_path / "s"), "--keep", "1", "--overwrite"])
    assert (tmp_path / "s" / "params").is_dir()
    with pytest.raises(UserError, match="no such directory"):
        shrink.main([str(tmp_path / "no"), str(tmp_path / "t"), "--keep", "1"])
    with pytest.raises(UserError, match="has neither"):
        shrink.main([str(tmp_path), str(tmp_path / "t"), "--keep", "1"])
