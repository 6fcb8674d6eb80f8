"""Text -> tokens -> ids, as the 2019 ERNIE code cut text, several times as fast and with offsets.

    from tokenization import build_tokenizer
    tokenizer = build_tokenizer("FullTokenizer", "vocab.txt", do_lower_case=True, for_cn=False)
    tokenizer.encode_batch(["hello world", "a second text"])      # ids, without [CLS] and [SEP]
    tokenizer.tokenize_with_offsets("Hello, World!")              # [("hello", 0, 5), (",", 5, 6), ...]

`FullTokenizer` is BERT's (Devlin et al. 2018): clean, split CJK characters, lower-case, strip accents, split
punctuation, then greedy longest-match word pieces, run by the `tokenizers` library. Its results equal the recorded
2019 ones, under Unicode 11.0 whatever the Python (tokenization_tables.py). Odd results that are kept for that:
form feed, vertical tab and other control characters vanish without separating words ("a\\x0cb" -> "ab"); so does every
character younger than Unicode 11.0; special tokens written in the text ("[MASK]") are cut into brackets and letters;
Hangul syllables are cut into their jamo and CJK characters outside the eight blocks of `tokenization_tables.CJK`
(extension F, the U+2E80 radicals) are not separated; one unknown character makes its whole word [UNK].
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from propeller.errors import UserError
from tokenization_added import ADDED_TOKENS
from tokenization_base import BaseTokenizer, WordpieceTokenizer
from tokenization_basic import (
    BasicTokenizer,
    UnknownTokenError,
    char_kind,
    clean_text_for_cn,
    convert_by_vocab,
    convert_ids_to_tokens,
    convert_to_unicode,
    convert_tokens_to_ids,
    load_vocab,
    lower,
    lower_with_spans,
    patterns,
    printable_text,
    tokenize_chinese_chars,
    whitespace_tokenize,
)
from tokenization_sentencepiece import (
    SP_MODEL,
    WORD_DICT,
    SentencepieceTokenizer,
    WordsegTokenizer,
    WSSPTokenizer,
)

# str.split() cuts at these, which the 2019 clean-up drops first.
_SEPARATING_CONTROLS = re.compile("[\x0b\x0c\x1c-\x1f\x85]")

__all__ = [
    "ADDED_TOKENS",
    "SP_MODEL",
    "TOKENIZERS",
    "WORD_DICT",
    "BasicTokenizer",
    "CharTokenizer",
    "FullTokenizer",
    "SentencepieceTokenizer",
    "UnknownTokenError",
    "WSSPTokenizer",
    "WholeWordTokenizer",
    "WordpieceTokenizer",
    "WordsegTokenizer",
    "build_tokenizer",
    "clean_text_for_cn",
    "convert_by_vocab",
    "convert_ids_to_tokens",
    "convert_to_unicode",
    "convert_tokens_to_ids",
    "load_vocab",
    "printable_text",
    "tokenize_chinese_chars",
    "whitespace_tokenize",
]


class FullTokenizer(BaseTokenizer):
    """BasicTokenizer, then WordpieceTokenizer: what the released ERNIE models were trained with."""

    _transient = ("_ids", "basic_tokenizer", "wordpiece_tokenizer")

    def _prepare(self):
        super()._prepare()
        self.basic_tokenizer = BasicTokenizer(self.do_lower_case)
        self.wordpiece_tokenizer = WordpieceTokenizer(self._word_pieces(), self.unk_token)

    def _tokenize(self, text):
        pieces = self.wordpiece_tokenizer.pieces
        return [piece for word in self.basic_tokenizer.tokenize(text) for piece in pieces(word)]

    def _offsets(self, text):
        pieces = self.wordpiece_tokenizer.pieces_with_offsets
        return [piece for found in self.basic_tokenizer.tokenize_with_offsets(text) for piece in pieces(*found)]

    def _words(self, text):
        """Parts of `text` that can be cut one by one: at white space, CJK characters and punctuation."""
        if not text.isprintable():
            text = _SEPARATING_CONTROLS.sub("", text)
        if text.isascii() or "\u03a3" in text:  # a capital sigma is lower-cased by its neighbours, punctuation too
            return text.split()
        return patterns().pieces.findall(text)


class CharTokenizer(BaseTokenizer):
    """Word pieces of the blank-separated words, lower-cased; punctuation and CJK stay inside them, as in 2019.

    Accents stay and nothing is cleaned. The 2019 class lower-cased always; here do_lower_case=False is honoured.
    """

    _transient = ("_ids", "wordpiece_tokenizer")

    def _prepare(self):
        super()._prepare()
        self.wordpiece_tokenizer = WordpieceTokenizer(self._word_pieces(), self.unk_token)

    def _tokenize(self, text):
        return self.wordpiece_tokenizer.tokenize(lower(text) if self.do_lower_case else text)

    def _offsets(self, text):
        found = []
        for match in re.finditer(r"\S+", text):
            word = match.group()
            places: Sequence[int] = range(match.end() - match.start())
            if self.do_lower_case:
                word, places = lower_with_spans(word)
            spans = [(match.start() + place, match.start() + place + 1) for place in places]
            found += self.wordpiece_tokenizer.pieces_with_offsets(word, spans)
        return found

    def _words(self, text):
        return text.split()


class WholeWordTokenizer(BaseTokenizer):
    """Whole words of the vocabulary, for students: BasicTokenizer's words, and runs of CJK characters cut by it.

    A word that the vocabulary lacks is [UNK]. CJK characters that stand together are cut from the left into the longest
    words that the vocabulary holds, so text may come with blanks between its words or without; `for_cn` therefore does
    nothing here.
    """

    LONGEST = 16  # characters of a CJK word; dictionaries hold longer entries, but text hardly ever does
    _transient = ("_ids", "basic_tokenizer", "_runs", "_longest")

    def __init__(self, vocab_file: str | os.PathLike[str], do_lower_case: bool = True, for_cn: bool = False) -> None:
        super().__init__(vocab_file, do_lower_case, for_cn=False)

    def _prepare(self):
        super()._prepare()
        self.basic_tokenizer = BasicTokenizer(self.do_lower_case)
        self._runs = re.compile(f"{patterns().cjk.pattern}+|{patterns().pieces.pattern}")
        words = (len(word) for word in self.vocab if char_kind(word[:1]) == "cjk")
        self._longest = min(max(words, default=1), self.LONGEST)

    def _tokenize(self, text):
        return [token for token, _, _ in self._offsets(text)]

    def _offsets(self, text):
        found = []
        for match in self._runs.finditer(text):
            part, at = match.group(), match.start()
            if char_kind(part[0]) == "cjk":
                found += self._cut(part, at)
                continue
            for word, spans in self.basic_tokenizer.tokenize_with_offsets(part):
                token = word if word in self.vocab else self.unk_token
                found.append((token, at + spans[0][0], at + spans[-1][1]))
        return found

    def _cut(self, run, at):
        """The words of a run of CJK characters, with their places."""
        found, begin = [], 0
        while begin < len(run):
            ends = range(min(begin + self._longest, len(run)), begin, -1)
            end = next((end for end in ends if run[begin:end] in self.vocab), None)
            token = self.unk_token if end is None else run[begin:end]
            end = begin + 1 if end is None else end
            found.append((token, at + begin, at + end))
            begin = end
        return found

    def _words(self, text):
        return self._runs.findall(text)


TOKENIZERS = {
    "FullTokenizer": FullTokenizer,
    "CharTokenizer": CharTokenizer,
    "SentencepieceTokenizer": SentencepieceTokenizer,
    "WordsegTokenizer": WordsegTokenizer,
    "WSSPTokenizer": WSSPTokenizer,
    "WholeWordTokenizer": WholeWordTokenizer,
}


def build_tokenizer(
    name: str,
    vocab_path: str | os.PathLike[str],
    do_lower_case: bool = True,
    for_cn: bool = True,
    sp_model: str | os.PathLike[str] | None = None,
) -> BaseTokenizer:
    """The tokenizer that `--tokenizer` names, its special tokens checked.

    `for_cn`, on by default as in 2019, drops blanks (see `clean_text_for_cn`): pass False for English, for tagging and
    for reading comprehension. `sp_model` is for the three sentencepiece tokenizers.

    Raises:
        UserError: an unknown name; a vocabulary or model that cannot be read or lacks [PAD], [CLS], [SEP] or [UNK].
    """
    if name not in TOKENIZERS:
        raise UserError(f"--tokenizer {name}: unknown; choose one of {', '.join(TOKENIZERS)}")
    options = {"sp_model": sp_model} if issubclass(TOKENIZERS[name], SentencepieceTokenizer) else {}
    tokenizer = TOKENIZERS[name](vocab_path, do_lower_case, for_cn=for_cn, **options)
    for token in ("[PAD]", "[CLS]", "[SEP]", "[UNK]"):
        tokenizer._special(token)
    return tokenizer
