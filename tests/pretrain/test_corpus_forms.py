"""The form of a text file is told by its first lines, whatever its name; what is no text is refused with its remedy."""

import bz2
import gzip
import json
import lzma
import re
import subprocess
from dataclasses import replace

import pytest

from pretrain import build_vocab
from pretrain.corpus.builder import Plan
from pretrain.corpus.documents import Source, blocks, detect, documents
from pretrain.corpus.input_file import build_file
from pretrain.corpus.shard_folder import Folder
from pretrain.corpus.variants import one_variant
from propeller.errors import UserError
from tests.helpers.build_data import build
from tests.helpers.pretrain_text import write_vocab

ARTICLES = [
    ("灯塔", "灯塔为船只指路。它立在海边。\n\n夜里灯光很亮。"),
    ("水磨", "水磨靠水流转动。"),
    ("驿站", "驿站给信使换马。"),
]
PARAGRAPHS = [[title, *(part for part in text.split("\n") if part)] for title, text in ARTICLES]
DICTS = [{"id": str(number), "title": title, "text": text} for number, (title, text) in enumerate(ARTICLES)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in DICTS)
DOC = "".join(
    f'<doc id="{number}" url="u" title="{title}">\n{title}\n\n{text}\n\n</doc>\n'
    for number, (title, text) in enumerate(ARTICLES)
)
CSV = "id,title,text\n" + "".join(f'{row["id"]},{row["title"]},"{row["text"]}"\n' for row in DICTS)
TSV = "id\ttitle\ttext\n" + "".join(f"{row['id']}\t{row['title']}\t{row['text']}\n" for row in DICTS).replace(
    "\n\n", ""
)
PRETTY, COMPACT = json.dumps(DICTS, ensure_ascii=False, indent=1), json.dumps(DICTS, ensure_ascii=False)
MARK = "\ufeff"
# name, content, form
TAKEN = {
    "wiki_00": (LINES, "jsonl"),
    "part-00000": (LINES, "jsonl"),
    "corpus.ndjson": (LINES, "jsonl"),
    "corpus.jsonlines": (LINES, "jsonl"),
    "c4.json-00000-of-00001": (LINES, "jsonl"),
    "named.txt": (LINES, "jsonl"),
    "marked": (MARK + LINES, "jsonl"),
    "wiki_text_00": (DOC, "doc"),
    "doc_marked.txt": (MARK + DOC, "doc"),
    "array.json": (PRETTY, "json"),
    "array.txt": (COMPACT, "json"),
    "array_marked.json": (MARK + PRETTY, "json"),
    "table.csv": (CSV, "csv"),
    "table.txt": (MARK + CSV, "csv"),
}


def paragraphs(path, **how):
    return [document.paragraphs for document in documents(path, Source(**how))]


GOOD = "驿站给信使换马。灯塔很亮。"


@pytest.fixture(scope="module")
def vocab(tmp_path_factory):
    text = "".join(title + text for title, text in ARTICLES) + GOOD
    return write_vocab(tmp_path_factory.mktemp("vocab") / "vocab.txt", text)


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_certain_is_taken(tmp_path, name):
    content, form = TAKEN[name]
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert detect(tmp_path / name) == form
    assert paragraphs(tmp_path / name) == PARAGRAPHS


def test_a_table_between_tabs(tmp_path):
    (tmp_path / "table").write_text(TSV, encoding="utf-8")
    assert detect(tmp_path / "table") == "tsv"
    assert [found[0] for found in paragraphs(tmp_path / "table")] == [title for title, _ in ARTICLES]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_compression_is_told_by_the_first_bytes(tmp_path, pack):
    (tmp_path / "part-00000").write_bytes(pack(LINES.encode()))
    assert paragraphs(tmp_path / "part-00000") == PARAGRAPHS


def test_text_that_a_download_left_under_a_compressed_name(tmp_path):
    (tmp_path / "a.jsonl.gz").write_text(LINES, encoding="utf-8")
    assert paragraphs(tmp_path / "a.jsonl.gz") == PARAGRAPHS


def test_a_vocabulary_has_characters_of_the_text_and_no_syntax(tmp_path):
    (tmp_path / "wiki_00").write_text(LINES, encoding="utf-8")
    build_vocab.main(["--input", str(tmp_path / "wiki_00"), "--output", str(tmp_path / "v"), "--min_count", "1"])
    tokens = (tmp_path / "v").read_text(encoding="utf-8").split("\n")[5:-1]
    assert set("".join(tokens)) == set("".join(title + text for title, text in ARTICLES)) - {"\n"}


def test_a_build_counts_the_articles_as_documents(tmp_path, vocab):
    for name in ("wiki_00", "wiki_text_00", "array.json", "table.csv"):
        (tmp_path / name).write_text(TAKEN[name][0], encoding="utf-8")
        assert build(tmp_path / name, tmp_path / f"out_{name}", vocab)["documents"] == len(ARTICLES)


