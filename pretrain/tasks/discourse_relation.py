"""Discourse relation: which connective joined two texts, from which it was taken out.

    python -m pretrain.build_data --tasks discourse_relation --connectives config/connectives_en.json ...

ERNIE 2.0 (arXiv 1907.12412, section 4.2.3): the model predicts the semantic or rhetorical relation between two
sentences, from pairs made after Sileo et al. 2019 (arXiv 1903.11850) in English and, likewise, in Chinese. The label
is the explicit connective itself: one class for each entry of the list (pretrain/corpus/connective_list.py), in its
order, so that a head has as many classes as the list has entries.

**Pairs.** A sentence that opens with a connective and the sentence before it in its paragraph ("He was late. However,
the train was later."); and, since most connectives of Chinese and many of English stand there, the two parts of a
sentence around a comma with a connective after it ("他病了，但是他来了。"). Connective and comma are taken out. What
belongs to it elsewhere (虽然 ... 但是) stays. Matching is on word pieces, by whole words; the longest connective wins.

**Filters**, as in Sileo et al.: both texts have `words` of the list (3 to 32; marks count), neither is a question,
brackets are balanced in each, and ambiguous words count only with a comma after them, or not before some words
(`comma` and `not_before` of the list). Pairs longer than max_seq_len are left out.

**Balance.** Of a block (--block_chars) no class keeps more instances than SPREAD times the (lower) median of the
classes that occur in it, or LEAST_KEPT if that is more; which ones is drawn. Those left out are `left_over`.

A class without an instance is an error when training begins. stats.json counts all of them; pretrain/connectives.py
makes the list shorter by it, or write a list of your own (`--connectives`).
"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pretrain.classes import ClassTask
from pretrain.corpus.connective_list import fingerprint, path_for, read_connectives
from pretrain.corpus.instances import count, line_of
from pretrain.corpus.pieces import Tokens
from pretrain.declaration import Lines, RngOf

if TYPE_CHECKING:
    from pretrain.corpus.builder import Plan, Text
    from tokenization_base import BaseTokenizer

SPREAD, LEAST_KEPT = 2, 8
COMMAS, QUESTIONS = ",，", "?？"
BRACKETS = ("()", "（）", "[]", "【】", "《》", "“”")


class DiscourseRelation(ClassTask):
    """Two texts, a class for each connective of the list."""

    name = "discourse_relation"
    level = "sentence"
    fewer_classes = (
        "shorten the list of connectives (python -m pretrain.connectives, with the stats.json of the build), build "
        "again, and give the head as many classes"
    )

    @classmethod
    def class_names(cls, plan: Plan) -> tuple[str, ...]:
        return tuple(entry.name for entry in read_connectives(path_for(plan)).entries)

    @classmethod
    def fingerprints(cls, plan: Plan) -> dict[str, str]:
        return {"connectives": fingerprint(plan)}

    def __init__(self, plan: Plan, tokenizer: BaseTokenizer) -> None:
        super().__init__(plan, tokenizer)
        (self.fewest, self.most), entries = read_connectives(path_for(plan))
        commas = b"|".join(self._single(COMMAS)) or b"(?!)"
        self.opening = re.compile(b"(?:%b) " % self._any(entries, "clause", commas))
        self.joining = re.compile(b" (?:%b) (?:%b) " % (commas, self._any(entries, "sentence", commas)))
        self.questions = set(self._single(QUESTIONS))
        pairs = [self._single(pair) for pair in BRACKETS]
        self.brackets = [pair for pair in pairs if len(pair) == 2]

    def _single(self, marks):
        """The ids, as text, of those of the marks that are pieces."""
        ids = [self.tokenizer.encode(mark) for mark in marks]
        return [b"%d" % found[0] for found in ids if len(found) == 1 and found[0] != self.tokenizer.unk_id]

    def _forms(self, text):
        """Its ids, whatever the words they make, small and with a capital; none where one is unknown."""
        ids = {tuple(self.tokenizer.encode(form)) for form in (text, text.lower(), text[:1].upper() + text[1:])}
        return {found for found in ids if found and self.tokenizer.unk_id not in found}

    def _any(self, entries, not_at, commas):
        """A regular expression for the entries of a place; its group eN_M matched: class N."""
        found = []
        for label, entry in enumerate(entries):
            if entry.place == not_at:
                continue
            behind = b" (?:%b)" % commas if entry.comma else b"(?= )"
            others = b"|".join(sorted(_joined(ids) for word in entry.not_before for ids in self._forms(word)))
            behind += b"(?! (?:%b) )" % others if others else b""
            behind += b"" if entry.comma else b"(?: (?:%b))?" % commas
            forms = sorted({ids for form in entry.forms for ids in self._forms(form)})
            found += [(ids, b"(?P<e%d_%d>%b%b)" % (label, n, _joined(ids), behind)) for n, ids in enumerate(forms)]
        found.sort(key=lambda pair: -len(pair[0]))
        return b"|".join(pattern for _, pattern in found) or b"(?!)"

    def lines(self, documents: Sequence[Text], rng_of: RngOf) -> tuple[Lines, Counter]:
        found = []
        stats: Counter = Counter()
        for place, document in enumerate(documents):
            draw = rng_of(place).random
            found += [(*pair, draw()) for pair in self._pairs(document) if self._good(*pair)]
        lines = []
        for first, second, label, _ in balanced(found):
            length = first.count + second.count + 3
            count(stats, length, label)
            lines.append(line_of([[first], [second]], label, self.tokenizer.cls_id, self.tokenizer.sep_id))
        stats["left_over"] = len(found) - len(lines)
        return lines, stats

    def _pairs(self, document):
        """(first, second, label), texts without the connective."""
        before = last = None
        for tokens, paragraph in zip(document.sentences, document.paragraphs):
            text = tokens.text + b" "
            opened = self.opening.match(text) if paragraph == last else None
            if opened:
                yield before, _tokens(text[opened.end() : -1]), _label(opened)
            for joined in self.joining.finditer(text):
                yield _tokens(text[: joined.start()]), _tokens(text[joined.end() : -1]), _label(joined)
            before, last = tokens, paragraph

    def _good(self, first, second, _):
        """Whether the filters let the pair through."""
        if not 1 < first.count + second.count <= self.plan.max_seq_len - 3:
            return False
        for tokens in (first, second):
            words = tokens.text.split(b" ")
            if not self.fewest <= len(words) <= self.most or self.questions.intersection(words[-2:]):
                return False
            if any(words.count(opens) != words.count(closes) for opens, closes in self.brackets):
                return False
        return True


def balanced(found: list[tuple]) -> list[tuple]:
    """The (..., label, drawn number) that stay, in their order: of each label those with the lowest numbers."""
    numbers: dict[int, list[float]] = {}
    for *_, label, number in found:
        numbers.setdefault(label, []).append(number)
    if not numbers:
        return []
    most = max(LEAST_KEPT, SPREAD * statistics.median_low(map(len, numbers.values())))
    limits = {label: sorted(drawn)[:most][-1] for label, drawn in numbers.items()}
    return [pair for pair in found if pair[-1] <= limits[pair[-2]]]


def _joined(ids):
    return b"[ ,]".join([b"%d" % number for number in ids])


def _label(match):
    return int(match.lastgroup[1:].partition("_")[0])


def _tokens(text):
    return Tokens(text, text.count(b" ") + text.count(b",") + 1 if text else 0, 0, [])
