"""params/ directories: strict, atomic; their weights matched with what a network wants."""

import os
import subprocess
import sys

import numpy as np
import pytest

from ernie import checkpoint
from ernie.checkpoint import (
    LoadReport,
    check_vocab,
    compare_params,
    is_encoder_name,
    is_training_leftover,
    list_params,
    load_params,
    match_params,
    read_params,
    scan_params,
    write_params,
)
from ernie.config import ErnieConfig
from propeller.errors import UserError
from tests.helpers.common import GOLDEN, ROOT
from tests.helpers.config import BASE


@pytest.fixture
def arrays():
    return {
        "word_embedding": np.ones((5, 4), np.float32),
        "encoder_layer_0_ffn_fc_0.w_0": np.full((4, 8), 2, np.float32),
        "_cls_out_w": np.full((4, 3), 3, np.float32),
    }


@pytest.mark.parametrize("model", ["v1_relu", "v2_gelu"])
def test_recorded_arrays_are_read_as_they_are(model):
    wanted = np.load(GOLDEN / "3_model" / model / "params.npz", allow_pickle=False)
    arrays = read_params(GOLDEN / "3_model" / model / "params")
    assert set(arrays) == {name for name in wanted.files if "@" not in name}
    for name, array in arrays.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, wanted[name])


def test_write_and_read(tmp_path, arrays):
    write_params(tmp_path / "params", arrays)
    again = read_params(tmp_path / "params")
    assert set(again) == set(arrays)
    assert all(np.array_equal(again[name], arrays[name]) for name in arrays)
    assert list(read_params(tmp_path / "params", ["_cls_out_w"])) == ["_cls_out_w"]
    assert [path.name for path in tmp_path.iterdir()] == ["params"]


