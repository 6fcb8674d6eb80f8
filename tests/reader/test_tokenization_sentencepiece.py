"""The sentencepiece tokenizers, on a model that the test trains: tokens, ids, offsets, and finding the model.

python -m pytest -q tests/reader/test_tokenization_sentencepiece.py
"""

import pickle

import pytest
from hypothesis import example, given, settings

from propeller.errors import UserError
from reader.tokenizer import TOKENIZERS
from tests.helpers.texts import SPECIAL, TEXTS, write_vocab
from tokenization import TOKENIZERS as CLASSES
from tokenization import build_tokenizer
from tokenization_words import WordDict

SENTENCES = ["the quick brown fox jumps over the lazy dog", "hello world, hello fox", "你好 世界 中文 文本"]


@pytest.fixture(scope="module")
def sp_folder(tmp_path_factory):
    sentencepiece = pytest.importorskip("sentencepiece")
    folder = tmp_path_factory.mktemp("sp")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 20),
        model_prefix=str(folder / "vocab.txt"),  # writes vocab.txt.model, where it is looked for first
        vocab_size=70,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "vocab.txt.model"))
    pieces = [model.id_to_piece(number) for number in range(model.get_piece_size())]
    pieces = [piece for piece in pieces if piece not in ("<unk>", "<s>", "</s>", "hello")]
    write_vocab(folder / "vocab.txt", [*SPECIAL, "hello", *pieces])
    return folder


def test_sentencepiece_tokens_ids_and_offsets(sp_folder):
    tokenizer = build_tokenizer("SentencepieceTokenizer", sp_folder / "vocab.txt", for_cn=False)
    text = "  The {fox \1 你好\u3000Jumps"
    tokens = tokenizer.tokenize(text)
    assert "".join(tokens).replace("▁", "") == "the[UNK]fox你好jumps"
    assert tokenizer.encode(text) == [tokenizer.vocab[token] for token in tokens]
    for token, start, end in tokenizer.tokenize_with_offsets(text):
        assert text[start:end].lower() == ("{" if token == "[UNK]" else token.replace("▁", ""))
    cased = build_tokenizer("SentencepieceTokenizer", sp_folder / "vocab.txt", do_lower_case=False, for_cn=False)
    assert "[UNK]" in cased.tokenize("The")
    assert "[UNK]" not in tokenizer.tokenize("The")


@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
@example("\x85")  # white space to Python, a letter to sentencepiece
@example("a \u2028 ")
def test_sentencepiece_fast_path_and_offsets_agree(sp_folder, text):
    for name in ("SentencepieceTokenizer", "WordsegTokenizer"):
        for for_cn in (True, False):
            tokenizer = build_tokenizer(name, sp_folder / "vocab.txt", for_cn=for_cn)
            tokens = tokenizer.tokenize(text)
            assert tokenizer.encode_batch([text, text])[1] == tokenizer.convert_tokens_to_ids(tokens)
            found = tokenizer.tokenize_with_offsets(text)
            assert [token for token, _, _ in found] == tokens
            starts = [start for _, start, _ in found]
            assert starts == sorted(starts)
            assert all(0 <= start <= end <= len(text) for _, start, end in found)


def test_wordseg_keeps_words_and_their_borders(sp_folder):
    words = build_tokenizer("WordsegTokenizer", sp_folder / "vocab.txt", for_cn=True)
    pieces = build_tokenizer("SentencepieceTokenizer", sp_folder / "vocab.txt", for_cn=False)
    assert words.tokenize("Hello 你好世界\1brownfoxjumps") == [
        "hello",
        *pieces.tokenize("你好世界"),
        *pieces.tokenize("brownfoxjumps"),
    ]
    found = words.tokenize_with_offsets("fox Hello")
    assert found[-1] == ("hello", 4, 9)
    assert words.encode("fox Hello") == [words.vocab[token] for token, _, _ in found]
    assert pickle.loads(pickle.dumps(words)).tokenize("fox Hello") == [token for token, _, _ in found]


