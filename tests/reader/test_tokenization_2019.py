"""Tokens, ids and character classes against those that the 2019 code made of the same texts.

python -m pytest -q tests/reader/test_tokenization_2019.py
"""

import json

import numpy as np
import pytest

import tokenization
import tokenization_tables as tables
from tests.helpers.common import FIXTURES, GOLDEN
from tests.helpers.texts import SPECIAL
from tokenization import BasicTokenizer, CharTokenizer, FullTokenizer, build_tokenizer, load_vocab
from tokenization_basic import char_kind


def basic_cases():
    return json.loads((FIXTURES / "tokenization_basic.json").read_text())


def test_basic_tokens_equal_2019():
    for lower_case in (True, False):
        tokenizer = BasicTokenizer(lower_case)
        for case in basic_cases():
            expected = case["lower" if lower_case else "cased"]
            assert tokenizer.tokenize(case["text"]) == expected
            assert [token for token, _ in tokenizer.tokenize_with_offsets(case["text"])] == expected
            assert tokenizer.tokenize(case["text"].encode()) == expected


def test_tokenize_chinese_chars_equals_2019():
    for case in basic_cases():
        assert tokenization.tokenize_chinese_chars(case["text"]) == case["chars"]


def test_every_recorded_text_equals_2019():
    cases = json.loads((GOLDEN / "1_tokenization" / "cases.json").read_text(encoding="utf-8"))["cases"]
    for language in ("zh", "en"):
        vocab_path = GOLDEN / "vocab" / f"vocab_{language}.txt"
        char = CharTokenizer(vocab_path)
        pairs = [(char, lambda case, key=language: case["char"][key])]
        for name in ("lower", "cased"):
            full = FullTokenizer(vocab_path, do_lower_case=name == "lower")
            pairs.append((full, lambda case, key=f"{language}_{name}": case["full"][key]))
        for case in cases:
            text = case["text"]
            for name in ("lower", "cased"):
                assert BasicTokenizer(name == "lower").tokenize(text) == case["basic"][name]
            assert char.wordpiece_tokenizer.tokenize(text) == case["wordpiece_on_raw"][language]
            assert tokenization.tokenize_chinese_chars(text) == case["tokenize_chinese_chars"]
            for tokenizer, expected in pairs:
                assert tokenizer.tokenize(text) == expected(case)["tokens"]
                assert tokenizer.encode(text) == expected(case)["ids"]
                assert tokenizer.convert_ids_to_tokens(expected(case)["ids"]) == expected(case)["tokens"]
                assert [token for token, _, _ in tokenizer.tokenize_with_offsets(text)] == expected(case)["tokens"]
        texts = [case["text"] for case in cases]
        for tokenizer, expected in pairs:  # the second time from the cache
            assert tokenizer.encode_batch(texts) == [expected(case)["ids"] for case in cases]


def test_recorded_vocabularies_special_ids_and_unicode(tmp_path):
    extra = json.loads((GOLDEN / "1_tokenization" / "extra.json").read_text(encoding="utf-8"))
    for case in extra["load_vocab"]:
        path = tmp_path / "vocab.txt"
        path.write_bytes(case["file"].encode())
        assert dict(load_vocab(path)) == case["vocab"]
    for name, file in (("zh_lower", "vocab_zh.txt"), ("en_lower", "vocab_en.txt")):
        tokenizer, expected = FullTokenizer(GOLDEN / "vocab" / file), extra[name]
        assert len(tokenizer.vocab) == expected["vocab_size"] == len(tokenizer.inv_vocab)
        assert max(tokenizer.inv_vocab) == expected["max_id"]
        special = (tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id, tokenizer.unk_id)
        assert special == tuple(expected["special"][token] for token in SPECIAL)
        assert tokenizer.vocab == CharTokenizer(GOLDEN / "vocab" / file).vocab
    unicode_cases = extra["convert_to_unicode"]
    assert tokenization.convert_to_unicode("中文".encode()) == unicode_cases["bytes_ok"]
    assert tokenization.convert_to_unicode(b"ab\xff\xe4cd") == unicode_cases['bytes_bad(b"ab\\xff\\xe4cd")']
    with pytest.raises(ValueError, match="Unsupported string type: <class 'int'>"):
        tokenization.convert_to_unicode(5)


