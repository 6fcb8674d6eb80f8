"""Shared with tests/ernie: files as torch.save writes them, made without PyTorch."""

import collections
import io
import pickle
import sys
import types
import zipfile
from unittest import mock

import numpy as np

STORAGES = {"f4": "FloatStorage", "f2": "HalfStorage", "u2": "BFloat16Storage", "f8": "DoubleStorage"}
STORAGES.update({"i8": "LongStorage", "i4": "IntStorage", "u1": "ByteStorage", "b1": "BoolStorage"})


def _rebuild_tensor_v2(*parts):
    raise AssertionError("a test executed what is pickled")


class _Tensor:
    def __init__(self, storage, array):
        self.storage, self.array = storage, array

    def __reduce__(self):
        shape, size = self.array.shape, self.array.itemsize
        strides = tuple(step // size for step in np.empty(shape, self.array.dtype).strides)
        return _rebuild_tensor_v2, (self.storage, 0, shape, strides, False, collections.OrderedDict())


class _Storage:
    def __init__(self, key, array):
        self.key, self.array = key, array


class _Pickler(pickle.Pickler):
    def __init__(self, file, kinds, legacy):
        super().__init__(file, 2)
        self.kinds, self.legacy = kinds, legacy

    def persistent_id(self, value):
        if not isinstance(value, _Storage):
            return None
        kind = self.kinds[STORAGES[value.array.dtype.str[1:]]]
        parts = ("storage", kind, value.key, "cpu", value.array.size)
        return (*parts, None) if self.legacy else parts


def state_pickle(arrays, legacy=False):
    """The pickle of a state_dict, as bytes. arrays: name -> array; uint16 stands for bfloat16."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    kinds = {name: type(name, (), {"__module__": "torch"}) for name in STORAGES.values()}
    for name, kind in kinds.items():
        setattr(torch, name, kind)
    utils._rebuild_tensor_v2, _rebuild_tensor_v2.__module__ = _rebuild_tensor_v2, "torch._utils"
    state = collections.OrderedDict(
        (name, _Tensor(_Storage(str(number), array), array)) for number, (name, array) in enumerate(arrays.items())
    )
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    file = io.BytesIO()
    with mock.patch.dict(sys.modules, {"torch": torch, "torch._utils": utils}):
        _Pickler(file, kinds, legacy).dump(state)
    return file.getvalue()


def write_zip(path, pickled, storages, compression=zipfile.ZIP_STORED, folder="archive"):
    """A file of today's form. storages: key -> bytes."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"{folder}/data.pkl", pickled)
        archive.writestr(f"{folder}/byteorder", "little")
        for key, data in storages.items():
            archive.writestr(f"{folder}/data/{key}", data)
        archive.writestr(f"{folder}/version", "3\n")


def write_torch(path, arrays, legacy=False):
    """``arrays`` as torch.save(state_dict) writes them; uint16 stands for bfloat16."""
    pickled = state_pickle(arrays, legacy)
    datas = {str(number): np.ascontiguousarray(array).tobytes() for number, array in enumerate(arrays.values())}
    if not legacy:
        write_zip(path, pickled, datas)
        return
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, machine)]
    parts += [pickled, pickle.dumps(list(datas), 2)]
    for (_, array), data in zip(arrays.items(), datas.values()):
        parts += [array.size.to_bytes(8, "little"), data]
    path.write_bytes(b"".join(parts))
