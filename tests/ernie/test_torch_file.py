"""pytorch_model.bin without PyTorch: what torch.save writes is read, and nothing in a file is ever executed.

tests/fixtures/peers/torch holds what torch 2.13 wrote, in today's form and in that from before 1.6, and its numbers.
"""

import contextlib
import os
import pickle
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from ernie.checkpoint import read_params
from ernie.convert import to_params
from ernie.torch_file import TorchFile
from propeller.errors import UserError
from propeller.variables import to_float32
from tests.helpers.common import FIXTURES, ROOT
from tests.helpers.torch_files import state_pickle, write_torch, write_zip

PEERS = FIXTURES / "peers"
RECORDED = PEERS / "torch"


@pytest.mark.parametrize("name", ["zip.bin", "legacy.bin"])
def test_what_torch_wrote(name):
    file, wanted = TorchFile(RECORDED / name), np.load(RECORDED / "want.npz", allow_pickle=False)
    assert set(file.shapes) == set(wanted.files)
    for key in wanted.files:
        found = file.read(key)
        if key == "b":
            assert found.dtype == np.uint16
            found = to_float32(found)
        assert (found.dtype, found.shape, file.shapes[key]) == (wanted[key].dtype, wanted[key].shape, found.shape)
        np.testing.assert_array_equal(found, wanted[key])


@pytest.mark.parametrize("legacy", [False, True])
def test_the_helper_writes_as_torch_does(tmp_path, legacy):
    arrays = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array([7], np.int64)}
    write_torch(tmp_path / "m.bin", arrays, legacy)
    file = TorchFile(tmp_path / "m.bin")
    assert all(np.array_equal(file.read(name), array) for name, array in arrays.items())


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("half", [None, "float16", "bfloat16"])
@pytest.mark.parametrize("name", ["bert", "ernie"])
def test_a_model_becomes_the_same_params(tmp_path, name, half, legacy):
    folder = shutil.copytree(PEERS / name, tmp_path / name)
    tensors = load_file(folder / "model.safetensors")
    if half:
        tensors = {key: _half(value, half) for key, value in tensors.items()}
    (folder / "model.safetensors").unlink()
    write_torch(folder / "pytorch_model.bin", tensors, legacy)
    to_params("hf", folder, tmp_path / "out")
    to_params("hf", PEERS / name, tmp_path / "wanted")
    found, wanted = (read_params(tmp_path / part / "params") for part in ("out", "wanted"))
    assert set(found) == set(wanted)
    for key, array in wanted.items():
        rounded = to_float32(_half(array, half)) if half else array
        np.testing.assert_array_equal(found[key], rounded)


def _half(array, kind):
    if array.dtype != np.float32:
        return array
    return array.astype(np.float16) if kind == "float16" else (array.view(np.uint32) >> 16).astype(np.uint16)


def test_shards(tmp_path):
    folder = shutil.copytree(PEERS / "bert", tmp_path / "bert")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2])):
        write_torch(folder / f"pytorch_model-{number}.bin", {name: tensors[name] for name in part})
        weight_map.update(dict.fromkeys(part, f"pytorch_model-{number}.bin"))
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(str({"weight_map": weight_map}).replace("'", '"'))
    to_params("hf", folder, tmp_path / "out")
    to_params("hf", PEERS / "bert", tmp_path / "wanted")
    assert all(
        np.array_equal(array, read_params(tmp_path / "wanted" / "params")[name])
        for name, array in read_params(tmp_path / "out" / "params").items()
    )
    (folder / "pytorch_model-1.bin").unlink()
    with pytest.raises(UserError, match=r"pytorch_model-1\.bin: cannot be read"):
        to_params("hf", folder, tmp_path / "again")


# ---------------------------------------------------------------- files that are damaged or made to harm


