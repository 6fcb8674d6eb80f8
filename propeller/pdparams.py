"""Reads PaddlePaddle's ``.pdparams`` files without executing what is in them.

    from propeller.pdparams import read_pdparams
    arrays = read_pdparams("ernie-2.0-base-en/model_state.pdparams")

A .pdparams file is a pickle, and a pickle is a program that may call anything. Here it may build dicts, tuples,
strings, numbers and numeric arrays, and nothing else (``propeller.plain_pickle``).
"""

from __future__ import annotations

import math
import mmap
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from propeller.errors import UserError
from propeller.plain_pickle import PlainPickleError, Stateful, read_plain

_NUMERIC = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
MOST_STEPS = 1_000_000  # an array takes some thirty
SHARED = 4  # times that weights which are tied may be named
_SIDE_TABLE = "StructuredToParameterName@@"  # paddle.save's map to static-graph names; not a weight


class _Dtype(Stateful):
    """Stands in for numpy.dtype while a file is read: holds a numeric type's name and byte order."""

    __slots__ = ("dtype",)

    def __init__(self, name: Any, align: Any = False, copy: Any = False) -> None:
        if not isinstance(name, str) or not _NUMERIC.fullmatch(name):
            raise PlainPickleError("an array's type is not numeric")
        self.dtype = np.dtype(name)

    def set_state(self, state: Any) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array(Stateful):
    """Stands in for numpy.ndarray while a file is read; ``array`` is the result."""

    __slots__ = ("array",)

    def __init__(self, kind: Any, shape: Any, code: Any) -> None:
        self.array: np.ndarray | None = None  # what to make is told by the state that follows

    def set_state(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes) or not isinstance(shape, tuple):
            raise PlainPickleError("array state is not numpy's")
        if any(type(size) is not int or size < 0 for size in shape):
            raise PlainPickleError("array shape is not of numbers from 0 on")
        if math.prod(shape) * dtype.dtype.itemsize != len(data):
            raise PlainPickleError("array data does not have its shape's size")
        self.array = np.frombuffer(data, dtype.dtype).reshape(shape, order="F" if fortran else "C")


def _empty_dict() -> dict:
    return {}  # it is filled after it is made


def _empty_bytes() -> bytes:
    return b""  # protocol 2 writes an empty array's data as bytes()


def _tuple(items: Any) -> tuple:
    if not isinstance(items, (list, tuple)):
        raise PlainPickleError("a tuple is not made of a list")
    return tuple(items)


class _Encoder:
    """``_codecs.encode``: protocol 2 has no bytes, Python 3 writes them as text to be encoded.

    size: bytes that may be encoded: a file that says everything once has no more.
    """

    def __init__(self, size: int) -> None:
        self._left = size

    def __call__(self, text: Any, encoding: Any) -> bytes:
        if encoding != "latin1" or not isinstance(text, str):
            raise PlainPickleError("only latin1 text is encoded in an array")
        self._left -= len(text)
        if self._left < 0:
            raise PlainPickleError("it repeats its data over and over")
        return text.encode("latin1")


_CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _empty_dict,
    ("builtins", "tuple"): _tuple,  # a lone tensor is saved as tuple((name, array))
    ("__builtin__", "tuple"): _tuple,
    ("__builtin__", "bytes"): _empty_bytes,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
}
_NAMES = {("numpy", "ndarray"): None}  # an argument of _reconstruct, never called


def read_pdparams(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read a .pdparams file that ``paddle.save(layer.state_dict(), path)`` wrote (pickle protocols 2 to 4).

    Returns:
        dict of name -> array, in the file's types; bfloat16 comes as its uint16 bits.

    Raises:
        UserError: no such file, not a pickle, cut short, naming anything but arrays, or not a dict of arrays.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            size = len(data)
            content = read_plain(data, {**_CALLS, ("_codecs", "encode"): _Encoder(size)}, _NAMES, most_steps=MOST_STEPS)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): give a .pdparams file") from error
    except MemoryError as error:
        raise UserError(f"{path}: asks for more memory than there is: copy it again from its source") from error
    except ValueError as error:  # damaged or hostile, or an empty file, which cannot be mapped
        reason = str(error).split("\n", maxsplit=1)[0]
        raise UserError(f"{path}: not a file of plain arrays ({reason}): get it from its publisher again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no dict of arrays: give a model's state, not a single tensor")
    arrays: dict[str, np.ndarray] = {}
    for name, value in content.items():
        if name == _SIDE_TABLE:
            continue
        if isinstance(value, tuple) and len(value) == 2:  # (static-graph name, array)
            value = value[1]
        if not isinstance(name, str) or not isinstance(value, _Array) or value.array is None:
            shown = repr(name)[:100] if isinstance(name, (str, int)) else "an entry"
            raise UserError(f"{path}: {shown} is no array: give a model's state, not an optimiser's")
        arrays[name] = value.array
    if sum(array.nbytes for array in arrays.values()) > SHARED * size:
        raise UserError(f"{path}: its arrays hold much more than the file does: get it from its publisher again")
    return arrays
