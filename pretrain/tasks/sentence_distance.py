"""Sentence distance: how far from each other two texts stood.

    python -m pretrain.build_data --tasks sentence_distance ...

ERNIE 2.0 (arXiv 1907.12412, section 4.2.2): three classes: 0, two sentences are adjacent in a document; 1, they are
in the same document, but not adjacent; 2, they are from two documents.

An instance has two texts of sentences that follow each other, packed up to max_seq_len. The first goes through a
document from its beginning and takes a quarter to three quarters of the room, at random; the second fills the rest,
from

    0    the sentence after the first text
    1    a random sentence of the document; at least one sentence lies between the two texts, on either side
    2    a random sentence of another document of the block (--block_chars)

Classes are drawn as pretrain/corpus/balance.py has it, equally often wherever documents are long enough;
what is not used for that is counted as `left_over`. Sentences longer than half of max_seq_len are cut between words
before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pretrain.classes import ClassTask
from pretrain.corpus.balance import Balance
from pretrain.corpus.instances import count, fitting, head, line_of
from pretrain.corpus.pieces import Tokens
from pretrain.declaration import Lines, RngOf

if TYPE_CHECKING:
    from pretrain.corpus.builder import Plan, Text
    from tokenization_base import BaseTokenizer

ADJACENT, SAME, OTHER = range(3)


class SentenceDistance(ClassTask):
    """Two texts, three classes."""

    name = "sentence_distance"
    level = "sentence"
    default_classes = 3

    @classmethod
    def class_names(cls, plan: Plan) -> tuple[str, ...]:
        return ("adjacent", "same document", "other document")

    def __init__(self, plan: Plan, tokenizer: BaseTokenizer) -> None:
        super().__init__(plan, tokenizer)
        self.most = plan.max_seq_len - 3

    def lines(self, documents: Sequence[Text], rng_of: RngOf) -> tuple[Lines, Counter]:
        half = max(self.most // 2, 1)
        cut = [[part for tokens in document.sentences for part in fitting(tokens, half)] for document in documents]
        lines: Lines = []
        stats: Counter = Counter()
        balance = Balance(3)
        for own in range(len(cut)):
            draw, place = rng_of(own).random, 0
            while place < len(cut[own]):
                end = self._gather(cut[own], place, self.most * (0.25 + 0.5 * draw()))
                label = balance.draw(possible(cut, own, place, end), draw)
                if label is None:
                    stats["left_over"] += 1
                    place = end
                    continue
                first = cut[own][place:end]
                second, whole = self._second(cut, own, place, end, label, draw)
                lines.append(self._line(first, second, label, stats))
                place = end + whole if label == ADJACENT else end
        return lines, stats

    @staticmethod
    def _gather(sentences, place, room):
        """After the last sentence that fits; one at least."""
        end, count = place + 1, sentences[place].count
        while end < len(sentences) and count + sentences[end].count <= room:
            count += sentences[end].count
            end += 1
        return end

    def _second(self, cut, own, place, end, label, draw):
        """(second text, how many whole sentences it has, at least 1)."""
        chosen, stop = cut[own], None
        if label == ADJACENT:
            start = end
        elif label == SAME:
            starts = [*range(place - 1), *range(end + 1, len(chosen))]
            start = starts[int(draw() * len(starts))]
            stop = place - 1 if start < place else None
        else:
            number = int(draw() * (len(cut) - 1))
            chosen = cut[number + (number >= own)]
            start = int(draw() * len(chosen))
        room = self.most - sum([tokens.count for tokens in cut[own][place:end]])
        if chosen[start].count > room:
            return [head(chosen[start], room)], 1
        last = self._gather(chosen[:stop], start, room)
        return chosen[start:last], last - start

    def _line(self, first, second, label, stats):
        length = sum([tokens.count for tokens in first]) + sum([tokens.count for tokens in second]) + 3
        count(stats, length, label)
        return line_of([first, second], label, self.tokenizer.cls_id, self.tokenizer.sep_id)


def possible(documents: Sequence[Sequence[Tokens]], own: int, place: int, end: int) -> list:
    """The classes of which an instance can be, whose first text is the sentences place to end - 1."""
    count = len(documents[own])
    found = []
    if end < count:
        found.append(ADJACENT)
    if place > 1 or end + 1 < count:
        found.append(SAME)
    if len(documents) > 1:
        found.append(OTHER)
    return found
