"""From raw text to shards: nothing lost, the same bytes however it is done, and what a user can get wrong."""

import gzip
import json
import random
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.corpus.documents import Source, blocks, documents
from pretrain.corpus.instances import Pairs
from pretrain.corpus.pieces import Tokens
from propeller.errors import UserError
from reader.pretraining.shards import Limits, parse_lines
from tests.helpers.build_data import build, command, digest, flags
from tests.helpers.common import ROOT
from tests.helpers.pretrain_text import DOCUMENTS, shard_lines, write_text, write_vocab

# ---------------------------------------------------------------- instances


@pytest.fixture(scope="module")
def vocab(tmp_path_factory):
    return write_vocab(tmp_path_factory.mktemp("vocab") / "vocab.txt")


def sentence(number, words):
    """Tokens with ids that tell sentence and place; words: how many pieces each has."""
    count = sum(words)
    ids = iter(range(1000 * number, 1000 * number + count))
    text = " ".join(",".join(str(next(ids)) for _ in range(size)) for size in words)
    units = [(0, words[0], "e")] if len(words) > 1 else []
    return Tokens(text.encode(), count, 0, units)


DOCS = st.lists(
    st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=30), min_size=1, max_size=12), min_size=1, max_size=4
)


@given(DOCS, st.sampled_from(["mixed", "positive"]), st.integers(9, 60), st.integers(0, 99))
@settings(max_examples=300, deadline=None)
def test_every_token_is_once_in_a_text_that_goes_on(docs, pairs, max_seq_len, seed):
    numbers = iter(range(1, 1000))
    docs = [[sentence(next(numbers), words) for words in document] for document in docs]
    made = Pairs(max_seq_len, pairs, 1, 2, short_seq_prob=0.3)
    lines, stats = made.lines(docs, lambda place: random.Random(f"{seed}/{place}"))
    rows, problems = parse_lines(lines, Limits(positions=max_seq_len, sentence_types=2))
    assert not problems
    assert len(rows) == stats["instances"]
    assert sum(rows.labels) == stats["next"]
    assert not len(rows) or rows.lengths.max() <= max_seq_len
    seen = []
    for line in lines:
        ids, sents, _, segs, label = line.decode().split(";")[:5]
        ids, sents, segs = ids.split(), sents.split(), segs.split()
        assert [ids[place] for place, seg in enumerate(segs) if seg == "-1"] == ["1", "2", "2"]
        first, second = (
            [token for token, sent in zip(ids, sents) if sent == kind and token not in "12"] for kind in "01"
        )
        assert first
        assert second
        seen += first + (second if label == "1" else [])
        if label == "0" and len(docs) > 1:
            here = {len(doc) for doc in docs if any(first[0] in tokens.ids.decode().split() for tokens in doc)}
            assert here
            assert not any(
                first[0] in tokens.ids.decode().split()
                and any(second[0] in other.ids.decode().split() for other in doc)
                for doc in docs
                for tokens in doc
            )
        for begin in (segs.index("0"), sents.index("1")):
            assert segs[begin] == "0"  # a text begins with a word
    lost = Counter(token for doc in docs for tokens in doc for token in tokens.ids.decode().split())
    lost.subtract(seen)
    assert all(count in (0, 1) for count in lost.values())
    assert sum(lost.values()) <= 3 * stats["left_over"]
    assert pairs == "mixed" or stats["next"] == stats["instances"]


def test_half_of_mixed_pairs_follow():
    docs = [[sentence(10 * number + place, [1] * 6) for place in range(8)] for number in range(1, 500)]
    _, stats = Pairs(30, "mixed", 1, 2).lines(docs, lambda place: random.Random(f"0/{place}"))
    assert abs(stats["next"] / stats["instances"] - 0.5) < 4 * 0.5 / stats["instances"] ** 0.5
    assert stats["negatives_of_own_document"] == 0


