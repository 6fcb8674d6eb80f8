"""Tokenisation: its fast path against its plain one, offsets, the tokenizers as objects, and user mistakes.

python -m pytest -q tests/reader/test_tokenization.py
"""

import logging
import pickle
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tokenization
import tokenization_base
from propeller.errors import UserError
from tests.helpers.texts import SPECIAL, TEXTS, write_vocab
from tokenization import BasicTokenizer, CharTokenizer, FullTokenizer, WordpieceTokenizer, build_tokenizer, load_vocab
from tokenization_basic import char_kind, lower, patterns

LETTERS = [*"abcdefghijklmnopqrstuvwxyz0123456789", "α", "σ", "ς", "é", "ᄒ", "ᅡ", "ᆫ"]
WORDS = ["un", "##aff", "##able", "hello", "the", "world", "中", "文", "##文", "，", "。", ".", ",", "!", "[", "]", "#"]
SMALL_VOCAB = [*SPECIAL, *LETTERS, *("##" + letter for letter in LETTERS), *WORDS]


@pytest.fixture(scope="module")
def vocab_file(tmp_path_factory):
    return write_vocab(tmp_path_factory.mktemp("vocab") / "vocab.txt", SMALL_VOCAB)


@pytest.fixture(scope="module")
def tokenizers(vocab_file):
    """Every Full and Char tokenizer: lower-cased and cased, with and without for_cn."""
    return [
        kind(vocab_file, do_lower_case=lower_case, for_cn=for_cn)
        for kind in (FullTokenizer, CharTokenizer)
        for lower_case in (True, False)
        for for_cn in (True, False)
    ]


# ---- the functions of 2019 ----


def test_functions_of_the_module(vocab_file):
    """The names that other code imported in 2019, beside the methods of the tokenizers."""
    vocab = load_vocab(vocab_file)
    tokens = ["un", "##aff", "##able", "中"]
    ids = [vocab[token] for token in tokens]
    assert tokenization.convert_by_vocab(vocab, tokens) == ids
    assert (
        tokenization.convert_tokens_to_ids(vocab, tokens)
        == ids
        == FullTokenizer(vocab_file).convert_tokens_to_ids(tokens)
    )
    assert tokenization.convert_ids_to_tokens({number: token for token, number in vocab.items()}, ids) == tokens
    for convert, item in ((tokenization.convert_tokens_to_ids, "nosuch"), (tokenization.convert_by_vocab, 5)):
        with pytest.raises(KeyError) as caught:
            convert(vocab, [item])
        assert isinstance(caught.value, UserError)
        assert f"no {item!r} in this vocabulary" in str(caught.value)
    assert tokenization.whitespace_tokenize(" the\t中文 \n world\u3000un ") == ["the", "中文", "world", "un"]
    assert tokenization.whitespace_tokenize(" \n") == []
    assert tokenization.printable_text("中文") == tokenization.printable_text("中文".encode()) == "中文"
    assert tokenization.printable_text(b"ab\xffcd") == "abcd"
    with pytest.raises(ValueError, match="Unsupported string type"):
        tokenization.printable_text(5)


# ---- what the small vocabulary shows without any recording ----


def test_full_tokenizer_on_a_small_vocabulary(vocab_file):
    tokenizer = FullTokenizer(vocab_file)
    text = "Hello, UNAFFABLE wörld! 中文\u3000q?"
    expected = ["hello", ",", "un", "##aff", "##able", "world", "!", "中", "文", "q", "[UNK]"]
    assert tokenizer.tokenize(text) == expected
    assert tokenizer.encode(text) == [SMALL_VOCAB.index(token) for token in expected]
    found = tokenizer.tokenize_with_offsets(text)
    pieces = ["Hello", ",", "UN", "AFF", "ABLE", "wörld", "!", "中", "文", "q", "?"]
    assert [text[start:end] for _, start, end in found] == pieces
    assert FullTokenizer(vocab_file, do_lower_case=False).tokenize("Hello hello") == ["[UNK]", "hello"]


def test_offsets_count_what_cleaning_and_for_cn_drop(vocab_file):
    tokenizer = FullTokenizer(vocab_file)
    assert tokenizer.tokenize_with_offsets("\x00he\u200bllo  cafe\u0301x") == [
        ("hello", 1, 7),
        *[("c", 9, 10), ("##a", 10, 11), ("##f", 11, 12), ("##e", 12, 14), ("##x", 14, 15)],
    ]
    glued = FullTokenizer(vocab_file, for_cn=True)
    assert glued.tokenize_with_offsets(" 中 hel lo") == [("中", 1, 2), ("hello", 3, 9)]
    assert glued.encode(" 中 hel lo") == tokenizer.encode("中hello")
    assert glued.encode("hello\u3000world") == tokenizer.encode("hello world")  # only U+0020 goes


