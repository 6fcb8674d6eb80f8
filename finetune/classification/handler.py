"""Requests for classification and regression: as any texts, the long ones in windows where the model reads them so.

    POST /predict {"texts": ["a long text ..."]}
    {"predictions": [{"label": "good", "probabilities": {...}, "truncated": false}]}

``truncated`` is true where a text has more than ``max_windows`` windows, whose end is then left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.classification.windows import windows_of
from finetune.serving import payload as checks
from finetune.serving.handler import ParsedRequest, TextHandler
from reader.batching import NO_LIMIT, encode_rows
from reader.windows import in_windows, plan, pool

if TYPE_CHECKING:
    from finetune.prediction.model import InferenceModel
    from propeller.service.limits import Limits


class WindowHandler(TextHandler):
    """Requests of texts and pairs, the long ones in windows if the model reads them so."""

    def __init__(self, model: InferenceModel) -> None:
        super().__init__(model)
        self.windows = windows_of(model.spec)
        if self.windows:
            self.outputs = self.main = ("logits",)

    def describe(self) -> dict[str, Any]:
        """With how long texts are read."""
        found = self.windows
        about = {} if found is None else {"max_windows": found.most, "window_pooling": found.pooling}
        return {**super().describe(), **about}

    def parse(self, payload: Any, limits: Limits) -> ParsedRequest:
        if self.windows is None:
            return super().parse(payload, limits)
        payload, teaches = self.asks_logits(payload)
        pairs = self.texts_of(payload, limits)
        first, second = zip(*pairs)
        ids = self.tokenizer.encode_batch([*first, *second])
        special = self.tokenizer.cls_id, self.tokenizer.sep_id
        rows = encode_rows(ids[: len(first)], ids[len(first) :], NO_LIMIT, *special)
        found = plan(rows, self.model.max_seq_len, self.windows)
        checks.windows(int(found.counts.sum()), limits)
        parted = in_windows(rows, self.model.max_seq_len, found)
        about = {"pairs": pairs, "truncated": found.cut.tolist(), "teaches": teaches, "counts": found.counts}
        return ParsedRequest(self.instances(parted), about, None, unpadded=bool(teaches))

    def answer(self, job: ParsedRequest, outputs: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Any]:
        if self.windows is None:
            return super().answer(job, outputs)
        logits = pool(np.stack([output["logits"] for output in outputs]), job.about["counts"], self.windows.pooling)
        task: Any = self.model.task
        found = task.outputs_of(logits)
        texts = [{name: array[number] for name, array in found.items()} for number in range(len(logits))]
        return super().answer(job, texts)
