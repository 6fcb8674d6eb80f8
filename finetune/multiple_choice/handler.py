"""Requests for multiple choice: a text, a question and options in, the likeliest option out.

    POST /predict {"text_a": "The lamp went out.", "text_b": "Why?", "choices": ["It rained.", "The power failed."]}
    {"predictions": [{"label": 1, "choice": "The power failed.", "probabilities": [0.1, 0.9], "truncated": false}]}

``{"questions": [{"text_a", "text_b", "choices"}, ...]}`` asks several; ``text_b`` may be left out. ``truncated`` is
true where an option's row was cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.serving import payload as checks
from finetune.serving.handler import Handler, ParsedRequest
from propeller.service.errors import BadRequest
from reader.choices import encode_texts, option_rows

if TYPE_CHECKING:
    from propeller.service.limits import Limits

KEYS = ("text_a", "text_b?", "choices")


class ChoiceHandler(Handler):
    """The likeliest of the options of each question."""

    def payload(self, items: Sequence[Any]) -> dict[str, Any]:
        """The request for (text, options) and (text, question, options), or dicts of ``text_a``, ``text_b``,
        ``choices``."""
        return {"questions": [_question(item) for item in items]}

    def parse(self, payload: Any, limits: Limits) -> ParsedRequest:
        questions = self._questions(payload, limits)
        self.tell_pairs((parts[0], parts[1]) for parts in questions)
        checks.windows(sum(len(parts) - 2 for parts in questions), limits)
        rows = encode_texts(questions, self.tokenizer)
        found = option_rows(rows, self.model.max_seq_len, self.tokenizer.cls_id, self.tokenizer.sep_id)
        about = {"questions": questions, "counts": found.counts.tolist(), "cut": found.rows.cut}
        return ParsedRequest(self.instances(found.rows), about)

    @staticmethod
    def _questions(payload, limits):
        """text_a, text_b and the options of each question."""
        if checks.choose(payload, KEYS, ("questions",)) == KEYS:
            return [_texts(payload, "", limits)]
        entries = checks.members(payload["questions"], "questions", limits)
        for i, entry in enumerate(entries):
            checks.choose(entry, KEYS, at=f"questions[{i}]")
        return [_texts(entry, f"questions[{i}].", limits) for i, entry in enumerate(entries)]

    def answer(self, job: ParsedRequest, outputs: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Any]:
        predictions, at = [], 0
        for parts, count in zip(job.about["questions"], job.about["counts"]):
            scores = np.concatenate([output["scores"].ravel() for output in outputs[at : at + count]])
            row = {"text_a": parts[0], "text_b": parts[1], "choices": parts[2:]}
            found = self.model.task.decode({"scores": scores}, row, self.model.spec)
            predictions.append({**found, "truncated": bool(job.about["cut"][at : at + count].any())})
            at += count
        return {"predictions": predictions}


def _question(item):
    if not isinstance(item, (tuple, list)) or len(item) not in (2, 3):
        return item
    names = ("text_a", "choices") if len(item) == 2 else ("text_a", "text_b", "choices")
    values = [list(value) if isinstance(value, tuple) else value for value in item]
    return dict(zip(names, values))


def _texts(entry, at, limits):
    first = checks.text(entry["text_a"], f"{at}text_a", limits)
    second = checks.text(entry.get("text_b", ""), f"{at}text_b", limits, blank=True)
    options = [option.strip() for option in checks.texts(entry["choices"], f"{at}choices", limits)]
    if len(options) < 2:
        raise BadRequest(f"{at}choices has one option: give two or more")
    return [first, second, *options]
