"""Capitalization, sentence reordering and sentence distance: their classes, against what is written by hand."""

import itertools
import random
from collections import Counter

import pytest

from pretrain.corpus.balance import LEAST_KEPT, SPREAD, Balance
from pretrain.corpus.builder import Plan, Text
from pretrain.corpus.pieces import PieceMaker
from pretrain.corpus.segment import Sentence, build_segmenter
from pretrain.tasks.capitalization import Capitalization
from pretrain.tasks.sentence_distance import SentenceDistance
from pretrain.tasks.sentence_reordering import SentenceReordering, in_segments
from reader.pretraining.shards import Limits, parse_lines
from tests.helpers.pretrain_text import write_vocab
from tokenization import build_tokenizer


@pytest.fixture(scope="module")
def vocab(tmp_path_factory):
    return write_vocab(tmp_path_factory.mktemp("vocab") / "vocab.txt")


def tokenizer_of(vocab):
    return build_tokenizer("FullTokenizer", vocab, True, False, None)


def texts_of(vocab, segmenter, *documents):
    """Text of documents, each a list of paragraphs."""
    segmenter, maker, found = build_segmenter(segmenter), PieceMaker(tokenizer_of(vocab)), []
    for number, paragraphs in enumerate(documents):
        parts = [(place, part) for place, cut in enumerate(segmenter.paragraphs(paragraphs)) for part in cut]
        words, places = [part for _, part in parts], [place for place, _ in parts]
        found.append(Text(number, "", [maker.tokens(part) for part in words], words, places))
    return found


def built(kind, vocab, segmenter, documents, seed=0, **changes):
    """(instances as lists of texts of pieces, their labels or of tokens the fourth field, Counter)."""
    plan, tokenizer = Plan(vocab, segmenter=segmenter, **{"max_seq_len": 64, **changes}), tokenizer_of(vocab)
    documents = texts_of(vocab, segmenter, *documents) if isinstance(documents[0], list) else documents
    task = kind(plan, tokenizer)
    lines, stats = task.lines(documents, lambda place: random.Random(f"{seed}/{place}"))
    kinds = {"token_classes": 2} if kind.level == "token" else {"classes": len(kind.class_names(plan))}
    rows, problems = parse_lines(lines, Limits(len(tokenizer.vocab), plan.max_seq_len, 2, **kinds))
    assert not problems
    assert stats["instances"] == len(rows)
    assert stats["tokens"] == sum(rows.lengths) == sum(n * count for n, count in stats.items() if isinstance(n, int))
    instances, told = [], []
    for line in lines:
        ids, sents, _, fourth, label = line.decode().split(";")
        pieces = tokenizer.convert_ids_to_tokens([int(number) for number in ids.split()])
        texts = " ".join(pieces).split(" [SEP]")
        assert texts[0].startswith("[CLS] ")
        assert texts.pop() == ""
        types = [str(min(number, 1)) for number, text in enumerate(texts) for _ in range(len(text.split()) + 1)]
        assert sents.split() == types
        instances.append([texts[0][6:], *(text.strip() for text in texts[1:])])
        told.append(fourth.split() if kind.level == "token" else int(label))
    return instances, told, stats


# ---------------------------------------------------------------- capitalization


def capital(pieces, classes):
    """Pieces with their class, as text."""
    return " ".join(piece if told == "-1" else f"{piece}/{told}" for piece, told in zip(pieces.split(), classes[1:]))


def test_english_words_with_a_capital(vocab):
    text = "Ed saw 3 McD's, non-EU 3D: iPad. NASA"
    (instance,), (told,), stats = built(Capitalization, vocab, "english", [[text]])
    assert capital(instance[0], told) == (
        "e/1 ##d/1 s/0 ##a/0 ##w/0 3 m/1 ##c/1 ##d/1 '/1 s/1 , n/0 ##o/0 ##n/0 -/0 e/0 ##u/0 3/1 ##d/1 [UNK] "
        "i/0 ##p/0 ##a/0 ##d/0 . n/1 ##a/1 ##s/1 ##a/1"
    ).replace("[UNK]", instance[0].split()[20])
    assert (told[0], told[-1]) == ("-1", "-1")
    assert (stats["class_0"], stats["class_1"]) == (told.count("0"), told.count("1"))