def test_units_are_whole_and_within_a_sentence(tmp_path, vocab):
    text = "\n\n".join("张三/nr 在/p 北京/ns 大学/n 工作/v 。/w 好/a 天气/n ！/w abc/nz" for _ in range(5))
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    build(tmp_path / "a.txt", tmp_path / "out", vocab, segmenter="pre-segmented", max_seq_len=30)
    names = [line.split("\n")[0] for line in Path(vocab).read_text(encoding="utf-8").splitlines()]
    seen = set()
    for ids, _, _, segs, _, units in shard_lines(tmp_path / "out"):
        ids, segs = [names[int(token)] for token in ids.split()], segs.split()
        for unit in units.split():
            start, end, kind = unit.split("-")
            assert segs[int(start)] == "0"
            assert "-1" not in segs[int(start) : int(end)]
            assert segs[int(end)] != "1"
            seen.add((kind, "".join(ids[int(start) : int(end)])))
    assert {("e", "张三"), ("e", "北京"), ("p", "北京大学"), ("p", "好天气"), ("e", "a##b##c")} <= seen


# ---------------------------------------------------------------- files in


def test_forms_of_input_are_the_same_documents(tmp_path):
    zstandard = pytest.importorskip("zstandard")
    plain = "\n\n".join(DOCUMENTS).encode() + b"\n"
    rows = "".join(json.dumps({"text": text}) + "\n" for text in DOCUMENTS).encode()
    files = {"a.txt": plain, "b.txt.gz": gzip.compress(plain), "c.txt.zst": zstandard.compress(plain)}
    files.update({"d.jsonl": rows, "e.jsonl.gz": gzip.compress(rows[:99]) + gzip.compress(rows[99:])})
    files["f.json.zst"] = zstandard.compress(rows[:99]) + zstandard.compress(rows[99:])
    files["g.txt"] = b"\xef\xbb\xbf" + b"\r\n\r\n  \n".join(text.replace("\n", "\r\n").encode() for text in DOCUMENTS)
    found = []
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        found.append([document.paragraphs for document in documents(tmp_path / name)])
    assert found == [[text.split("\n") for text in DOCUMENTS]] * len(files)


def test_titles_and_wrapped_lines(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"title": "标题", "text": "一行\n两行 \n\nab\ncd", "id": 3}) + "\n")
    assert next(documents(tmp_path / "a.jsonl")).paragraphs == ["标题", "一行", "两行", "ab", "cd"]
    read = Source(title="ignore", line_break="wrap")
    assert next(documents(tmp_path / "a.jsonl", read)).paragraphs == ["一行两行ab cd"]


def test_memory_is_that_of_a_block(tmp_path):
    line = "这是一个很长的文件，" * 20 + "。\n"
    with gzip.open(tmp_path / "a.txt.gz", "wt", compresslevel=1) as file:
        for number in range(30_000):
            file.write(line if number % 3 else "\n")
    tracemalloc.start()
    count = sum(len(block.documents) for block in blocks(tmp_path / "a.txt.gz", size=1 << 16))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 10_000
    assert peak < 4 << 20  # of 12 MB of text


def test_a_file_without_blank_lines_is_several_documents(tmp_path):
    (tmp_path / "a.txt").write_text(("一" * 999 + "\n") * 600, encoding="utf-8")
    assert [len(document.paragraphs) for document in documents(tmp_path / "a.txt")] == [263, 263, 74]


# ---------------------------------------------------------------- a build


