"""What a build leaves out is named and nothing else is lost; what it cannot do is one line that says what to do.

python -m pytest -q tests/pretrain/test_build_faults.py
"""

import errno
import functools
import gzip
import itertools
import json
import os
import random
import re
import resource
import socket
import subprocess
import sys
import time
import tracemalloc
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from pretrain import build_data, inspect
from pretrain.corpus import documents as reading
from pretrain.corpus import shard_folder as shards
from pretrain.corpus.documents import blocks, documents
from pretrain.corpus.engines import over_ray
from pretrain.corpus.english import English
from pretrain.corpus.input_file import names_of
from propeller.errors import UserError
from reader.pretraining.shard_files import read_filelist
from tests.helpers.build_data import build, command, digest, flags
from tests.helpers.common import ROOT
from tests.helpers.pretrain_text import DOCUMENTS, shard_lines, write_text, write_vocab


@pytest.fixture(scope="module")
def vocab(tmp_path_factory):
    return write_vocab(tmp_path_factory.mktemp("vocab") / "vocab.txt")


# ---------------------------------------------------------------- lines that are too long


def test_a_line_that_is_too_long_is_one_bad_line(tmp_path, vocab, caplog):
    before, behind = DOCUMENTS[0].encode(), "\n\n".join(DOCUMENTS[1:]).encode()
    (tmp_path / "a.txt").write_bytes(before + b"\n\n" + b"a" * (9 << 20) + b"\n\n" + behind)
    with pytest.raises(UserError, match="a.txt, line 4: 4 MiB without a line end; break the text into lines"):
        build(tmp_path / "a.txt", tmp_path / "out", vocab)
    stats = build(tmp_path / "a.txt", tmp_path / "out", vocab, on_bad="skip")
    assert (stats["documents"], stats["bad_lines"], stats["bad_documents"]) == (4, 1, 0)
    assert f"{tmp_path / 'a.txt'}, line 4: 4 MiB without a line end" in caplog.text
    (tmp_path / "a.txt").write_bytes(before + b"\n\n\n\n" + behind)
    build(tmp_path / "a.txt", tmp_path / "other", vocab)
    assert shard_lines(tmp_path / "out") == shard_lines(tmp_path / "other")


def test_a_long_line_is_never_held_whole(tmp_path):
    rows = [json.dumps({"text": text}).encode() + b"\n" for text in DOCUMENTS]
    content = gzip.compress(rows[0]) + gzip.compress(b"a" * (48 << 20), 1) + gzip.compress(b"\n" + b"".join(rows[1:]))
    (tmp_path / "a.jsonl.gz").write_bytes(content)
    tracemalloc.start()
    (block,) = blocks(tmp_path / "a.jsonl.gz", skip=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [document.line for document in block.documents] == [1, 3, 4, 5]
    assert [line for line, _ in block.problems] == [2]
    assert peak < 12 << 20  # of 48 MiB: twice the limit, and what is beside it


def test_lines_about_as_long_as_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "LINE_BYTES", 8)
    monkeypatch.setattr(reading, "PASSED_BYTES", 3)
    for lengths in itertools.product((0, 6, 7, 8, 9, 10, 11, 14, 17), repeat=2):
        for end in (b"\n", b""):
            (tmp_path / "a.txt").write_bytes(b"\n".join(b"a" * length for length in lengths) + end)
            problems = []
            given = [line for _, line in reading.lines(tmp_path / "a.txt", problems)]
            expected = (tmp_path / "a.txt").read_bytes().splitlines(keepends=True)
            good = [line for line in expected if len(line.rstrip(b"\n")) < 8]
            assert given == good
            assert len(problems) == len(expected) - len(good)


# ---------------------------------------------------------------- files that are cut


