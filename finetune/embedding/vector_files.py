"""Files of vectors: a row each, made by ``ernie_encoder.py`` or by any other encoder.

open_vectors("vectors/cls_emb.npy")     # float [rows, columns], not read into memory
open_vectors("vectors")                 # the same, of a folder that ernie_encoder.py wrote
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from finetune.embedding.files import MANIFEST, VECTORS
from propeller.errors import UserError

KINDS = "a .npy file, a .npz file with one array, a folder that ernie_encoder.py wrote"


def vectors_file(path: str | Path, more: str = "") -> Path:
    """The file of vectors that a path means.

    Args:
        path: of the file, or of a folder that has one.
        more: what else the error may offer.

    Raises:
        UserError: there is none.
    """
    path = Path(path)
    found = path / VECTORS if path.is_dir() else path
    if not found.is_file():
        raise UserError(f"{found}: no such file; give {KINDS}{more}")
    return found


def facts_beside(path: str | Path) -> dict[str, Any]:
    """What ``ernie_encoder.py`` wrote about a file of vectors (``embeddings.json``); {} where there is nothing."""
    file = vectors_file(path).parent / MANIFEST
    try:
        facts = json.loads(file.read_text(encoding="utf8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) and VECTORS in facts.get("files", ()) else {}


def open_vectors(path: str | Path, columns: int | None = None) -> np.ndarray:
    """The vectors of a file, float [rows, columns]; a .npy is mapped, not read.

    Args:
        path: see ``vectors_file``.
        columns: numbers that a vector has to have; None: any.

    Raises:
        UserError: there is no such file, it holds something else, or vectors of another length.
    """
    file = vectors_file(path)
    try:
        if zipfile.is_zipfile(file):
            with np.load(file, allow_pickle=False) as found:
                names = list(found.files)
                if len(names) != 1:
                    raise UserError(f"{file}: holds {len(names)} arrays: save the vectors alone, as one")
                array = found[names[0]]
        else:
            array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{file}: is not an array that numpy reads ({error}): give {KINDS}") from None
    if array.ndim != 2 or not len(array) or array.dtype.kind != "f":
        raise UserError(
            f"{file}: an array {list(array.shape)} of {array.dtype}, not one of a vector per row: save float32 "
            "[rows, numbers of a vector]"
        )
    if columns is not None and array.shape[1] != columns:
        raise UserError(
            f"{file}: vectors of {array.shape[1]} numbers, and the encoder has {columns}: "
            "make them as long with python -m finetune.embedding.resize"
        )
    return array
