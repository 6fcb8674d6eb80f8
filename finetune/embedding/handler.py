"""Requests for embeddings: texts in, vectors or similarities out.

POST /predict {"texts": [text or [text, text], ...]}
{"embeddings": [[number, ...], ...], "truncated": [...]}
POST /predict {"pairs": [[text, text], ...]}
{"similarity": [cosine, ...], "truncated": [...]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.embedding.files import vectors_of
from finetune.embedding.pooled import CHOICES, WHITENED, vector_size
from finetune.serving import payload as checks
from finetune.serving.handler import Handler, ParsedRequest
from propeller.service.errors import BadRequest

if TYPE_CHECKING:
    from finetune.prediction.model import InferenceModel
    from propeller.service.limits import Limits


class EmbedHandler(Handler):
    """A vector for each text, or the similarity of two texts: the cosine of their vectors.

    A request may name how the vector is made of the row's states, ``"pooling": "cls" | "mean" | "max" | "first"``, or
    another that the bundle has, and ask for vectors of length 1, ``"normalize": true``; else it is as the bundle was
    made.
    """

    OPTIONS = ("pooling?", "normalize?")
    answer_key = "embeddings"

    def __init__(self, model: InferenceModel) -> None:
        super().__init__(model)
        self.poolings = self.outputs = [name for name in (*CHOICES, WHITENED) if name in model.bundle.outputs]
        self.pooling = model.spec.facts.get("pooling") or self.poolings[0]
        self.main = [model.spec.facts.get("main") or self.pooling]
        self.normalize = bool(model.spec.facts.get("normalize"))

    def describe(self) -> dict[str, Any]:
        """With the poolings and the length of a vector."""
        size = self.vector_size()
        return {**super().describe(), "poolings": self.poolings, "pooling": self.pooling, "hidden_size": size}

    def vector_size(self, pooling: str | None = None) -> int:
        """Numbers of a vector; pooling: which one, None: the model's own."""
        return vector_size(self.model.spec.facts, self.model.config.hidden_size, pooling or self.pooling)

    def parse(self, payload: Any, limits: Limits) -> ParsedRequest:
        pairs = checks.choose(payload, ("texts", *self.OPTIONS), ("pairs", *self.OPTIONS))[0] == "pairs"
        pooling, normalize = payload.get("pooling", self.pooling), payload.get("normalize", self.normalize)
        if pooling not in self.poolings:
            raise BadRequest(f"pooling must be one of {', '.join(self.poolings)}")
        if not isinstance(normalize, bool):
            raise BadRequest(f"normalize must be true or false, not {checks.kind(normalize)}")
        if pairs:
            both = [
                checks.pair(value, f"pairs[{i}]", limits, blank=False)
                for i, value in enumerate(checks.members(payload["pairs"], "pairs", limits))
            ]
            examples = [(text, "") for pair in both for text in pair]
        else:
            examples = checks.texts_or_pairs({"texts": payload["texts"]}, limits)
        rows = self.encode(examples)
        about = {"pairs": pairs, "pooling": pooling, "normalize": normalize, "truncated": rows.cut}
        return ParsedRequest(self.instances(rows), about)

    def answer(self, job: ParsedRequest, outputs: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Any]:
        pooling, pairs, truncated = (job.about[name] for name in ("pooling", "pairs", "truncated"))
        stacked = {pooling: np.array([output[pooling] for output in outputs])}
        vectors = vectors_of(stacked, pooling, normalize=pairs or job.about["normalize"])  # [rows, hidden]
        if pairs:
            cosines = np.clip((vectors[::2] * vectors[1::2]).sum(axis=1), -1, 1)
            return {"similarity": cosines.tolist(), "truncated": truncated.reshape(-1, 2).any(axis=1).tolist()}
        return {"embeddings": vectors.tolist(), "truncated": truncated.tolist()}
