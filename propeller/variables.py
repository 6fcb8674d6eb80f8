"""One variable per file, as Paddle's released models have them: Fluid's LoDTensor stream; no Paddle needed.

    from propeller.variables import read_variable, write_variable
    write_variable("params/fc_0.w_0", array)

A file is little-endian: u32 0 (version) | u64 LoD levels, 0 for weights | u32 0 (tensor version) | i32 length of what
follows | TensorDesc | the data in row-major order. TensorDesc is a protobuf message: field 1 the data type, field 2
each dimension, unpacked.
"""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from propeller.errors import UserError

# TensorDesc's data type codes (framework.proto, VarType.Type). numpy has no bfloat16: its bits are kept as uint16.
_DTYPES = {
    0: np.dtype("bool"),
    1: np.dtype("<i2"),
    2: np.dtype("<i4"),
    3: np.dtype("<i8"),
    4: np.dtype("<f2"),
    5: np.dtype("<f4"),
    6: np.dtype("<f8"),
    20: np.dtype("uint8"),
    21: np.dtype("int8"),
    22: np.dtype("<u2"),
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
_PREFIX = struct.Struct("<IQIi")
_MAX_DESC = 1024  # bytes; a TensorDesc of a dozen dimensions has under 100


@dataclass(frozen=True)
class Variable:
    """A variable file's header: what is in it, without its data."""

    path: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int  # bytes before the data

    def read(self) -> np.ndarray:
        """The data, as a new array of ``shape`` and ``dtype``.

        Raises:
            UserError: the file cannot be read or has changed since its header was.
        """
        count = math.prod(self.shape)
        try:
            array = np.fromfile(self.path, dtype=self.dtype, count=count, offset=self.offset)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror}): make it readable") from error
        if array.size != count:
            raise UserError(f"{self.path}: became shorter while it was read: copy it again from its source")
        return array.reshape(self.shape)


def read_header(path: str | os.PathLike[str]) -> Variable:
    """Read what a variable file says of itself, and check the file's size against it; no data is read.

    Returns:
        a Variable.

    Raises:
        UserError: no such file, not a LoDTensor stream, of an unknown type, with a LoD, cut short or too long.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: no regular file: remove it, or give the params directory itself")
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            prefix = file.read(_PREFIX.size)
            if len(prefix) < _PREFIX.size:
                raise UserError(f"{path}: {size} bytes, cut short: copy it again from its source")
            version, lod_levels, tensor_version, length = _PREFIX.unpack(prefix)
            if version or tensor_version or not 0 < length <= _MAX_DESC:
                raise UserError(f"{path}: not a Paddle variable file: remove it, or give the params directory itself")
            if lod_levels:
                raise UserError(f"{path}: holds a sequence (LoD) variable, which no weight is: remove it")
            description = file.read(length)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): give a readable params directory") from error
    if len(description) < length:
        raise UserError(f"{path}: {size} bytes, cut short: copy it again from its source")
    dtype, shape = _parse_description(description, path)
    offset = _PREFIX.size + length
    wanted = offset + math.prod(shape) * dtype.itemsize
    if size != wanted:
        fault = "cut short" if size < wanted else "with bytes left over"
        raise UserError(
            f"{path}: {size} bytes, {fault}: {dtype.name} of shape {list(shape)} takes {wanted}; "
            "copy it again from its source"
        )
    return Variable(path, dtype, shape, offset)


def read_variable(path: str | os.PathLike[str]) -> np.ndarray:
    """Read one variable file.

    Returns:
        an array of the file's shape and type; bfloat16 comes as its uint16 bits (``to_float32`` decodes them).

    Raises:
        UserError: as ``read_header``.
    """
    return read_header(path).read()


def write_variable(path: str | os.PathLike[str], array: Any) -> None:
    """Write ``array`` as one variable file and fsync it. uint16 is written as bfloat16, whose bits it stands for.

    Raises:
        UserError: the array's type has no code in Paddle.
    """
    array = np.asarray(array, order="C")
    dtype = array.dtype.newbyteorder("<")
    if dtype not in _CODES:
        raise UserError(f"{path}: no Paddle type for {array.dtype}: convert the array to float32")
    description = b"\x08" + _varint(_CODES[dtype]) + b"".join(b"\x10" + _varint(size) for size in array.shape)
    with open(path, "wb") as file:
        file.write(_PREFIX.pack(0, 0, 0, len(description)))
        file.write(description)
        # Not tofile: on a full disk its error does not say so.
        file.write(array.astype(dtype, copy=False).reshape(-1).view(np.uint8))
        file.flush()
        os.fsync(file.fileno())


def to_float32(array: np.ndarray) -> np.ndarray:
    """Weights as float32, whatever float type they were stored in; uint16 is taken as bfloat16 bits."""
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return np.asarray(array, dtype=np.float32)


def _varint(value):
    """A non-negative int in protobuf's base-128 form, low bits first."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _parse_description(description, path):
    """(dtype, shape) of a TensorDesc."""

    def number(position):
        value = shift = 0
        while position < len(description) and shift < 70:
            byte = description[position]
            value |= (byte & 0x7F) << shift
            position += 1
            shift += 7
            if byte < 0x80:
                return value, position
        raise UserError(f"{path}: damaged tensor description: copy it again from its source")

    code, shape, position = None, [], 0
    while position < len(description):
        tag, position = number(position)
        value, position = number(position)
        if tag == 0x08:  # field 1, varint
            code = value
        elif tag == 0x10 and value < 1 << 63:  # field 2, varint, an int64; above that it is negative
            shape.append(value)
        elif tag == 0x10:
            raise UserError(f"{path}: a dimension is {value - (1 << 64)}: copy it again from its source")
        else:
            raise UserError(f"{path}: damaged tensor description: copy it again from its source")
    if code not in _DTYPES:
        raise UserError(f"{path}: data type code {code} is not a supported weight type: copy it again from its source")
    return _DTYPES[code], tuple(shape)
