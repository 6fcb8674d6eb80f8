"""IR relevance: own, near and other titles of titled documents; click logs; BM25."""

import json
import math
from collections import Counter

import numpy as np
import pytest

from pretrain import click_log
from pretrain.corpus.bm25 import Bm25
from pretrain.tasks.ir_relevance import IrRelevance
from propeller.errors import UserError
from reader.pretraining.shards import Limits, parse_lines
from tests.helpers.builder_text import Maker
from tests.helpers.pretrain_text import shard_lines

ENGLISH = "red wine from france white bread of germany old cars in the city new planes sold a lot this year is it"
CHINESE = "红 葡 萄 酒 白 法 国 的 在 德 面 包 城 市 汽 车 新 飞 机 多 今 年 卖 很"


def told(maker, lines):
    """(query, title, class) of every line."""
    rows, problems = parse_lines([";".join(line).encode() for line in lines], Limits(positions=512, classes=3))
    assert not problems
    texts = [[part.strip() for part in maker.words(line)[len("[CLS]") :].split("[SEP]")[:2]] for line in lines]
    return [(*pair, label) for pair, label in zip(texts, rows.labels.tolist())]


def test_bm25_is_its_formula():
    texts = [["red", "wine"], ["red", "red", "car"], ["bread"]]
    scores = Bm25(texts, k1=1.2, b=0.75).scores(["red", "car", "red", "none"])
    red, car = math.log(1 + 1.5 / 2.5), math.log(1 + 2.5 / 1.5)
    first, second = 1.2 * (0.25 + 0.75 * 2 / 2), 1.2 * (0.25 + 0.75 * 3 / 2)
    expected = [red * 2.2 / (1 + first), red * 2 * 2.2 / (2 + second) + car * 2.2 / (1 + second), 0]
    np.testing.assert_allclose(scores, expected, rtol=1e-12)
    assert Bm25([]).scores(["red"]).tolist() == []


def test_english(tmp_path):
    maker = Maker(tmp_path, ENGLISH)
    documents = [
        maker.document("It is red. Red wine from France sold a lot.", title="French red wine"),  # "French" is unknown
        maker.document("White bread of Germany sold a lot. It is new.", title="Bread of Germany"),
        maker.document("The old city is red and of Germany.", title="Red bread of France"),
        maker.document("Planes sold a lot this year."),  # no title
    ]
    lines, stats = maker.lines(IrRelevance, documents)
    found = told(maker, lines)
    assert found[:2] == [
        ("red wine from france sold a lot .", "[UNK] red wine", 0),
        ("red wine from france sold a lot .", "red bread of france", 1),
    ]
    assert found[2] == ("red wine from france sold a lot .", "bread of germany", 2)
    assert [(title, label) for _, title, label in found[3:5]] == [("bread of germany", 0), ("red bread of france", 1)]
    assert [(title, label) for _, title, label in found[6:8]] == [("red bread of france", 0), ("bread of germany", 1)]
    assert (stats["instances"], stats["left_over"]) == (9, 1)
    assert [stats[f"class_{label}"] for label in range(3)] == [3, 3, 3]


def test_chinese(tmp_path):
    maker = Maker(tmp_path, CHINESE, "pre-segmented")
    documents = [
        maker.document("法国 的 红 葡萄酒 今年 卖 很 多", title="法国 红 葡萄酒"),
        maker.document("德国 的 白 葡萄酒 在 法国", title="德国/ns 白/a 葡萄酒/n"),  # without its tags
        maker.document("新 汽车 在 城市 卖 很 多", title="新 汽车"),
    ]
    lines, _ = maker.lines(IrRelevance, documents)
    found = told(maker, lines)
    assert found[:3] == [
        ("法 国 的 红 葡 萄 酒 今 年 卖 很 多", "法 国 红 葡 萄 酒", 0),
        ("法 国 的 红 葡 萄 酒 今 年 卖 很 多", "德 国 白 葡 萄 酒", 1),
        ("法 国 的 红 葡 萄 酒 今 年 卖 很 多", "新 汽 车", 2),
    ]
    # No other title has a piece of the third query: no near one.
    assert [(title, label) for _, title, label in found[6:]][0] == ("新 汽 车", 0)
    assert [label for *_, label in found] == [0, 1, 2, 0, 1, 2, 0, 2]


def test_the_title_is_not_the_query_and_equal_titles_are_none_of_the_wrong(tmp_path):
    maker = Maker(tmp_path, ENGLISH)
    title = "The new planes of this year. Sold in Germany"
    documents = [maker.document("A lot of planes in the city.", title=title)] * 3
    lines, _ = maker.lines(IrRelevance, documents)
    assert Counter(told(maker, lines)) == {
        ("a lot of planes in the city .", "the new planes of this year . sold in germany", 0): 3
    }


