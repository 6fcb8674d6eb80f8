"""Requests for reading comprehension: a question and a text in, the answer and its place in the text out.

    POST /predict {"question": "Who wrote it?", "context": "It was written by Ann Lee in 1901."}
    {"predictions": [{"answer": "Ann Lee", "start": 18, "end": 25, "probability": 0.93,
                      "nbest": [{"text": "Ann Lee", "start": 18, "end": 25, "probability": 0.93, "start_logit": 7.1,
                                 "end_logit": 6.8}, ...]}]}

``{"questions": [{"question", "context"}, ...]}`` asks several. Places count characters (Unicode code points), the end
exclusive: ``context[start:end]`` is the answer. Long texts are read in overlapping windows. Where no part of the text
could be an answer, ``answer``, ``start`` and ``end`` are null. Probabilities are over the answers of ``nbest``.
"""

from __future__ import annotations

import numpy as np

from finetune import mrc_answers
from finetune import payload as asked
from finetune.serving import Handler, Job
from propeller.service.errors import BadRequest
from reader.batching import concat_rows
from reader.squad import Questions, SquadReader

KEYS = ("question", "context")


class AskedReader(SquadReader):
    """The reader of questions that a request asks; their ids say where in it they stand."""

    def check_lengths(self, question, query, total):
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

    outputs = ("start_logits", "end_logits")

    def __init__(self, model):
        super().__init__(model)
        self.settings = model.args().task

    def parse(self, payload, limits):
        questions = self._questions(payload, limits)
        settings = self.settings
        reader = AskedReader(
            Questions(questions),
            self.tokenizer,
            doc_stride=settings.doc_stride,
            max_query_length=settings.max_query_length,
            max_seq_len=self.model.max_seq_len,
            batch_size=1,
            task_id=self.task_id,
        )
        asked.windows(reader.num_examples, limits)
        rows = concat_rows(list(reader.rows(np.arange(reader.num_examples), 0)))
        return Job(self.instances(rows), {"reader": reader})

    @staticmethod
    def _questions(payload, limits):
        """(where it stands in the payload, question, context) of each."""
        if asked.choose(payload, KEYS, ("questions",)) == KEYS:
            return [("", *(asked.text(payload[key], key, limits) for key in KEYS))]
        found = []
        for i, entry in enumerate(asked.members(payload["questions"], "questions", limits)):
            at = f"questions[{i}]"
            asked.choose(entry, KEYS, at=at)
            found.append((at, *(asked.text(entry[key], f"{at}.{key}", limits) for key in KEYS)))
        return found

    def answer(self, job, outputs):
        reader, at, predictions = job.about["reader"], 0, []
        for number, question in enumerate(reader.file.questions):
            windows = reader.windows(number)
            logits = [(output["start_logits"], output["end_logits"]) for output in outputs[at : at + len(windows)]]
            at += len(windows)
            predictions.append(self._prediction(question.context, reader.document(number), windows, logits))
        return {"predictions": predictions}

    def _prediction(self, context, document, windows, logits):
        own, settings = mrc_answers.own_logits(windows, logits), self.settings
        spans = mrc_answers.best_spans(
            context, document, windows, own, settings.n_best_size, settings.max_answer_length
        )
        if not spans:
            return {"answer": None, "start": None, "end": None, "probability": 1.0, "nbest": []}
        best = spans[0]
        return {
            "answer": best.text,
            "start": best.start,
            "end": best.end,
            "probability": best.probability,
            "nbest": [span._asdict() for span in spans],
        }