def test_char_tokenizer_keeps_punctuation_and_ideographs_in_words(vocab_file):
    tokenizer = CharTokenizer(vocab_file)
    assert tokenizer.tokenize("中文 UNaffable hello, é") == ["中", "##文", "un", "##aff", "##able", "[UNK]", "é"]
    assert tokenizer.tokenize_with_offsets("\u3000İ\u3000unable")[:2] == [("[UNK]", 1, 2), ("un", 3, 5)]


def test_word_length_limit_and_surrogates():
    tokenizer = WordpieceTokenizer({"a": 0, "##a": 1, "[UNK]": 2})
    assert tokenizer.tokenize("a" * 100) == ["a"] + ["##a"] * 99
    assert tokenizer.tokenize("a" * 101) == ["[UNK]"]
    assert tokenizer.tokenize("a \ud800 aa") == ["a", "[UNK]", "a", "##a"]
    assert WordpieceTokenizer({"a": 0}, max_input_chars_per_word=1).tokenize("aa b a") == ["[UNK]", "[UNK]", "a"]


def test_unicode_11_whatever_the_python(vocab_file):
    assert BasicTokenizer().tokenize("a\u166db") == ["a", "\u166d", "b"]  # punctuation until Unicode 12
    assert BasicTokenizer().tokenize("a\u1734b") == ["ab"]  # an accent until Unicode 14
    assert BasicTokenizer().tokenize("a\ua7c5b\U00010570") == ["ab"]  # assigned in 12 and 14
    assert lower("\ua7c5A\U00010570ΑΣ") == "\ua7c5a\U00010570ας"  # capitals that 11.0 did not know


@settings(max_examples=400, deadline=None)
@given(texts=st.lists(TEXTS, max_size=4))
@example(["ΑΣ.", "ΑΣ.Α", "Σ", "a.ΣΑ", "中ΑΣ文"])  # the sigma's form depends on the letters beyond the punctuation
@example(["a\u4db6b", "a\x0bb", "a\u2028b", "a\U0001f6d5b"])  # removed, removed, a border, removed
def test_fast_path_equals_plain_path_and_offsets_agree(tokenizers, texts):
    for tokenizer in tokenizers:
        plain = [tokenizer.tokenize(text) for text in texts]
        assert tokenizer.encode_batch(texts) == [tokenizer.convert_tokens_to_ids(tokens) for tokens in plain]
        for text, tokens in zip(texts, plain):
            found = tokenizer.tokenize_with_offsets(text)
            assert [token for token, _, _ in found] == tokens
            starts, ends = [start for _, start, _ in found], [end for _, _, end in found]
            assert starts == sorted(starts)
            assert ends == sorted(ends)
            assert all(0 <= start < end <= len(text) for _, start, end in found)


@settings(max_examples=200, deadline=None)
@given(text=TEXTS)
@example("x\u302e\U0001d165y")  # NFD puts these two marks, which stay, the other way round
def test_basic_tokens_and_offsets_agree(text):
    for lower_case in (True, False):
        tokenizer = BasicTokenizer(lower_case)
        found = tokenizer.tokenize_with_offsets(text)
        assert [token for token, _ in found] == tokenizer.tokenize(text)
        assert all(len(token) == len(spans) for token, spans in found)


def letters_of(text):
    return patterns().marks.sub("", unicodedata.normalize("NFD", text.lower()))


@settings(max_examples=400, deadline=None)
@given(
    text=TEXTS.filter(lambda text: all(len(letters_of(char)) < 2 and not unicodedata.combining(char) for char in text))
)
def test_the_text_at_the_offsets_is_the_token(tokenizers, text):
    """But for combining marks and characters that become several letters (Hangul), which a token may hold half of."""
    for tokenizer in tokenizers:
        if not isinstance(tokenizer, FullTokenizer):
            continue  # there "##" may be the text's own
        for token, start, end in tokenizer.tokenize_with_offsets(text):
            if token != "[UNK]":
                cut = "".join(tokenizer.basic_tokenizer.tokenize(text[start:end]))
                letters = token[2:] if token.startswith("##") else token
                assert cut.replace("ς", "σ") == letters.replace("ς", "σ")  # which sigma depends on what follows


