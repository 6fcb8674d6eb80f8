"""Sentences of tokens: what separates them in a file, where they are in the text, and their word pieces.

separator = find_separator(table)               # the byte 0x02, or a blank
split_tokens("Ada lives here", separator)       # ["Ada", "lives", "here"]
Sentence.of_words("Ada lives here.", tokenizer).begins      # [0, 4, 10, 14]
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from reader.tagging.joined import joint_of
from reader.tsv import TsvFile
from tokenization_basic import patterns

if TYPE_CHECKING:
    from reader.row_file import RowFile
    from reader.tokenizer import Tokenizer

SEPARATOR = "\x02"
BLANK = " "


def find_separator(table: RowFile) -> str:
    """`SEPARATOR` if the byte is anywhere in the file or its texts, else `BLANK`."""
    if not isinstance(table, TsvFile):
        return SEPARATOR if any(SEPARATOR in text for text in _texts(table)) else BLANK
    with table.open() as fd, open(fd, "rb", closefd=False) as file:
        while block := file.read(1 << 22):
            if SEPARATOR.encode() in block:
                return SEPARATOR
    return BLANK


def _texts(table: RowFile) -> Iterator[str]:
    """The texts of the rows that have all fields."""
    place = table.columns.index("text_a")
    for _, record in table.records():
        with contextlib.suppress(ValueError):
            yield table.layout.fields(record)[place]


def split_tokens(text: str, separator: str) -> list[str]:
    """The tokens or tags of a field. Several blanks count as one; between two 0x02 side by side is an empty token."""
    if separator == BLANK:
        return [part for part in text.split(BLANK) if part]
    return text.split(separator) if text else []


def word_pieces(tokenizer: Tokenizer, tokens: Iterable[str]) -> dict[str, list[int]]:
    """token -> ids of its word pieces, each different token tokenised once."""
    different = list(dict.fromkeys(tokens))
    return dict(zip(different, tokenizer.encode_batch(different))) if different else {}


class Sentence:
    """A row of a file: text, its tokens, where they are in the original text (int begins), and word pieces of each.

    The original text is the column as it is with blanks; 0x02 is not of the text, see `joint_of` for what is instead.
    """

    def __init__(self, text: str, separator: str) -> None:
        self.text, self.separator = text, separator
        self.tokens = split_tokens(text, separator)
        joint = "" if separator == BLANK else joint_of(self.tokens)
        self.original = text if separator == BLANK else joint.join(self.tokens)
        self.begins, at = [], 0
        for token in self.tokens:
            at = self.original.index(token, at) if separator == BLANK else at
            self.begins.append(at)
            at += len(token) + len(joint)
        self.pieces: list[int] = []

    @classmethod
    def of_words(cls, text: str, tokenizer: Tokenizer) -> Sentence:
        """Of running text, which is the original: its tokens are words, punctuation marks and CJK characters.

        An added token of the tokenizer, if it knows such, is one token.
        """
        sentence = cls("", BLANK)
        added = getattr(tokenizer, "added_tokens", None)
        for part, at, token in added.cut(text) if added else [(text, 0, None)]:
            if token is not None:
                found = [(part, at)]
            else:
                found = [(word.group(), at + word.start()) for word in patterns().pieces.finditer(part)]
            sentence.tokens += [word for word, _ in found]
            sentence.begins += [begin for _, begin in found]
        sentence.text = sentence.original = text
        return sentence