def test_nothing_is_replaced_unless_asked(tmp_path, arrays):
    write_params(tmp_path / "params", arrays)
    with pytest.raises(UserError, match="exists already"):
        write_params(tmp_path / "params", {"new": np.zeros(1)})
    assert set(read_params(tmp_path / "params")) == set(arrays)
    write_params(tmp_path / "params", {"new": np.zeros(1)}, overwrite=True)
    assert set(read_params(tmp_path / "params")) == {"new"}
    assert [path.name for path in tmp_path.iterdir()] == ["params"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failed_write_leaves_what_was_there(tmp_path, arrays, overwrite):
    if overwrite:
        write_params(tmp_path / "params", arrays)
    with pytest.raises(UserError, match="complex"):
        write_params(tmp_path / "params", {"a": np.zeros(3), "b": np.zeros(3, "c8")}, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == (["params"] if overwrite else [])
    assert not overwrite or set(read_params(tmp_path / "params")) == set(arrays)


def test_a_killed_write_shows_nothing(tmp_path):
    program = (
        "import os, sys, numpy as np\n"
        "from ernie import checkpoint\n"
        "real = checkpoint.write_variable\n"
        "def dying(path, array):\n"
        "    if path.name == 'b':\n"
        "        os.kill(os.getpid(), 9)\n"
        "    real(path, array)\n"
        "checkpoint.write_variable = dying\n"
        "checkpoint.write_params(sys.argv[1], {'a': np.zeros(3), 'b': np.zeros(3)})\n"
    )
    target = tmp_path / "params"
    result = subprocess.run([sys.executable, "-c", program, str(target)], cwd=ROOT, check=False)
    assert result.returncode == -9
    assert not target.exists()


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../x", "checkpoint.json", "training_state"])
def test_names_that_are_no_file_names(tmp_path, name):
    with pytest.raises(UserError, match="variable's file name"):
        write_params(tmp_path / "params", {name: np.zeros(1)})


def test_directories_that_are_no_params(tmp_path, arrays):
    with pytest.raises(UserError, match="none: cannot be read"):
        read_params(tmp_path / "none")
    (tmp_path / "file").write_bytes(b"a file")
    with pytest.raises(UserError, match="file: cannot be read"):
        read_params(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no parameter"):
        read_params(tmp_path / "empty")
    write_params(tmp_path / "model" / "params", arrays)
    with pytest.raises(
        UserError, match="model: no params directory, since it holds 'params': did you mean .*model/params"
    ):
        read_params(tmp_path / "model")
    with pytest.raises(UserError, match="since it holds .*: did you mean .*model/params"):
        read_params(tmp_path)
    write_params(tmp_path / "other" / "params", arrays)
    with pytest.raises(UserError, match="give one of those below it, such as .*model/params"):
        read_params(tmp_path)
    (tmp_path / "folders" / "empty").mkdir(parents=True)
    with pytest.raises(UserError, match="since it holds 'empty': give the params directory of a model"):
        read_params(tmp_path / "folders")
    (tmp_path / "model" / "params" / "vocab.txt").write_text("[PAD]\n[CLS]\n[SEP]\n[MASK]\n[UNK]\n")
    with pytest.raises(UserError, match="vocab.txt: not a Paddle variable file"):
        read_params(tmp_path / "model" / "params")
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="model: a Hugging Face model, no params directory: give it with --model, or "):
        read_params(tmp_path / "model")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_directory(tmp_path, arrays):
    write_params(tmp_path / "params", arrays)
    (tmp_path / "params").chmod(0)
    with pytest.raises(UserError, match="cannot be read"):
        read_params(tmp_path / "params")
    (tmp_path / "params").chmod(0o700)


def test_our_checkpoints_extras_and_2019_leftovers_are_known_by_name(tmp_path, arrays):
    write_params(tmp_path / "params", {**arrays, "word_embedding_moment1_0": np.zeros((5, 4), np.float32)})
    (tmp_path / "params" / "training_state").mkdir()
    (tmp_path / "params" / "checkpoint.json").write_text("{}")
    (tmp_path / "params" / "read_file_0.tmp_7").write_bytes(b"not even a tensor")
    names, leftovers = list_params(tmp_path / "params")
    assert names == sorted(arrays)
    assert leftovers == ["read_file_0.tmp_7", "word_embedding_moment1_0"]
    assert set(read_params(tmp_path / "params")) == set(arrays)
    _, report = load_params(tmp_path / "params", {name: array.shape for name, array in arrays.items()})
    assert report.training_leftovers == leftovers


def test_what_2019_training_left_is_counted():
    directory = GOLDEN / "4_optim" / "linear_wd_step20_persistables"
    names, leftovers = list_params(directory)
    wanted = set(np.load(GOLDEN / "4_optim" / "init_params.npz", allow_pickle=False).files)
    assert set(names) == wanted
    assert len(leftovers) == 4 * len(wanted) + 3


@pytest.mark.parametrize(
    ("name", "encoder", "leftover"),
    [
        ("word_embedding", True, False),
        ("task_embedding", True, False),
        ("pooled_fc.b_0", True, False),
        ("pre_encoder_layer_norm_scale", True, False),
        ("encoder_layer_11_post_att_layer_norm_bias", True, False),
        ("encoder_layer_0_ffn_fc_0.b_0_moment2_0", False, True),
        ("pooled_fc.w_0_beta1_pow_acc_0", False, True),
        ("encoder_layer_0_ffn_fc_0.w_0.master", False, True),
        ("@LR_DECAY_COUNTER@", False, True),
        ("tmp_6", False, True),
        ("reduce_sum_0.tmp_0", False, True),
        ("_cls_out_w", False, False),
        ("mask_lm_trans_fc.w_0", False, False),
        ("next_sent_fc.b_0", False, False),
        ("my_word_embedding", False, False),
    ],
)
def test_names(name, encoder, leftover):
    assert is_encoder_name(name) is encoder
    assert is_training_leftover(name) is leftover


def shapes(arrays):
    return {name: array.shape for name, array in arrays.items()}


def test_a_full_match(arrays):
    found, report = match_params(arrays, shapes(arrays))
    assert set(found) == set(arrays)
    assert report == LoadReport(loaded=sorted(arrays))
    assert report.summary() == "3 parameters loaded"


def test_a_missing_head_is_reported_and_an_unknown_one_too(arrays):
    wanted = {**shapes(arrays), "next_sent_fc.w_0": (4, 2)}
    arrays["other_head"] = np.zeros(2, np.float32)
    arrays["loss_scaling_0"] = np.zeros(1, np.float32)
    found, report = match_params(arrays, wanted)
    assert "other_head" not in found
    assert (report.missing, report.unexpected) == (["next_sent_fc.w_0"], ["other_head"])
    assert report.training_leftovers == ["loss_scaling_0"]
    assert "next_sent_fc.w_0" in report.summary()
    with pytest.raises(
        UserError, match=r"next_sent_fc.w_0 .* missing: it has no head for the task: fine-tune it first"
    ):
        match_params(arrays, wanted, heads_optional=False)
    wanted["pos_embedding"] = (8, 4)
    with pytest.raises(UserError, match=r"1 more missing: give a complete params directory"):
        match_params(arrays, wanted, heads_optional=False)


def test_a_missing_encoder_weight_is_an_error(arrays):
    wanted = {**shapes(arrays), "pos_embedding": (8, 4), "sent_embedding": (2, 4)}
    with pytest.raises(UserError, match=r"here/params: pos_embedding \(shape \[8, 4\]\) and 1 more missing: give"):
        match_params(arrays, wanted, source="here/params")


def test_a_shape_mismatch_is_an_error_for_heads_too(arrays):
    for name, wants in (("word_embedding", (6, 4)), ("_cls_out_w", (4, 2))):
        wanted = {**shapes(arrays), name: wants}
        with pytest.raises(UserError, match=f"{name} has shape .* the network wants"):
            match_params(arrays, wanted)
        assert compare_params(arrays, wanted).mismatched == [(name, arrays[name].shape, wants)]


def test_types(arrays):
    for dtype in ("f2", "f8"):
        arrays["_cls_out_w"] = arrays["_cls_out_w"].astype(dtype)
        found, _ = match_params(arrays, shapes(arrays))
        assert found["_cls_out_w"].dtype == np.float32
    arrays["_cls_out_w"] = arrays["_cls_out_w"].astype("i4")
    with pytest.raises(UserError, match="_cls_out_w is int32"):
        match_params(arrays, shapes(arrays))


def test_load_checks_all_before_it_reads_any(tmp_path, arrays, monkeypatch):
    write_params(tmp_path / "params", arrays)
    wanted = {"word_embedding": (5, 4)}
    found, report = load_params(tmp_path / "params", wanted)
    assert list(found) == ["word_embedding"]
    assert report.unexpected == sorted(set(arrays) - set(wanted))
    monkeypatch.setattr(checkpoint.Variable, "read", lambda self: pytest.fail("data was read"))
    assert scan_params(tmp_path / "params")["_cls_out_w"].shape == (4, 3)
    with pytest.raises(UserError, match="word_embedding has shape"):
        load_params(tmp_path / "params", {"word_embedding": (5, 5)})


@pytest.mark.parametrize("number", [np.nan, -np.inf])
def test_a_weight_that_is_not_finite(number, tmp_path, arrays):
    """It may not show in the outputs: relu of NaN is 0 in Paddle."""
    spoilt = {name: array.copy() for name, array in arrays.items()}
    spoilt["word_embedding"][1, 2] = number
    write_params(tmp_path / "params", spoilt)
    with pytest.raises(UserError, match="params: word_embedding holds NaN or infinity.*: give an earlier checkpoint"):
        load_params(tmp_path / "params", {"word_embedding": (5, 4)})
    others = {name: array.shape for name, array in arrays.items() if name != "word_embedding"}
    assert set(load_params(tmp_path / "params", others)[0]) == set(others)


def test_a_vocabulary_that_does_not_fit(arrays):
    config = ErnieConfig({**BASE, "vocab_size": 5})
    check_vocab(5, config, arrays)
    check_vocab(4, config, {})
    with pytest.raises(UserError, match="ids up to 5, the word embedding only 5 rows"):
        check_vocab(6, config, arrays)
    with pytest.raises(UserError, match="word_embedding has 5 rows, vocab_size in config is 6"):
        check_vocab(5, ErnieConfig({**BASE, "vocab_size": 6}), arrays)
