"""Text whose words are set apart by blanks already, with or without entities.

    PreSegmented().paragraphs(["中央/n  电视台/n  在/p  [北京/ns  饭店/n]nt  报道/v  。/w"])

A paragraph is words with blanks between. Three ways to mark what they are, mixed at will between paragraphs:

    part of speech after a slash, for every word of a paragraph, as in the People's Daily: nr, ns, nt, nz and t (and
    longer tags that begin so) are entities; 江/nr 泽民/nr is one name, neighbouring times are one time
    brackets around an entity: [中央/n 电视台/n]nt, or [北京 大学] or [北京 大学]ORG in text without tags; entities
    inside are part of it
    nothing: words alone

An article number of the People's Daily at the front (19980101-01-001-001/m) is dropped. Words are put together without
the blank, but where that would glue letters or digits of two words that are not Chinese ("hello world" keeps it).
Sentences end at ends of words and never within an entity.
"""

from __future__ import annotations

import functools
import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

from pretrain.corpus.segment import Segmenter, Sentence, phrases_of
from pretrain.corpus.sentences import split, words_of
from propeller.errors import UserError
from tokenization_basic import char_kind
from tokenization_tables import CJK_ASSIGNED, PUNCTUATION, char_class

TAGGED = re.compile(r"(\[*)(\S+?)/([A-Za-z]{1,8})((?:\][A-Za-z]*)*)(?!\S)")
ARTICLE = re.compile(r"\d{8}-\d\d-\d{3}-\d{3}(?:/m)?\s+")
OPENED, CLOSED = re.compile(r"^\[+(?=.)"), re.compile(r"(?<=.)(\](?:[A-Za-z]{1,8})?)+$")
KINDS = {"nr": "PER", "ns": "LOC", "nt": "ORG", "nz": "OTHER", "t": "TIME", "PE": "PER", "LO": "LOC", "OR": "ORG"}
KINDS["TI"] = "TIME"
COMPOUND = words_of("欧阳 诸葛 司马 上官 司徒 端木 南宫 东方 皇甫 尉迟 公孙 慕容 令狐 夏侯 轩辕 长孙 宇文")
HARD = ("space", "cjk", "punctuation")


class Glue(dict):
    """word -> two characters: "<" if its first character would grow together with a letter before, ">" if its last one
    with a letter after it, else "."; so "><" in "".join(marks of words) tells that two words would. Bounded."""

    def __missing__(self, word: str) -> str:
        if len(self) >= 1 << 18:
            self.clear()
        marks = ("." if char_kind(word[0]) in HARD else "<") + ("." if char_kind(word[-1]) in HARD else ">")
        self[word] = marks
        return marks


@functools.cache
def _glued():
    """White space, with or without entity brackets, between two characters neither of which stands alone."""
    soft = f"[^\\s{char_class(CJK_ASSIGNED)}{char_class(PUNCTUATION, 0, 0xFFFF)}]"
    return re.compile(rf"{soft}\]*\s+\[*{soft}")