def test_sentencepiece_model_is_found_or_named(sp_folder, tmp_path):
    vocab_path = write_vocab(tmp_path / "vocab.txt", SPECIAL)
    with pytest.raises(UserError, match=r"looked for .*vocab\.txt\.model and for a single .*\*\.model \(found: none\)"):
        build_tokenizer("SentencepieceTokenizer", vocab_path)
    model = (sp_folder / "vocab.txt.model").read_bytes()
    (tmp_path / "spm_a.model").write_bytes(model)
    found = build_tokenizer("SentencepieceTokenizer", vocab_path)
    assert found.sp_model == str(tmp_path / "spm_a.model")
    (tmp_path / "spm_b.model").write_bytes(model[: len(model) // 2])
    with pytest.raises(UserError, match=r"found: spm_a\.model, spm_b\.model"):
        build_tokenizer("WordsegTokenizer", vocab_path)
    chosen = build_tokenizer("WordsegTokenizer", vocab_path, sp_model=tmp_path / "spm_a.model")
    assert chosen.fingerprint != found.fingerprint
    (tmp_path / "spm_b.model").write_bytes(b"not a model")
    with pytest.raises(UserError, match=r"spm_b\.model: not a sentencepiece model"):
        build_tokenizer("WordsegTokenizer", vocab_path, sp_model=tmp_path / "spm_b.model")
    with pytest.raises(UserError, match="cannot read the sentencepiece model"):
        build_tokenizer("WordsegTokenizer", vocab_path, sp_model=tmp_path / "none.model")


# ---------------------------------------------------------------- ERNIE tiny's: words of a dictionary first

WORDS = ("你好", "世界", "好世", "the", "The", "quick", "fox", "jumps over")


@pytest.fixture
def tiny_folder(sp_folder, tmp_path):
    for name in ("vocab.txt", "vocab.txt.model"):
        (tmp_path / name).write_bytes((sp_folder / name).read_bytes())
    (tmp_path / "word_dict.txt").write_text("".join(f"{word}\t7\r\n" for word in WORDS), encoding="utf8", newline="")
    return tmp_path


def test_words_are_the_longest_of_the_dictionary_from_the_left(tiny_folder):
    words = WordDict.read(tiny_folder / "word_dict.txt")
    assert words.spaced("你好世界a ab") == ("你好 世界 a a b", [0, 1, 2, 2, 3, 4, 4, 6, 6, 7, 7])
    assert words.spaced("quickthe")[0] == "quick the"  # five characters are the longest word
    assert words.spaced("jumps over")[0] == "j u m p s o v e r"  # a longer entry is never met
    assert words.spaced("a\1\1b  ")[0] == "a b"
    assert words.spaced("") == ("", [])


def test_ernie_tiny_tokens_are_those_of_the_spaced_and_then_lowered_text(tiny_folder):
    """As 2019 has it: the dictionary sees the text as it stands, sentencepiece sees it in lower case."""
    sentencepiece = pytest.importorskip("sentencepiece")
    tokenizer = build_tokenizer("WSSPTokenizer", tiny_folder / "vocab.txt")
    model = sentencepiece.SentencePieceProcessor(model_file=str(tiny_folder / "vocab.txt.model"))
    for text, spaced in (
        ("The fox", "the fox"),
        ("THE fox", "t h e fox"),
        ("你好世界 quickfox", "你好 世界 quick fox"),
        ("dog", "d o g"),
    ):
        wanted = [piece if piece in tokenizer.vocab else "[UNK]" for piece in model.encode(spaced, out_type=str)]
        assert tokenizer.tokenize(text) == wanted
        assert tokenizer.encode(text) == [tokenizer.vocab[token] for token in wanted]
    cased = build_tokenizer("WSSPTokenizer", tiny_folder / "vocab.txt", do_lower_case=False)
    assert cased.tokenize("The fox") != tokenizer.tokenize("The fox")
    assert cased.fingerprint != tokenizer.fingerprint
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert (copy.tokenize("你好fox"), copy.fingerprint) == (tokenizer.tokenize("你好fox"), tokenizer.fingerprint)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
@example("你好 \u2028 the")
@example(" \1 ")
def test_ernie_tiny_offsets(sp_folder, text):
    (sp_folder / "word_dict.txt").write_text("\n".join(WORDS), encoding="utf8")
    tokenizer = build_tokenizer("WSSPTokenizer", sp_folder / "vocab.txt")
    tokens, found = tokenizer.tokenize(text), tokenizer.tokenize_with_offsets(text)
    assert tokenizer.encode_batch([text, text])[1] == tokenizer.convert_tokens_to_ids(tokens)
    assert [token for token, _, _ in found] == tokens
    starts = [start for _, start, _ in found]
    assert starts == sorted(starts)
    assert all(0 <= start <= end <= len(text) for _, start, end in found)


def test_ernie_tiny_offsets_point_at_the_text(tiny_folder):
    tokenizer = build_tokenizer("WSSPTokenizer", tiny_folder / "vocab.txt")
    text = "  The你好 世界 fox"
    places = [(start, end) for _, start, end in tokenizer.tokenize_with_offsets(text) if end > start]
    assert "".join(text[start:end] for start, end in places) == text.replace(" ", "")
    assert places[0][0] == text.index("The")
    assert places[-1][1] == len(text)


def test_another_dictionary_is_another_tokenizer(tiny_folder):
    first = build_tokenizer("WSSPTokenizer", tiny_folder / "vocab.txt").fingerprint
    (tiny_folder / "word_dict.txt").write_text("\n".join(reversed(WORDS)), encoding="utf8")
    assert build_tokenizer("WSSPTokenizer", tiny_folder / "vocab.txt").fingerprint == first
    (tiny_folder / "word_dict.txt").write_text("fox", encoding="utf8")
    assert build_tokenizer("WSSPTokenizer", tiny_folder / "vocab.txt").fingerprint != first


def test_a_pickled_dictionary_is_not_read(tiny_folder):
    path = tiny_folder / "word_dict.txt"
    path.write_bytes(pickle.dumps(set(WORDS), 4))
    with pytest.raises(UserError, match=r"word_dict\.txt: not UTF-8 text.*ernie\.convert"):
        build_tokenizer("WSSPTokenizer", tiny_folder / "vocab.txt")
    path.write_text("\n\n")
    with pytest.raises(UserError, match="holds no word"):
        build_tokenizer("WSSPTokenizer", tiny_folder / "vocab.txt")
    path.unlink()
    with pytest.raises(UserError, match="cannot read the word dictionary"):
        build_tokenizer("WSSPTokenizer", tiny_folder / "vocab.txt")


def test_flags_know_every_tokenizer():
    assert set(TOKENIZERS) == set(CLASSES)
