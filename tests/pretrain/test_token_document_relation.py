"""Token-document relation: which words of a segment stand in other segments of their document."""

import pytest

from pretrain.corpus.stop_words import read_stop_words, stop_words
from pretrain.tasks.token_document_relation import TokenDocumentRelation
from propeller.errors import UserError
from reader.pretraining.shards import Limits, parse_lines
from tests.helpers.builder_text import Maker

WORDS = "the red fox ##es saw a blue bird and sky was grey of it wine 中 国 队 赢 了 比 赛 教 练 很 高 兴 他 们 的"


def told(maker, fields):
    """piece -> class, of the pieces that have one, and the pieces that have none."""
    pieces, classes = maker.words(fields).split(), fields[3].split()
    assert len(pieces) == len(classes)
    return {piece: int(label) for piece, label in zip(pieces, classes) if label != "-1"}, {
        piece for piece, label in zip(pieces, classes) if label == "-1"
    }


def test_english(tmp_path):
    """A document that is one segment is halved; stop words and marks have no class."""
    maker = Maker(tmp_path, WORDS, max_seq_len=32)
    document = maker.document("The red foxes saw a blue bird. The sky was grey and the Foxes, it was wine-red.")
    lines, stats = maker.lines(TokenDocumentRelation, [document])
    assert [maker.words(line) for line in lines] == [
        "[CLS] the red fox ##es saw a blue bird . [SEP]",
        "[CLS] the sky was grey and the fox ##es , it was wine - red . [SEP]",
    ]
    first, none = told(maker, lines[0])
    assert first == {"red": 0, "fox": 1, "##es": 1, "blue": 0, "bird": 0}  # "wine-red" is another word
    assert none == {"[CLS]", "the", "saw", "a", ".", "[SEP]"}
    second, _ = told(maker, lines[1])
    assert second == {"sky": 0, "grey": 0, "fox": 1, "##es": 1, "wine": 0, "-": 0, "red": 0}
    assert (stats["instances"], stats["class_0"], stats["class_1"]) == (2, 3 + 5, 2 + 2)
    assert [line[4] for line in lines] == ["0", "0"]
    rows, problems = parse_lines([";".join(line).encode() for line in lines], Limits(positions=32, token_classes=2))
    assert not problems
    assert len(rows.labels) == 2


def test_chinese(tmp_path):
    maker = Maker(tmp_path, WORDS, "pre-segmented", max_seq_len=32)
    document = maker.document("中国队 赢 了 比赛 。 教练 的 中国队 很 高兴 。")
    lines, _ = maker.lines(TokenDocumentRelation, [document])
    first, none = told(maker, lines[0])
    assert first == {"中": 1, "国": 1, "队": 1, "赢": 0, "比": 0, "赛": 0}
    assert none == {"[CLS]", "了", "。", "[SEP]"}
    second, none = told(maker, lines[1])
    assert second == {"教": 0, "练": 0, "中": 1, "国": 1, "队": 1, "高": 0, "兴": 0}
    assert none == {"[CLS]", "的", "很", "。", "[SEP]"}


def test_segments_are_as_long_as_an_instance_and_are_those_of_one_document(tmp_path):
    maker = Maker(tmp_path, WORDS, max_seq_len=10)
    documents = [
        maker.document("Red bird. Blue fox.", "Blue sky. Grey fox. Grey bird."),
        maker.document("Wine."),  # one sentence: no other segment
        maker.document("Wine. Sky."),
    ]
    lines, stats = maker.lines(TokenDocumentRelation, documents)
    assert [maker.words(line) for line in lines] == [
        "[CLS] red bird . blue fox . [SEP]",
        "[CLS] blue sky . grey fox . [SEP]",
        "[CLS] grey bird . [SEP]",
        "[CLS] wine . [SEP]",
        "[CLS] sky . [SEP]",
    ]
    assert [line[3] for line in lines] == [
        "-1 0 1 -1 1 1 -1 -1",
        "-1 1 0 -1 1 1 -1 -1",
        "-1 1 1 -1 -1",
        "-1 0 -1 -1",
        "-1 0 -1 -1",
    ]
    assert stats["left_over"] == 1
    assert {length: stats[length] for length in (4, 5, 8)} == {4: 2, 5: 1, 8: 2}


def test_words_of_most_documents_and_unknown_words_have_no_class(tmp_path):
    maker = Maker(tmp_path, WORDS, max_seq_len=32)
    documents = [maker.document("Wine sky. Wine zzz.")] * 5 + [maker.document("Red. Red fox.")] * 3
    lines, _ = maker.lines(TokenDocumentRelation, documents)
    assert lines[0][3] == "-1 -1 -1 -1 -1"  # 5 of 8 documents have wine and sky
    assert lines[-1][3] == "-1 1 0 -1 -1"
    lines, _ = maker.lines(TokenDocumentRelation, documents[:4])
    assert lines[0][3] == "-1 1 0 -1 -1"
    assert lines[1][3] == "-1 1 -1 -1 -1"  # [UNK] is any word


def test_nothing_is_drawn(tmp_path):
    maker = Maker(tmp_path, WORDS, max_seq_len=10)
    documents = [maker.document("Red bird. Blue fox.", "Blue sky. Grey fox.")]
    assert maker.lines(TokenDocumentRelation, documents, 1) == maker.lines(TokenDocumentRelation, documents, 2)


def test_stop_words(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("# a comment\nfox bird\nsky\n", encoding="utf-8")
    maker = Maker(tmp_path, WORDS, max_seq_len=32, stop_words=str(path))
    lines, _ = maker.lines(TokenDocumentRelation, [maker.document("The fox. The sky was red.")])
    assert [line[3] for line in lines] == ["-1 1 -1 -1 -1", "-1 1 -1 0 0 -1 -1"]
    assert stop_words(Maker(tmp_path, WORDS, stop_words="").plan) == frozenset()
    assert {"的", "我们"} <= stop_words(Maker(tmp_path, WORDS, "char").plan)
    assert "the" in stop_words(Maker(tmp_path, WORDS).plan)
    with pytest.raises(UserError, match="--stop_words .*none.txt: No such file or directory; give a file of words"):
        read_stop_words(tmp_path / "none.txt")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not UTF-8"):
        read_stop_words(path)