def test_no_character_breaks_what_the_fast_path_assumes():
    """It cuts at punctuation before lower-casing and NFD, which must leave punctuation alone and make no blanks."""
    for code in (*range(0xD800), *range(0xE000, 0x20000)):
        kind = char_kind(chr(code))
        if kind == "removed" or 0xAC00 <= code < 0xD7A4:
            continue
        normal = letters_of(chr(code))
        assert kind == "space" or not any(char.isspace() for char in normal)
        if kind == "punctuation":
            assert normal
            assert all(char_kind(char) == "punctuation" for char in normal)
            assert not unicodedata.combining(chr(code))


# ---- the tokenizer object ----


def test_cache_is_bounded_and_can_be_emptied(vocab_file, monkeypatch):
    monkeypatch.setattr(tokenization_base, "CACHED_WORDS", 4)
    tokenizer = FullTokenizer(vocab_file)
    texts = ["a b c d e f the world", "hello the f e d", "a" * 65]
    for _ in range(3):
        assert tokenizer.encode_batch(texts) == [tokenizer.convert_tokens_to_ids(tokenizer.tokenize(t)) for t in texts]
        assert len(tokenizer._ids) <= 4
    assert "a" * 65 not in tokenizer._ids


def test_pickled_tokenizer_gives_the_same_ids(tokenizers):
    for tokenizer in tokenizers:
        tokenizer.encode("hello 中文")
        copy = pickle.loads(pickle.dumps(tokenizer))
        assert len(copy._ids) == 0
        assert copy.encode("Hello 中文 é") == tokenizer.encode("Hello 中文 é")
        assert copy.fingerprint == tokenizer.fingerprint


def test_fingerprint_tells_class_flags_and_vocabulary_apart(tokenizers, vocab_file, tmp_path):
    other = FullTokenizer(write_vocab(tmp_path / "vocab.txt", SMALL_VOCAB[::-1]))
    prints = [tokenizer.fingerprint for tokenizer in (*tokenizers, other)]
    assert len(set(prints)) == len(prints)
    copy = write_vocab(tmp_path / "copy.txt", SMALL_VOCAB)
    assert FullTokenizer(copy).fingerprint == FullTokenizer(vocab_file).fingerprint


# ---- user mistakes ----


def test_2019_vocabulary_oddities_are_kept_by_load_vocab(tmp_path, caplog):
    path = tmp_path / "vocab.txt"
    path.write_bytes(b"a\n\na\r\nb \t 7\nc\tx\t1\nd\n")
    with caplog.at_level(logging.WARNING):
        assert list(load_vocab(path).items()) == [("a", 2), ("", 1), ("b", 7)]
    assert f"{path}: line 5: 3 columns" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the vocabulary is empty"),
        (b"a\nb\tc\td\n", "line 2: 3 columns"),
        (b"a\nb\nc\tx\n", "line 3: the id 'x' of 'c' is not an integer"),
        (b"a\nb\na\n", "line 3: the token 'a' was there already, with id 0"),
        (b"a\t0\nb\t0\n", "line 2: the id 0 of 'b' is also that of line 1"),
        (b"a\t-1\n", "line 1: the id -1 of 'a' is negative"),
        (b"a\nb\n\xff\n", "line 3: byte 0xff is not UTF-8"),
    ],
)
@pytest.mark.parametrize("kind", [FullTokenizer, CharTokenizer])
def test_bad_vocabulary_is_named_with_its_line(kind, content, message, tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        kind(path)
    assert message in str(error.value)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_blank_lines_keep_the_numbering(tmp_path):
    assert FullTokenizer(write_vocab(tmp_path / "vocab.txt", [*SPECIAL, "", "", "a"])).encode("a") == [7]


def test_missing_files_names_and_tokens(tmp_path, vocab_file):
    with pytest.raises(UserError, match="cannot read the vocabulary"):
        FullTokenizer(tmp_path / "none.txt")
    with pytest.raises(UserError, match="unknown; choose one of FullTokenizer, CharTokenizer, Sentence"):
        build_tokenizer("WordTokenizer", vocab_file)
    bare = write_vocab(tmp_path / "bare.txt", ["[CLS]", "a"])
    with pytest.raises(UserError, match=r"bare.txt: the special token \[PAD\] is missing"):
        build_tokenizer("FullTokenizer", bare)
    assert FullTokenizer(bare).encode("a") == [1]  # as a bare tokenizer it works
    with pytest.raises(UserError, match=r"no token '\[UNK\]' in this vocabulary of 2"):
        FullTokenizer(bare).encode("b")
    tokenizer = build_tokenizer("FullTokenizer", vocab_file, for_cn=False)
    with pytest.raises(KeyError, match="no token 'nosuch' in"):
        tokenizer.convert_tokens_to_ids(["nosuch"])
    with pytest.raises(UserError, match="no id 1000000 in"):
        tokenizer.convert_ids_to_tokens([1000000])
