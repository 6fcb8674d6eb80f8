"""What a reader needs of a tokenizer: text -> ids. The tokenizers of `tokenization` are such, and others may be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

# What flags call those of `tokenization`, and which of them pre-trained encoders have.
TOKENIZERS = (
    "FullTokenizer",
    "CharTokenizer",
    "SentencepieceTokenizer",
    "WordsegTokenizer",
    "WSSPTokenizer",
    "WholeWordTokenizer",
)
OF_ENCODERS = TOKENIZERS[:-1]


class Tokenizer(Protocol):
    """Text to ids, and the special ids of its vocabulary.

    The fingerprint of two tokenizers is the same where they make the same ids of every text.
    """

    @property
    def vocab(self) -> Mapping[str, int]:
        """token -> id."""

    @property
    def cls_id(self) -> int:
        """Id of [CLS]."""

    @property
    def sep_id(self) -> int:
        """Id of [SEP]."""

    @property
    def pad_id(self) -> int:
        """Id of [PAD]."""

    @property
    def mask_id(self) -> int:
        """Id of [MASK]."""

    @property
    def unk_id(self) -> int:
        """Id of [UNK]."""

    @property
    def fingerprint(self) -> str:
        """What a token cache and a resumed run compare."""

    def encode(self, text: str) -> list[int]:
        """Ids of the pieces of a text, without special ones."""

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """`encode` of every text."""

    def tokenize(self, text: str) -> list[str]:
        """The pieces of a text."""

    def tokenize_with_offsets(self, text: str) -> list[tuple[str, int, int]]:
        """(piece, begin, end) of each piece; begin and end count characters of `text`."""