class PreSegmented(Segmenter):
    """See above. Raises UserError for a paragraph with tags at some words only, or a bracket without its other one."""

    def __init__(self) -> None:
        self.glue = Glue()

    def paragraphs(self, texts: Sequence[str]) -> list[list[Sentence]]:
        return [self._paragraph(text) for text in texts]

    def segment(self, text: str) -> Sentence:
        """All of `text` as one sentence."""
        return Sentence(*self._words(text))

    def _words(self, text):
        text = ARTICLE.sub("", text, count=1) if text[:1].isdigit() else text
        words, entities, phrases = text.split(), [], []
        tagged = TAGGED.findall(text) if "/" in text else []
        if tagged and len(tagged) == len(words):
            words, entities, phrases = _tagged(tagged)
        elif len(tagged) > max(len(words) // 2, 1):
            raise UserError(
                f"{len(tagged)} of {len(words)} words have a tag (word/TAG); give every one of a paragraph one"
            )
        elif "[" in text or "]" in text:
            words, entities = _bracketed(words)
        return self._with_blanks(words, entities, phrases) if _glued().search(text) else (words, entities, phrases)

    def _with_blanks(self, words, entities, phrases):
        marks = "".join(map(self.glue.__getitem__, words))
        kept, places = [], []
        for number, word in enumerate(words):
            if number and marks[2 * number - 1 : 2 * number + 1] == "><":
                kept.append(" ")
            places.append(len(kept))
            kept.append(word)
        places.append(len(kept))
        entities, phrases = (
            [(places[start], places[end - 1] + 1) for start, end in found] for found in (entities, phrases)
        )
        return kept, entities, phrases

    def _paragraph(self, text):
        words, entities, phrases = self._words(text)
        pieces = split("".join(words))
        if len(pieces) < 2:
            return [Sentence(words, entities, phrases)] if words else []
        ends = list(accumulate(map(len, words)))  # of words, in characters
        inside = {word for start, end in entities for word in range(start + 1, end)}
        found, begin = [], 0
        for place in accumulate(map(len, pieces)):
            cut = bisect_left(ends, place) + 1
            if ends[cut - 1] != place or cut in inside:
                continue
            spans = [_within(spans, begin, cut) if spans else [] for spans in (entities, phrases)]
            found.append(Sentence(words[begin:cut], *spans))
            begin = cut
        return found


def _within(spans, begin, end):
    """The spans between two words, counted from the first."""
    return [(first - begin, last - begin) for first, last in spans if begin <= first and last <= end]


def _tagged(tokens):
    """(words, entities, phrases) of (opening brackets, word, tag, closing brackets) tuples."""
    words, tags = [token[1] for token in tokens], [token[2] for token in tokens]
    kinds = [KINDS.get(tag[:2]) or (tag == "t" and "TIME") for tag in tags]
    entities, previous = [], None
    for place, kind in enumerate(kinds):
        if kind == "PER" and previous == "PER" and entities[-1] == (place - 1, place) and _surname(words[place - 1]):
            entities[-1] = (place - 1, place + 1)
        elif kind == "TIME" and previous == "TIME":
            entities[-1] = (entities[-1][0], place + 1)
        elif kind:
            entities.append((place, place + 1))
        previous = kind
    brackets = _outermost((token[0], token[3]) for token in tokens)
    return words, _merge(brackets, entities), phrases_of(tags)


def _surname(word):
    """Whether a given name may follow: one character, or a known two."""
    return len(word) == 1 or word in COMPOUND


def _merge(outer, inner):
    """The spans of `outer`, and those of `inner` that overlap none of them, in order."""
    if not outer:
        return inner
    free = [span for span in inner if all(span[1] <= start or end <= span[0] for start, end in outer)]
    return sorted([*outer, *free])


def _outermost(brackets):
    """(first, last + 1) of what outermost brackets enclose; brackets: (opening, closing) strings of every word."""
    found, depth, begin = [], 0, 0
    for place, (opening, closing) in enumerate(brackets):
        if opening:
            begin = begin if depth else place
            depth += len(opening)
        if closing:
            depth -= closing.count("]")
            if depth == 0:
                found.append((begin, place + 1))
        if depth < 0:
            break
    if depth:
        raise UserError("a bracket [ ] around an entity lacks its other one; close it in the same paragraph")
    return found


def _bracketed(tokens):
    """(words, entities) of words some of which carry brackets; a bracket that stands alone is a word."""
    words, brackets = [], []
    for token in tokens:
        opening = OPENED.match(token)
        word = token[opening.end() :] if opening else token
        closing = CLOSED.search(word)
        words.append(word[: closing.start()] if closing else word)
        brackets.append((opening.group() if opening else "", closing.group() if closing else ""))
    return words, _outermost(brackets)
