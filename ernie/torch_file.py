"""Reads PyTorch's ``pytorch_model.bin`` files without PyTorch, and without executing what is in them.

    from ernie.torch_file import TorchFile
    file = TorchFile("bert-base-uncased/pytorch_model.bin")
    file.shapes["bert.pooler.dense.bias"], file.read("bert.pooler.dense.bias")

Since PyTorch 1.6 such a file is a zip archive, not compressed: ``NAME/data.pkl`` is a pickle that says of each tensor
which storage holds it, where it begins, its sizes and strides; ``NAME/data/KEY`` is the storage of that key. Before, it
was five pickles (a magic number, a version, the machine, the tensors, the keys) and the storages after them, each with
its number of elements as 8 bytes. The pickles are read by ``propeller.plain_pickle``, which runs nothing; a tensor's
data is read from its place in the file when it is asked for.
"""

from __future__ import annotations

import io
import math
import mmap
import os
import struct
import zipfile
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from propeller.errors import UserError
from propeller.plain_pickle import PlainPickleError, read_plain

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_MOST_PICKLE = 64 * 2**20  # bytes of data.pkl and of a zip archive's directory; a model of 500 tensors has 0.1 MB
_SHARED = 4  # times that the bytes of a file may be named by tensors: tied weights are named twice
# numpy has no bfloat16: its bits are kept as uint16.
_STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_NAMES = {("torch", name): np.dtype(code) for name, code in _STORAGES.items()}


class _Storage(NamedTuple):
    """A storage as a tensor names it."""

    key: str
    dtype: np.dtype
    numbers: int  # how many it holds


class _Tensor(NamedTuple):
    """A tensor as the pickle describes it; offset and strides count elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class TorchFile:
    """The tensors of a ``pytorch_model.bin``.

    Args:
        path: a file that ``torch.save(model.state_dict(), path)`` wrote, with any version of PyTorch since 0.4.

    Attributes:
        shapes: name -> shape of every tensor.

    Raises:
        UserError: no such file, damaged, compressed, of another content than a dict of tensors, or with a pickle that
            is more than data.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            with open(self.path, "rb") as file:
                self._size = os.fstat(file.fileno()).st_size
                content, self._places = (_read_zip if _is_zip(file) else _read_legacy)(file, self._size)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}): give a pytorch_model.bin") from error
        except (PlainPickleError, zipfile.BadZipFile, NotImplementedError, struct.error, ValueError) as error:
            reason = str(error).split("\n", maxsplit=1)[0]
            raise UserError(
                f"{path}: not a file of plain tensors ({reason}): get it from its publisher again, or save it with "
                "safetensors"
            ) from error
        self._tensors: dict[str, _Tensor] = self._checked(content)
        self.shapes = {name: tensor.shape for name, tensor in self._tensors.items()}

    def _checked(self, content):
        if not isinstance(content, dict):
            raise UserError(f"{self.path}: holds no dict of tensors: give a model's state_dict")
        total = 0
        for name, tensor in content.items():
            if not isinstance(name, str) or not isinstance(tensor, _Tensor):
                shown = repr(name)[:100] if isinstance(name, (str, int)) else "an entry"
                raise UserError(f"{self.path}: {shown} is no tensor: give a model's state_dict, not a training state")
            if tensor.storage.key not in self._places:
                raise UserError(f"{self.path}: the data of {name[:100]!r} is missing: copy the file again")
            total += math.prod(tensor.shape) * tensor.storage.dtype.itemsize
        if total > _SHARED * self._size:
            raise UserError(f"{self.path}: its tensors hold much more than the file does: get it from its publisher")
        return content

    def read(self, name: str) -> np.ndarray:
        """A tensor's data as a new array of the file's type; bfloat16 comes as its uint16 bits."""
        storage, offset, shape, strides = self._tensors[name]
        if not math.prod(shape):
            return np.zeros(shape, storage.dtype)
        place, big_endian = self._places[storage.key]
        dtype = storage.dtype.newbyteorder(">") if big_endian else storage.dtype
        flat = np.memmap(self.path, dtype, "r", place, (storage.numbers,))
        steps = tuple(stride * dtype.itemsize for stride in strides)
        viewed = np.lib.stride_tricks.as_strided(flat[offset:], shape, steps, writeable=False)
        return np.array(viewed, dtype=storage.dtype, order="C")


# ---------------------------------------------------------------- what the pickle may say


def _storage(parts):
    """The persistent id of a storage: ("storage", type, key, device, elements), before 1.6 with a view after it."""
    if not isinstance(parts, tuple) or len(parts) not in (5, 6) or parts[0] != "storage":
        raise PlainPickleError("it refers to what is no storage")
    _, dtype, key, _, count = parts[:5]
    if not isinstance(dtype, np.dtype) or not isinstance(key, str) or not _is_count(count):
        raise PlainPickleError("a storage is not described as PyTorch does")
    if len(parts) == 6 and parts[5] is not None:
        raise PlainPickleError("a storage is a view of another one, which no model's file has")
    return _Storage(key, dtype, count)


