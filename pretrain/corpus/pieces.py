"""Words to word pieces: which pieces begin a word, and where its phrases and entities lie among them.

    maker = PieceMaker(tokenizer)
    maker.tokens(Sentence(["张三", "在", "iPhone", "店"], entities=[(0, 1)], phrases=[(2, 4)]))
    # Tokens(b"8,9 10 77,78 11", count=6, unknown=0, units=[(0, 2, "e"), (3, 6, "p")]); .ids, .segs: fields of a shard

The pieces are those of the whole sentence, as fine-tuning will see it, and each belongs to the word that it begins in:
that is done by offsets. Where no two neighbouring words could grow together (between them is white space, punctuation
or a CJK character, at which FullTokenizer always cuts), the pieces of the words one by one are the same, and a cache of
words that are seen again and again gives them at once. They are kept as text, since text is what goes into the shard.
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from itertools import accumulate, compress
from typing import TYPE_CHECKING, NamedTuple

from pretrain.corpus.presegmented import Glue
from pretrain.corpus.segment import Sentence
from tokenization import FullTokenizer

if TYPE_CHECKING:
    from tokenization_base import BaseTokenizer

CACHED_WORDS = 1 << 18
LONGEST_WORD = (
    16  # pieces; a longer one (an address, a number) goes on as another word: masking it whole teaches nothing
)


BEGINS = bytes.maketrans(b" ,", b"01")
STARTS = bytes.maketrans(b" ,", b"\1\0")


def fields_of(text: bytes) -> tuple[bytes, bytes]:
    """(ids, segs), numbers with blanks between: segs has 0 where a word begins and 1 where it goes on."""
    begins = b"0" + text.translate(BEGINS, b"0123456789")
    segs = bytearray(b" ") * (2 * len(begins) - 1)
    segs[::2] = begins
    return text.replace(b",", b" "), bytes(segs)


class Tokens(NamedTuple):
    """A sentence: text: ids, with a blank before one that begins a word and a comma before one that goes on with it;
    count of ids; how many are [UNK]; units: (first token, last + 1, "p" or "e")."""

    text: bytes
    count: int  # type: ignore[assignment]  # a tuple's method of that name is not needed here
    unknown: int
    units: list

    @property
    def ids(self) -> bytes:
        """Field of a shard."""
        return fields_of(self.text)[0] if self.text else b""

    @property
    def segs(self) -> bytes:
        """Field of a shard."""
        return fields_of(self.text)[1] if self.text else b""

    def split(self, at: int) -> list[Tokens]:
        """The first `at` tokens and the others; a unit that would be cut is in neither."""
        texts = (self.text, b"")
        if 0 < at < self.count:
            border = len(self.text) - len(self.text.replace(b",", b" ").split(b" ", at)[at])
            texts = self.text[: border - 1], self.text[border:]
        parts = []
        for text, begin, end in zip(texts, (0, at), (at, self.count)):
            units = [(a - begin, b - begin, kind) for a, b, kind in self.units if begin <= a and b <= end]
            parts.append(Tokens(text, end - begin, 0, units))
        return parts

    def word_starts(self) -> list:
        """Places of the tokens that begin a word."""
        begins = self.text.translate(STARTS, b"0123456789")
        return [0, *compress(range(1, len(begins) + 1), begins)]


class _Words(dict):
    """word -> its Tokens.text, with marks: "<" and ">" as Glue has them, and a "u" for every [UNK]. Bounded."""

    def __init__(self, compute) -> None:
        super().__init__()
        self._compute = compute

    def __missing__(self, word):
        if len(self) >= CACHED_WORDS:
            self.clear()
        found = self[word] = self._compute(word)
        return found


class PieceMaker:
    """tokenizer: one of tokenization.TOKENIZERS; longest_word: pieces a word has at most."""

    def __init__(self, tokenizer: BaseTokenizer, longest_word: int = LONGEST_WORD) -> None:
        self.tokenizer, self.unk, self.glue = tokenizer, tokenizer.unk_id, Glue()
        self.longest = longest_word
        self.words = _Words(self._word)
        self.by_words = type(tokenizer) is FullTokenizer and not (tokenizer.for_cn or tokenizer.added_tokens)

    def _word(self, word):
        ids = self.tokenizer.encode_batch([word])[0]
        first, last = self.glue[word].replace(".", " ")
        text = f"{first}{self._text(ids)}{'u' * ids.count(self.unk)}{last}".strip()
        # A capital sigma is lower-cased by what stands beside it.
        return (f"{text}> <" if "\u03a3" in word else text).encode()

    def _text(self, ids):
        words = (ids[place : place + self.longest] for place in range(0, len(ids), self.longest))
        return " ".join([",".join(map(str, word)) for word in words])

    def tokens(self, sentence: Sentence) -> Tokens:
        """The pieces of a sentence."""
        if not (self.by_words and sentence.words):
            return self.by_offsets(sentence)
        texts = list(map(self.words.__getitem__, sentence.words))
        text, unknown = b" ".join(texts), 0
        if b"> <" in text:
            return self.by_offsets(sentence)
        if b"<" in text or b">" in text or b"u" in text:
            unknown = text.count(b"u")
            text = text.translate(None, b"<>u")
        if b"  " in text or text[:1] == b" " or text[-1:] == b" ":  # words without a piece
            text = b" ".join(text.split())
        count = text.count(b" ") + text.count(b",") + 1 if text else 0
        units = []
        if sentence.entities or sentence.phrases:
            units = _units(sentence, list(map(_pieces_in, texts)))
        return Tokens(text, count, unknown, units)

    def by_offsets(self, sentence: Sentence) -> Tokens:
        """The same for any tokenizer and any words."""
        ids, counts = self.pieces(sentence)
        ends = [0, *accumulate(counts)]
        words = [self._text(ids[begin:end]) for begin, end in zip(ends, ends[1:]) if end > begin]
        return Tokens(" ".join(words).encode(), len(ids), ids.count(self.unk), _units(sentence, counts))

    def pieces(self, sentence: Sentence) -> tuple[list[int], list[int]]:
        """(ids, of each word how many of them begin in it)."""
        starts = [0, *accumulate(map(len, sentence.words))]
        found = self.tokenizer.tokenize_with_offsets("".join(sentence.words))
        ids = self.tokenizer.convert_tokens_to_ids([token for token, _, _ in found])
        counts = [0] * len(sentence.words)
        last = len(counts) - 1
        for _, start, _ in found:
            counts[min(bisect_right(starts, start) - 1, last)] += 1
        return ids, counts


@functools.lru_cache(maxsize=2)
def maker_for(tokenizer: BaseTokenizer, max_seq_len: int) -> PieceMaker:
    """The PieceMaker of this process for instances of that length; a task that asks shares its cache."""
    return PieceMaker(tokenizer, max(min(LONGEST_WORD, (max_seq_len - 3) // 2), 1))


def _pieces_in(text):
    """How many pieces an entry of _Words has."""
    text = text.translate(None, b"<>u")
    return text.count(b",") + text.count(b" ") + 1 if text else 0


def _units(sentence, counts):
    """(first token, last + 1, kind), in order, without those that have no token."""
    at = [0, *accumulate(counts)]
    units = [(at[start], at[end], "p") for start, end in sentence.phrases if at[end] > at[start]]
    units += [(at[start], at[end], "e") for start, end in sentence.entities if at[end] > at[start]]
    units.sort()
    return units
