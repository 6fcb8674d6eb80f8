"""The sentencepiece tokenizers, on a model that the test trains: tokens, ids, offsets, and finding the model.

python -m pytest -q tests/test_tokenization_sentencepiece.py
"""

import pickle

import pytest
from hypothesis import example, given, settings

from propeller.errors import UserError
from tests.test_tokenization import SPECIAL, TEXTS, write_vocab
from tokenization import build_tokenizer

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
