"""Vocabularies of students, and the tokenizer of whole words that goes with them."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill import vocab
from propeller.errors import UserError
from tests.helpers.tiny import write_tsv
from tokenization import build_tokenizer

ROWS = [("酒店 很 好 。 Good hotel", "很 好"), ("房间 不 好 ！", "good")]


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocab")
    path = write_tsv(folder / "train.tsv", ROWS, ("text_a", "text_b"))
    assert vocab.main([path, "--output", str(folder / "vocab.txt")]) == 0
    return folder / "vocab.txt"


def test_words_stand_by_falling_count(words):
    lines = words.read_text(encoding="utf8").splitlines()
    assert lines[:7] == ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", "好", "good"]
    assert {"酒店", "房间", "酒", "店", "很", "hotel", "。", "！"} <= set(lines)
    assert len(lines) == len(set(lines))


def test_text_with_and_without_blanks_has_the_same_words(words):
    tokenizer = build_tokenizer("WholeWordTokenizer", words)
    assert tokenizer.tokenize("酒店很好。GOOD hotel?") == ["酒店", "很", "好", "。", "good", "hotel", "[UNK]"]
    assert tokenizer.tokenize("酒店 很 好 。 good hotel ?") == tokenizer.tokenize("酒店很好。GOOD hotel?")
    assert tokenizer.tokenize("房店间") == ["房", "店", "间"]
    assert tokenizer.tokenize_with_offsets("a 酒店!") == [("[UNK]", 0, 1), ("酒店", 2, 4), ("[UNK]", 4, 5)]
    assert not tokenizer.for_cn


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet="酒店很好房间龘 aG!。\x0b\t\u0301é\U0002a6d6", max_size=20))
def test_ids_are_those_of_the_tokens_and_offsets_lie_within(words, text):
    tokenizer = build_tokenizer("WholeWordTokenizer", words)
    tokens = tokenizer.tokenize(text)
    assert tokenizer.encode(text) == tokenizer.convert_tokens_to_ids(tokens)
    offsets = tokenizer.tokenize_with_offsets(text)
    assert [token for token, _, _ in offsets] == tokens
    places = [place for _, begin, end in offsets for place in (begin, end)]
    assert places == sorted(places)
    assert all(0 <= place <= len(text) for place in places)
    assert pickle.loads(pickle.dumps(tokenizer)).tokenize(text) == tokens


def test_pieces_are_the_teachers_that_occur(model, tmp_path):
    path = write_tsv(tmp_path / "train.tsv", [("good films",), ("the Film",)], ("text_a",))
    vocab.main([path, "--output", str(tmp_path / "v.txt"), "--pieces", str(model / "vocab.txt")])
    assert (tmp_path / "v.txt").read_text().splitlines()[5:] == ["film", "##s", "good", "the"]


def test_a_segmenter_says_the_words(tmp_path):
    pytest.importorskip("jieba")
    path = write_tsv(tmp_path / "train.tsv", [("酒店的位置很好",)], ("text_a",))
    vocab.main([path, "--output", str(tmp_path / "v.txt"), "--segmenter", "jieba"])
    assert {"酒店", "位置", "很", "好", "酒"} <= set((tmp_path / "v.txt").read_text(encoding="utf8").splitlines())


def test_limits(tmp_path):
    path = write_tsv(tmp_path / "train.tsv", [("a b b c c c 好",)], ("text_a",))
    vocab.main([path, "--output", str(tmp_path / "v.txt"), "--max_words", "7"])
    assert (tmp_path / "v.txt").read_text(encoding="utf8").split()[5:] == ["c", "b"]
    vocab.main([path, "--output", str(tmp_path / "v.txt"), "--min_count", "2"])
    assert (tmp_path / "v.txt").read_text(encoding="utf8").split()[5:] == ["c", "b", "好"]
    vocab.main([write_tsv(tmp_path / "t.tsv", [("Ab",)], ("text_a",)), "--output", str(tmp_path / "v.txt"),
                "--do_lower_case", "false"])  # fmt: skip
    assert (tmp_path / "v.txt").read_text(encoding="utf8").split()[5:] == ["Ab"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--max_words", "5"], "--max_words must be above 5"),
        (["--pieces", "v.txt", "--segmenter", "char"], "leave one of them out"),
        (["--segmenter", "nobody"], "--segmenter nobody: unknown"),
        (["--max_word", "9"], "did you mean --max_words"),
    ],
    ids=["few", "both", "segmenter", "misspelt"],
)
def test_wrong_flags_are_told(words, told, tmp_path):
    path = write_tsv(tmp_path / "train.tsv", [("a",)], ("text_a",))
    with pytest.raises(UserError) as caught:
        vocab.main([path, "--output", str(tmp_path / "v.txt"), *words])
    assert told in str(caught.value)


def test_a_bad_row_is_told_by_its_line(tmp_path):
    (tmp_path / "t.tsv").write_text("text_a\tlabel\ngood\t1\nbad\n")
    with pytest.raises(UserError, match=r"t\.tsv, line 3: 1 fields where the header has 2"):
        vocab.main([str(tmp_path / "t.tsv"), "--output", str(tmp_path / "v.txt")])
    (tmp_path / "t.tsv").write_bytes(b"text_a\n\xff\xff\n")
    with pytest.raises(UserError, match=r"t\.tsv, line 2:"):
        vocab.main([str(tmp_path / "t.tsv"), "--output", str(tmp_path / "v.txt")])
    assert not (tmp_path / "v.txt").exists()