def cut_gzip(content):
    """(the first part of it packed, what of it can be read)."""
    packed = gzip.compress(content)
    packed = packed[: len(packed) * 3 // 5]
    return packed, zlib.decompressobj(31).decompress(packed)


def cut_zstandard(content):
    zstandard = pytest.importorskip("zstandard")
    packed = zstandard.compress(content)
    packed = packed[: len(packed) * 3 // 5]
    return packed, zstandard.ZstdDecompressor().decompressobj().decompress(packed)


@pytest.mark.parametrize(("suffix", "cut"), [(".gz", cut_gzip), (".zst", cut_zstandard)])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_of_a_cut_file_all_whole_lines_are_used(tmp_path, suffix, cut, name):
    draw = random.Random(7)
    lines = ["".join(draw.choices("abcdefgh ", k=draw.randint(20, 200))) for _ in range(4000)]
    if name == "a.jsonl":
        lines = [json.dumps({"text": line}) for line in lines]
    else:
        lines[500] = lines[501] = lines[1000] = ""  # three documents, the last cut in two by its length
    packed, readable = cut("\n".join(lines).encode())
    (tmp_path / (name + suffix)).write_bytes(packed)
    (tmp_path / name).write_bytes(readable[: readable.rindex(b"\n") + 1])
    assert 100_000 < len(readable) < 300_000
    problems = []
    found = list(documents(tmp_path / (name + suffix), problems=problems))
    assert found == list(documents(tmp_path / name))
    ((line, text),) = problems
    count = readable.count(b"\n")
    assert (line, text.split(": the file")[0]) == (0, f"{tmp_path / (name + suffix)}, after line {count}")
    found = list(blocks(tmp_path / (name + suffix), size=1 << 14, skip=True))
    assert [len(block.problems) for block in found] == [0] * (len(found) - 1) + [1]


def test_a_build_of_a_cut_file_keeps_the_document_under_way(tmp_path, vocab):
    lines = ["我们去公园。", "天气好，他走了。"] * 200
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("\n".join(lines).encode())[:-9])
    with pytest.raises(UserError, match="after line 399: the file is damaged or cut short .*; fetch it again"):
        build(tmp_path / "a.txt.gz", tmp_path / "out", vocab)
    stats = build(tmp_path / "a.txt.gz", tmp_path / "out", vocab, on_bad="skip")
    assert (stats["documents"], stats["paragraphs"], stats["bad_lines"]) == (1, 399, 1)


def test_a_file_that_cannot_be_opened_is_no_bad_line(tmp_path, vocab, monkeypatch):
    (tmp_path / "a.txt.zst").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(UserError, match="a.txt.zst: reading .zst needs zstandard; python -m pip install"):
        build(tmp_path / "a.txt.zst", tmp_path / "out", vocab, on_bad="skip")


# ---------------------------------------------------------------- no room


def test_a_full_disk_is_named_and_the_build_goes_on_later(tmp_path, vocab):
    inputs = [write_text(tmp_path / "a.txt"), write_text(tmp_path / "b.txt", DOCUMENTS * 400)]
    build(inputs, tmp_path / "whole", vocab)
    out = tmp_path / "out"
    done = subprocess.run(
        command(*flags(inputs, out, vocab)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20 << 10, 20 << 10)),
    )
    assert done.returncode == 2, done.stderr
    told = done.stderr.splitlines()[-1]
    assert told.startswith(
        f"error: {out / 'shards' / 'b-00000.gz'}: cannot be written (File too large); make room and "
    )
    assert "the build goes on" in told
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in (out / "shards").iterdir()) == ["a-00000.gz", "a.json"]
    first = (out / "shards" / "a-00000.gz").stat().st_mtime_ns
    build(inputs, out, vocab)
    assert digest(out) == digest(tmp_path / "whole")
    assert (out / "shards" / "a-00000.gz").stat().st_mtime_ns == first


