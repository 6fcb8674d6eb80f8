"""Requests for sequence labelling: text in, entities with their places in it out.

    POST /predict {"texts": ["John lives in New York."]}
    {"predictions": [{"entities": [{"text": "New York", "start": 14, "end": 22, "type": "LOC"}, ...],
                      "tokens": [{"text": "John", "start": 0, "end": 4, "tag": "B-PER", "probability": 0.99}, ...]}]}

Places count characters (Unicode code points), the end exclusive: ``text[start:end]`` is the entity. Tokens of a text
are its words, punctuation marks and CJK characters. ``{"tokens": [["John", "lives"], ...]}`` gives the tokens
themselves, as the rows of a file do; places are then those in the tokens with a blank between, or with nothing where a
token has a Chinese or Japanese character. Long texts are read in overlapping windows.

With ``"logits": true`` beside them each prediction has ``logits`` too, a list per token of one number per tag, for a
student to learn from; null for a token without a word piece. See ``reader.tagging.token_logits``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.serving import payload as checks
from finetune.serving.handler import Handler, ParsedRequest
from finetune.tagging.sentences import decode_sentence, joined_sentences, whole_sentences
from finetune.tagging.task import tag_set
from propeller.service.errors import BadRequest
from reader.batching import NO_LIMIT, encode_rows
from reader.tagging.parts import Parts
from reader.tagging.sentence import SEPARATOR, Sentence, word_pieces
from reader.tagging.token_logits import TokenLogits

if TYPE_CHECKING:
    from finetune.prediction.model import InferenceModel
    from propeller.service.limits import Limits


class TaggingHandler(Handler):
    """Tags of tokens, and the entities they make."""

    logits_of_tokens = True

    def __init__(self, model: InferenceModel) -> None:
        super().__init__(model)
        self.tags = tag_set(model.spec)
        self.token_logits = TokenLogits(self.tags)

    def describe(self) -> dict[str, Any]:
        """With the types of the entities, and how tags make them."""
        types = sorted({kind for _, kind in self.tags.parts if kind})
        how = {"chunk_scheme": self.tags.scheme, "o_label": self.tags.o_label}
        return {**super().describe(), "entity_types": types, **how}

    def payload(self, items: Sequence[Any]) -> dict[str, Any]:
        """The request for texts, or for lists of tokens."""
        if all(isinstance(item, str) for item in items):
            return {"texts": list(items)}
        return {"tokens": [list(item) if isinstance(item, tuple) else item for item in items]}

    def parse(self, payload: Any, limits: Limits) -> ParsedRequest:
        payload, teaches = self.asks_logits(payload)
        sentences = self._sentences(payload, limits)
        pieces = word_pieces(self.tokenizer, (token for sentence in sentences for token in sentence.tokens))
        for sentence in sentences:
            sentence.pieces = [len(pieces[token]) for token in sentence.tokens]
        ids = [[piece for token in sentence.tokens for piece in pieces[token]] for sentence in sentences]
        rows = encode_rows(ids, None, NO_LIMIT, self.tokenizer.cls_id, self.tokenizer.sep_id)
        parts = Parts.windows(rows, self.model.max_seq_len)
        checks.windows(len(parts), limits)
        about = {"sentences": sentences, "keep": parts.keep, "last_part": parts.last, "teaches": teaches}
        outputs = (*self.outputs, teaches) if teaches else None
        return ParsedRequest(self.instances(parts), about, outputs, unpadded=bool(teaches))

    def _sentences(self, payload, limits):
        (form, *_) = checks.choose(payload, ("texts",), ("text_a",), ("tokens",))
        if form == "tokens":
            rows = checks.members(payload["tokens"], "tokens", limits)
            return [_of_tokens(row, f"tokens[{i}]", limits) for i, row in enumerate(rows)]
        value = payload[form]
        if form == "text_a" and isinstance(value, str):
            return [Sentence.of_words(checks.text(value, form, limits), self.tokenizer)]
        return [Sentence.of_words(text, self.tokenizer) for text in checks.texts(value, form, limits)]

    def answer(self, job: ParsedRequest, outputs: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Any]:
        task: Any = self.model.task
        columns = {name: [output[name] for output in outputs] for name in self.outputs}
        found = map(task.sentence, joined_sentences([(columns, job.about)], tuple(self.outputs)))
        pairs = zip(job.about["sentences"], found)
        predictions = [decode_sentence(self.tags, sentence, *part) for sentence, part in pairs]
        teaches = job.about["teaches"]
        if teaches:
            said = whole_sentences([({teaches: [output[teaches] for output in outputs]}, job.about)], teaches)
            for prediction, sentence, logits in zip(predictions, job.about["sentences"], said):
                rows = self.token_logits.gather(sentence.pieces, logits)
                prediction["logits"] = [row.tolist() if count else None for row, count in zip(rows, sentence.pieces)]
        return {"predictions": predictions}


def _of_tokens(tokens, where, limits):
    """The Sentence of a list of tokens. Raises BadRequest."""
    if not isinstance(tokens, list) or not tokens:
        raise BadRequest(f"{where} must be a list of tokens, not {checks.kind(tokens) if tokens != [] else 'empty'}")
    if not all(isinstance(token, str) and token and SEPARATOR not in token for token in tokens):
        bad = next(i for i, t in enumerate(tokens) if not isinstance(t, str) or not t or SEPARATOR in t)
        raise BadRequest(f"{where}[{bad}] must be a string with a character in it and without the byte 0x02")
    checks.text("".join(tokens), where, limits)
    return Sentence(SEPARATOR.join(tokens), SEPARATOR)
