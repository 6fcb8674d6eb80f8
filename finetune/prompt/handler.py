"""Requests for classification by a template: texts and pairs as in any classification.

POST /predict {"texts": ["a fine film"]}
{"predictions": [{"label": "positive", "label_id": 1, "probabilities": {...}, "truncated": false}]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.serving import payload as checks
from finetune.serving.handler import ParsedRequest, TextHandler
from propeller.service.errors import BadRequest
from reader.prompts import encode_pairs

if TYPE_CHECKING:
    from finetune.prediction.model import InferenceModel
    from propeller.service.limits import Limits


class PromptHandler(TextHandler):
    """Texts in the template, a row for each number of masks."""

    def __init__(self, model: InferenceModel) -> None:
        super().__init__(model)
        task: Any = model.task
        self.prompt = task.prompt(model.spec, self.tokenizer)

    def describe(self) -> dict[str, Any]:
        """With ``pairs`` as the template says."""
        return {**super().describe(), "pairs": self.prompt.has_pair}

    def parse(self, payload: Any, limits: Limits) -> ParsedRequest:
        payload, _ = self.asks_logits(payload)
        pairs = self.texts_of(payload, limits)
        for number, (_, second) in enumerate(pairs):
            if second and not self.prompt.has_pair:
                raise BadRequest(f"texts[{number}] is a pair, and the model's template has no second text: give one")
        per_text = len(self.prompt.counts)
        checks.windows(len(pairs) * per_text, limits)
        rows = self.prompt.rows(encode_pairs(pairs, self.tokenizer, self.prompt), self.model.max_seq_len)
        return ParsedRequest(self.instances(rows), {"pairs": pairs, "truncated": rows.cut[::per_text].tolist(),
                                                    "teaches": ""})  # fmt: skip

    def answer(self, job: ParsedRequest, outputs: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Any]:
        scores = np.stack([output["scores"] for output in outputs])
        scores = scores.reshape(-1, len(self.prompt.counts), scores.shape[-1]).sum(axis=1)
        return super().answer(job, [{"scores": each} for each in scores])