@pytest.mark.parametrize(
    ("markup", "shown"),
    [
        ("-{zh-hans:计算机;zh-hant:電腦}-和-{干}-燥机", "计算机和干燥机"),
        ("-{zh-tw: 軟體; zh-cn: 软件;}-业", "软件业"),
        ("-{A|zh-cn:软件;zh-tw:軟體}-业", "软件业"),
        ("-{H|zh-cn:软件;zh-tw:軟體}--{T|zh-cn:甲;zh-tw:乙}-业", "业"),
        ("-{R|干}-与-{zh;zh-hans;zh-hant|韩}-国", "干与韩国"),
        ("-{A|巨集=>zh-cn:宏}-", "宏"),
        ("-{zh-hans:-{甲}-乙;zh-hant:丙}-", "甲乙"),
        ("-{zh-tw:程式;zh-hk:程式}-", "程式"),
        ("-{zh-hans:1:2;zh-hant:一}-", "1:2"),
        ("-{ and {a}-, 1-{2", "-{ and {a}-, 1-{2"),
    ],
)
def test_one_variant_of_chinese_wikipedia(markup, shown):
    assert one_variant(markup) == shown


def test_variants_are_resolved_in_articles_of_a_wiki_alone(tmp_path):
    text, shown = "用-{zh-hans:计算机;zh-hant:電腦}-。\n-{H|zh-cn:甲;zh-tw:乙}-", ["用计算机。"]
    raw = text.split("\n")
    (tmp_path / "doc").write_text(f'<doc id="1" url="u" title="题">\n题\n\n{text}\n</doc>\n', encoding="utf-8")
    assert paragraphs(tmp_path / "doc") == [["题", *shown]]
    for url, expected in (
        ("https://zh.wikipedia.org/wiki?curid=1", shown),
        ("https://zh.wikipedia.org/wiki/%E9%A2%98", shown),
        ("https://example.org/", raw),
        (None, raw),
    ):
        (tmp_path / "json").write_text(json.dumps({"url": url, "text": text}) + "\n", encoding="utf-8")
        assert paragraphs(tmp_path / "json") == [expected], url


def test_a_folder_that_was_begun_before_goes_on_with_all_variants(tmp_path, vocab):
    for name in ("one", "two"):
        text = f"{name}用-{{zh-hans:灯塔;zh-hant:水磨}}-。夜里灯光很亮。"
        (tmp_path / name).write_text(f'<doc id="1" url="u" title="题">\n题\n\n{text}\n</doc>\n' * 3, encoding="utf-8")
    inputs = [tmp_path / "one", tmp_path / "two"]
    plan = Plan(str(vocab), segmenter="char", max_seq_len=40)
    old, new = tmp_path / "old", tmp_path / "new"
    with Folder(old).claimed(replace(plan, version=1).settings()):
        build_file(inputs[0], "one", replace(plan, version=1), old)
    stats = {out: build(inputs, out, vocab) for out in (old, new)}
    assert stats[old]["tokens"] > stats[new]["tokens"]
    records = [json.loads((old / f"shards/{name}.json").read_text())["stats"] for name in ("one", "two")]
    assert records[0]["pieces"] == records[1]["pieces"], "both files are read alike"
    assert json.loads((old / "build.json").read_text())["version"] == 1
    assert build(inputs, old, vocab, "--overwrite")["tokens"] == stats[new]["tokens"]
    assert json.loads((old / "build.json").read_text())["version"] == 2


def test_the_field_with_the_text_is_named(tmp_path, vocab):
    rows = [{"news_id": "1", "title": title, "content": text} for title, text in ARTICLES]
    files = {
        "news.json": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
        "news_array": json.dumps(rows, indent=2, ensure_ascii=False),
        "news.csv": CSV.replace("title,text", "title,content"),
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match=r"no `text`|without a column `text`") as caught:
            paragraphs(tmp_path / name)
        assert "content" in str(caught.value)
        assert "--text_field" in str(caught.value)
        assert paragraphs(tmp_path / name, text_field="content") == PARAGRAPHS
    flags = ["--text_field", "content"]
    assert build(tmp_path / "news.json", tmp_path / "out", vocab, *flags)["documents"] == len(ARTICLES)
    build_vocab.main(["--input", str(tmp_path / "news.csv"), "--output", str(tmp_path / "v"), *flags])
    assert (tmp_path / "v").is_file()


