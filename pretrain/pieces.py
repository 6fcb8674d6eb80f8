"""Words to word pieces: which pieces begin a word, and where its phrases and entities lie among them.

    maker = PieceMaker(tokenizer)
    maker.tokens(Sentence(["张三", "在", "iPhone", "店"], entities=[(0, 1)], phrases=[(2, 4)]))
    # Tokens("8 9 10 77 78 11", "0 1 0 0 1 0", count=6, unknown=0, units=[(0, 2, "e"), (3, 6, "p")])

The pieces are those of the whole sentence, as fine-tuning will see it, and each belongs to the word that it begins
in: that is done by offsets. Where no two neighbouring words could grow together (between them is white space,
punctuation or a CJK character, at which FullTokenizer always cuts), the pieces of the words one by one are the same,
and a cache of words that are seen again and again gives them at once. Ids are kept as the text that goes into the
shard.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import NamedTuple

from pretrain.presegmented import Glue
from pretrain.segment import Sentence
from tokenization import FullTokenizer

CACHED_WORDS = 1 << 18
LONGEST_WORD = (
    16  # pieces; a longer one (an address, a number) goes on as another word: masking it whole teaches nothing
)


class Tokens(NamedTuple):
    """A sentence: ids and segs (0 begins a word, 1 goes on with it), `count` numbers with blanks between; how many are
    [UNK]; units: (first token, last + 1, "p" or "e")."""

    ids: str
    segs: str
    count: int
    unknown: int
    units: list

    def split(self, at: int):
        """The first `at` tokens and the others; a unit that would be cut is in neither."""
        ids, segs = self.ids.split(" "), self.segs.split(" ")
        parts = []
        for begin, end in ((0, at), (at, self.count)):
            units = [(a - begin, b - begin, kind) for a, b, kind in self.units if begin <= a and b <= end]
            parts.append(Tokens(" ".join(ids[begin:end]), " ".join(segs[begin:end]), end - begin, 0, units))
        return parts

    def word_starts(self) -> list:
        """Places of the tokens that begin a word."""
        return [place for place, seg in enumerate(self.segs.split(" ")) if seg == "0"]


class _Words(dict):
    """word -> (ids, segs, count, unknown, marks), see Glue; bounded."""

    def __init__(self, compute):
        super().__init__()
        self._compute = compute

    def __missing__(self, word):
        if len(self) >= CACHED_WORDS:
            self.clear()
        found = self[word] = self._compute(word)
        return found


class PieceMaker:
    """tokenizer: one of tokenization.TOKENIZERS; longest_word: pieces a word has at most."""

    def __init__(self, tokenizer, longest_word: int = LONGEST_WORD):
        self.tokenizer, self.unk, self.glue = tokenizer, tokenizer.unk_id, Glue()
        self.longest = longest_word
        self.words = _Words(self._word)
        self.by_words = type(tokenizer) is FullTokenizer and not tokenizer.for_cn

    def _word(self, word):
        ids = self.tokenizer.encode_batch([word])[0]
        # A capital sigma is lower-cased by what stands beside it.
        marks = "><" if "\u03a3" in word else self.glue[word]
        return " ".join(map(str, ids)), self._segs(len(ids)), len(ids), ids.count(self.unk), marks

    def _segs(self, count):
        return " ".join(["1" if place % self.longest else "0" for place in range(count)])

    def tokens(self, sentence: Sentence) -> Tokens:
        """The pieces of a sentence."""
        if self.by_words and sentence.words:
            ids, segs, counts, unknown, marks = zip(*map(self.words.__getitem__, sentence.words))
            if "><" not in "".join(marks):
                return Tokens(
                    " ".join(filter(None, ids)),
                    " ".join(filter(None, segs)),
                    sum(counts),
                    sum(unknown),
                    _units(sentence, counts) if sentence.entities or sentence.phrases else [],
                )
        return self.by_offsets(sentence)

    def by_offsets(self, sentence: Sentence) -> Tokens:
        """The same for any tokenizer and any words."""
        starts = [0, *accumulate(map(len, sentence.words))]
        found = self.tokenizer.tokenize_with_offsets("".join(sentence.words))
        ids = self.tokenizer.convert_tokens_to_ids([token for token, _, _ in found])
        counts = [0] * len(sentence.words)
        last = len(counts) - 1
        for _, start, _ in found:
            counts[min(bisect_right(starts, start) - 1, last)] += 1
        segs = " ".join([self._segs(count) for count in counts if count])
        return Tokens(" ".join(map(str, ids)), segs, len(ids), ids.count(self.unk), _units(sentence, counts))


def _units(sentence, counts):
    """(first token, last + 1, kind), in order, without those that have no token."""
    at = [0, *accumulate(counts)]
    units = [(at[start], at[end], "p") for start, end in sentence.phrases if at[end] > at[start]]
    units += [(at[start], at[end], "e") for start, end in sentence.entities if at[end] > at[start]]
    units.sort()
    return units