class Call:
    """Pickles as a call of ``function`` with ``arguments``."""

    def __init__(self, function, *arguments):
        self.parts = (function, arguments)

    def __reduce__(self):
        return self.parts


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_is_executed(tmp_path, protocol):
    mark = tmp_path / "mark"
    calls = {
        "os.system": Call(os.system, f"touch {mark}"),
        "subprocess": Call(subprocess.call, ["touch", str(mark)]),
        "exec": Call(exec, f"open({str(mark)!r}, 'w')"),
        "open": Call(open, str(mark), "w"),
        "class": Call(bytearray, 10),
    }
    for name, call in calls.items():
        write_zip(tmp_path / "m.bin", pickle.dumps({"w": call}, protocol), {})
        with pytest.raises(UserError, match="m.bin: not a file of plain tensors") as error:
            TorchFile(tmp_path / "m.bin")
        assert "\n" not in str(error.value), name
        (tmp_path / "m.bin").write_bytes(pickle.dumps(call, protocol))  # as the magic number of an old file
        with pytest.raises(UserError, match="not a file of plain tensors"):
            TorchFile(tmp_path / "m.bin")
    assert not mark.exists()


FLOAT = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"


def tensor(offset=b"K\x00", shape=b"K\x02\x85", strides=b"K\x01\x85"):
    """A pickle of one tensor, w, over a storage of four numbers."""
    body = b"ctorch._utils\n_rebuild_tensor_v2\n(" + FLOAT + offset + shape + strides + b"\x89}tR"
    return b"\x80\x02}X\x01\x00\x00\x00w" + body + b"s."


