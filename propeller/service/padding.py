"""Instances to a padded batch, and a batch's outputs back to instances.

spec = InputSpec([{"name": "src_ids", "shape": [None, None], "dtype": "int64"}], pad={"src_ids": 0})
row, length = spec.check({"src_ids": [1, 7, 2]})
batch = spec.pad([row, other])                     # src_ids: int64 [2, longest]
split({"emb": array}, lengths=[3, 5], sequence={"emb"})
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

import numpy as np

from propeller.service.errors import BadRequest

Run = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]  # a batch -> the outputs


class InputSpec:
    """What a model takes: each input is [batch, length] with the length free, or [batch, k].

    Args:
        inputs: list of dict ``name``, ``shape``, ``dtype``, as a bundle has them.
        pad: name -> what is put after shorter rows; 0 where it is not named.
        bounds: name -> (least, greatest) value that the model can take; unchecked where it is not named.
        max_length: the longest row, or None.

    Raises:
        ValueError: an input of another form.
    """

    def __init__(
        self,
        inputs: Sequence[dict[str, Any]],
        pad: Mapping[str, float] | None = None,
        bounds: Mapping[str, tuple[float, float]] | None = None,
        max_length: int | None = None,
    ) -> None:
        self.inputs, self.bounds, self.max_length = list(inputs), dict(bounds or {}), max_length
        self.dtypes = {entry["name"]: np.dtype(entry["dtype"]) for entry in inputs}
        self.sizes = {entry["name"]: _size(entry) for entry in inputs}  # None: free
        self.values = {name: (pad or {}).get(name, 0) for name in self.dtypes}

    @property
    def names(self) -> list[str]:
        """Names of the inputs, in the model's order."""
        return list(self.dtypes)

    def check(self, instance: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], int]:
        """One row as arrays of the right types, and its length.

        Args:
            instance: name -> 1-D array or list of numbers; what the model does not take is left aside.

        Raises:
            BadRequest: an input is missing, not 1-D, of another type, out of bounds, or lengths differ.
        """
        arrays, length = {}, None
        for name, dtype in self.dtypes.items():
            if name not in instance:
                raise BadRequest(f"input {name} is missing; the model takes {', '.join(self.names)}")
            array = _as_type(name, _as_array(name, instance[name]), dtype)
            if array.ndim != 1:
                raise BadRequest(f"input {name}: a row has {array.ndim} axes, not 1")
            self._check_values(name, array)
            size = self.sizes[name]
            if size is not None and array.size != size:
                raise BadRequest(f"input {name}: a row has {array.size} numbers, the model takes {size}")
            if size is None:
                if length not in (None, array.size):
                    raise BadRequest(f"input {name}: {array.size} numbers in a row, {length} in another input")
                length = array.size
            arrays[name] = array
        if length == 0:
            raise BadRequest("a row is empty")
        if self.max_length and length and length > self.max_length:
            raise BadRequest(f"a row of {length} tokens: the model takes {self.max_length}")
        return arrays, length or 1

    def _check_values(self, name, array):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise BadRequest(f"input {name}: holds a number that is not finite")
        if name in self.bounds and array.size:
            least, greatest = self.bounds[name]
            low, high = array.min(), array.max()
            if low < least or high > greatest:
                bad = low if low < least else high
                raise BadRequest(f"input {name}: {bad} is outside of {least} to {greatest}")

    def pad(self, rows: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Checked rows as one batch: name -> array [rows, longest] or [rows, k]."""
        batch = {}
        for name, dtype in self.dtypes.items():
            arrays = [row[name] for row in rows]
            lengths = np.fromiter(map(len, arrays), np.int64, len(arrays))
            longest = int(lengths.max(initial=0))
            if (lengths == longest).all():
                batch[name] = np.stack(arrays)
                continue
            padded = np.full((len(arrays), longest), self.values[name], dtype)
            padded[np.arange(longest) < lengths[:, None]] = np.concatenate(arrays)
            batch[name] = padded
        return batch

    def example(self, rows: int, length: int) -> dict[str, np.ndarray]:
        """A batch that any model of this form takes: ones for numbers with a fraction, as in a mask, else zeros."""
        return {
            name: np.full((rows, size or length), 1 if dtype.kind == "f" else self.values[name], dtype)
            for (name, dtype), size in zip(self.dtypes.items(), self.sizes.values())
        }


def _size(entry):
    shape = [None if size in (None, -1) else size for size in entry["shape"]]
    if len(shape) != 2:
        raise ValueError(f"input {entry['name']} has shape {shape}: the server batches inputs of two axes")
    return shape[1]


def _as_array(name, value):
    try:
        return np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise BadRequest(f"input {name}: {_words(None)} given") from error


def _as_type(name, array, dtype):
    if array.dtype == dtype:
        return array
    whole = array.dtype.kind in "iub" and array.dtype != bool
    if array.size == 0:
        return array.astype(dtype)
    if dtype.kind == "f" and (whole or array.dtype.kind == "f"):
        with np.errstate(over="ignore"):
            return array.astype(dtype)
    if dtype.kind in "iu" and whole:
        info = np.iinfo(dtype)
        if array.min() < info.min or array.max() > info.max:
            raise BadRequest(f"input {name}: a number does not fit {dtype}")
        return array.astype(dtype)
    raise BadRequest(f"input {name}: {_words(array)} given, the model takes {dtype}")


def _words(array):
    if array is None or array.dtype.kind in "OUS":
        return "something other than rows of numbers, all equally long,"
    return str(array.dtype)


def split(
    outputs: dict[str, np.ndarray], lengths: Sequence[int], sequence: Collection[str]
) -> list[dict[str, np.ndarray]]:
    """A batch's outputs as a list of dicts, one a row.

    Args:
        outputs: name -> array [rows, ...].
        lengths: the rows' own lengths.
        sequence: names of the outputs whose second axis is the sequence: rows are cut to their lengths there.
    """
    return [
        {name: (array[row, :length] if name in sequence else array[row]) for name, array in outputs.items()}
        for row, length in enumerate(lengths)
    ]


@dataclass(frozen=True)
class OutputSize:
    """How much of an output there is: ``numbers`` of ``itemsize`` bytes a row, or a token where it is ``per_token``."""

    numbers: int
    itemsize: int
    per_token: bool

    def count(self, length: int) -> int:
        """Numbers of a row of so many tokens."""
        return self.numbers * (length if self.per_token else 1)


def output_sizes(run: Run, spec: InputSpec, lengths: tuple[int, int] = (7, 11)) -> dict[str, OutputSize]:
    """Output name -> ``OutputSize``, found by running two batches of unlike lengths.

    A shape alone cannot tell whether an output's second axis is the sequence: five classes look like five tokens.

    Args:
        run: batch -> outputs; ``Predictor.run``.
        spec: ``InputSpec``.
    """
    if all(size is not None for size in spec.sizes.values()):
        found = run(spec.example(2, 1))
        return {name: OutputSize(array[0].size, array.itemsize, False) for name, array in found.items()}
    longer = min(lengths[1], spec.max_length or lengths[1])
    lengths = max(1, min(lengths[0], longer - 1)), longer
    shorter_run, longer_run = (run(spec.example(2, length)) for length in lengths)
    sizes = {}
    for name, array in shorter_run.items():
        follows = array.ndim > 1 and array.shape[1] == lengths[0] and longer_run[name].shape[1] == lengths[1]
        numbers = array[0].size // lengths[0] if follows else array[0].size
        sizes[name] = OutputSize(numbers, array.itemsize, follows)
    return sizes


def sequence_outputs(run: Run, spec: InputSpec, lengths: tuple[int, int] = (7, 11)) -> set[str]:
    """The names of the outputs whose second axis is the sequence; see ``output_sizes``."""
    return {name for name, size in output_sizes(run, spec, lengths).items() if size.per_token}
