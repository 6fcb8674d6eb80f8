"""The weights of Hugging Face and PaddleNLP directories: their shapes at once, their data when asked for.

from ernie.foreign_weights import open_weights
weights = open_weights("hf", Path("bert-base-uncased"))
weights.shapes["bert.pooler.dense.bias"], weights.read("bert.pooler.dense.bias")
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors import SafetensorError, deserialize, safe_open

from ernie.foreign import BY_PATH, read_json
from ernie.torch_file import TorchFile
from propeller.errors import UserError
from propeller.pdparams import read_pdparams
from propeller.variables import to_float32

log = logging.getLogger("ernie.convert")

SAFETENSORS, TORCH = "model.safetensors", "pytorch_model.bin"


class ForeignWeights(Protocol):
    """What the classes below have in common.

    Attributes:
        shapes: name -> shape of every tensor, as in the file.
        format: the library that the file says it was written by ("pt", "np", "pd", "paddle"), or None.
    """

    shapes: dict[str, tuple[int, ...]]
    format: str | None

    def read(self, name: str) -> np.ndarray: ...


def open_weights(source_format: str, directory: str | os.PathLike[str]) -> ForeignWeights:
    """The weights of a directory: safetensors where it has some, else the library's own file.

    Args:
        source_format: "hf": ``model.safetensors``, else ``pytorch_model.bin``, each whole or in shards; "paddlenlp":
            ``model.safetensors``, else the one ``.pdparams`` file.
        directory: the model's.

    Raises:
        UserError: it has none of them, or one that cannot be read.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"{directory}: no such directory; give that of a model; {BY_PATH}")
    if _has(directory, SAFETENSORS):
        return SafetensorsWeights(directory)
    if source_format == "paddlenlp":
        return PdparamsWeights(directory)
    if _has(directory, TORCH):
        return TorchWeights(directory)
    raise UserError(
        f"{directory}: no {SAFETENSORS} and no {TORCH}: give a model saved with one of them "
        "(in transformers: save_pretrained)"
    )


def _has(directory, name):
    return (directory / name).is_file() or (directory / f"{name}.index.json").is_file()


class SafetensorsWeights:
    """The tensors of a directory with safetensors files: ``shapes`` at once, data when asked for.

    Raises:
        UserError: no safetensors file, one that cannot be read, or a shard that is missing or incomplete.
    """

    def __init__(self, directory: Path) -> None:
        self._files: dict[str, tuple[Path, Any]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.format: str | None = None
        self._bfloat16: dict[Path, dict[str, Any]] = {}
        for path, wanted in _files(directory, SAFETENSORS):
            try:
                file = safe_open(path, framework="numpy")
                self.format = (file.metadata() or {}).get("format", self.format)
                found = list(file.keys())
                for name in found:
                    self.shapes[name] = tuple(file.get_slice(name).get_shape())
                    self._files[name] = (path, file)
            except (OSError, SafetensorError) as error:
                raise UserError(f"{path}: not a readable safetensors file ({error}): copy it again") from error
            _check_shard(path, wanted, found)

    def read(self, name: str) -> np.ndarray:
        """One tensor as float32, [shape as in the file]."""
        path, file = self._files[name]
        if file.get_slice(name).get_dtype() != "BF16":
            return to_float32(file.get_tensor(name))
        if path not in self._bfloat16:  # numpy has no bfloat16 and safe_open refuses it: take the file's bytes
            self._bfloat16 = {path: {key: value["data"] for key, value in deserialize(path.read_bytes())}}
        return to_float32(np.frombuffer(self._bfloat16[path][name], "<u2").reshape(self.shapes[name]))


class TorchWeights:
    """The tensors of ``pytorch_model.bin`` or its shards, with the face of SafetensorsWeights.

    Raises:
        UserError: see ``ernie.torch_file.TorchFile``; a shard is missing or incomplete.
    """

    format: str | None = "pt"

    def __init__(self, directory: Path) -> None:
        self._files: dict[str, TorchFile] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for path, wanted in _files(directory, TORCH):
            file = TorchFile(path)
            _check_shard(path, wanted, file.shapes)
            self.shapes.update(file.shapes)
            self._files.update(dict.fromkeys(file.shapes, file))

    def read(self, name: str) -> np.ndarray:
        """One tensor as float32, [shape as in the file]."""
        return to_float32(self._files[name].read(name))


class PdparamsWeights:
    """The tensors of a PaddleNLP directory with a .pdparams file, with the face of SafetensorsWeights."""

    format: str | None = "pd"

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        files = sorted(Path(directory).glob("*.pdparams"))
        if len(files) != 1:
            raise UserError(
                f"{directory}: holds {len(files)} .pdparams files, not 1, and no {SAFETENSORS}: give a model's own "
                "directory"
            )
        self._arrays = read_pdparams(files[0])
        self.shapes = {name: array.shape for name, array in self._arrays.items()}

    def read(self, name: str) -> np.ndarray:
        """One tensor as float32."""
        return to_float32(self._arrays[name])


def _check_shard(path, wanted, found):
    lost = sorted(set(wanted) - set(found))
    if lost:
        raise UserError(f"{path}: {lost[0]}, which the index puts here, is missing: copy the model again")


def _files(directory, name):
    """(path, names that must be in it) of each weights file."""
    single, index = directory / name, directory / f"{name}.index.json"
    if single.is_file():
        return [(single, ())]
    shards: dict[Path, list[str]] = {}
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(f"{index}: has no 'weight_map': copy the model again")
    for tensor, file in weight_map.items():
        if not isinstance(file, str) or Path(file).name != file:
            raise UserError(f"{index}: {file!r} is not the name of a file beside it: copy the model again")
        shards.setdefault(directory / file, []).append(tensor)
    return sorted(shards.items())


def linear_is_transposed(
    weights: ForeignWeights, rows: Mapping[str, Any], hidden: int, inner: int, default: bool
) -> bool:
    """Whether linear weights are stored as [out, in], as torch has them, and not as [in, out], as Paddle has them.

    The feed-forward layer tells, as it has two sizes: neither the names nor the file's word for its format do for sure,
    since both libraries write each other's. Where the two sizes are equal, the file's word counts, else the default.

    Args:
        weights: of the model.
        rows: name in the file -> ``ernie.foreign.Row``.
        hidden, inner: the model's two sizes.
        default: what holds for files that do not say.

    Raises:
        UserError: some are stored one way and some the other.
    """
    found = set()
    for name, row in rows.items():
        shape = weights.shapes.get(name)
        if hidden != inner and row.params.endswith("ffn_fc_0.w_0") and shape in ((hidden, inner), (inner, hidden)):
            found.add(shape == (inner, hidden))
    if len(found) > 1:
        raise UserError("linear weights are stored as [in, out] and as [out, in] in one model: save it again")
    if found:
        return found.pop()
    return {"pt": True, "pd": False, "paddle": False}.get(weights.format or "", default)
