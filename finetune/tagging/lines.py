"""Lines of tagging's prediction files, made of decoded sentences.

lines = SentenceLines(tags)
file.write(lines.tsv(sentence, decode_sentence(tags, sentence, probs)))
lines.log_misplaced("predictions.tsv")
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from finetune.prediction.formats import on_one_line

if TYPE_CHECKING:
    from reader.tagging.sentence import Sentence
    from reader.tagging.tags import TagSet


log = logging.getLogger("ernie.finetune")


class SentenceLines:
    """Lines of prediction files, made of decoded sentences; counts them, and tags that break the scheme.

    Args:
        tags: the ``TagSet``.
    """

    def __init__(self, tags: TagSet) -> None:
        self.tags, self.written, self.misplaced = tags, 0, 0
        self.numbers = {name: number for number, name in enumerate(tags.names)}

    def _count(self, decoded):
        self.written += 1
        self.misplaced += self.tags.misplaced([self.numbers[token["tag"]] for token in decoded["tokens"]])

    def tsv(
        self, sentence: Sentence, decoded: Mapping[str, Any], running: bool = False, copied: Sequence[str] = ()
    ) -> str:
        """``text_a``, copied cells, with ``running`` the tokens, tags, probabilities, entities; see the module."""
        self._count(decoded)
        columns = [[token["tag"] for token in decoded["tokens"]]]
        columns.append([f"{token['probability']:.5f}" for token in decoded["tokens"]])
        if running:
            columns.insert(0, sentence.tokens)
        joined = [on_one_line(sentence.separator.join(column)) for column in columns]
        entities = json.dumps(decoded["entities"], ensure_ascii=False)
        return "\t".join([on_one_line(sentence.text), *copied, *joined, entities]) + "\n"

    def json(self, sentence: Sentence, decoded: Mapping[str, Any], copied: Mapping[str, Any] | None = None) -> str:
        """A JSON object: ``text``, what is copied, ``tokens``, ``tags``, ``probabilities``, ``entities``."""
        self._count(decoded)
        row = {
            "text": sentence.original,
            **(copied or {}),
            "tokens": sentence.tokens,
            "tags": [token["tag"] for token in decoded["tokens"]],
            "probabilities": [round(token["probability"], 5) for token in decoded["tokens"]],
            "entities": decoded["entities"],
        }
        return json.dumps(row, ensure_ascii=False) + "\n"

    def log_misplaced(self, where: str | None = None) -> None:
        """One line of the log where tags break the scheme."""
        if self.misplaced:
            log.info("%spredicted tags that break the %s scheme: %d; entities are taken from the tags as they are",
                     f"{where}: " if where else "", self.tags.scheme, self.misplaced)  # fmt: skip
