"""python -m finetune.search query: the texts of an index that are nearest to questions.

with Searcher("index") as searcher:
    searcher(["how do I change my password?"], top=3)       # [[{"text": ..., "score": 0.71, "row": 12}, ...]]
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetune.prediction.formats import on_one_line
from finetune.search.args import parse_query
from finetune.search.build import texts_of
from finetune.search.index import SearchIndex
from finetune.search.model import check_model, identity
from propeller import log as log_setup
from propeller import runtime
from propeller.errors import UserError
from propeller.files import atomic_text
from reader.tables.form import SKIP
from reader.tables.opening import open_table

COLUMNS = ("question", "rank", "score", "row", "text")


class Searcher:
    """An index with the model that built it.

    Args:
        folder: the index.
        model: where the model is now; None: where it was.
        settings: further arguments of ``finetune.load``.

    Raises:
        UserError: one of them is damaged or not there, or the model is another one.
    """

    def __init__(self, folder: str | Path, model: str | Path | None = None, **settings: Any) -> None:
        self.index = SearchIndex.open(folder)
        place = model or self.index.about["model_path"]
        if not Path(place).is_dir():
            raise UserError(f"{place}: no such directory; give --model, the model that {folder} was built by")
        runtime.prepare()
        from finetune.api import load

        self.predictor = load(place, task="embed", **settings)
        self.pooling = self.index.model["pooling"]
        check_model(self.index, identity(self.predictor.describe(), self.pooling), place)

    def __call__(
        self, questions: Sequence[str], top: int = 5, batch_size: int = 32, effort: int = 64
    ) -> list[list[dict[str, Any]]]:
        """The nearest texts of each question, see ``SearchIndex.results``."""
        vectors = self.predictor.embed(questions, pooling=self.pooling, batch_size=batch_size)
        return self.index.results(vectors, top, effort)

    def close(self) -> None:
        """Remove what loading wrote to temporary folders."""
        self.predictor.close()

    def __enter__(self) -> Searcher:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def start(argv: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    flags, tables, questions = parse_query(argv)
    log_setup.setup(None, bar=False)
    if flags.query_set:
        form = dataclasses.replace(tables.form(), others=SKIP)
        questions = list(texts_of(open_table(flags.query_set, form=form)))
    with Searcher(flags.search_index, flags.model, use_cuda=flags.use_cuda, engine=flags.engine) as searcher:
        found = searcher(questions, flags.top, flags.batch_size, flags.effort)
    if flags.output:
        _write(flags.output, questions, found)
    else:
        _show(questions, found)
    return 0


def _show(questions, found):
    for question, results in zip(questions, found):
        print(question)
        for result in results:
            print(f"  {result['score']:.3f}  {on_one_line(result['text'])}")
    sys.stdout.flush()


def _write(path, questions, found):
    with atomic_text(path) as file:
        file.write("\t".join(COLUMNS) + "\n")
        for question, results in zip(questions, found):
            for rank, result in enumerate(results, 1):
                cells = (question, rank, f"{result['score']:.6f}", result["row"], result["text"])
                file.write("\t".join(on_one_line(str(cell)) for cell in cells) + "\n")
