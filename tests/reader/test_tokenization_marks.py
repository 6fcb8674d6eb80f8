"""Long runs of combining marks: the same tokens as ever, in time that grows with the text and not with its square."""

import random
import unicodedata
from types import SimpleNamespace

import pytest

import tokenization_basic
from tests.helpers.tiny import make_model
from tokenization import FullTokenizer
from tokenization_basic import LONG_WORD, BasicTokenizer, patterns, strip_accents

# Marks of several combining classes, marks that decompose into two, letters with accents, Hangul, and characters that
# have an order without being marks of category Mn.
ALPHABET = (
    "\u0301\u0323\u0345\u0344\u05b0\u0f73\u302e\u302f\U0001d165\U0001d166\U0001d16d\u1e69\ud55ca\u00e9\u0e33\u0958"
)


@pytest.mark.parametrize("length", [LONG_WORD - 1, LONG_WORD, LONG_WORD + 1, 700])
def test_long_words_are_stripped_as_short_ones(length):
    chooser = random.Random(length)
    for kinds in (2, 5, len(ALPHABET)):
        for _ in range(20):
            word = "".join(chooser.choices(chooser.sample(ALPHABET, kinds), k=length))
            assert strip_accents(word) == patterns().marks.sub("", unicodedata.normalize("NFD", word))


@pytest.mark.parametrize("do_lower_case", [True, False])
def test_tokens_and_places_of_long_words(do_lower_case):
    tokenizer = BasicTokenizer(do_lower_case)
    word = "\u00e9\u0323\u0301" * 300
    text = f"Caf\u00e9 {word}, o\u0301k"
    tokens = tokenizer.tokenize(text)
    assert tokens == (["cafe", "e" * 300, ",", "ok"] if do_lower_case else ["Caf\u00e9", word, ",", "o\u0301k"])
    found = tokenizer.tokenize_with_offsets(text)
    assert [token for token, _ in found] == tokens
    assert [len(token) for token in tokens] == [len(spans) for _, spans in found]
    assert found[2][1] == [(5 + 900, 5 + 901)]


def test_no_long_run_is_put_in_order_at_once(tmp_path, monkeypatch):
    """What takes the square of a run's length is only ever given words of LONG_WORD characters."""
    lengths = []
    normal = SimpleNamespace(
        normalize=lambda form, text: lengths.append(len(text)) or unicodedata.normalize(form, text),
        combining=unicodedata.combining,
    )
    monkeypatch.setattr(tokenization_basic, "unicodedata", normal)
    tokenizer = FullTokenizer(make_model(tmp_path / "tiny") / "vocab.txt")
    for number, work in enumerate((tokenizer.tokenize, tokenizer.tokenize_with_offsets, tokenizer.encode)):
        for length in (100, 3000):
            lengths.clear()
            tokenization_basic._without_marks.cache_clear()
            work(f"{number} e" + "\u0301\u0323" * length)
            assert 0 < max(lengths) <= LONG_WORD