def test_a_build_and_its_statistics(tmp_path, vocab):
    write_text(tmp_path / "a.txt")
    stats = build(tmp_path / "a.txt", tmp_path / "out", vocab, pairs="positive", mask_word_prob=0.5)
    lines = shard_lines(tmp_path / "out")
    assert (tmp_path / "out" / "filelist").read_text() == "shards/a-00000.gz\t0.5\n"
    assert stats["documents"] == 4
    assert stats["sentences"] == 13
    assert stats["instances"] == len(lines) == stats["instances_next"]
    assert stats["tokens"] == sum(len(line[0].split()) for line in lines)
    names = Path(vocab).read_text(encoding="utf-8").splitlines()
    text = "".join(names[int(token)] for line in lines for token in line[0].split() if token not in ("1", "2"))
    unknown = stats["unknown"]
    assert text.count("[UNK]") == unknown
    assert stats["unknown_rate"] == round(unknown / stats["pieces"], 6)
    assert re.sub(r"\[UNK\]", ".", text).count("") - 1 == len("".join(DOCUMENTS).replace("\n", ""))
    assert sum(stats["lengths"].values()) == stats["instances"]


def test_the_same_bytes_however_many_processes(tmp_path, vocab):
    for number in range(3):
        write_text(tmp_path / f"{number}.txt", DOCUMENTS[number:] * 7)
    found = []
    for workers in (0, 1, 2):
        build(str(tmp_path / "?.txt"), tmp_path / f"out{workers}", vocab, num_workers=workers, block_chars=200)
        found.append(digest(tmp_path / f"out{workers}"))
    assert found[0] == found[1] == found[2]
    build(str(tmp_path / "?.txt"), tmp_path / "other", vocab, seed=1, block_chars=200)
    assert digest(tmp_path / "other") != found[0]
    alone = build(tmp_path / "1.txt", tmp_path / "alone", vocab, block_chars=200)
    assert digest(tmp_path / "alone")["1-00000.gz"] == found[0]["1-00000.gz"]  # other files change nothing
    assert alone["files"] == 1


def test_shards_have_a_size_and_names_do_not_collide(tmp_path, vocab):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write_text(tmp_path / folder / "a.txt", DOCUMENTS * 5)
    stats = build(str(tmp_path / "*" / "*.txt"), tmp_path / "out", vocab, block_chars=100, instances_per_shard=10)
    names = [line.split("\t")[0] for line in (tmp_path / "out" / "filelist").read_text().splitlines()]
    assert len(names) == len(set(names)) == stats["shards"] >= 4
    assert len(shard_lines(tmp_path / "out")) == stats["instances"]


def test_a_second_run_does_what_is_missing(tmp_path, vocab, caplog):
    for name in "ab":
        write_text(tmp_path / f"{name}.txt")
    build(tmp_path / "a.txt", tmp_path / "out", vocab)
    before = (tmp_path / "out" / "shards" / "a-00000.gz").stat().st_mtime_ns
    stats = build([tmp_path / "a.txt", tmp_path / "b.txt"], tmp_path / "out", vocab)
    assert (tmp_path / "out" / "shards" / "a-00000.gz").stat().st_mtime_ns == before
    assert stats["files"] == 2
    write_text(tmp_path / "a.txt", DOCUMENTS[:2])  # changed
    assert build([tmp_path / "a.txt", tmp_path / "b.txt"], tmp_path / "out", vocab)["documents"] == 6
    build(tmp_path / "b.txt", tmp_path / "out", vocab)  # taken out
    assert sorted(path.name for path in (tmp_path / "out" / "shards").iterdir()) == ["b-00000.gz", "b.json"]
    with pytest.raises(UserError, match="was built with max_seq_len 40, not 30; give the same, another"):
        build(tmp_path / "b.txt", tmp_path / "out", vocab, max_seq_len=30)
    assert build(tmp_path / "b.txt", tmp_path / "out", vocab, "--overwrite", max_seq_len=30)["length"]["max"] <= 30


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_build_killed_midway_goes_on(tmp_path, vocab, workers):
    for name in "abc":
        write_text(tmp_path / f"{name}.txt", DOCUMENTS * 400)
    options = {"num_workers": workers, "block_chars": 2000, "instances_per_shard": 500}
    inputs = [tmp_path / f"{name}.txt" for name in "abc"]
    whole, out = tmp_path / "whole", tmp_path / "out"
    build(inputs, whole, vocab, **options)
    run = subprocess.Popen(command(*flags(inputs, out, vocab, **options)), cwd=ROOT, stderr=subprocess.DEVNULL)
    while not (out / "shards" / "b-00000.gz").exists() and run.poll() is None:
        time.sleep(0.002)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not (out / "filelist").exists()
    assert (out / "shards" / "a.json").exists()
    first = (out / "shards" / "a-00000.gz").stat().st_mtime_ns
    build(inputs, out, vocab, **options)
    assert digest(out) == digest(whole)
    assert (out / "shards" / "a-00000.gz").stat().st_mtime_ns == first
    assert not list(out.glob("shards/.*"))


