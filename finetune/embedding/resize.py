"""Give vectors as many numbers as an encoder has, so that it can learn them (``--objective teacher``).

    python -m finetune.embedding.resize teacher.npy --dimensions 384 --output teacher_384.npy

Vectors with more numbers are projected on the directions that hold most of their squares, without centring, so that
angles change little. Vectors with fewer are filled up with zeros, which changes no angle.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finetune.embedding.vector_files import open_vectors
from finetune.embedding.whitening import CHUNK
from propeller.errors import exit_on_user_error
from propeller.files import atomic_bytes
from propeller.flags import FlagParser, add_flags, check_least, flag, from_values, read_flags


@dataclass(frozen=True)
class ResizeFlags:
    """vectors: what comes of them"""

    output: str = flag(None, "the new vectors, a .npy", required=True)
    dimensions: int = flag(None, "numbers of a new vector", required=True)


def resized(vectors: np.ndarray, dimensions: int) -> np.ndarray:
    """Vectors of another length.

    Args:
        vectors: float [rows, columns].
        dimensions: numbers of a new vector.

    Returns:
        float32 [rows, dimensions].
    """
    rows, columns = vectors.shape
    found = np.zeros((rows, dimensions), np.float32)
    if dimensions >= columns:
        found[:, :columns] = vectors
        return found
    products = np.zeros((columns, columns))
    for begin in range(0, rows, CHUNK):
        part = np.asarray(vectors[begin : begin + CHUNK], np.float64)
        products += part.T @ part
    _, directions = np.linalg.eigh(products)
    matrix = directions[:, ::-1][:, :dimensions]
    for begin in range(0, rows, CHUNK):
        found[begin : begin + CHUNK] = np.asarray(vectors[begin : begin + CHUNK], np.float64) @ matrix
    return found


def main(argv: Sequence[str]) -> None:
    """Run the command."""
    parser = FlagParser(
        prog="python -m finetune.embedding.resize",
        description="Give vectors another length, with their angles as they were or nearly so.",
        example="output/vectors.npy --dimensions 128 --output output/short_vectors.npy",
        allow_abbrev=False,
    )
    parser.add_argument("vectors", metavar="VECTORS", help="a .npy or .npz, or what ernie_encoder.py wrote")
    add_flags(parser, ResizeFlags)
    values = read_flags(parser, argv)
    flags = from_values(ResizeFlags, values)
    check_least(flags, dimensions=1)
    vectors = open_vectors(values["vectors"])
    found = resized(vectors, flags.dimensions)
    kept = float((found.astype(np.float64) ** 2).sum() / max(float((vectors.astype(np.float64) ** 2).sum()), 1e-30))
    with atomic_bytes(flags.output) as file:
        np.save(file, found, allow_pickle=False)
    print(
        f"{len(found)} vectors, {vectors.shape[1]} to {flags.dimensions} numbers, {100 * kept:.1f}% of their squares: "
        f"{flags.output}"
    )


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
