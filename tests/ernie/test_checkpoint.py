"""params/ directories: byte-compatible, strict, atomic."""

import os
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

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
    read_header,
    read_params,
    read_variable,
    scan_params,
    to_float32,
    write_params,
    write_variable,
)
from ernie.config import ErnieConfig
from propeller.errors import UserError
from tests.helpers.common import GOLDEN, ROOT
from tests.helpers.config import BASE

DIRECTORIES = sorted(GOLDEN.glob("3_model/*/params")) + sorted(GOLDEN.glob("6_cli/*_params"))
DIRECTORIES += sorted(GOLDEN.glob("4_optim/*_persistables"))

# A float32 [2, 3] variable spelled out byte by byte, so that the layout is pinned without the recorded cases.
STREAM = bytes(8 + 4 + 4) + b"\x06\0\0\0" + b"\x08\x05\x10\x02\x10\x03" + np.arange(6, dtype="<f4").tobytes()


@pytest.mark.parametrize("directory", DIRECTORIES, ids=lambda path: path.parent.name + "/" + path.name)
def test_every_recorded_file_is_written_back_byte_for_byte(directory, tmp_path):
    count = 0
    for path in directory.iterdir():
        write_variable(tmp_path / path.name, read_variable(path))
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path
        count += 1
    assert count > 20


@pytest.mark.parametrize("model", ["v1_relu", "v2_gelu"])
def test_recorded_arrays_are_read_as_they_are(model):
    wanted = np.load(GOLDEN / "3_model" / model / "params.npz", allow_pickle=False)
    arrays = read_params(GOLDEN / "3_model" / model / "params")
    assert set(arrays) == {name for name in wanted.files if "@" not in name}
    for name, array in arrays.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, wanted[name])


def test_the_layout(tmp_path):
    (tmp_path / "w").write_bytes(STREAM)
    np.testing.assert_array_equal(read_variable(tmp_path / "w"), np.arange(6, dtype=np.float32).reshape(2, 3))
    write_variable(tmp_path / "again", np.arange(6, dtype=np.float32).reshape(2, 3))
    assert (tmp_path / "again").read_bytes() == STREAM


DTYPES = ["bool", "i2", "i4", "i8", "f2", "f4", "f8", "u1", "i1", "u2"]


@settings(deadline=None)
@given(
    array=st.sampled_from(DTYPES).flatmap(
        lambda dtype: hnp.arrays(np.dtype(dtype), hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5))
    )
)
def test_any_array_survives(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("any") / "x"
    write_variable(path, array)
    again = read_variable(path)
    assert again.dtype == array.dtype
    assert again.shape == array.shape
    assert again.tobytes() == array.tobytes()


def test_big_endian_transposed_and_wide_arrays(tmp_path):
    for array in (np.arange(6, dtype=">f4"), np.arange(600, dtype="f4").reshape(2, 300).T, np.float32(3)):
        write_variable(tmp_path / "x", array)
        np.testing.assert_array_equal(read_variable(tmp_path / "x"), array)


def test_bfloat16_bits_become_float32():
    bits = np.array([0x3F80, 0xC000, 0x7F80], dtype=np.uint16)
    np.testing.assert_array_equal(to_float32(bits), np.array([1, -2, np.inf], np.float32))


def test_a_type_paddle_lacks_is_refused(tmp_path):
    with pytest.raises(UserError, match="complex64"):
        write_variable(tmp_path / "x", np.zeros(2, "c8"))
    assert not (tmp_path / "x").exists()


def header(description, prefix=bytes(16)):
    return prefix + len(description).to_bytes(4, "little", signed=True) + description


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 bytes, cut short"),
        (STREAM[:10], "10 bytes, cut short"),
        (STREAM[:22], "22 bytes, cut short"),
        (STREAM[:-1], r"49 bytes, cut short: float32 of shape \[2, 3\] takes 50"),
        (STREAM + b"\0", "51 bytes, with bytes left over"),
        (b"\x01" + STREAM[1:], "not a Paddle variable file"),
        (b'{"a": "this is some JSON text"}', "not a Paddle variable file"),
        (STREAM[:4] + b"\x01" + STREAM[5:], "LoD"),
        (STREAM[:16] + b"\xff\xff\xff\xff" + STREAM[20:], "not a Paddle variable file"),
        (STREAM[:16] + b"\xff\xff\xff\x7f" + STREAM[20:], "not a Paddle variable file"),
        (header(b"\x08\x63"), "data type code 99"),
        (header(b"\x10\x02"), "data type code None"),
        (header(b"\x08\x05\x10" + b"\xff" * 9 + b"\x01"), "a dimension is -1"),
        (header(b"\x08\x05\x10" + b"\xff" * 11), "damaged tensor description"),
        (header(b"\x08\x05\x10\x80"), "damaged tensor description"),
        (header(b"\x08\x05\x1a\x02"), "damaged tensor description"),
        (header(b"\x08\x05" + (b"\x10" + b"\xff" * 8 + b"\x7f") * 3), "cut short"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, words):
    path = tmp_path / "word_embedding"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        read_variable(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@given(content=st.binary(max_size=80) | st.binary(max_size=40).map(lambda tail: STREAM[:16] + tail))
def test_no_bytes_do_worse_than_a_user_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "x"
    path.write_bytes(content)
    try:
        array = read_variable(path)
    except UserError:
        return
    assert array.nbytes <= len(content)


def test_an_absurd_size_is_refused_without_allocating(tmp_path):
    (tmp_path / "w").write_bytes(header(b"\x08\x05\x10" + b"\xff" * 5 + b"\x7f") + bytes(64))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match="cut short"):
        read_variable(tmp_path / "w")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000  # KiB


# ---------------------------------------------------------------- directories


@pytest.fixture
def arrays():
    return {
        "word_embedding": np.ones((5, 4), np.float32),
        "encoder_layer_0_ffn_fc_0.w_0": np.full((4, 8), 2, np.float32),
        "_cls_out_w": np.full((4, 3), 3, np.float32),
    }


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
    (tmp_path / "file").write_bytes(STREAM)
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


# ---------------------------------------------------------------- matching


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


def test_a_file_cut_between_header_and_data(tmp_path, arrays):
    write_params(tmp_path / "params", arrays)
    variable = read_header(tmp_path / "params" / "_cls_out_w")
    os.truncate(variable.path, 40)
    with pytest.raises(UserError, match="became shorter"):
        variable.read()
    shutil.rmtree(tmp_path / "params")
    with pytest.raises(UserError, match="cannot be read"):
        variable.read()


def test_a_vocabulary_that_does_not_fit(arrays):
    config = ErnieConfig({**BASE, "vocab_size": 5})
    check_vocab(5, config, arrays)
    check_vocab(4, config, {})
    with pytest.raises(UserError, match="ids up to 5, the word embedding only 5 rows"):
        check_vocab(6, config, arrays)
    with pytest.raises(UserError, match="word_embedding has 5 rows, vocab_size in config is 6"):
        check_vocab(5, ErnieConfig({**BASE, "vocab_size": 6}), arrays)
