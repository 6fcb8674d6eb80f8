"""PaddleNLP's .pdparams: what paddle.save writes is read, and nothing in a file is ever executed."""

import collections
import contextlib
import json
import os
import pickle
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie.checkpoint import read_params
from ernie.config import ErnieConfig
from ernie.convert import to_params
from propeller.errors import UserError
from propeller.pdparams import read_pdparams
from propeller.variables import to_float32
from tests.helpers.pdparams import PEERS, paddlenlp_state

ARRAYS = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "t": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
    "h": np.ones(3, np.float16),
    "big_endian": np.arange(3, dtype=">i4"),
    "empty": np.zeros((0, 4), np.float32),
    "scalar": np.array(2.5, np.float32),
    "flag": np.array([True, False]),
}


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("kind", [dict, collections.OrderedDict])
def test_arrays_of_every_protocol(tmp_path, protocol, kind):
    path = tmp_path / "m.pdparams"
    path.write_bytes(pickle.dumps(kind(ARRAYS), protocol))
    found = read_pdparams(path)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_what_paddle_save_writes(tmp_path, protocol):
    paddle = pytest.importorskip("paddle")
    layer = paddle.nn.Linear(5, 300)
    path = str(tmp_path / "m.pdparams")
    paddle.save(layer.state_dict(), path, protocol=protocol)  # with its table of names
    found = read_pdparams(path)
    assert set(found) == {"weight", "bias"}
    np.testing.assert_array_equal(found["weight"], layer.weight.numpy())
    paddle.save(collections.OrderedDict(w=layer.weight), path, protocol=protocol)  # as (name, array) pairs
    np.testing.assert_array_equal(read_pdparams(path)["w"], layer.weight.numpy())
    half = paddle.nn.Linear(2, 3)
    half.to(dtype="bfloat16")
    paddle.save(half.state_dict(), path, protocol=protocol)
    found = read_pdparams(path)["weight"]
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(to_float32(found), half.weight.astype("float32").numpy())


