"""Reads PaddlePaddle's ``.pdparams`` files without executing what is in them.

    from ernie.pdparams import read_pdparams
    arrays = read_pdparams("ernie-2.0-base-en/model_state.pdparams")

A .pdparams file is a pickle, and a pickle is a program that may call anything. Here it may build dicts, tuples,
strings, numbers and numeric arrays, and nothing else: what it can name is dict, tuple and this module's own functions.
"""

from __future__ import annotations

import math
import pickle
import pickletools
import re
from pathlib import Path

import numpy as np

from propeller.errors import UserError

_NUMERIC = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
_SIDE_TABLE = "StructuredToParameterName@@"  # paddle.save's map to static-graph names; not a weight


class _Dtype:
    """Stands in for numpy.dtype while a file is read: holds a numeric type's name and byte order."""

    __slots__ = ("dtype",)

    def __init__(self, name):
        if not isinstance(name, str) or not _NUMERIC.fullmatch(name):
            raise pickle.UnpicklingError(f"array type {name!r} is not numeric")
        self.dtype = np.dtype(name)

    def __setstate__(self, state):
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands in for numpy.ndarray while a file is read; ``array`` is the result."""

    __slots__ = ("array",)

    def __init__(self):
        self.array = None

    def __setstate__(self, state):
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes) or not isinstance(shape, tuple):
            raise pickle.UnpicklingError("array state is not numpy's")
        if any(type(size) is not int or size < 0 for size in shape):
            raise pickle.UnpicklingError(f"array shape {shape} is none")
        if math.prod(shape) * dtype.dtype.itemsize != len(data):
            raise pickle.UnpicklingError("array data does not have its shape's size")
        self.array = np.frombuffer(data, dtype.dtype).reshape(shape, order="F" if fortran else "C")


def _make_array(kind, shape, code):
    return _Array()  # what to make is told by the state that follows


def _make_dtype(name, align=False, copy=False):
    return _Dtype(name)


def _encode(text, encoding):
    # protocol 2 has no bytes: Python 3 writes them as text to be encoded
    if encoding != "latin1" or not isinstance(text, str):
        raise pickle.UnpicklingError("only latin1 text is encoded in an array")
    return text.encode("latin1")


def _empty_bytes():
    return b""  # protocol 2 writes an empty array's data as bytes()


_ALLOWED = {
    ("collections", "OrderedDict"): dict,
    ("builtins", "tuple"): tuple,  # a lone tensor is saved as tuple((name, array))
    ("__builtin__", "tuple"): tuple,
    ("__builtin__", "bytes"): _empty_bytes,
    ("numpy", "ndarray"): "ndarray",  # named as an argument of _reconstruct, never called
    ("numpy", "dtype"): _make_dtype,
    ("numpy.core.multiarray", "_reconstruct"): _make_array,
    ("numpy._core.multiarray", "_reconstruct"): _make_array,
    ("_codecs", "encode"): _encode,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return _ALLOWED[module, name]


def _check_memo(file):
    """Refuse a memo number above the count of what came before: the unpickler would reserve memory up to it."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > count:
            raise pickle.UnpicklingError(f"memo number {argument} is out of order")


def read_pdparams(path):
    """Read a .pdparams file that ``paddle.save(layer.state_dict(), path)`` wrote (pickle protocols 2 to 4).

    Returns:
        dict of name -> array, in the file's types; bfloat16 comes as its uint16 bits.

    Raises:
        UserError: no such file, not a pickle, cut short, naming anything but arrays, or not a dict of arrays.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            _check_memo(file)
            file.seek(0)
            content = _ArrayUnpickler(file, encoding="latin1").load()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): give a .pdparams file") from error
    except MemoryError as error:
        raise UserError(f"{path}: asks for more memory than there is: copy it again from its source") from error
    except Exception as error:  # a damaged or hostile pickle can fail in any way
        reason = str(error).split("\n", maxsplit=1)[0]
        raise UserError(f"{path}: not a file of plain arrays ({reason}): get it from its publisher again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no dict of arrays: give a model's state, not a single tensor")
    arrays = {}
    for name, value in content.items():
        if name == _SIDE_TABLE:
            continue
        if isinstance(value, tuple) and len(value) == 2:  # (static-graph name, array)
            value = value[1]
        if not isinstance(name, str) or not isinstance(value, _Array) or value.array is None:
            raise UserError(f"{path}: {name!r} is no array: give a model's state, not an optimiser's")
        arrays[name] = value.array
    return arrays
