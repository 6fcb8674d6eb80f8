"""Whitening of sentence vectors: a linear map after which their dimensions are uncorrelated and of one variance.

    found = Whitening.of(vectors, dimensions=256)
    found.apply(vectors)                            # float32 [rows, 256]
    found.save("whitening.npz")
    Whitening.load("whitening.npz")

Su et al. 2021, arXiv 2103.15316: with the mean m and the covariance U diag(l) U' of vectors it is
(x - m) U diag(l)^-1/2, of which the first columns, those of the largest l, are kept.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from propeller.errors import UserError
from propeller.files import atomic_bytes

CHUNK = 1 << 16  # rows that are widened to float64 together
LEAST = 1e-9  # a share of the largest variance below which there is none


@dataclass(frozen=True)
class Whitening:
    """A whitening.

    Attributes:
        mean: float32 [columns].
        matrix: float32 [columns, dimensions].
        facts: what the vectors were that it was made of, such as ``pooling`` and ``rows``; JSON-able.
    """

    mean: np.ndarray
    matrix: np.ndarray
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, vectors: np.ndarray, dimensions: int | None = None, facts: Mapping[str, Any] | None = None
    ) -> Whitening:
        """The whitening of vectors.

        Args:
            vectors: float [rows, columns].
            dimensions: how many to keep; None: all.
            facts: see the class.

        Raises:
            UserError: so many dimensions do not vary in these rows.
        """
        mean, covariance = moments(vectors)
        values, directions = np.linalg.eigh(covariance)
        values, directions = values[::-1], directions[:, ::-1]
        varying = int((values > LEAST * values[0]).sum()) if values[0] > 0 else 0
        kept = vectors.shape[1] if dimensions is None else dimensions
        if not 1 <= kept <= varying:
            raise UserError(
                f"--dimensions {kept}: {len(vectors)} vectors of {vectors.shape[1]} numbers vary in {varying} "
                f"directions: give 1 to {varying}, or more vectors"
                if varying
                else f"{len(vectors)} vectors are all the same: give vectors of different texts"
            )
        matrix = directions[:, :kept] / np.sqrt(values[:kept])
        return cls(mean.astype(np.float32), matrix.astype(np.float32), dict(facts or {}))

    @property
    def dimensions(self) -> int:
        """Numbers of a whitened vector."""
        return self.matrix.shape[1]

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """float32 [rows, columns] -> [rows, dimensions]."""
        return (vectors - self.mean) @ self.matrix

    def save(self, path: str | Path) -> None:
        """Write it as a .npz, whole or not at all."""
        with atomic_bytes(path) as file:
            np.savez(file, mean=self.mean, matrix=self.matrix, facts=np.array(json.dumps(dict(self.facts))))

    @classmethod
    def load(cls, path: str | Path) -> Whitening:
        """Read what ``save`` wrote.

        Raises:
            UserError: it is something else.
        """
        if not Path(path).is_file():
            raise UserError(f"{path}: no such file; make it with python -m finetune.embedding.whiten")
        try:
            with np.load(path, allow_pickle=False) as found:
                mean, matrix, facts = found["mean"], found["matrix"], json.loads(str(found["facts"]))
            if matrix.ndim != 2 or mean.shape != matrix.shape[:1] or not isinstance(facts, dict):
                raise ValueError(f"arrays {list(mean.shape)} and {list(matrix.shape)}")
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
            raise UserError(
                f"{path}: is not a whitening ({error}): make one with python -m finetune.embedding.whiten"
            ) from None
        return cls(mean.astype(np.float32), matrix.astype(np.float32), facts)

    def check(self, path: str | Path, columns: int, pooling: str, layer: int | None = None) -> None:
        """Raise UserError where it is not of such vectors.

        Args:
            path: where it is from, for the message.
            columns: numbers of a vector.
            pooling: how they are made.
            layer: of which layer they are; None: not known.
        """
        if len(self.mean) != columns:
            raise UserError(
                f"{path}: is of vectors of {len(self.mean)} numbers, these have {columns}: give that of this model"
            )
        theirs = self.facts.get("pooling", pooling)
        if theirs != pooling:
            raise UserError(
                f"{path}: was made of vectors of the pooling {theirs}, these are of {pooling}: give --pooling {theirs}"
            )
        of_layer = self.facts.get("layer", layer)
        if layer is not None and of_layer != layer:
            raise UserError(f"{path}: was made of vectors of layer {of_layer}, not {layer}: give --layer {of_layer}")
        if self.facts.get("normalize", False):
            raise UserError(f"{path}: was made of vectors of length 1: make it of vectors with --normalize false")


def moments(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the mean, float64 [columns]; the covariance, float64 [columns, columns]) of rows, a part at a time."""
    rows, columns = vectors.shape
    total, products = np.zeros(columns), np.zeros((columns, columns))
    for begin in range(0, rows, CHUNK):
        total += np.asarray(vectors[begin : begin + CHUNK], np.float64).sum(axis=0)
    mean = total / rows
    for begin in range(0, rows, CHUNK):
        part = np.asarray(vectors[begin : begin + CHUNK], np.float64) - mean
        products += part.T @ part
    return mean, products / rows