@pytest.mark.parametrize("name", ["bert", "ernie"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_paddlenlp_model_becomes_the_same_params(tmp_path, name, nested):
    paddle = pytest.importorskip("paddle")
    folder = shutil.copytree(PEERS / name, tmp_path / name)
    (folder / "model.safetensors").unlink()
    paddle.save(
        {key: paddle.to_tensor(array) for key, array in paddlenlp_state(name).items()}, str(folder / "m.pdparams")
    )
    if nested:
        values = json.loads((folder / "config.json").read_text())
        (folder / "config.json").unlink()
        keys = (
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "vocab_size",
            "hidden_act",
        )
        keys += ("max_position_embeddings", "type_vocab_size", "layer_norm_eps")
        inner = {key: values[key] for key in keys}
        outer = {"init_args": [{**inner, "init_class": "ErnieModel"}], "init_class": "ErnieForPretraining"}
        (folder / "model_config.json").write_text(json.dumps(outer))
    to_params("paddlenlp", folder, tmp_path / "out")
    to_params("hf", PEERS / name, tmp_path / "wanted")
    found, wanted = (read_params(tmp_path / part / "params") for part in ("out", "wanted"))
    assert set(found) == set(wanted)
    assert all(np.array_equal(found[key], wanted[key]) for key in wanted)
    assert ErnieConfig(tmp_path / "out/ernie_config.json") == ErnieConfig(tmp_path / "wanted/ernie_config.json")


def test_paddlenlp_without_weights(tmp_path):
    folder = shutil.copytree(PEERS / "bert", tmp_path / "bert")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="holds 0 .pdparams files, not 1, and no model.safetensors"):
        to_params("paddlenlp", folder, tmp_path / "out")


# ---------------------------------------------------------------- hostile files


class Call:
    """Pickles as a call of ``function`` with ``arguments``."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts


def hostile(mark):
    """Objects that would make the file ``mark`` if they were unpickled without care."""
    return {
        "os.system": Call(os.system, f"touch {mark}"),
        "subprocess": Call(subprocess.call, ["touch", str(mark)]),
        "eval": Call(eval, f"open({str(mark)!r}, 'w')"),
        "exec": Call(exec, f"open({str(mark)!r}, 'w')"),
        "open": Call(open, str(mark), "w"),
        "getattr": Call(getattr, "text", "upper"),
        "import": Call(__import__, "os"),
        "numpy_load": Call(np.load, str(mark)),
        "numpy_tofile": Call(np.ndarray.tofile, np.zeros(1), str(mark)),
        "inside_an_array_state": np.array([Call(os.system, f"touch {mark}")], dtype=object),
    }


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", sorted(hostile("x")))
def test_nothing_is_executed(tmp_path, name, protocol):
    mark, path = tmp_path / "mark", tmp_path / "m.pdparams"
    path.write_bytes(pickle.dumps({"weight": hostile(mark)[name], **ARRAYS}, protocol))
    with pytest.raises(UserError, match="m.pdparams: not a file of plain arrays") as error:
        read_pdparams(path)
    assert "\n" not in str(error.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (b"cos\nsystem\n(S'touch {mark}'\ntR.", "os.system"),
        (b"(S'touch {mark}'\nios\nsystem\n.", "os.system"),  # INST
        (b"(cos\nsystem\nS'touch {mark}'\no.", "os.system"),  # OBJ
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x01x\x85R.", "os.system"),  # STACK_GLOBAL
        (b"\x80\x04\x8c\x05numpy\x8c\x12core.os.path.sep.x\x93.", "numpy.core"),  # a dotted name
        (b"c__builtin__\neval\n(S'1'\ntR.", "eval"),  # Python 2's name of it
        (b"cnumpy\ndtype\n(S'O8'\ntR.", "not numeric"),
        (b"cnumpy\nndarray\n(I4\ntR.", "not a file of plain arrays"),  # a name only, never called
        (b"cnumpy\nload\n(S'x'\ntR.", "numpy.load"),
        (b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.", "latin1"),
        (b"c_codecs\ndecode\n(S'x'\nS'zip'\ntR.", "_codecs.decode"),
        (b"Pname\n.", "persistent"),
        (b"\x82\x01.", "extension"),
        (b"ccollections\nOrderedDict\n(dS'__setstate__'\nI1\nsb.", "not a file of plain arrays"),  # changes a type
        (b"\x80\x04N.", "no dict of arrays"),
        (b"\x80\x04}\x8c\x01wK\x01s.", "'w' is no array"),
        (b"\x80\x04}K\x01K\x01s.", "1 is no array"),
        (b"", "not a file of plain arrays"),
        (b"\x80\x04}r\xff\xff\xff\x7f.", "memo number 2147483647"),
        (b"}p2147483647\n.", "memo number 2147483647"),
        (b"\x80\x04}", "not a file of plain arrays"),
        (b"\x80\x63.", "protocol"),
    ],
)
def test_hand_made_programs(tmp_path, program, words):
    mark, path = tmp_path / "mark", tmp_path / "m.pdparams"
    path.write_bytes(program.replace(b"{mark}", str(mark).encode()))
    with pytest.raises(UserError, match=words):
        read_pdparams(path)
    assert not mark.exists()


def state_of_an_array(shape, dtype, data, fortran=False):
    array = Call(np._core.multiarray._reconstruct if hasattr(np, "_core") else np.core.multiarray._reconstruct)
    array.parts = (array.parts[0], (np.ndarray, (0,), b"b"), (1, shape, np.dtype(dtype), fortran, data))
    return {"w": array}


@pytest.mark.parametrize(
    "state",
    [
        ((4,), "f4", b"\0" * 8),
        ((1 << 60,), "f4", b""),
        ((-1,), "f4", b""),
        ((1.0,), "f4", b"\0" * 4),
        (4, "f4", b"\0" * 16),
        ((1,), "f4", [1]),
        ((1,), "U1", b"\0" * 4),
        ((1,), "V4", b"\0" * 4),
    ],
)
def test_an_array_that_contradicts_itself(tmp_path, state):
    path = tmp_path / "m.pdparams"
    path.write_bytes(pickle.dumps(state_of_an_array(*state), 4))
    with pytest.raises(UserError, match="not a file of plain arrays"):
        read_pdparams(path)


def test_cut_files(tmp_path):
    path = tmp_path / "m.pdparams"
    whole = pickle.dumps(ARRAYS, 4)
    for length in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match="not a file of plain arrays"):
            read_pdparams(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_pdparams(tmp_path / "none.pdparams")


@given(position=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_changed_byte_does_no_worse_than_a_user_error(tmp_path_factory, position, byte):
    content = bytearray(pickle.dumps({"w": ARRAYS["w"]}, 4))
    position %= len(content)
    content[position] = byte
    path = tmp_path_factory.mktemp("fuzz") / "m.pdparams"
    path.write_bytes(bytes(content))
    with contextlib.suppress(UserError):
        read_pdparams(path)


def test_the_reader_itself_cannot_be_changed_by_a_file(tmp_path):
    """BUILD writes into an object's dict: what is named must not be shared with later reads in a way that matters."""
    path = tmp_path / "m.pdparams"
    text = b"cnumpy\ndtype\n(dS'__defaults__'\nI1\nsb."
    path.write_bytes(text)
    with pytest.raises(UserError):
        read_pdparams(path)
    slots = b"cnumpy\ndtype\n(N(dS'__defaults__'\n(S'O8'\nS'O8'\ntstb."
    path.write_bytes(slots)
    with pytest.raises(UserError):
        read_pdparams(path)
    path.write_bytes(pickle.dumps(ARRAYS, 4))
    np.testing.assert_array_equal(read_pdparams(path)["w"], ARRAYS["w"])