def test_what_does_not_fit_is_cut(tmp_path):
    maker = Maker(tmp_path, ENGLISH, max_seq_len=11)
    documents = [
        maker.document("The old cars in the new city.", title=title) for title in ("Red", "White bread of France")
    ]
    lines, stats = maker.lines(IrRelevance, documents)
    found = told(maker, lines)
    assert found[0] == ("the old cars in the new city", "red", 0)
    assert found[-2] == ("the old cars in", "white bread of france", 0)
    assert all(len(line[0].split()) <= 11 for line in lines)
    assert stats["tokens"] == sum(len(line[0].split()) for line in lines)


def test_the_draw_depends_on_the_seed_alone(tmp_path):
    maker = Maker(tmp_path, ENGLISH)
    titles = ["red", "white", "old", "new", "wine"]
    documents = [maker.document("A lot of it sold this year.", title=title) for title in titles]
    assert maker.lines(IrRelevance, documents, 1) == maker.lines(IrRelevance, documents, 1)
    assert maker.lines(IrRelevance, documents, 1) != maker.lines(IrRelevance, documents, 2)


# ---------------------------------------------------------------- click logs

LOG = ["query\ttitle\tclicked", "red wine\tred wine from france\t1", "red wine\told red cars\t0"]
LOG += ["bread\twhite bread\t1", "bread\tnew planes\t0", "cars\told cars\t1", "cars\tcars in the city\t0"]


def build(tmp_path, rows, *more):
    maker, path = Maker(tmp_path, ENGLISH), tmp_path / "clicks.tsv"
    path.write_bytes(b"\n".join(row if isinstance(row, bytes) else row.encode() for row in rows) + b"\n")
    flags = ["--input", str(path), "--output", str(tmp_path / "out"), "--vocab_path", maker.plan.vocab_path]
    click_log.main([*flags, "--max_seq_len", "32", *more])
    return maker, shard_lines(tmp_path / "out")


def test_a_click_log(tmp_path, capsys):
    maker, lines = build(tmp_path, LOG)
    found = told(maker, lines)
    assert [triple for triple in found if triple[2] < 2] == [
        ("red wine", "red wine from france", 0),
        ("red wine", "old red cars", 1),
        ("bread", "white bread", 0),
        ("bread", "new planes", 1),
        ("cars", "old cars", 0),
        ("cars", "cars in the city", 1),
    ]
    shown = {(query, title) for query, title, label in found if label < 2}
    random = [(query, title) for query, title, label in found if label == 2]
    assert len(random) == 3
    assert not shown.intersection(random)
    stats = json.loads((tmp_path / "out" / "stats.json").read_text())
    assert stats["instances"] == 9
    assert stats["classes"] == {"strong": 3, "weak": 3, "irrelevant": 3}
    assert "9 instances (strong: 3, weak: 3, irrelevant: 3)" in capsys.readouterr().out
    assert build(tmp_path, LOG, "--overwrite")[1] == lines


def test_columns_in_any_order(tmp_path):
    rows = ["\t".join(row.split("\t")[::-1]) for row in LOG]
    maker, lines = build(tmp_path, rows)
    assert told(maker, lines)[0] == ("red wine", "red wine from france", 0)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("wine\tred wine", "line 8: 2 columns instead of 3; put one tab"),
        ("wine\tred wine\tyes", "line 8: clicked is 'yes'; give 1 for clicked"),
        ("\tred wine\t1", "line 8: the query is empty; leave the row out"),
        ("wine\t \t1", "line 8: the title is empty; leave the row out"),
        (b"wine\t\xff\t1", "line 8: not UTF-8; "),
    ],
)
def test_a_bad_row(tmp_path, row, message):
    with pytest.raises(UserError, match=message) as error:
        build(tmp_path, [*LOG, row])
    assert str(tmp_path / "clicks.tsv") in str(error.value)
    assert not list((tmp_path / "out" / "shards").glob("*.gz"))
    _, lines = build(tmp_path, [*LOG, row], "--on_bad", "skip", "--overwrite")
    assert len(lines) == 9
    assert json.loads((tmp_path / "out" / "stats.json").read_text())["bad_lines"] == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["query\ttitle"], "line 1: the columns are \\['query', 'title'\\]; give query, title and clicked"),
        ([b"\xff"], "line 1: not UTF-8"),
        ([LOG[0]], "clicks.tsv: no rows; give a header query<TAB>title<TAB>clicked"),
        ([b""], "the columns are \\[''\\]"),
    ],
)
def test_a_bad_log(tmp_path, rows, message):
    with pytest.raises(UserError, match=message):
        build(tmp_path, rows)