@pytest.mark.parametrize("name", ["build.json", "a.json", "stats.json", "filelist"])
def test_a_full_disk_where_records_are_written(tmp_path, vocab, monkeypatch, name):
    def full(path, content, write=shards.write_file):
        if Path(path).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, content)

    monkeypatch.setattr(shards, "write_file", full)
    place = {"build.json": "out", "a.json": "out/shards/a.json"}.get(name, f"out/{name}")
    message = f"{tmp_path / place}: cannot be written (No space left on device); make room and"
    with pytest.raises(UserError, match=re.escape(message)):
        build(write_text(tmp_path / "a.txt"), tmp_path / "out", vocab)
    assert not (tmp_path / "out" / "filelist").exists()
    monkeypatch.undo()
    build(tmp_path / "a.txt", tmp_path / "out", vocab)
    assert shard_lines(tmp_path / "out")


def test_a_shard_that_cannot_be_made(tmp_path, vocab):
    shard = tmp_path / "out" / "shards" / "a-00000.gz"
    build(write_text(tmp_path / "a.txt"), tmp_path / "out", vocab)
    shard.unlink()
    (shard.parent / ".a-00000.gz.part").mkdir()
    with pytest.raises(UserError, match="a-00000.gz: cannot be written .Is a directory.; see that it can be and give"):
        build(tmp_path / "a.txt", tmp_path / "out", vocab)


# ---------------------------------------------------------------- Ray


def ray_here(monkeypatch, init=lambda **_: None):
    """In the place of Ray one that does the work in this process."""
    here = SimpleNamespace(
        init=init,
        shutdown=lambda: None,
        remote=lambda **_: lambda function: SimpleNamespace(remote=functools.partial(functools.partial, function)),
        wait=lambda waiting, num_returns: (waiting[:num_returns], waiting[num_returns:]),
        get=lambda task: task(),
        exceptions=SimpleNamespace(RayTaskError=type("RayTaskError", (Exception,), {})),
    )
    monkeypatch.setitem(sys.modules, "ray", here)


def test_bad_lines_are_named_whatever_the_engine(tmp_path, vocab, monkeypatch, caplog):
    ray_here(monkeypatch)
    for name in "ab":
        (tmp_path / f"{name}.txt").write_bytes(DOCUMENTS[0].encode() + b"\n\xff\n\n\xff\n" * 3)
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress("\n\n".join(DOCUMENTS).encode())[:-9])
    for inputs, said in ((["c.txt.gz", "a.txt"], 5), (["b.txt"], 5), (["c.txt.gz"], 1)):
        told, stats = {}, {}
        for engine in ("local", "ray"):
            caplog.clear()
            paths, out = [tmp_path / name for name in inputs], tmp_path / engine / str(said) / inputs[0]
            stats[engine] = build(paths, out, vocab, on_bad="skip", engine=engine)
            told[engine] = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
        assert stats["local"] == stats["ray"]
        assert told["local"] == told["ray"]
        assert len(told["ray"]) == said
        for message in told["ray"][inputs[0] == "c.txt.gz" :]:
            assert message.startswith(f"{tmp_path / inputs[-1]}, line ")
        assert told["ray"][-1].endswith("left out, as others will be" if said == 5 else "fetch it again: left out")


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "[::1]:{}"])
def test_no_ray_cluster_at_the_address(monkeypatch, form):
    def init(**_):
        raise AssertionError("Ray would try for minutes")

    ray_here(monkeypatch, init)
    address, begin = form.format(closed_port()), time.monotonic()
    message = f"--ray_address {address}: no cluster there ("
    with pytest.raises(UserError, match=re.escape(message) + r".*\); start one with `ray start --head`"):
        next(over_ray([], address, 1))
    assert time.monotonic() - begin < 10
    for address in ("127.0.0.1", "host:", ":6379", "host:port", "host:65536"):
        with pytest.raises(UserError, match=f"--ray_address {address}: no address of a cluster; give HOST:PORT or"):
            next(over_ray([], address, 1))