def _rebuild_tensor(storage, offset, shape, strides, requires_grad=False, hooks=None, metadata=None):
    if not isinstance(storage, _Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise PlainPickleError("a tensor is not described as PyTorch does")
    if len(shape) != len(strides) or len(shape) > 32 or not all(map(_is_count, (offset, *shape, *strides))):
        raise PlainPickleError("a tensor's sizes and strides are not numbers from 0 on")
    if math.prod(shape):
        last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
        if last >= storage.numbers or math.prod(shape) > storage.numbers:
            raise PlainPickleError("a tensor goes beyond its storage")
    return _Tensor(storage, offset, shape, strides)


def _rebuild_parameter(data, requires_grad=False, hooks=None):
    if not isinstance(data, _Tensor):
        raise PlainPickleError("a parameter is no tensor")
    return data


def _ordered_dict(items=()):
    if items:
        raise PlainPickleError("an OrderedDict is not filled as PyTorch does")
    return {}


def _is_count(value):
    return type(value) is int and 0 <= value < 2**62


_CALLS = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}


def _read_state(file):
    return read_plain(file, _CALLS, _NAMES, _storage)


# ---------------------------------------------------------------- the two forms of file


def _is_zip(file: BinaryIO) -> bool:
    begin = file.read(4)
    file.seek(0)
    return begin == b"PK\x03\x04"


def _read_zip(file, size):
    """(what data.pkl describes, storage key -> (place in the file, whether big-endian))."""
    _check_directory(file, size)
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        pickles = [name for name in entries if name.endswith("data.pkl") and name.count("/") <= 1]
        if len(pickles) != 1:
            raise PlainPickleError(f"it has {len(pickles)} data.pkl, not 1")
        folder = pickles[0][: -len("data.pkl")]
        content = _read_state(io.BytesIO(_stored(file, entries[pickles[0]], size, _MOST_PICKLE)))
        order = entries.get(folder + "byteorder")
        big_endian = order is not None and _stored(file, order, size, 16) == b"big"
        places = {}
        for name, entry in entries.items():
            if name.startswith(folder + "data/"):
                places[name[len(folder) + 5 :]] = (_place(file, entry, size), big_endian)
    for storage in _storages(content):
        entry = entries.get(f"{folder}data/{storage.key}")
        if entry is not None and entry.file_size != storage.numbers * storage.dtype.itemsize:
            raise PlainPickleError(f"the storage {storage.key[:20]} has another size than its tensors say")
    return content, places


def _check_directory(file, size):
    """Refuse an archive whose directory is out of proportion, before zipfile holds all of it in memory."""
    begin = max(size - 65_557, 0)  # the end record and its longest comment
    file.seek(begin)
    tail = file.read(size - begin)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise PlainPickleError("the end of the archive is missing: it was cut short")
    (length,) = struct.unpack_from("<L", tail, at + 12)
    if length == 0xFFFFFFFF and at >= 20 and tail[at - 20 : at - 16] == b"PK\x06\x07":
        (place,) = struct.unpack_from("<Q", tail, at - 12)
        if place > size - 56:
            raise PlainPickleError("the archive's directory lies outside of it")
        file.seek(place + 40)
        (length,) = struct.unpack("<Q", file.read(8))
    if length > _MOST_PICKLE // 16:  # a name and 46 bytes an entry, some 1,000 in memory
        raise PlainPickleError("the archive's directory is out of proportion")
    file.seek(0)


def _place(file, entry, size):
    """Where an entry's data begins; it must lie in the file as it is."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size or entry.flag_bits & 1:
        raise PlainPickleError(f"{entry.filename[:100]} is compressed or encrypted, which PyTorch never does")
    file.seek(entry.header_offset)
    header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise PlainPickleError(f"{entry.filename[:100]} is not where the archive says")
    name_length, extra_length = struct.unpack_from("<HH", header, 26)
    begin = entry.header_offset + 30 + name_length + extra_length
    if begin + entry.file_size > size:
        raise PlainPickleError(f"{entry.filename[:100]} is cut short")
    return begin


def _stored(file, entry, size, most):
    begin = _place(file, entry, size)
    if entry.file_size > most:
        raise PlainPickleError(f"{entry.filename[:100]} has {entry.file_size:,} bytes, over {most:,}")
    file.seek(begin)
    return file.read(entry.file_size)


def _read_legacy(file, size):
    """The same of a file from before PyTorch 1.6."""
    if not size:
        raise PlainPickleError("it is empty")
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if read_plain(data, {}) != _MAGIC:
            raise PlainPickleError("it is no file of PyTorch")
        if read_plain(data, {}) != _VERSION:
            raise PlainPickleError("it is of another version of PyTorch's format")
        machine = read_plain(data, {})
        big_endian = isinstance(machine, dict) and machine.get("little_endian") is False
        content = _read_state(data)
        keys = read_plain(data, {})
        begin = data.tell()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise PlainPickleError("its list of storages is none")
    storages = {storage.key: storage for storage in _storages(content)}
    places = {}
    for key in keys:
        if key not in storages:
            raise PlainPickleError("it holds a storage that no tensor names")
        file.seek(begin)
        written = file.read(8)
        count = int.from_bytes(written, "big" if big_endian else "little")
        if len(written) < 8 or count != storages[key].numbers:
            raise PlainPickleError("a storage has another size than its tensors say")
        places[key] = (begin + 8, big_endian)
        begin += 8 + count * storages[key].dtype.itemsize
        if begin > size:
            raise PlainPickleError("it is cut short")
    return content, places


def _storages(content):
    """The storages of all tensors; one that two tensors share must be described alike."""
    found: dict[str, _Storage] = {}
    for tensor in content.values() if isinstance(content, dict) else ():
        if isinstance(tensor, _Tensor):
            if found.setdefault(tensor.storage.key, tensor.storage) != tensor.storage:
                raise PlainPickleError("tensors do not agree about the storage that they share")
            yield tensor.storage
    return