def test_chinese_text_has_nothing_to_tell(vocab):
    instances, told, stats = built(Capitalization, vocab, "char", [["他很忙。今天好。"], ["他说A，ab。"]])
    assert instances == [["他 说 a ， a ##b 。"]]
    # The segmenter makes every character a word, and "ab" is a word of pieces that begin in each.
    assert capital(instances[0][0], told[0]) == "他 说 a/1 ， a/0 ##b/0 。"
    assert stats["left_over"] == 1


def test_words_that_grow_together(vocab):
    """Words between which nothing stands: pieces are those of the whole, each of the word that it begins in."""
    maker = PieceMaker(tokenizer_of(vocab))
    task = Capitalization(Plan(vocab, max_seq_len=64), tokenizer_of(vocab))
    for words, expected in (
        (["i", "Pad", " ", "Mini"], b"0 1 1 1 1 1 1 1"),
        (["他", "Pad", "s", "中"], b"-1 1 1 1 0 -1"),
        (["\u200b", "A", " ", "\u200b", "b"], b"1 0"),
        (["\u03a3", " ", "a"], b"1 0"),
        (["Élan", " ", "été", "!", "9"], b"1 1 1 1 0 0 0 -1 -1"),
    ):
        sentence = Sentence(words)
        for _ in range(2):  # from the cache too
            labels = task.labels(sentence)
            assert labels == expected, words
            assert labels.count(b" ") + 1 == maker.tokens(sentence).count


def test_capitals_are_packed_and_long_sentences_cut(vocab):
    text = ["Ab cd. " * 3 + "Xy Zx " * 10]
    instances, told, _ = built(Capitalization, vocab, "english", [text], max_seq_len=16)
    assert len(instances) > 3
    for (pieces,), classes in zip(instances, told):
        pieces = pieces.split()
        assert len(pieces) <= 14
        for piece, told_class in zip(pieces, classes[1:-1]):
            assert told_class == {".": "-1", "a": "1", "##b": "1", "c": "0", "##d": "0"}.get(piece, "1")


# ---------------------------------------------------------------- sentence reordering

ZH = [["张三走。李四忙。今天好！他说话。"], ["我们走了。\n他很忙。"], ["好。"]]
EN = [["Go on. Be so! Do it? No way."], ["Ab cd. Ef gh."]]


@pytest.mark.parametrize(("language", "documents"), [("char", ZH), ("english", EN)])
def test_the_class_is_the_order_of_the_segments(vocab, language, documents):
    orders = [order for count in (1, 2, 3) for order in itertools.permutations(range(count))]
    assert SentenceReordering.class_names(Plan(vocab))[:5] == ("1", "1 2", "2 1", "1 2 3", "1 3 2")
    whole = ["".join(" ".join(paragraph).lower().split()) for paragraph in itertools.chain(*documents)]
    seen = set()
    for seed in range(60):
        instances, labels, stats = built(SentenceReordering, vocab, language, documents, seed)
        for texts, label in zip(instances, labels):
            order = orders[label]
            assert len(order) == len(texts)
            restored = [text for _, text in sorted(zip(order, texts))]
            assert "".join(restored).replace(" ", "").replace("##", "") in whole
            seen.add(label)
            assert stats[f"class_{label}"] == labels.count(label)
    assert seen == set(range(9))


def test_two_sentences_of_a_paragraph_in_every_way(vocab):
    seen = set()
    for seed in range(40):
        instances, labels, _ = built(SentenceReordering, vocab, "char", [["他走。天好。"]], seed, max_segments=2)
        seen.add((labels[0], *instances[0]))
    assert seen == {(0, "他 走 。 天 好 。"), (1, "他 走 。", "天 好 。"), (2, "天 好 。", "他 走 。")}


def test_orders_are_equally_often_and_long_paragraphs_are_parted(vocab):
    instances, labels, stats = built(
        SentenceReordering, vocab, "char", [["他走。天好。我说。你忙。" * 200]], max_seq_len=24
    )
    assert len(instances) == 200 * 4 // (20 // 3 + 1 - 1) + (800 % 6 > 0)
    counts = Counter(labels)
    assert max(counts.values()) <= 1.6 * min(counts.values())
    assert not stats["left_over"]