@pytest.mark.parametrize(
    ("pickled", "words"),
    [
        (tensor(offset=b"K\x03"), "goes beyond its storage"),
        (tensor(offset=b"J\xff\xff\xff\xff"), "numbers from 0 on"),
        (tensor(strides=b"K\x04\x85"), "goes beyond its storage"),
        (tensor(shape=b"K\x08\x85", strides=b"K\x00\x85"), "goes beyond its storage"),  # the same number over and over
        (tensor(shape=b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85", strides=b"K\x00\x85"), "numbers from 0 on"),
        (tensor(shape=b"N"), "as PyTorch does"),
        (tensor(shape=b"(tK\x01\x85\x85"), "sizes and strides|damaged|as PyTorch"),
        (tensor().replace(b"K\x04t", b"K\x05t"), "another size than its tensors say"),
        (tensor().replace(b"FloatStorage", b"ComplexFloatStorage"), "it names torch.ComplexFloatStorage"),
        (tensor().replace(b"storagec", b"storagfc"), "no storage"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nK\x01R.", "calls what is no function"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", "damaged"),
        (b"\x80\x02cnumpy\nload\n.", "it names numpy.load"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "it names os.system"),
        (b"(S'x'\nios\nsystem\n.", "INST"),
        (b"\x82\x01.", "EXT1"),
        (b"\x80\x02}K\x01K\x01s.", "1 is no tensor"),
        (b"\x80\x02}(K\x01K\x02\x86K\x01u.", "neither text nor a number"),
        (b"\x80\x02N.", "no dict of tensors"),
        (b"\x80\x02}(", "damaged"),
        (b"\x80\x02}s.", "takes what is not there"),
        (b".", "takes what is not there"),
        (b"\x80\x02}r\xff\xff\xff\x7fh\x05.", "damaged"),
        (b"", "damaged|no end"),
    ],
)
def test_hand_made_programs(tmp_path, pickled, words):
    write_zip(tmp_path / "m.bin", pickled, {"0": bytes(16)})
    with pytest.raises(UserError, match=words) as error:
        TorchFile(tmp_path / "m.bin")
    assert len(str(error.value)) < 500


def test_the_hand_made_tensor_is_right_before_it_is_changed(tmp_path):
    write_zip(tmp_path / "m.bin", tensor(), {"0": np.arange(4, dtype="<f4").tobytes()})
    np.testing.assert_array_equal(TorchFile(tmp_path / "m.bin").read("w"), [0, 1])


def test_a_nest_of_tuples_takes_neither_time_nor_memory(tmp_path):
    deep = b"\x80\x02}K\x01" + b"q\x00h\x00\x86" * 200  # a tuple of the last one twice, 2 ** 200 leaves
    write_zip(tmp_path / "m.bin", deep + b"K\x01s.", {})
    with pytest.raises(UserError, match="neither text nor a number"):
        TorchFile(tmp_path / "m.bin")
    write_zip(tmp_path / "m.bin", b"\x80\x02}X\x01\x00\x00\x00w" + deep[3:] + b"s.", {})
    with pytest.raises(UserError, match="'w' is no tensor"):
        TorchFile(tmp_path / "m.bin")


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_compressed_archive_is_refused_unread(tmp_path, compression):
    pickled = state_pickle({"w": np.zeros(4, np.float32)})
    write_zip(tmp_path / "m.bin", pickled, {"0": bytes(16)}, compression)
    with pytest.raises(UserError, match="compressed or encrypted"):
        TorchFile(tmp_path / "m.bin")


def test_many_tensors_over_one_storage_are_no_bomb(tmp_path):
    one = b"ctorch._utils\n_rebuild_tensor_v2\n(" + FLOAT.replace(b"K\x04t", b"J\x00\x10\x00\x00t")
    one += b"K\x00M\x00\x10\x85K\x01\x85\x89}tR"
    body = b"".join(b"X\x04\x00\x00\x00%04d" % number + one for number in range(200))
    write_zip(tmp_path / "m.bin", b"\x80\x02}(" + body + b"u.", {"0": bytes(4 * 4096)})
    with pytest.raises(UserError, match="hold much more than the file does"):
        TorchFile(tmp_path / "m.bin")


def test_memory_is_bounded_by_the_file(tmp_path):
    """Each file asks for gigabytes or has a million steps; the reader may take 1 GB more than Python with numpy."""
    huge = {
        "text": b"\x80\x02\x8d" + (2**40).to_bytes(8, "little") + b"x.",
        "number": b"\x80\x02\x8b\xff\xff\xff\x7f\x01.",
        "steps": b"\x80\x02" + b"]" * 1_100_000 + b".",
    }
    for name, pickled in huge.items():
        write_zip(tmp_path / f"{name}.bin", pickled, {})
        (tmp_path / f"{name}_old.bin").write_bytes(pickled)
    code = (
        "import resource, sys, glob\n"
        "from ernie.torch_file import TorchFile\n"
        "from propeller.errors import UserError\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**30,) * 2)\n"
        "for path in sorted(glob.glob(sys.argv[1] + '/*.bin')):\n"
        "    try:\n        TorchFile(path)\n        print('read', path)\n"
        "    except UserError as error:\n        print('refused')\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["refused"] * 6


@given(st.binary(max_size=300), st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_user_error(tmp_path_factory, data, as_zip):
    path = tmp_path_factory.mktemp("torch") / "m.bin"
    if as_zip:
        write_zip(path, data, {"0": bytes(16)})
    else:
        path.write_bytes(data)
    with pytest.raises(UserError):
        TorchFile(path)


@pytest.mark.parametrize("name", ["zip.bin", "legacy.bin"])
def test_a_file_that_is_cut_or_changed_at_any_place(tmp_path, name):
    whole, path = (RECORDED / name).read_bytes(), tmp_path / "m.bin"
    for end in range(0, len(whole) - 1, 37):
        path.write_bytes(whole[:end])
        with pytest.raises(UserError):
            TorchFile(path)
    for place in range(0, len(whole), 23):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        with contextlib.suppress(UserError):  # a weight's number may be another one, and all else is an error
            file = TorchFile(path)
            assert {key: file.read(key).shape for key in file.shapes} == file.shapes


def test_no_file(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        TorchFile(tmp_path / "none.bin")
    (tmp_path / "empty.bin").touch()
    with pytest.raises(UserError, match="empty"):
        TorchFile(tmp_path / "empty.bin")
