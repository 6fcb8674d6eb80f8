"""Discourse relation: which pairs are joined by a connective, what is left of them, and lists of connectives."""

import json
from collections import Counter

import pytest

from pretrain import connectives
from pretrain.classes import ClassTask
from pretrain.corpus.connective_list import path_for, read_connectives
from pretrain.tasks.discourse_relation import LEAST_KEPT, DiscourseRelation
from propeller.errors import UserError
from reader.pretraining.shards import Limits, parse_lines
from tests.helpers.builder_text import Maker
from tests.helpers.common import ROOT

ENGLISH = (
    "he was late however hard the train but later so far as a result of instead walked and is did tried called for"
)
CHINESE = "他 病 了 但 是 来 因 此 我 们 很 高 兴 而 且 另 外 天 气 好 吗 虽 然 下 雨 并 不"


def pairs(maker, documents, seed=0):
    """(first text, second text, connective) of every line."""
    names = DiscourseRelation.class_names(maker.plan)
    lines, stats = maker.lines(DiscourseRelation, documents, seed)
    rows, problems = parse_lines([";".join(line).encode() for line in lines], Limits(positions=128, classes=len(names)))
    assert not problems
    assert rows.labels.tolist() == [int(line[4]) for line in lines]
    found = [tuple(part.strip() for part in maker.words(line)[len("[CLS]") :].split("[SEP]")[:2]) for line in lines]
    return [(*pair, names[int(line[4])]) for pair, line in zip(found, lines)], stats


def test_english(tmp_path):
    maker = Maker(tmp_path, ENGLISH)
    document = maker.document(
        "He was late. However, the train was later. However hard he tried the train was late. So far he was late.",
        "But he walked and walked. As a result of the train he was late. As a result he walked.",
        "He was late, but the train was later. He was late, so, instead, he walked.",
    )
    found, stats = pairs(maker, [document])
    assert found == [
        ("he was late .", "the train was later .", "however"),  # not "however hard", not "so far"
        ("as a result of the train he was late .", "he walked .", "as a result"),  # "But" opens a paragraph
        ("he was late", "the train was later .", "but"),
        ("he was late", "instead , he walked .", "so"),
    ]
    assert stats["instances"] == 4
    assert stats["tokens"] == sum(length * count for length, count in stats.items() if isinstance(length, int))
    assert stats[f"class_{DiscourseRelation.class_names(maker.plan).index('but')}"] == 1


def test_chinese(tmp_path):
    maker = Maker(tmp_path, CHINESE, "pre-segmented")
    document = maker.document(
        "他 病 了 。 但是 他 来 了 。",
        "他 虽然 病 了 ， 但 他 来 了 。 天气 很 好 ， 因此 ， 我们 很 高兴 。",
        "天气 很 好 ， 并不 下雨 。 另外 天气 好 吗 ？ 而且 天气 很 好 。",
    )
    found, _ = pairs(maker, [document])
    assert found == [
        ("他 病 了 。", "他 来 了 。", "但是"),
        ("他 虽 然 病 了", "他 来 了 。", "但是"),
        ("天 气 很 好", "我 们 很 高 兴 。", "因此"),
    ]  # 并 不 is no 并; no questions, before or after


def test_without_words_the_longest_connective_wins(tmp_path):
    maker = Maker(tmp_path, CHINESE, "char")
    found, _ = pairs(maker, [maker.document("天气好了，而且很好了。天气很好，而他病了。天气很好，并不下雨。")])
    assert found == [("天 气 好 了", "很 好 了 。", "而且"), ("天 气 很 好", "他 病 了 。", "而")]


@pytest.mark.parametrize(
    "text",
    [
        "Late. However, the train was later.",  # two words
        "He was late. However, so.",
        "Was he late? However, the train was later.",
        "He was late. However, was the train later?",
        "He (was late. However, the train) was later.",
        f"{'He ' * 32}. However, the train was later.",
    ],
)
def test_filters(tmp_path, text):
    assert pairs(Maker(tmp_path, ENGLISH), [Maker(tmp_path, ENGLISH).document(text)])[0] == []


def test_longer_than_an_instance(tmp_path):
    text = "He was late. However, the train was later."
    for length, count in ((12, 1), (11, 0)):
        maker = Maker(tmp_path, ENGLISH, max_seq_len=length)
        assert len(pairs(maker, [maker.document(text)])[0]) == count


def test_balance_and_its_draw(tmp_path):
    maker = Maker(tmp_path, ENGLISH)
    often = maker.document(*["He was late, but the train was later."] * 50)
    documents = [often, maker.document(*["He was late. However, the train was later."] * 3)]
    found, stats = pairs(maker, documents)
    assert Counter(label for *_, label in found) == {"but": 8, "however": 3}
    documents.append(maker.document(*["He was late, so the train was later."] * 4))
    documents.append(maker.document(*["He was late, instead the train was later."] * 5))
    found, stats = pairs(maker, documents)
    assert Counter(label for *_, label in found) == {"but": 8, "however": 3, "so": 4, "instead": 5}
    assert stats["left_over"] == 42
    numbered = [maker.document(f"He was late, but the {'train ' * n} was later.") for n in range(1, 20)]
    few = [maker.document("He was late, so the train was later.")] * 2
    assert pairs(maker, numbered + few, 1) == pairs(maker, numbered + few, 1)
    one, other = (pairs(maker, numbered + few, seed)[0] for seed in (1, 2))
    assert len(one) == len(other) > LEAST_KEPT
    assert one != other