def test_borders_of_segments_are_any():
    draw = random.Random(0).random
    found = Counter(tuple(map(len, in_segments(list("abcd"), 3, draw))) for _ in range(3000))
    assert set(found) == {(1, 1, 2), (1, 2, 1), (2, 1, 1)}
    assert min(found.values()) > 850


# ---------------------------------------------------------------- sentence distance


def distance(a, b, documents):
    """0, 1 or 2 of two texts of sentences without blanks, each of which stands once in the documents."""
    for sentences in documents:
        if a[0] in sentences:
            if b[0] not in sentences:
                return 2
            first, second = sentences.index(a[0]), sentences.index(b[0])
            if second == first + len(a):
                return 0
            assert second > first + len(a) or second + len(b) < first  # a sentence between them
            return 1
    raise AssertionError(a)


@pytest.mark.parametrize("language", ["char", "english"])
def test_the_class_is_the_distance(vocab, language):
    if language == "char":
        documents = [["".join(f"{c}{d}走。" for d in "一二三四五六七八百"[:7])] for c in "张李他我好天"]
        documents = [
            [text.replace("一", "中").replace("二", "文").replace("五", "学").replace("六", "生").replace("七", "日")]
            for (text,) in documents
        ]
        end = "。"
    else:
        documents = [[" ".join(f"{c}{d} go." for d in "abcdefg")] for c in "qrstuv"]
        end = "."
    cut = [[f"{part}{end}" for part in text.lower().replace(" ", "").split(end) if part] for (text,) in documents]
    seen = Counter()
    for seed in range(30):
        instances, labels, _ = built(SentenceDistance, vocab, language, documents, seed, max_seq_len=23)
        for texts, label in zip(instances, labels):
            texts = [text.replace(" ", "").replace("##", "") for text in texts]
            texts = [[f"{part}{end}" for part in text.split(end) if part] for text in texts]
            assert distance(*texts, cut) == label
            seen[label] += 1
    assert set(seen) == {0, 1, 2}
    assert max(seen.values()) < 1.25 * min(seen.values())


def test_classes_that_a_document_cannot_have(vocab):
    alone = built(SentenceDistance, vocab, "char", [["他走。"]])
    assert alone[0] == []
    assert alone[2]["left_over"] == 1
    one = built(SentenceDistance, vocab, "char", [["他走。天好。"]], max_seq_len=9)
    assert (one[0], one[1]) == ([["他 走 。", "天 好 。"]], [0])
    _, labels, stats = built(SentenceDistance, vocab, "char", [["他走。天好。"]] * 100, max_seq_len=9)
    counts = Counter(labels)
    assert set(counts) == {0, 2}  # nothing lies between two sentences
    assert max(counts.values()) <= LEAST_KEPT
    assert stats["left_over"]


def test_long_sentences_are_cut_and_instances_are_full(vocab):
    documents = [["他走好天" * 30 + "。" + "中文大学" * 20 + "。"], ["我说好" * 50 + "。"], ["张三"]]
    instances, labels, _ = built(SentenceDistance, vocab, "char", documents, max_seq_len=32)
    lengths = [sum(len(text.split()) for text in texts) for texts in instances]
    assert max(lengths) == 28  # two halves
    assert all(texts[0] and texts[1] for texts in instances)
    assert set(labels) == {0, 1, 2}


# ---------------------------------------------------------------- balance


def test_classes_are_balanced():
    draw, balance = random.Random(3).random, Balance(3)
    for _ in range(3000):
        balance.draw([0, 1, 2], draw)
    assert max(balance.counts) - min(balance.counts) < 60
    balance = Balance(3)
    for number in range(3000):
        balance.draw([0] if number % 3 else [0, 1, 2], draw)  # twice as many texts that can only be of class 0
    assert max(balance.counts) <= SPREAD * min(balance.counts) + 1
    balance = Balance(2)
    drawn = [balance.draw([1], draw) for _ in range(20)]
    assert drawn == [1] * LEAST_KEPT + [None] * (20 - LEAST_KEPT)
