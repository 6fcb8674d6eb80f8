"""Capitalization: of every word piece, whether its word was written with a capital.

    python -m pretrain.build_data --tasks capitalization --segmenter english ...

ERNIE 2.0 (arXiv 1907.12412, section 4.2.1): capitalised words usually carry particular information, names above all;
the task is to predict whether a word is capitalised or not. The answer is taken from the text as it was written, the
input is what the vocabulary makes of it: with an uncased one it has to be told from the context.

An instance is one text: sentences that follow each other, as many as fit into max_seq_len. Words are those of the
segmenter (don't and non-English are one, New York are two), and all pieces of a word are told alike:

    1     its first letter is upper (or title) case: Paris, NASA, "3D", O'Neil, Don't
    0     its first letter has case and is lower: iPhone, non-English
    -1    it has no letter with case: numbers, marks, Chinese. They would be told without looking, so they are not asked

A piece that is made of letters of two words, as FullTokenizer makes them where nothing stands between, belongs to the
one that it begins in. Texts without a word of class 0 or 1 are left out and counted as `left_over`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pretrain.classes import ClassTask
from pretrain.corpus.instances import count_tokens, fitting, line_of
from pretrain.corpus.pieces import CACHED_WORDS, maker_for
from pretrain.corpus.segment import Sentence
from pretrain.declaration import Lines, RngOf

if TYPE_CHECKING:
    from pretrain.corpus.builder import Plan, Text
    from tokenization_base import BaseTokenizer


class Capitalization(ClassTask):
    """One text; a token's class: 0 lower case, 1 capitalised."""

    name = "capitalization"
    level = "token"
    default_classes = 2

    @classmethod
    def class_names(cls, plan: Plan) -> tuple[str, ...]:
        return ("lower case", "capitalised")

    def __init__(self, plan: Plan, tokenizer: BaseTokenizer) -> None:
        super().__init__(plan, tokenizer)
        self.most = plan.max_seq_len - 2
        self.maker = maker_for(tokenizer, plan.max_seq_len)
        # word -> the classes of its pieces, with the marks of PieceMaker.words
        self.classes: dict[str, bytes] = {}

    def lines(self, documents: Sequence[Text], rng_of: RngOf) -> tuple[Lines, Counter]:
        lines: Lines = []
        stats: Counter = Counter()
        for document in documents:
            for sentences, labels in self._texts(document):
                length, none = 2 + sum([tokens.count for tokens in sentences]), labels.count(b"-")
                if labels.count(b" ") + 1 == none:
                    stats["left_over"] += 1
                    continue
                lines.append(line_of([sentences], 0, self.tokenizer.cls_id, self.tokenizer.sep_id, [labels]))
                count_tokens(stats, length, labels, none)
        return lines, stats

    def _texts(self, document):
        """(Tokens of an instance, classes of its tokens with blanks between)."""
        held, classes, count = [], [], 0
        for tokens, labels in self._parts(document):
            if held and count + tokens.count > self.most:
                yield held, b" ".join(classes)
                held, classes, count = [], [], 0
            held.append(tokens)
            classes.append(labels)
            count += tokens.count
        if held:
            yield held, b" ".join(classes)

    def _parts(self, document):
        """(Tokens, classes) of every sentence, in parts that fit."""
        for tokens, sentence in zip(document.sentences, document.words):
            labels = self.labels(sentence)
            if tokens.count <= self.most:
                yield tokens, labels
                continue
            labels = labels.split(b" ")
            for part in fitting(tokens, self.most):
                yield part, b" ".join(labels[: part.count])
                del labels[: part.count]

    def labels(self, sentence: Sentence) -> bytes:
        """The class of every piece of a Sentence, with blanks between."""
        if self.maker.by_words:
            try:
                text = b" ".join(map(self.classes.__getitem__, sentence.words))
            except KeyError:
                self._learn(sentence.words)
                text = b" ".join(map(self.classes.__getitem__, sentence.words))
            if b"> <" not in text:
                return b" ".join(text.translate(None, b"<>").split())
        counts = self.maker.pieces(sentence)[1]
        return b" ".join([capital(word) for word, count in zip(sentence.words, counts) for _ in range(count)])

    def _learn(self, words):
        if len(self.classes) >= CACHED_WORDS:
            self.classes.clear()
        for word in words:
            if word not in self.classes:
                text = self.maker.words[word]  # ids, with "<" and ">" where it could grow together with a neighbour
                ids = text.translate(None, b"<>u").replace(b",", b" ").split()
                label = capital(word)
                opens, closes = b"<" * text.startswith(b"<"), b">" * text.endswith(b">")
                self.classes[word] = b"> <" if b"> <" in text else opens + b" ".join([label] * len(ids)) + closes


def capital(word: str) -> bytes:
    """Its class, as above."""
    for char in word:
        lower = char.lower()
        if lower != char:
            return b"1"
        if char.upper() != char:
            return b"0"
    return b"-1"
