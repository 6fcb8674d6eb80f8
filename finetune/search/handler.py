"""Requests to a server that has an index: questions in, the nearest texts out; else as ``finetune.embedding.handler``.

POST /predict {"search": question or [question, ...], "top": 5}
{"results": [[{"text": ..., "score": 0.71, "row": 12}, ...], ...], "truncated": [...]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.embedding.handler import EmbedHandler
from finetune.prediction.model import InferenceModel
from finetune.search.index import SearchIndex
from finetune.search.model import check_model, identity
from finetune.serving import payload as checks
from finetune.serving.handler import ParsedRequest, handler_class
from propeller.errors import UserError
from propeller.service.errors import BadRequest

if TYPE_CHECKING:
    from propeller.service.limits import Limits


TOP, MOST = 10, 100
KEY = "search"


class SearchHandler(EmbedHandler):
    """Embeddings and similarities, and the texts of an index that are nearest to a question.

    Args:
        model: see ``Handler``.
        index: what is searched, built by that model.
    """

    quick = False  # to compare with many texts takes longer than to hand it to a thread

    def __init__(self, model: InferenceModel, index: SearchIndex) -> None:
        super().__init__(model)
        self.index = index
        pooling = index.model["pooling"]
        if pooling not in self.poolings:
            raise UserError(f"{index.folder}: is of the pooling {pooling}, which {model.bundle.folder} does not give")
        check_model(index, identity(super().describe(), pooling), model.bundle.folder)

    def describe(self) -> dict[str, Any]:
        """With ``search``: how many texts there are, and how they are searched."""
        about = {"rows": self.index.rows, "kind": self.index.kind, "top": TOP}
        return {**super().describe(), KEY: about}

    def parse(self, payload: Any, limits: Limits) -> ParsedRequest:
        if not isinstance(payload, dict) or KEY not in payload:
            return super().parse(payload, limits)
        checks.choose(payload, (KEY, "top?"))
        top, asked = payload.get("top", TOP), payload[KEY]
        if isinstance(top, bool) or not isinstance(top, int) or not 1 <= top <= MOST:
            raise BadRequest(f"top must be a whole number from 1 to {MOST}")
        texts = checks.texts(asked, KEY, limits) if isinstance(asked, list) else [checks.text(asked, KEY, limits)]
        rows = self.encode([(text, "") for text in texts])
        return ParsedRequest(self.instances(rows), {"top": top, "truncated": rows.cut})

    def answer(self, job: ParsedRequest, outputs: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Any]:
        if "top" not in job.about:
            return super().answer(job, outputs)
        vectors = np.array([output[self.index.model["pooling"]] for output in outputs])
        return {
            "results": self.index.results(vectors, job.about["top"]),
            "truncated": job.about["truncated"].tolist(),
        }


def open_search_handler(bundle_folder: str | Path, search_index: str | Path) -> SearchHandler:
    """The handler of a bundle with an index.

    Raises:
        UserError: the bundle is not of embeddings, the index is damaged, or it was built by another model.
    """
    model = InferenceModel.open(bundle_folder, with_predictor=False)
    if handler_class(model.task) is not EmbedHandler:
        raise UserError(
            f"--search_index with {model.bundle.folder}, a model of the task {model.bundle.task!r}, which gives no "
            "vectors: serve an inference model of embeddings (ernie_encoder.py --save_inference_model_path)"
        )
    return SearchHandler(model, SearchIndex.open(search_index))