SHARD = "1 2 3 2;0 0 0 0;0 1 2 3;-1 0 0 -1;0\n"
REFUSED = {
    "dump.xml": ('<mediawiki xml:lang="zh">\n <page>\n', ["XML dump", "WikiExtractor --json", "--format text"]),
    "dump": ('<?xml version="1.0"?>\n<add>\n', ["XML or HTML"]),
    "page.txt": ("<!DOCTYPE html>\n<html>\n", ["XML or HTML"]),
    "squad": ('{\n "version": "1",\n "data": []\n}\n', ["one JSON object over several lines"]),
    "shards": (SHARD * 3, ["a shard that was built already", "--train_filelist"]),
    "conll.txt": ("-DOCSTART- -X- O O\n\nRiga NNP I-NP B-LOC\n. . O O\n", ["tagged text", "convert_tagged.py"]),
    "bio": ("水 B-LOC\n磨 I-LOC\n在 O\n\n他 O\n", ["tagged text", "--format text"]),
    "weibo": ("周0\tO\n末1\tO\n", ["tagged text"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_text_is_named(tmp_path, name, vocab):
    content, words = REFUSED[name]
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        paragraphs(tmp_path / name)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / name}, line 1: looks like")
    assert all(word in message for word in words)
    assert "\n" not in message
    assert paragraphs(tmp_path / name, format="text"), "a flag reads it as text all the same"
    (tmp_path / "good.txt").write_text(f"{GOOD}\n", encoding="utf-8")
    stats = build([tmp_path / name, tmp_path / "good.txt"], tmp_path / "out", vocab, on_bad="skip")
    assert (stats["bad_lines"], stats["documents"]) == (1, 1), "one unusable file does not stop the others"


@pytest.mark.parametrize("unpacked", [True, False])
def test_lines_that_end_with_cr_alone_are_named(tmp_path, vocab, unpacked):
    name, text = tmp_path / ("old mac.txt" if unpacked else "old.txt.gz"), f"{GOOD}\r\r{GOOD}\r".encode()
    name.write_bytes(text if unpacked else gzip.compress(text))
    with pytest.raises(UserError, match="line 1: its lines end with CR alone") as caught:
        paragraphs(name)
    assert ("unpack it" in str(caught.value)) is not unpacked
    command = re.search(r"run (tr .*) > OUT", str(caught.value)).group(1)
    if unpacked:
        mended = subprocess.run(command, shell=True, check=True, stdout=subprocess.PIPE).stdout
        assert mended == text.replace(b"\r", b"\n"), "the remedy works as printed"
    name.write_bytes(b"one line, without an end" if unpacked else gzip.compress(b"\r\n" + text + b"\n"))
    assert paragraphs(name), "what has no CR, or has LF too, is text"


@pytest.mark.parametrize(
    ("head", "what"),
    [(b"PK\x03\x04", "zip"), (b"PAR1", "Parquet"), (b"%PDF-1.4", "PDF"), (b"SQLite format 3\0", "SQLite")],
)
def test_archives_are_named(tmp_path, head, what):
    (tmp_path / "a.txt").write_bytes(head + b"\0" * 20)
    with pytest.raises(UserError, match=f"a.txt: looks like .*{what}.*, not text"):
        paragraphs(tmp_path / "a.txt")


PLAIN = [
    "First, a list of names,\nthen, more of it,\n",
    "{{stub}}\nAn article about mills.\n",
    "[1] a note\n\n[2] another note\n",
    "a < b\n<docile> animals\n",
    "他说\tO 型血\n今天\t天气好\n",
    "yes,no\nmaybe\n",
    "Vitamin O\n\nThe sun set.\n",
    "1 2 3\n4 5 6\n",
]


@pytest.mark.parametrize("content", PLAIN)
def test_plain_text_stays_plain_text(tmp_path, content):
    (tmp_path / "a.txt").write_text(content, encoding="utf-8")
    assert detect(tmp_path / "a.txt") == "text"


def test_bad_records_are_named_or_counted(tmp_path):
    cases = {
        "array.json": ('[\n {"text": "a b"},\n {"text": 7}\n]', "line 3: no object with a string `text`"),
        "cut.json": ('[\n {"text": "a b"},\n {"text": "c', "line 3: not JSON"),
        "rows.csv": ('title,text\n"a","b"\n"c"\n' + '"d","e"\n' * 4, "line 3: 1 fields where the header has 2"),
        "docs": ('<doc id="1">\na b\n</doc>\nstray\n', "line 4: text outside of <doc>"),
        "cut": ('<doc id="1">\na b\n</doc>\n<doc id="2">\nc\n', "line 4: a <doc> without </doc>: the file is cut"),
    }  # fmt: skip
    for name, (content, message) in cases.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(UserError, match=re.escape(f"{tmp_path / name}, {message}")):
            paragraphs(tmp_path / name)
        found = list(blocks(tmp_path / name, skip=True))
        assert sum(len(block.problems) for block in found) == 1
        assert sum(len(block.documents) for block in found) >= 1


def test_an_array_is_read_in_parts_and_its_lines_are_counted(tmp_path):
    rows = [{"text": f"{'word ' * 3000}{number}", "title": "a\nb"} for number in range(40)]
    (tmp_path / "long.json").write_text("\n\n" + json.dumps(rows, indent=1))
    found = list(documents(tmp_path / "long.json"))
    assert [document.paragraphs[-1].split()[-1] for document in found] == [str(number) for number in range(40)]
    assert [document.line for document in found] == [4 + 4 * number for number in range(40)]
    (tmp_path / "one_line.json").write_text(json.dumps(rows))
    assert len(paragraphs(tmp_path / "one_line.json")) == 40
