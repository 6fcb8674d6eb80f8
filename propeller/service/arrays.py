"""Arrays in JSON, as POST /arrays takes and gives them.

    decode({"dtype": "int64", "shape": [1, 3], "base64": "AQAAAAAAAAA..."})      # or [[1, 2, 3]]
    encode(array, as_base64=True)

Base64 holds the numbers little-endian, row after row.
"""

from __future__ import annotations

import base64
import binascii
import math

import numpy as np

from propeller.service.errors import BadRequest, TooLarge

DTYPES = ("bool", "uint8", "int8", "uint16", "int16", "int32", "int64", "float16", "float32", "float64")


def decode(name, value):
    """An array from either form.

    Raises:
        BadRequest: it is neither; ``name`` is named.
    """
    if isinstance(value, dict):
        return _from_base64(name, value)
    if not isinstance(value, list):
        raise BadRequest(f"input {name}: give nested lists of numbers, or dtype, shape and base64")
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise BadRequest(f"input {name}: rows differ in length, or hold something other than numbers") from error
    if array.size and array.dtype.kind not in "iuf":
        raise BadRequest(f"input {name}: holds something other than numbers")
    return array


def _from_base64(name, value):
    if set(value) != {"dtype", "shape", "base64"}:
        raise BadRequest(f"input {name}: an encoded array has dtype, shape and base64, not {sorted(value)[:5]}")
    if value["dtype"] not in DTYPES:
        raise BadRequest(f"input {name}: dtype must be one of {', '.join(DTYPES)}")
    shape = value["shape"]
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape) or len(shape) > 8:
        raise BadRequest(f"input {name}: shape must be a list of whole numbers, none below 0")
    try:
        content = base64.b64decode(value["base64"], validate=True)
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


def encode(array, as_base64):
    """An array in one of the two forms, JSON-able."""
    if not as_base64:
        return array.tolist()
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "base64": base64.b64encode(little.tobytes()).decode("ascii"),
    }


def compact(array):
    """The same whole numbers in the smallest type that holds them, for the way; others as they are."""
    if array.dtype.kind not in "iu" or array.size == 0:
        return array
    low, high = int(array.min()), int(array.max())
    for dtype in ("uint8", "int8", "uint16", "int16", "int32"):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return array.astype(dtype)
    return array


def rows_of(payload, spec, max_rows):
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
    arrays = {name: decode(name, inputs[name]) for name in spec.names if name in inputs}
    counts = {name: array.shape[0] if array.ndim == 2 else None for name, array in arrays.items()}
    for name, count in counts.items():
        if count is None:
            raise BadRequest(f"input {name} has {arrays[name].ndim} axes, not 2: [rows, numbers]")
        if count == 0:
            raise BadRequest(f"input {name} has no rows")
    if len(set(counts.values())) > 1:
        raise BadRequest(f"inputs differ in their number of rows: {counts}")
    if not counts:
        raise BadRequest(f"give inputs: an object with {', '.join(spec.names)}")
    count = next(iter(counts.values()))
    if count > max_rows:
        raise TooLarge(f"{count} rows in one request, the server takes {max_rows}: split it")
    instances = [spec.check({name: array[row] for name, array in arrays.items()}) for row in range(count)]
    as_base64 = any(isinstance(value, dict) for value in inputs.values())
    return instances, frozenset(wanted) if wanted is not None else None, as_base64
