"""Requests for reading comprehension: a question and a text in, the answer and its place in the text out.

    POST /predict {"question": "Who wrote it?", "context": "It was written by Ann Lee in 1901."}
    {"predictions": [{"answer": "Ann Lee", "start": 18, "end": 25, "probability": 0.93,
                      "nbest": [{"text": "Ann Lee", "start": 18, "end": 25, "probability": 0.93, "start_logit": 7.1,
                                 "end_logit": 6.8}, ...]}]}

``{"questions": [{"question", "context"}, ...]}`` asks several. Places count characters (Unicode code points), the end
exclusive: ``context[start:end]`` is the answer. Long texts are read in overlapping windows. Where no part of the text
could be an answer, ``answer``, ``start`` and ``end`` are null. Probabilities are over the answers of ``nbest``.
Models of questions without an answer say more, see ``finetune.mrc.unanswerable.decoded``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.mrc.task import AskedQuestion
from finetune.serving import payload as checks
from finetune.serving.handler import Handler, ParsedRequest
from propeller.service.errors import BadRequest
from reader.batching import concat_rows
from reader.squad.reader import Questions, SquadReader

if TYPE_CHECKING:
    from propeller.service.limits import Limits
    from reader.squad.file import Question


KEYS = ("question", "context")


class AskedReader(SquadReader):
    """The reader of questions that a request asks; their ids say where in it they stand."""

    def check_lengths(self, question: Question, query: int, total: int) -> None:
        """Raises BadRequest."""
        at = f"{question.id}." if question.id else ""
        if query + 4 > self.max_seq_len:
            raise BadRequest(
                f"{at}question has {query} tokens, which leave no room for the context among the {self.max_seq_len} "
                "that the model reads at once: shorten it"
            )
        if total == 0:
            raise BadRequest(f"{at}context holds nothing but characters that the model does not see: give a text")


class MrcHandler(Handler):
    """Answers as spans of their contexts."""

    def payload(self, items: Sequence[Any]) -> dict[str, Any]:
        """The request for (question, context) pairs, or dicts of ``question`` and ``context``."""
        return {"questions": [dict(zip(KEYS, item)) if isinstance(item, (tuple, list)) else item for item in items]}

    def parse(self, payload: Any, limits: Limits) -> ParsedRequest:
        questions = self._questions(payload, limits)
        settings = self.model.spec.settings
        reader = AskedReader(
            Questions(questions),
            self.tokenizer,
            doc_stride=settings.doc_stride,
            max_query_length=settings.max_query_length,
            max_seq_len=self.model.max_seq_len,
            batch_size=1,
            task_id=self.task_id,
        )
        checks.windows(reader.num_examples, limits)
        rows = concat_rows(list(reader.rows(np.arange(reader.num_examples), 0)))
        return ParsedRequest(self.instances(rows), {"reader": reader})

    @staticmethod
    def _questions(payload, limits):
        """(where it stands in the payload, question, context) of each."""
        if checks.choose(payload, KEYS, ("questions",)) == KEYS:
            return [("", *(checks.text(payload[key], key, limits) for key in KEYS))]
        questions = []
        for i, entry in enumerate(checks.members(payload["questions"], "questions", limits)):
            at = f"questions[{i}]"
            checks.choose(entry, KEYS, at=at)
            questions.append((at, *(checks.text(entry[key], f"{at}.{key}", limits) for key in KEYS)))
        return questions

    def answer(self, job: ParsedRequest, outputs: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Any]:
        reader, at, predictions = job.about["reader"], 0, []
        task, spec = self.model.task, self.model.spec
        for number, question in enumerate(reader.file.questions):
            windows = reader.windows(number)
            part = outputs[at : at + len(windows)]
            logits: dict[str, Any] = {
                name: [output[name] for output in part] for name in ("start_logits", "end_logits")
            }
            at += len(windows)
            row = AskedQuestion(question.context, reader.document(number), windows)
            predictions.append(task.decode(logits, row, spec))
        return {"predictions": predictions}
