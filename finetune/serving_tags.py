"""Requests for sequence labelling: text in, entities with their places in it out.

    POST /predict {"texts": ["John lives in New York."]}
    {"predictions": [{"entities": [{"text": "New York", "start": 14, "end": 22, "type": "LOC"}, ...],
                      "tokens": [{"text": "John", "start": 0, "end": 4, "tag": "B-PER", "probability": 0.99}, ...]}]}

Places count characters (Unicode code points), the end exclusive: ``text[start:end]`` is the entity. Tokens of a text
are its words, punctuation marks and CJK characters. ``{"tokens": [["John", "lives"], ...]}`` gives the tokens
themselves, as the rows of a file do; places are then those in the tokens end to end. Long texts are read in
overlapping windows.
"""

from __future__ import annotations

from finetune import payload as asked
from finetune.sequence_label import find_entities, tag_set, token_tags, whole_sentences
from finetune.serving import Handler, Job
from propeller.service.errors import BadRequest
from reader.batching import encode_rows
from reader.tagging import SEPARATOR, WHOLE, Parts, Sentence, word_pieces


class TaggingHandler(Handler):
    """Tags of tokens, and the entities they make."""

    outputs = ("probs",)

    def __init__(self, model):
        super().__init__(model)
        self.tags = tag_set(model.args(), model.label_map)

    @property
    def labels(self):
        return self.tags.names

    def describe(self):
        """With the types of the entities."""
        types = sorted({kind for _, kind in self.tags.parts if kind})
        return {**super().describe(), "entity_types": types}

    def parse(self, payload, limits):
        sentences = self._sentences(payload, limits)
        pieces = word_pieces(self.tokenizer, (token for sentence in sentences for token in sentence.tokens))
        for sentence in sentences:
            sentence.pieces = [len(pieces[token]) for token in sentence.tokens]
        ids = [[piece for token in sentence.tokens for piece in pieces[token]] for sentence in sentences]
        rows = encode_rows(ids, None, WHOLE, self.tokenizer.cls_id, self.tokenizer.sep_id)
        parts = Parts.windows(rows, self.model.max_seq_len)
        asked.windows(len(parts), limits)
        return Job(self.instances(parts), {"sentences": sentences, "keep": parts.keep, "last_part": parts.last})

    @staticmethod
    def _sentences(payload, limits):
        (form, *_) = asked.choose(payload, ("texts",), ("text_a",), ("tokens",))
        if form == "tokens":
            rows = asked.members(payload["tokens"], "tokens", limits)
            return [_of_tokens(row, f"tokens[{i}]", limits) for i, row in enumerate(rows)]
        value = payload[form]
        if form == "text_a" and isinstance(value, str):
            return [Sentence.of_words(asked.text(value, form, limits))]
        return [Sentence.of_words(text) for text in asked.texts(value, form, limits)]

    def answer(self, job, outputs):
        probs = whole_sentences([({"probs": [output["probs"] for output in outputs]}, job.about)])
        return {"predictions": [self._prediction(*pair) for pair in zip(job.about["sentences"], probs)]}

    def _prediction(self, sentence, probs):
        classes, chances = token_tags(self.tags, sentence.pieces, probs)
        tokens = [
            {
                "text": token,
                "start": begin,
                "end": begin + len(token),
                "tag": self.tags.names[number],
                "probability": chance,
            }
            for token, begin, number, chance in zip(sentence.tokens, sentence.begins, classes, chances)
        ]
        return {"entities": find_entities(self.tags, sentence, classes), "tokens": tokens}


def _of_tokens(tokens, where, limits):
    """The Sentence of a list of tokens. Raises BadRequest."""
    if not isinstance(tokens, list) or not tokens:
        raise BadRequest(f"{where} must be a list of tokens, not {asked.kind(tokens) if tokens != [] else 'empty'}")
    if not all(isinstance(token, str) and token and SEPARATOR not in token for token in tokens):
        bad = next(i for i, t in enumerate(tokens) if not isinstance(t, str) or not t or SEPARATOR in t)
        raise BadRequest(f"{where}[{bad}] must be a string with a character in it and without the byte 0x02")
    asked.text("".join(tokens), where, limits)
    return Sentence(SEPARATOR.join(tokens), SEPARATOR)
