"""Arrays in JSON, as POST /arrays takes and gives them.

    decode({"dtype": "int64", "shape": [1, 3], "base64": "AQAAAAAAAAA..."})      # or [[1, 2, 3]]
    encode(array, as_base64=True)

Base64 holds the numbers little-endian, row after row.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from propeller.service.errors import BadRequest, TooLarge
from propeller.service.requests import json_body

if TYPE_CHECKING:
    from propeller.service.padding import InputSpec, OutputSize


DTYPES = ("bool", "uint8", "int8", "uint16", "int16", "int32", "int64", "float16", "float32", "float64")
MOST_AXES = 8
WHOLE, NUMBERS = {int}, {int, float}
NUMBER_CHARS = 22  # of a number in JSON, with its comma: as many as a float32 has as a float64
AT_ONCE = 1 << 14  # numbers that are turned into text in one go
INT64, UINT64 = (-(1 << 63), (1 << 63) - 1), (0, (1 << 64) - 1)


def decode(name: str, value: Any, max_rows: int | None = None) -> np.ndarray:
    """An array from either form.

    Types, lengths and the product of the shape are looked at before any array is made, so the memory that a request
    takes is a small multiple of its size.

    Args:
        name: of the input, for messages.
        value: list of rows, or dict ``dtype``, ``shape``, ``base64``.
        max_rows: most rows, or None.

    Raises:
        BadRequest: it is neither; ``name`` is named. TooLarge: too many rows.
    """
    if isinstance(value, dict):
        return _from_base64(name, value, max_rows)
    if not isinstance(value, list):
        raise BadRequest(f"input {name}: give nested lists of numbers, or dtype, shape and base64")
    return _from_lists(name, value, max_rows)


def _from_lists(name, rows, max_rows):
    """A list of numbers, or of equally long lists of numbers, as an array of int64, uint64 or float64."""
    flat = list not in set(map(type, rows))
    if not flat:
        _check_rows(name, len(rows), max_rows)
    columns = [rows] if flat else rows
    kinds, low, high, length = set(), 0, 0, None
    for row in columns:
        if type(row) is not list or length not in (None, len(row)):
            raise BadRequest(f"input {name}: rows differ in length, or hold something other than numbers")
        length, found = len(row), set(map(type, row))
        if list in found:
            raise BadRequest(f"input {name} has more than 2 axes: [rows, numbers]")
        if not found <= NUMBERS:
            raise BadRequest(f"input {name}: holds something other than numbers")
        kinds |= found
        if found == WHOLE:
            low, high = min(low, min(row)), max(high, max(row))
    if kinds <= WHOLE:
        for dtype, (least, most) in (("int64", INT64), ("uint64", UINT64)):
            if least <= low and high <= most:
                return np.array(rows, dtype)
        raise BadRequest(f"input {name}: a whole number needs more than 64 bits")
    return np.array(rows, "float64")


def _check_rows(name, count, max_rows):
    if max_rows is not None and count > max_rows:
        raise TooLarge(f"input {name}: {count} rows in one request, the server takes {max_rows}: split it")


def _from_base64(name, value, max_rows):
    if set(value) != {"dtype", "shape", "base64"}:
        shown = sorted(key[:40] for key in value)[:5]
        raise BadRequest(f"input {name}: an encoded array has dtype, shape and base64, not {shown}")
    if value["dtype"] not in DTYPES:
        raise BadRequest(f"input {name}: dtype must be one of {', '.join(DTYPES)}")
    shape, text = value["shape"], value["base64"]
    whole = isinstance(shape, list) and len(shape) <= MOST_AXES and set(map(type, shape)) <= WHOLE
    if not whole or any(size < 0 for size in shape):
        raise BadRequest(f"input {name}: shape must be a list of whole numbers, none below 0")
    if shape:
        _check_rows(name, shape[0], max_rows)
    try:
        content = base64.b64decode(text, validate=True)  # three quarters of the text, whatever the shape says
    except (TypeError, ValueError, binascii.Error) as error:
        raise BadRequest(f"input {name}: base64 is not base64") from error
    dtype = np.dtype(value["dtype"]).newbyteorder("<")
    size = math.prod(shape) * dtype.itemsize
    if len(content) != size:
        raise BadRequest(f"input {name}: {len(content)} bytes, shape and dtype make {size}")
    try:
        array = np.frombuffer(content, dtype).reshape(shape)
    except (ValueError, OverflowError) as error:  # nothing, in too large a shape
        raise BadRequest(f"input {name}: no array has this shape") from error
    return array.astype(dtype.newbyteorder("="), copy=False)


def encode(array: np.ndarray, as_base64: bool) -> list[Any] | dict[str, Any]:
    """An array in one of the two forms, JSON-able."""
    if not as_base64:
        return array.tolist()
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "base64": base64.b64encode(little.tobytes()).decode("ascii"),
    }


def to_json(array: np.ndarray, as_base64: bool) -> Iterator[bytes]:
    """The parts of an array's JSON, bytes; a part at a time, so that other threads have their turn in between.

    Raises:
        ValueError: it holds a number that JSON has not, and would be written as text.
    """
    if not as_base64 and array.ndim > 1 and array.size > AT_ONCE:
        for number, part in enumerate(array):
            yield b"," if number else b"["
            yield from to_json(part, False)
        yield b"]"
    else:
        yield json_body(encode(array, as_base64))


def json_size(size: OutputSize, length: int, as_base64: bool) -> int:
    """About how many bytes of JSON an output of a row takes.

    Args:
        size: ``propeller.service.padding.OutputSize``.
        length: tokens of the row.
        as_base64: whether it is sent so.
    """
    return size.count(length) * (-(-size.itemsize * 4 // 3) if as_base64 else NUMBER_CHARS)


def compact(array: np.ndarray) -> np.ndarray:
    """The same whole numbers in the smallest type that holds them, for the way; others as they are."""
    if array.dtype.kind not in "iu" or array.size == 0:
        return array
    low, high = int(array.min()), int(array.max())
    for dtype in ("uint8", "int8", "uint16", "int16", "int32"):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return array.astype(dtype)
    return array


def rows_of(
    payload: dict[str, Any], spec: InputSpec, max_rows: int
) -> tuple[list[tuple[dict[str, np.ndarray], int]], frozenset[str] | None, bool]:
    """What a request to /arrays asks: instances, names of outputs wanted or None, whether to answer in base64.

    Args:
        payload: ``{"inputs": {name: array}, "outputs": [names] (optional)}``.
        spec: ``InputSpec`` of the model.
        max_rows: most rows of a request.

    Raises:
        BadRequest: something in it is wrong. TooLarge: too many rows.
    """
    inputs, wanted = payload.get("inputs"), payload.get("outputs")
    if not isinstance(inputs, dict) or not inputs:
        raise BadRequest(f"give inputs: an object with {', '.join(spec.names)}")
    if wanted is not None and not (isinstance(wanted, list) and all(isinstance(name, str) for name in wanted)):
        raise BadRequest("outputs must be a list of names")
    unknown = set(payload) - {"inputs", "outputs"}
    if unknown:
        raise BadRequest(f"unknown: {', '.join(sorted(unknown)[:5])}; known: inputs, outputs")
    arrays = {name: decode(name, inputs[name], max_rows) for name in spec.names if name in inputs}
    counts = {name: array.shape[0] if array.ndim == 2 else -1 for name, array in arrays.items()}
    for name, count in counts.items():
        if count < 0:
            raise BadRequest(f"input {name} has {arrays[name].ndim} axes, not 2: [rows, numbers]")
        if count == 0:
            raise BadRequest(f"input {name} has no rows")
    if len(set(counts.values())) > 1:
        raise BadRequest(f"inputs differ in their number of rows: {counts}")
    if not counts:
        raise BadRequest(f"give inputs: an object with {', '.join(spec.names)}")
    count = next(iter(counts.values()))
    instances = [spec.check({name: array[row] for name, array in arrays.items()}) for row in range(count)]
    as_base64 = any(isinstance(value, dict) for value in inputs.values())
    return instances, frozenset(wanted) if wanted is not None else None, as_base64
