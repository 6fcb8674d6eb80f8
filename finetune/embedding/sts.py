"""How well cosines of vectors follow the scores of pairs: Spearman's and Pearson's correlation on STS files.

    python -m finetune.embedding.sts output/vectors/best sts-dev.tsv
    python -m finetune.embedding.sts MODEL sts-dev.tsv sts-test.tsv --pooling mean --whitening whitening.npz

A file has the columns text_a, text_b and label, the score. Printed are a line per file: Spearman, Pearson, rows.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from finetune.embedding.pooled import CHOICES
from finetune.embedding.whitening import Whitening
from finetune.tables import LabelledTableFlags
from propeller import log as log_setup
from propeller import runtime
from propeller.errors import UserError, exit_on_user_error
from propeller.flags import DEVICE, FlagParser, add_flags, check_least, flag, from_values, read_flags
from propeller.service.engines import AUTO, ENGINE_HELP, ENGINES
from reader.row_encoder import LabelRule, empty
from reader.tables.opening import open_table

if TYPE_CHECKING:
    from finetune.predictor import Predictor

log = logging.getLogger("ernie.finetune")


@dataclass(frozen=True)
class StsFlags:
    """vectors: how they are made"""

    pooling: str | None = flag(None, "as of ernie_encoder.py [as the model says]", choices=CHOICES)
    whitening: str | None = flag(None, "a whitening by python -m finetune.embedding.whiten")
    batch_size: int = flag(32, "texts per batch")
    engine: str = flag(AUTO, ENGINE_HELP.removesuffix(" [auto]"), choices=ENGINES)
    use_cuda: str = flag("auto", "true, false, or auto: a GPU if there is one", **DEVICE)


class ScoredPairs(NamedTuple):
    """The rows of an STS file: two texts each, and float64 [rows] of scores."""

    first: list[str]
    second: list[str]
    scores: np.ndarray


def read_pairs(path: str, tables: LabelledTableFlags) -> ScoredPairs:
    """The rows of an STS file.

    Raises:
        UserError: a column is missing; a text is empty, or a score no finite number: file and line.
    """
    table = open_table(path, ("text_a", "text_b", "label"), form=tables.form())
    places = [table.columns.index(name) for name in ("text_a", "text_b", "label")]
    rule, rows = LabelRule("float"), []
    for number, record in table.records():
        try:
            one, other, score = (table.layout.fields(record)[place] for place in places)
            for name, text in (("text_a", one), ("text_b", other)):
                if not text.strip():
                    raise ValueError(empty(table.layout.name_of(name), "its text"))
            rows.append((one, other, rule.read(score, table.layout.name_of("label"))))
        except ValueError as problem:
            raise UserError(f"{table.layout.where(number)}: {problem}") from None
    first, second, scores = zip(*rows)
    return ScoredPairs(list(first), list(second), np.array(scores, np.float64))


def correlations(model: Predictor, pairs: ScoredPairs, flags: StsFlags) -> dict[str, float]:
    """``spearmanr`` and ``pearson`` of the cosines of a model's vectors with the scores."""
    from finetune.metrics import pearson_and_spearman

    texts = [*pairs.first, *pairs.second]
    # A whitening is of vectors of any length; to cosines theirs makes no difference.
    vectors = model.embed(texts, pooling=flags.pooling, normalize=False, batch_size=flags.batch_size)
    if flags.whitening:
        whitening, described = Whitening.load(flags.whitening), model.describe()
        pooling = flags.pooling or described.get("pooling")
        if pooling is None:
            raise UserError(
                f"--whitening with a model of the task {described['task']!r}: give --pooling, that of the vectors that "
                "it was made of"
            )
        whitening.check(flags.whitening, vectors.shape[1], pooling)
        vectors = whitening.apply(vectors)
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    one, other = np.split(vectors, 2)
    found = pearson_and_spearman((one * other).sum(axis=1), pairs.scores)
    return {name: found[name] for name in ("spearmanr", "pearson")}


def main(argv: Sequence[str]) -> None:
    """Run the command."""
    parser = FlagParser(
        prog="python -m finetune.embedding.sts",
        description="Spearman's and Pearson's correlation of cosines with the scores of STS files.",
        example="output/sentence_vectors/best data/STS-B/dev.tsv",
        allow_abbrev=False,
    )
    parser.add_argument("model", metavar="MODEL", help="a checkpoint, an inference model or a model directory")
    parser.add_argument("files", metavar="FILE", nargs="+", help="pairs with scores: text_a, text_b, label")
    for group in (StsFlags, LabelledTableFlags):
        add_flags(parser, group)
    values = read_flags(parser, argv)
    flags, tables = from_values(StsFlags, values), from_values(LabelledTableFlags, values)
    check_least(flags, batch_size=1)
    log_setup.setup(None, bar=False)
    sets = [(path, read_pairs(path, tables)) for path in values["files"]]
    runtime.prepare()
    from finetune.api import load

    with load(values["model"], use_cuda=flags.use_cuda, engine=flags.engine) as model:
        try:
            for path, pairs in sets:
                found = correlations(model, pairs, flags)
                print(f"spearman {found['spearmanr']:.4f}  pearson {found['pearson']:.4f}  rows {len(pairs.scores)}  "
                      f"{path}")  # fmt: skip
        except ValueError as error:  # a pooling that the model does not give
            raise UserError(str(error)) from None


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
