"""Sentence reordering: in which order the shuffled segments of a paragraph stood.

    python -m pretrain.build_data --tasks sentence_reordering --max_segments 3 ...

ERNIE 2.0 (arXiv 1907.12412, section 4.2.2): a paragraph is randomly split into 1 to m segments, these are shuffled,
and the model is to tell their order: one of k = sum of n! for n = 1 to m classes, 3 for m = 2, 9 for 3, 33 for 4.

An instance is one paragraph; of a longer one, sentences of it that follow each other, as many as fit into
max_seq_len. Segments are whole sentences, their borders are drawn. **Classes** are numbered by the number of
segments, then in the order of itertools.permutations; the name of a class, as "2 3 1", says which segment of the
original stands first, second, ... in the instance: 0 is "1", 1 and 2 are "1 2" and "2 1", 3 to 8 are "1 2 3", "1 3
2", "2 1 3", "2 3 1", "3 1 2", "3 2 1".

Each segment has a [SEP] after it, and sentence type 1 but for the first: run together, a paragraph in one segment
would be the same text as one in two or three that kept their order, and no model could tell these classes apart.

Classes are drawn as pretrain/corpus/balance.py has it: equally often, as far as the number of sentences allows; a
paragraph with fewer sentences than m is left out, and counted as `left_over`, where the classes it can have are ahead.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Callable

from pretrain.classes import ClassTask
from pretrain.corpus.balance import Balance
from pretrain.corpus.instances import count, fitting, line_of
from pretrain.corpus.pieces import Tokens
from pretrain.declaration import Lines, RngOf

if TYPE_CHECKING:
    from pretrain.corpus.builder import Plan, Text
    from tokenization_base import BaseTokenizer


def orders(most: int) -> list:
    """The permutation of each class: (1, 2, 0): the second, third and first segment of the original."""
    return [order for count in range(1, most + 1) for order in itertools.permutations(range(count))]


class SentenceReordering(ClassTask):
    """One to m texts, a class for each order of each number of them."""

    name = "sentence_reordering"
    level = "sentence"
    default_classes = 9

    @classmethod
    def class_names(cls, plan: Plan) -> tuple[str, ...]:
        return tuple(" ".join([str(1 + place) for place in order]) for order in orders(plan.max_segments))

    def __init__(self, plan: Plan, tokenizer: BaseTokenizer) -> None:
        super().__init__(plan, tokenizer)
        self.orders = orders(plan.max_segments)
        self.most = max(plan.max_seq_len - 1 - plan.max_segments, 1)
        self.possible = [
            [label for label, order in enumerate(self.orders) if len(order) <= count]
            for count in range(plan.max_segments + 1)
        ]

    def lines(self, documents: Sequence[Text], rng_of: RngOf) -> tuple[Lines, Counter]:
        lines: Lines = []
        stats: Counter = Counter()
        balance = Balance(len(self.orders))
        for place, document in enumerate(documents):
            draw = rng_of(place).random
            for sentences in self._paragraphs(document):
                label = balance.draw(self.possible[min(len(sentences), self.plan.max_segments)], draw)
                if label is None:
                    stats["left_over"] += 1
                    continue
                order = self.orders[label]
                segments = in_segments(sentences, len(order), draw)
                length = 1 + sum([tokens.count for tokens in sentences]) + len(order)
                count(stats, length, label)
                texts = [segments[number] for number in order]
                lines.append(line_of(texts, label, self.tokenizer.cls_id, self.tokenizer.sep_id))
        return lines, stats

    def _paragraphs(self, document):
        """Lists of sentences of one paragraph, that fit."""
        for _, found in itertools.groupby(zip(document.paragraphs, document.sentences), key=lambda pair: pair[0]):
            held, room = [], self.most
            for _, sentence in found:
                for tokens in fitting(sentence, self.most):
                    if tokens.count > room:
                        yield held
                        held, room = [], self.most
                    held.append(tokens)
                    room -= tokens.count
            yield held


def in_segments(sentences: list[Tokens], count: int, draw: Callable[[], float]) -> list:
    """The sentences in `count` lists, none empty, every choice of borders as likely; count: at most len(sentences)."""
    borders = list(range(1, len(sentences)))
    for place in range(count - 1):
        other = place + int(draw() * (len(borders) - place))
        borders[place], borders[other] = borders[other], borders[place]
    borders = [0, *sorted(borders[: count - 1]), len(sentences)]
    return [sentences[begin:end] for begin, end in zip(borders, borders[1:])]