@pytest.mark.parametrize("name", ["en", "zh", "mini_en", "mini_zh"])
def test_the_lists_of_config(name):
    path = ROOT / "config" / f"connectives_{name}.json"
    entries = read_connectives(path).entries
    raw = json.loads(path.read_text(encoding="utf-8"))["connectives"]
    assert [entry.name for entry in entries] == [entry["connective"] for entry in raw]
    assert all(entry["sense"] for entry in raw)
    if name.startswith("mini"):
        whole = json.loads((path.parent / f"connectives_{name[5:]}.json").read_text(encoding="utf-8"))["connectives"]
        assert all(entry in whole for entry in raw)
    else:
        assert 30 <= len(entries) <= 40


def test_the_list_is_that_of_the_language_or_the_flag(tmp_path):
    assert issubclass(DiscourseRelation, ClassTask)
    assert DiscourseRelation.default_classes is None  # the task list must say
    assert "however" in DiscourseRelation.class_names(Maker(tmp_path, ENGLISH).plan)
    assert "但是" in DiscourseRelation.class_names(Maker(tmp_path, CHINESE, "char").plan)
    own = tmp_path / "own.json"
    own.write_text('{"connectives": [{"connective": "and"}, {"connective": "so"}]}')
    maker = Maker(tmp_path, ENGLISH, connectives=str(own))
    assert DiscourseRelation.class_names(maker.plan) == ("and", "so")
    assert pairs(maker, [maker.document("He was late, and he walked far. So he was late.")])[0] == [
        ("he was late", "he walked far .", "and"),
        ("he was late , and he walked far .", "he was late .", "so"),
    ]


def entries(*rows, **more):
    return json.dumps({"connectives": [{"connective": "so"}, *rows], **more})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1: not JSON"),
        ("[]", "a list of two or more"),
        (entries(), "a list of two or more"),
        (entries("and"), "connective 2: 'and' is no object"),
        (entries({"connective": ""}), "connective 2: \"connective\" is ''; give its text"),
        (entries({"connective": "and", "places": "both"}), "connective 2: the field 'places' is unknown"),
        (entries({"connective": "and", "place": "front"}), "connective 2 \\(and\\): \"place\" is 'front'; give one of"),
        (entries({"connective": "and", "comma": 1}), '"comma" is 1; give true or false'),
        (entries({"connective": "and", "forms": "also"}), "\"forms\" is 'also'; give a list of texts"),
        (entries({"connective": "and", "forms": ["So"]}), "connective 2: 'So' is in connective 1 too; leave one out"),
        (entries({"connective": "and"}, words=[3]), '"words" is \\[3\\]; give the fewest and the most'),
    ],
)
def test_bad_lists(tmp_path, text, message):
    path = tmp_path / "own.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_connectives(path)
    assert str(path) in str(error.value)


def test_no_list(tmp_path):
    with pytest.raises(UserError, match=r"none.json: cannot be read \(No such file or directory\)"):
        read_connectives(tmp_path / "none.json")
    maker = Maker(tmp_path, ENGLISH, connectives=None)
    with pytest.raises(UserError, match="--connectives: needed with --segmenter mine:Own; give"):
        path_for(maker.plan.__class__("vocab.txt", segmenter="mine:Own"))


def test_a_shorter_list(tmp_path, capsys):
    path, stats = tmp_path / "own.json", tmp_path / "stats.json"
    path.write_text(entries({"connective": "and"}, {"connective": "also", "comma": True}, words=[2, 9]))
    stats.write_text(json.dumps({"classes": {"so": 100, "and": 99, "also": 500}}))
    connectives.main([str(path), "--stats", str(stats)])
    printed = capsys.readouterr()
    assert '"head": {"classes": 2}' in printed.err
    (tmp_path / "short.json").write_text(printed.out)
    found = read_connectives(tmp_path / "short.json")
    assert (found.words, [(entry.name, entry.comma) for entry in found.entries]) == (
        (2, 9),
        [("so", False), ("also", True)],
    )
    with pytest.raises(UserError, match="fewer than two connectives have 200 instances"):
        connectives.main([str(path), "--stats", str(stats), "--least", "200"])
    stats.write_text(json.dumps({"classes": {"so": 1, "and": 1}}))
    with pytest.raises(UserError, match="was built with other connectives"):
        connectives.main([str(path), "--stats", str(stats)])
    stats.write_text("{}")
    with pytest.raises(UserError, match="counts no classes"):
        connectives.main([str(path), "--stats", str(stats)])
