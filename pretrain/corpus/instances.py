"""Sentences of documents to instances of one or two texts, packed up to max_seq_len: lines of a shard.

    pairs = Pairs(max_seq_len=512, pairs="mixed", cls=1, sep=2)
    lines, stats = pairs.lines(documents, rng_of=lambda number: random.Random(f"0/news/{number}"))

As in BERT (Devlin et al. 2018, appendix A.2): sentences that follow each other are gathered until no more fit, and
cut at a random sentence into two texts. With pairs "mixed" half of the instances get another second text, from a
random place of another document of the block (of this one, farther on, if the block has no other); the sentences it
displaces begin the next instance. label 1: the second text is the next. Other than in BERT nothing is thrown away: a
sentence that does not fit opens the next instance, one longer than an instance is cut between words, and one that is
left alone is cut in two. So every token of a document is exactly once in a first text or in a second one that follows
it, but for documents of a single word, which are counted as `left_over`.
"""

from __future__ import annotations

import functools
import random
from collections import Counter
from collections.abc import Sequence
from typing import Callable

from pretrain.corpus.pieces import Tokens, fields_of

PAIRS = ("mixed", "positive")


class Pairs:
    """Makes instances of two texts each. With ``pairs`` "mixed" half of the second ones are the next, else all are.

    Args:
        max_seq_len: tokens of the longest instance, with [CLS] and both [SEP].
        pairs: one of ``PAIRS``.
        cls, sep: ids of [CLS] and [SEP].
        short_seq_prob: how often an instance is made shorter, by a random length, so that the model sees
            short ones too.
    """

    def __init__(self, max_seq_len: int, pairs: str, cls: int, sep: int, short_seq_prob: float = 0.1) -> None:
        self.most, self.pairs, self.short = max_seq_len - 3, pairs, short_seq_prob
        self.cls, self.sep = cls, sep

    def lines(
        self, documents: Sequence[Sequence[Tokens]], rng_of: Callable[[int], random.Random]
    ) -> tuple[list[bytes], Counter]:
        """Lines of the documents in their order, and a Counter.

        Args:
            documents: of each the list of its Tokens, none without a token.
            rng_of: place in `documents` -> its own random.Random, of which only random() is called.
        """
        stats: Counter = Counter()
        lines = []
        cut = [[part for tokens in sentences for part in fitting(tokens, self.most)] for sentences in documents]
        for place in range(len(cut)):
            for a, b, follows in self._document(cut, place, rng_of(place).random, stats):
                lines.append(self._line(a, b, follows, stats))
        return lines, stats

    def _document(self, documents, own, draw, stats):
        """(first text, second text, whether it follows), texts as lists of Tokens."""
        sentences, place = list(documents[own]), 0
        while place < len(sentences):
            end = self._gather(sentences, place, draw)
            chunk = sentences[place:end]
            follows = self.pairs == "positive" or draw() >= 0.5
            halves = in_two(chunk[0]) if len(chunk) == 1 else chunk
            border = 1 + int(draw() * (len(halves) - 1))
            other, cut = None, False
            if not follows:
                cut = len(chunk) == 1 < len(halves) and chunk[0].count > self.most * 3 // 4  # no room for another text
                first = halves[:1] if cut else chunk[:border]
                room = self.most - sum(tokens.count for tokens in first)
                chosen = self._elsewhere(documents, own, sentences, (place, place + border), draw, stats)
                other = chosen and self._head(chosen, room)
            if other:
                yield first, other, 0
                if cut:
                    sentences[place] = halves[1]
                else:
                    place += border
            elif len(halves) > 1:
                yield halves[:border], halves[border:], 1
                place = end
            else:
                stats["left_over"] += 1
                place = end

    def _gather(self, sentences, place, draw):
        """After the last sentence that fits; two wherever they fit at all."""
        target = self.most
        if draw() < self.short:
            target = 2 + int(draw() * (self.most - 1))
        end, count = place + 1, sentences[place].count
        while end < len(sentences):
            count += sentences[end].count
            if count > (self.most if end == place + 1 else target):
                break
            end += 1
        return end

    def _elsewhere(self, documents, own, sentences, span, draw, stats):
        """Sentences that do not follow those of `span` among the own ones; None where there are none."""
        if len(documents) > 1:
            number = int(draw() * (len(documents) - 1))
            chosen = documents[number + (number >= own)]
            start = int(draw() * len(chosen))
            return chosen[start : start + self.most]
        starts = [*range(span[0]), *range(span[1] + 1, len(sentences))]
        if not starts:
            return None
        stats["negatives_of_own_document"] += 1
        start = starts[int(draw() * len(starts))]
        return sentences[start : span[0] if start < span[0] else None]

    def _head(self, sentences, room):
        """The first of the sentences, as many as fit into `room` tokens; of the very first one at least a part."""
        found, count = [], 0
        for tokens in sentences:
            if count + tokens.count > room:
                break
            found.append(tokens)
            count += tokens.count
        return found or [head(sentences[0], room)]

    def _line(self, a, b, follows, stats):
        length = sum([tokens.count for tokens in a]) + sum([tokens.count for tokens in b]) + 3
        stats["instances"] += 1
        stats["next"] += follows
        stats["tokens"] += length
        stats[length] += 1
        return with_units(line_of((a, b), follows, self.cls, self.sep), (a, b))