def test_character_classes_equal_2019():
    recorded = json.loads((GOLDEN / "1_tokenization" / "extra.json").read_text())["char_class_ranges"]

    def codes(ranges):
        surrogates = range(0xD800, 0xE000)  # left out of the recording
        return {code for first, last in ranges for code in range(first, last + 1)}.difference(surrogates)

    assert codes(tables.ranges(tables.PUNCTUATION)) == codes(recorded["_is_punctuation"])
    assert codes(tables.ranges(tables.CJK)) == codes(recorded["_is_chinese_char"])
    removed = codes(recorded["_is_control"]) | {0xFFFD}
    assert codes(tables.ranges(tables.REMOVED)) == removed
    spaces = {code for code in range(0x10000) if char_kind(chr(code)) == "space"}
    assert spaces == codes(recorded["_is_whitespace"]) | {0x2028, 0x2029}  # those two cut through str.split()
    known = {code for code in codes(tables.ranges(tables.CJK)) if code < 0x10000} - removed
    assert codes(tables.ranges(tables.CJK_ASSIGNED)) == known


READER_CASES = [
    *("cls_zh_single", "cls_zh_pair_qid", "cls_zh_for_cn_false", "cls_en_pair_for_cn_false", "cls_en_pair_for_cn_true"),
    *("cls_labelmap", "cls_weird_zh", "cls_infer", "cls_pair_long_trunc", "cls_empty_text", "cls_empty_text_b"),
    "reg_en_pair",
]


def truncate_pair(first, second, length):
    """The 2019 `_truncate_seq_pair`: the longer one, the second on a tie, loses its last token until both fit."""
    while len(first) + len(second) > length:
        (first if len(first) > len(second) else second).pop()


def test_truncate_pair_of_this_test_equals_2019():
    for case in json.loads((GOLDEN / "2_readers" / "helpers.json").read_text())["truncate_seq_pair"]:
        first, second = list(range(case["a"])), list(range(100, 100 + case["b"]))
        truncate_pair(first, second, case["max"])
        assert (first, second) == (case["out_a"], case["out_b"])


@pytest.mark.parametrize("case", READER_CASES)
def test_reader_ids_equal_2019(case):
    folder = GOLDEN / "2_readers"
    meta = json.loads((folder / "meta.json").read_text())[case]
    vocab_path = (
        GOLDEN / "vocab" / {"vocab.txt": "vocab_zh.txt", "vocab_en.txt": "vocab_en.txt"}[meta["ctor"]["vocab_path"]]
    )
    tokenizer = build_tokenizer("FullTokenizer", vocab_path, for_cn=meta["ctor"].get("for_cn", True))
    max_seq_len = meta["ctor"]["max_seq_len"]
    with open(folder / "data" / meta["file"], encoding="utf-8") as file:
        header, *rows = [line.rstrip("\n").split("\t") for line in file]
    got = []
    for row in rows:
        columns = dict(zip(header, row))
        first, second = tokenizer.encode_batch([columns["text_a"], columns.get("text_b", "")])
        if columns.get("text_b"):  # an empty text_b is no pair: one [SEP]
            truncate_pair(first, second, max_seq_len - 3)
            second.append(tokenizer.sep_id)
        got.append([tokenizer.cls_id, *first[: max_seq_len - 2], tokenizer.sep_id, *second])
    expected = []
    with np.load(folder / "batches.npz", allow_pickle=False) as batches:
        for number in range(meta["n_batches"]):
            ids, mask = batches[f"{case}/{number}/src_ids"][..., 0], batches[f"{case}/{number}/input_mask"][..., 0]
            expected += [row[: int(real.sum())].tolist() for row, real in zip(ids, mask)]
    assert got == expected
