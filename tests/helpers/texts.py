"""Shared with tests/reader/test_tokenization*.py: texts and a vocabulary."""

from hypothesis import strategies as st

SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]"]


# Characters that the cutting turns on, mixed into random ones: white space of every kind, controls that str.split()
# cuts at, sigma, letters whose lower case is longer, accents, Hangul, ideographs in and out of the 2019 blocks,
# characters younger than Unicode 11.0, and one beyond U+FFFF of most kinds.
TELLING = (
    "abZ09 .,!#[]'\t\n\r\x00\x0b\x0c\x1c\x1f\x85\xa0\u2003\u2028\u3000\u202f\u200b\ufeff\ufffd"
    "ΑΣσİßéÅ\u0301\u0323\u302e\u1734한中文，。\u4db6\u9ff0\U0002a6dd\U00020000\U00030000"
    "\u166d\ua7c5\U00010570\U00010a50\U0001d165\U0001d16d\U0001f600\U00011100"
)


TEXTS = st.text(st.one_of(st.sampled_from(TELLING), st.characters()), max_size=40)


def write_vocab(path, tokens):
    path.write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    return path
