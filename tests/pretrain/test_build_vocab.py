"""Vocabularies built from text: in the order of released ones, the same every time, and able to cut that text."""

import subprocess
import sys
from collections import Counter

import pytest

from pretrain import build_vocab
from pretrain.corpus.counting import forget
from propeller.errors import UserError
from tests.helpers.common import ROOT
from tests.helpers.pretrain_text import DOCUMENTS, write_text
from tokenization import build_tokenizer

ENGLISH = (
    "The lower tower shows the lowest tide. Slower towers lower the load, and the newer tide lowers the boats.",
    "A boat is newest when it is new. The newest boats are lower than the tower, slower than the tide.",
)


def built(tmp_path, documents, *flags):
    path = write_text(tmp_path / "text.txt", documents)
    build_vocab.main(["--input", path, "--output", str(tmp_path / "vocab.txt"), *flags])
    return (tmp_path / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]


def test_order_and_size(tmp_path):
    tokens = built(tmp_path, DOCUMENTS * 2 + ENGLISH * 3, "--size", "100")
    assert tokens[:5] == ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]"]
    assert len(tokens) == len(set(tokens)) == 100
    alone = [token for token in tokens[5:] if len(token) == 1]
    counts = Counter("".join(DOCUMENTS * 2 + ENGLISH * 3).lower())
    assert [counts[token] for token in alone] == sorted((counts[token] for token in alone), reverse=True)
    assert "##公" not in tokens  # a Chinese character is always a word of its own
    assert {"t", "##t", "tower", "the"} <= set(tokens)
    assert "##," not in tokens


def test_it_cuts_its_own_text_without_unknown_pieces(tmp_path):
    built(tmp_path, DOCUMENTS * 2 + ENGLISH, "--size", "400")
    tokenizer = build_tokenizer("FullTokenizer", tmp_path / "vocab.txt", for_cn=False)
    for text in DOCUMENTS + ENGLISH:
        assert "[UNK]" not in tokenizer.tokenize(text)
    assert tokenizer.tokenize("slowest lower towers")[0] != "slowest"
    assert "lower" in tokenizer.tokenize("slowest lower towers")


def test_the_same_in_every_process(tmp_path):
    first = built(tmp_path, DOCUMENTS + ENGLISH * 9, "--size", "200")
    for seed in ("1", "2"):
        command = [sys.executable, "-m", "pretrain.build_vocab", "--input", str(tmp_path / "text.txt"), "--size", "200"]
        subprocess.run([*command, "--output", str(tmp_path / seed)], cwd=ROOT, check=True, env={"PYTHONHASHSEED": seed})
        assert (tmp_path / seed).read_text(encoding="utf-8").split("\n")[:-1] == first


def test_rare_characters_case_and_tags(tmp_path):
    tokens = built(
        tmp_path, ["公园/n 好/a 好/a Aa/nx a/nx"], "--segmenter", "pre-segmented", "--do_lower_case", "false"
    )
    assert tokens[5:] == ["a", "##a", "好"]
    tokens = built(tmp_path, ["公园 Aa a"], "--min_count", "1")
    assert set(tokens[5:]) == {"a", "##a", "公", "园", "aa"}


def test_few_words_are_kept_in_mind():
    counts = Counter({f"w{number}": number % 7 + 1 for number in range(100)})
    forget(counts, 30)
    assert len(counts) == 15
    assert Counter(counts.values()) == {7: 14, 6: 1}


@pytest.mark.parametrize(
    ("flags", "message"),
    [(("--size", "5"), "--size 5: give more than the 5"), (("--min_count", "99"), "no character occurs 99 times")],
)
def test_nothing_to_build(tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        built(tmp_path, DOCUMENTS, *flags)
    with pytest.raises(UserError, match="text.txt: there are no words; give text that has some"):
        built(tmp_path, [])
    with pytest.raises(UserError, match="no such file"):
        build_vocab.main(["--input", str(tmp_path / "none"), "--output", str(tmp_path / "vocab.txt")])


def test_bad_text_is_named(tmp_path):
    with pytest.raises(UserError, match="text.txt, line 1: document: 2 of 3 words have a tag"):
        built(tmp_path, ["中国/ns 人/n 好"], "--segmenter", "pre-segmented")


def test_the_folder_is_made(tmp_path):
    path = write_text(tmp_path / "text.txt", DOCUMENTS)
    build_vocab.main(["--input", path, "--output", str(tmp_path / "some" / "where" / "vocab.txt"), "--size", "50"])
    assert (tmp_path / "some" / "where" / "vocab.txt").read_text(encoding="utf-8").startswith("[PAD]\n")