def test_a_ray_cluster_that_answers(monkeypatch):
    asked = []
    ray_here(monkeypatch, lambda **options: asked.append(options["address"]))
    with socket.create_server(("127.0.0.1", 0)) as server:
        addresses = [f"127.0.0.1:{server.getsockname()[1]}", "auto"]
        assert [list(over_ray([], address, 1)) for address in addresses] == [[], []]
    assert asked == addresses


def test_exit_status_without_a_ray_cluster(tmp_path, vocab):
    pytest.importorskip("ray")
    words = flags(write_text(tmp_path / "a.txt"), tmp_path / "out", vocab, engine="ray", ray_address="127.0.0.1:1")
    done = subprocess.run(command(*words), cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --ray_address 127.0.0.1:1: no cluster there (")


# ---------------------------------------------------------------- what --on_bad error takes over


def test_what_was_built_with_skip_does_not_pass_as_whole(tmp_path, vocab):
    bad = tmp_path / "bad.txt"
    bad.write_bytes(DOCUMENTS[0].encode() + b"\n\xff\n\xff\n\n\xe2\x80\x8b\n")
    inputs, out = [write_text(tmp_path / "a.txt"), bad], tmp_path / "out"
    stats = build(inputs, out, vocab, on_bad="skip")
    assert (stats["bad_lines"], stats["bad_documents"]) == (2, 1)
    message = f"{bad}: 2 bad lines and 1 bad documents of it were left out when its shards were built; give --on_bad "
    with pytest.raises(UserError, match=re.escape(message) + "skip to keep them so, or --overwrite to build anew"):
        build(inputs, out, vocab)
    assert build(inputs, out, vocab, on_bad="skip") == stats
    with pytest.raises(UserError, match="bad.txt, line 3: not UTF-8"):
        build(inputs, out, vocab, "--overwrite")
    bad.write_text(DOCUMENTS[0])  # mended: it is another file, and read again
    build(inputs, out, vocab, on_bad="skip")
    assert build(inputs, out, vocab)["bad_lines"] == 0


def test_a_file_without_an_instance_does_not_pass_either(tmp_path, vocab):
    (tmp_path / "b.txt").write_text("\n")
    inputs = [write_text(tmp_path / "a.txt"), tmp_path / "b.txt"]
    for out, more in ((tmp_path / "out", ()), (tmp_path / "of_tasks", ("--tasks", "sentence_distance"))):
        build_data.main([*flags(inputs, out, vocab, on_bad="skip"), *more])
        with pytest.raises(UserError, match="b.txt: no instance produced: no document in it"):
            build_data.main([*flags(inputs, out, vocab), *more])


# ---------------------------------------------------------------- names, vocabularies, inspect


def test_a_vocabulary_without_mask_is_refused_at_once(tmp_path, vocab):
    short = tmp_path / "short.txt"
    short.write_text(Path(vocab).read_text(encoding="utf-8").replace("[MASK]\n", ""), encoding="utf-8")
    for more in ((), ("--tasks", "sentence_distance")):
        with pytest.raises(UserError, match=f"{short}: the special token .MASK. is missing; give the vocab.txt"):
            build_data.main([*flags(write_text(tmp_path / "a.txt"), tmp_path / "out", short), *more])
    assert not (tmp_path / "out").exists()


def test_input_names_that_a_list_cannot_hold(tmp_path, vocab):
    names = ["a\tb", "a\nb", "a_b", "c\rd\u2028e\x85", "f g", "h", ".h", os.fsdecode(b"caf\xe9")]
    for name in names:
        write_text(tmp_path / f"{name}.txt")
    stats = build([tmp_path / f"{name}.txt" for name in names], tmp_path / "out", vocab)
    found = [Path(shard.path).name for shard in read_filelist(tmp_path / "out" / "filelist")]
    assert len(set(found)) == stats["shards"] == len(names)
    assert len(shard_lines(tmp_path / "out")) == stats["instances"]
    kept = [re.fullmatch(r"(.+?)(-[0-9a-f]{8})?-00000\.gz", name).group(1, 2) for name in found]
    assert sorted(name for name, _ in kept) == ["a_b"] * 3 + ["c_d_e_", "caf_", "f g", "h", "h"]
    assert [name for name, number in kept if number] == ["a_b"] * 3 + ["h"] * 2
    assert list(names_of(["x/a.txt", "y/a.txt", "b.txt"]).values()) == ["a-293c5cc2", "a-519fdf35", "b"]  # as before


def test_inspect_takes_the_sentencepiece_model_that_the_build_took(tmp_path, capsys):
    sentencepiece = pytest.importorskip("sentencepiece")
    for name in ("one", "two"):  # two models beside each other: neither is taken unless it is named
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([*DOCUMENTS, name] * 20),
            model_prefix=str(tmp_path / name),
            vocab_size=90,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "one.model"))
    pieces = [model.id_to_piece(number) for number in range(3, model.get_piece_size())]
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("\n".join(["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", *pieces]) + "\n", encoding="utf-8")
    options = {"tokenizer": "SentencepieceTokenizer", "sp_model": tmp_path / "one.model"}
    build(write_text(tmp_path / "a.txt"), tmp_path / "out", vocab, **options)
    shard = [str(tmp_path / "out" / "shards" / "a-00000.gz"), "--vocab_path", str(vocab)]
    with pytest.raises(UserError, match="no sentencepiece model"):
        inspect.main([*shard, "--tokenizer", "SentencepieceTokenizer"])
    capsys.readouterr()
    inspect.main([*shard, "--tokenizer", "SentencepieceTokenizer", "--sp_model", str(tmp_path / "one.model")])
    assert capsys.readouterr().out.startswith("line 1: ")