_fields_of = functools.lru_cache(maxsize=1 << 14)(fields_of)


def line_of(
    texts: Sequence[Sequence[Tokens]], label: float, cls: int, sep: int, token_labels: Sequence[bytes] | None = None
) -> bytes:
    """A line of a shard, without its line end and without units: [CLS], and [SEP] after each text.

    The first text has sentence type 0, the others 1.

    Args:
        texts: one or more lists of Tokens, none without a token.
        label: the class, or the number of the instance.
        cls, sep: ids.
        token_labels: where tokens have classes: of each text those of its tokens, bytes with blanks between.
    """
    ids, told, sizes = [], [], []
    for text in texts:
        # A sentence stands in instances of several tasks: what becomes of it is kept for a while.
        if len(text) == 1:
            own, units = _fields_of(text[0].text)
            size = text[0].count
        else:
            fields = [_fields_of(tokens.text) for tokens in text]
            own, units = b" ".join([each[0] for each in fields]), b" ".join([each[1] for each in fields])
            size = sum([tokens.count for tokens in text])
        ids.append(own)
        told.append(units)
        sizes.append(size)
    begin, between, end = _specials(cls, sep)
    first, length = sizes[0] + 2, sum(sizes) + len(sizes) + 1
    types = (b"0 " * first + b"1 " * (length - first))[:-1]
    fourth = b" -1 ".join(token_labels or told)
    # Joined, since formatting takes twice as long.
    parts = (begin, between.join(ids), end, types, b";", _positions(length), b";-1 ", fourth, b" -1;", _label(label))
    return b"".join(parts)


def with_units(line: bytes, texts: Sequence[Sequence[Tokens]]) -> bytes:
    """The line of these texts with their phrases and entities as a sixth field, if they have any."""
    units, at = [], 1
    for text in texts:
        for tokens in text:
            if tokens.units:
                units += [f"{start + at}-{end + at}-{kind}" for start, end, kind in tokens.units]
            at += tokens.count
        at += 1
    return b"%b;%b" % (line, " ".join(units).encode()) if units else line


def _label(label):
    whole = int(label)
    return b"%d" % whole if whole == label else repr(float(label)).encode()


@functools.lru_cache(maxsize=64)
def _specials(cls, sep):
    """[CLS] before the first text, [SEP] between two and after the last."""
    return b"%d " % cls, b" %d " % sep, b" %d;" % sep


def count(stats: Counter, length: int, label: int | None = None) -> None:
    """Count an instance of so many tokens in a Counter, as Declaration.lines gives it.

    Args:
        label: its class; None: the instance has none.
    """
    _count(stats, length)
    if label is not None:
        stats[f"class_{label}"] += 1


def count_tokens(stats: Counter, length: int, labels: bytes, uncounted: int) -> None:
    """Count an instance of so many tokens, and the tokens of classes 0 and 1.

    Args:
        labels: what the fourth field has, bytes.
        uncounted: how many ones in it are those of a -1.
    """
    _count(stats, length)
    stats["class_0"] += labels.count(b"0")
    stats["class_1"] += labels.count(b"1") - uncounted


def _count(stats, length):
    stats["instances"] += 1  # Counter.update would take longer than the line
    stats["tokens"] += length
    stats[length] += 1


@functools.lru_cache(maxsize=4096)
def _positions(length):
    return " ".join(map(str, range(length))).encode()


def fitting(tokens: Tokens, most: int) -> list:
    """The sentence in parts of at most `most` tokens, cut between words."""
    parts = []
    while tokens.count > most:
        at = max(place for place in tokens.word_starts() if place <= most) or most
        part, tokens = tokens.split(at)
        parts.append(part)
    return [*parts, tokens] if tokens.count else parts


def in_two(tokens: Tokens) -> list:
    """The sentence cut between words nearest to its middle; the sentence alone if it is one word."""
    starts = tokens.word_starts()[1:]
    return tokens.split(min(starts, key=lambda place: abs(2 * place - tokens.count))) if starts else [tokens]


def head(tokens: Tokens, room: int) -> Tokens:
    """Its first words, of at most `room` tokens; of a longer word its first pieces."""
    if tokens.count <= room:
        return tokens
    at = max(place for place in tokens.word_starts() if place <= room) or room
    return tokens.split(at)[0]