def test_one_build_a_folder(tmp_path, vocab):
    import fcntl

    write_text(tmp_path / "a.txt")
    build(tmp_path / "a.txt", tmp_path / "out", vocab)
    with open(tmp_path / "out" / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another build is writing here"):
            build(tmp_path / "a.txt", tmp_path / "out", vocab)


@pytest.mark.slow
def test_the_same_shards_over_ray(tmp_path, vocab):
    pytest.importorskip("ray")
    for number in range(4):
        write_text(tmp_path / f"{number}.txt", DOCUMENTS[number:] * 7)
    inputs = str(tmp_path / "?.txt")
    build(inputs, tmp_path / "local", vocab, block_chars=200)
    ray = command(*flags(inputs, tmp_path / "ray", vocab, block_chars=200, engine="ray", num_workers=2))
    done = subprocess.run(ray, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert digest(tmp_path / "ray") == digest(tmp_path / "local")
    (tmp_path / "2.txt").write_bytes(b"abc\n\xff\n")
    done = subprocess.run(ray, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2
    assert f"error: {tmp_path / '2.txt'}, line 2: not UTF-8" in done.stderr
    assert not (tmp_path / "ray" / "filelist").exists()
    ray += ["--on_bad", "skip"]
    done = subprocess.run(ray, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path / '2.txt'}, line 2: not UTF-8 (byte 1); " in done.stderr


# ---------------------------------------------------------------- what can be wrong

GOOD = "我们去公园。今天好。\n\n他走了。天气好。\n"
BAD = {
    "not UTF-8": ("a.txt", GOOD.encode() + b"\n\xff\n", "a.txt, line 5: not UTF-8 (byte 1); the rest"),
    "binary": ("a.txt", GOOD.encode() + b"\n\0\n", "a.txt, line 5: a NUL byte"),
    "no sentence": (
        "a.txt",
        GOOD.encode() + "\n\u200b\n".encode(),
        "a.txt, line 5: a document without a sentence; leave",
    ),
    "cut gz": ("a.txt.gz", gzip.compress(GOOD.encode() * 99)[:-9], "after line 297: the file is damaged or cut short"),
    "no gz": ("a.txt.gz", b"\xff\xfe\0" * 9, "a.txt.gz, after line 0: the file is damaged"),
    "JSON": ("a.jsonl", b'{"text": "x y."}\n{"text": "x', "a.jsonl, line 2: not JSON"),
    "no text": ("a.jsonl", b'{"text": "x y."}\n{"txt": 1}\n', "a.jsonl, line 2: no object with a string `text`"),
    "a number": ("a.jsonl", b'{"text": "x y."}\n7\n', "a.jsonl, line 2: no object"),
    "empty text": ("a.jsonl", b'{"text": "x y."}\n{"text": " "}\n', "a.jsonl, line 2: a document without a sentence"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_or_left_out(tmp_path, vocab, case):
    name, content, message = BAD[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=re.escape(message)) as raised:
        build(tmp_path / name, tmp_path / "out", vocab)
    assert str(tmp_path / name) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out" / "filelist").exists()
    if case == "no gz":  # nothing in it can be read
        with pytest.raises(UserError, match="no instance produced"):
            build(tmp_path / name, tmp_path / "out", vocab, "--overwrite", on_bad="skip")
        return
    stats = build(tmp_path / name, tmp_path / "out", vocab, "--overwrite", on_bad="skip")
    assert stats["bad_lines"] + stats["bad_documents"] == 1
    assert stats["instances"] > 0


@pytest.mark.parametrize("workers", [0, 1])
def test_tags_at_some_words_only(tmp_path, vocab, workers):
    (tmp_path / "a.txt").write_text("好/a 天气/n\n\n他/r 走/v 了\n", encoding="utf-8")
    with pytest.raises(UserError, match="a.txt, line 3: document: 2 of 3 words have a tag"):
        build(tmp_path / "a.txt", tmp_path / "out", vocab, segmenter="pre-segmented", num_workers=workers)
    stats = build(tmp_path / "a.txt", tmp_path / "out", vocab, segmenter="pre-segmented", on_bad="skip")
    assert (stats["documents"], stats["bad_documents"]) == (1, 1)


def test_nothing_to_build_from(tmp_path, vocab):
    for content in ("", "\n \n"):
        (tmp_path / "a.txt").write_text(content)
        with pytest.raises(UserError, match="a.txt: no instance produced: no document in it; put text in it, or leave"):
            build(tmp_path / "a.txt", tmp_path / "out", vocab)
    (tmp_path / "a.txt").write_text("中\n\n文\n", encoding="utf-8")
    with pytest.raises(UserError, match="no instance produced: 2 documents of one word"):
        build(tmp_path / "a.txt", tmp_path / "out", vocab, "--overwrite", pairs="positive")
    with pytest.raises(UserError, match="out: no instance produced: 2 documents with 2 sentences, 2 left over"):
        build(tmp_path / "a.txt", tmp_path / "out", vocab, "--overwrite", pairs="positive", on_bad="skip")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_seq_len": 7}, "--max_seq_len 7: give 8 or more"),
        ({"short_seq_prob": 2}, "--short_seq_prob 2.0: give a number from 0 to 1"),
        ({"segmenter": "words"}, "--segmenter words: unknown; choose one of lac"),
        ({"num_workers": -1}, "--num_workers -1: give 0 or more"),
        ({"mask_word_prob": -1}, "--mask_word_prob -1.0: give 0"),
        ({"vocab_path": "nowhere.txt"}, "nowhere.txt"),
    ],
)
def test_flags_out_of_range(tmp_path, vocab, changes, message):
    with pytest.raises(UserError, match=re.escape(message)):
        build(write_text(tmp_path / "a.txt"), tmp_path / "out", vocab, **changes)


def test_missing_inputs_and_foreign_folders(tmp_path, vocab):
    with pytest.raises(UserError, match=r"none.txt: no such file"):
        build(tmp_path / "none.txt", tmp_path / "out", vocab)
    with pytest.raises(UserError, match="a folder; name the files in it"):
        build(tmp_path, tmp_path / "out", vocab)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "filelist").write_text("mine\t1\n")
    with pytest.raises(UserError, match="holds something else"):
        build(write_text(tmp_path / "a.txt"), tmp_path / "out", vocab)
    assert (tmp_path / "out" / "filelist").read_text() == "mine\t1\n"


def test_exit_status(tmp_path, vocab):
    (tmp_path / "a.txt").write_bytes(b"\xff")
    done = subprocess.run(
        command(*flags(tmp_path / "a.txt", tmp_path / "out", vocab)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: {tmp_path / 'a.txt'}, line 1: not UTF-8")
    loaded = "import pretrain.build_data, pretrain.inspect, pretrain.build_vocab, sys; print([*sys.modules])"
    python = [sys.executable, "-c", loaded]
    done = subprocess.run(python, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "'paddle'" not in done.stdout


# ---------------------------------------------------------------- inspect
