"""Make a whitening of vectors, for ``ernie_encoder.py --whitening`` and ``python -m finetune.embedding.sts``.

    python ernie_encoder.py --pooling mean --data_set sentences.tsv --output_dir vectors ...
    python -m finetune.embedding.whiten vectors --output whitening.npz --dimensions 256

The vectors should be of many texts like those that will be compared: some thousands. ``finetune.embedding.whitening``
has the formula.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from finetune.embedding.vector_files import facts_beside, open_vectors
from finetune.embedding.whitening import Whitening
from propeller.errors import UserError, exit_on_user_error
from propeller.flags import FlagParser, add_flags, flag, from_values, read_flags

FACTS = ("model", "layer", "pooling", "normalize")  # of embeddings.json


@dataclass(frozen=True)
class WhitenFlags:
    """whitening: what comes of it"""

    output: str = flag(None, "the whitening, a .npz", required=True)
    dimensions: int | None = flag(None, "keep so many dimensions, those that vary most [all]")


def main(argv: Sequence[str]) -> None:
    """Run the command."""
    parser = FlagParser(
        prog="python -m finetune.embedding.whiten",
        description="Make a whitening of vectors (Su et al. 2021).",
        example="output/vectors --output output/whitening.npz --dimensions 256",
        allow_abbrev=False,
    )
    parser.add_argument("vectors", metavar="VECTORS", help="what ernie_encoder.py wrote, or a .npy of vectors")
    add_flags(parser, WhitenFlags)
    values = read_flags(parser, argv)
    flags = from_values(WhitenFlags, values)
    if not flags.output.endswith(".npz"):
        raise UserError(f"--output {flags.output}: name a .npz file")
    vectors = open_vectors(values["vectors"])
    beside = facts_beside(values["vectors"])
    facts = {"rows": len(vectors), **{name: beside[name] for name in FACTS if name in beside}}
    found = Whitening.of(vectors, flags.dimensions, facts)
    found.save(flags.output)
    print(f"whitening of {len(vectors)} vectors, {vectors.shape[1]} to {found.dimensions} numbers: {flags.output}")


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