def test_the_example_of_the_english_segmenter():
    text = re.search(r'segment\("(.*)"\)', sys.modules[English.__module__].__doc__).group(1)
    entities, phrases = re.search(r"# entities: (.*); phrases: (.*)", sys.modules[English.__module__].__doc__).groups()
    found = English().segment(text)
    for told, spans in ((entities, found.entities), (phrases, found.phrases)):
        assert told == ", ".join("".join(found.words[start:end]) for start, end in spans)


# ---------------------------------------------------------------- text that the vocabulary does not know


@pytest.mark.parametrize("cause", ["another language", "lower-cased for a cased vocabulary", "another vocabulary"])
def test_text_that_is_mostly_unknown_is_not_built(tmp_path, cause):
    special = "[PAD]\n[CLS]\n[SEP]\n[MASK]\n[UNK]\n.\n"
    words = {"another language": "运河\n", "lower-cased for a cased vocabulary": "The\nCanal\nIs\nOld\n"}
    (tmp_path / "vocab.txt").write_text(special + words.get(cause, "anchor\nbuoy\n"), encoding="utf-8")
    (tmp_path / "a.txt").write_text("The Canal Is Old. The Canal Is Old.\n\n" * 4)
    given = {"segmenter": "english", "max_seq_len": 16}
    with pytest.raises(UserError, match=r"a.txt: 80.0% of the first \d+ pieces are \[UNK\]: .*--allow_unk true"):
        build(tmp_path / "a.txt", tmp_path / "out", tmp_path / "vocab.txt", **given)
    assert not list((tmp_path / "out").glob("shards/*.gz"))
    stats = build(tmp_path / "a.txt", tmp_path / "out", tmp_path / "vocab.txt", **given, allow_unk="true")
    assert stats["unknown_rate"] == 0.8
    if "cased" in cause:  # the remedy of the message, carried out
        stats = build(tmp_path / "a.txt", tmp_path / "cased", tmp_path / "vocab.txt", **given, do_lower_case="false")
        assert stats["unknown_rate"] == 0
