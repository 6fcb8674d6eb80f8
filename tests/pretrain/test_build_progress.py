"""Long looks at text: how far they are is said, they go on within a file, and processes change nothing."""

import bz2
import gzip
import json
import logging
import lzma
from collections import Counter

import pytest

from pretrain import build_data, build_vocab
from pretrain.corpus import counting, input_file, milestone, progress
from pretrain.corpus.builder import Plan
from pretrain.corpus.documents import Source, blocks, lines
from pretrain.corpus.progress import Meter, Progress
from pretrain.corpus.shard_folder import Folder
from propeller.errors import UserError
from tests.helpers.build_data import build, digest, flags
from tests.helpers.pretrain_text import DOCUMENTS, write_text, write_vocab


@pytest.fixture(scope="module")
def vocab(tmp_path_factory):
    return write_vocab(tmp_path_factory.mktemp("vocab") / "vocab.txt")


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", None)],
)
def test_a_meter_counts_the_bytes_of_the_file_on_the_disk(tmp_path, suffix, pack):
    pack = pack or pytest.importorskip("zstandard").compress
    text = "".join(f"{number * number * 7919 % 1000003}\n" for number in range(60_000)).encode()
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(pack(text))
    meter, seen = Meter(path), []
    assert meter.position() == 0
    for number, _ in lines(path, None, meter):
        if number % 6_000 == 0:
            seen.append(meter.position())
    size = path.stat().st_size
    assert seen == sorted(seen)
    assert 0 < seen[0] <= size  # bzip2 unpacks all of so little at once
    assert seen[-1] <= size == meter.position()


def test_progress_is_said_every_ten_seconds_with_the_rate_of_this_run(caplog):
    caplog.set_level("INFO", "ernie.pretrain")
    now = [0.0]
    watch = Progress(100_000_000, logging.getLogger("ernie.pretrain"), clock=lambda: now[0])
    for second, done in ((1, 40_000_000), (5, 44_000_000), (11, 50_000_000), (12, 51_000_000), (31, 70_000_000)):
        now[0] = second
        watch.at(done, "a.txt")
    assert [record.getMessage() for record in caplog.records] == [
        "a.txt: 50% of the input, 1.00 MB/s, about 50 seconds left",
        "a.txt: 70% of the input, 1.00 MB/s, about 30 seconds left",
    ]
    assert progress.in_words(7300) == "about 2 hours"
    assert progress.in_words(200) == "about 3 minutes"


def test_blocks_say_how_far_the_file_was_read(tmp_path):
    path = write_text(tmp_path / "a.txt", DOCUMENTS * 500)
    ends = [block.end for block in blocks(path, Source(), size=2000)]
    assert ends == sorted(ends)
    assert 0 < ends[0] < ends[-1] == (tmp_path / "a.txt").stat().st_size


class Stopped(Exception):
    """What ends a build in these tests."""


def stopping(after):
    """``map`` that stops after so many results."""

    def run(function, items):
        for number, item in enumerate(items):
            if number == after:
                raise Stopped
            yield function(item)

    return run


MANY = {"block_chars": 60, "instances_per_shard": 40}


def plan_of(vocab, tasks=(), **changes):
    args = vars(build_data.arguments().parse_args(flags("a", "out", vocab, **MANY, **changes)))
    return Plan(**{**{name: args[name] for name in Plan.__dataclass_fields__ if name in args}, "tasks": tasks})


@pytest.fixture
def soon(monkeypatch):
    """A milestone after every block."""
    monkeypatch.setattr(milestone, "EVERY", 0.0)


@pytest.mark.parametrize("tasks", [(), ("knowledge_masking", "sentence_reordering")])
def test_a_build_goes_on_within_a_file_and_makes_the_same_bytes(tmp_path, vocab, soon, tasks):
    path = write_text(tmp_path / "a.txt", DOCUMENTS * 12)
    more = {"tasks": ",".join(tasks)} if tasks else {}
    build_data.main(flags(path, tmp_path / "whole", vocab, **MANY, **more))
    out, plan, done = tmp_path / "out", plan_of(vocab, tasks), []
    with Folder(out, tasks).claimed(plan.settings()):
        for after in (3, 5, 0, 4):
            with pytest.raises(Stopped):
                input_file.build_file(path, "a", plan, out, stopping(after), lambda end, _: done.append(end))
    assert done == sorted(done), "no block was built twice"
    parts = [out / task for task in tasks] or [out]
    assert list(out.rglob(".a.milestone.json"))
    assert list(out.rglob(".*.part"))
    build_data.main(flags(path, out, vocab, **MANY, **more))
    for part in parts:
        whole = tmp_path / "whole" / part.relative_to(out)
        assert digest(part) == digest(whole)
        assert not [entry for entry in (part / "shards").iterdir() if entry.name.startswith(".")]


@pytest.mark.parametrize("spoil", ["the input", "the part", "the milestone", "--on_bad"])
def test_what_does_not_fit_a_milestone_is_built_anew(tmp_path, vocab, soon, spoil):
    path, out, plan = write_text(tmp_path / "a.txt", DOCUMENTS * 12), tmp_path / "out", plan_of(vocab)
    with Folder(out).claimed(plan.settings()), pytest.raises(Stopped):
        input_file.build_file(path, "a", plan, out, stopping(6))
    (part,) = (out / "shards").glob(".*.part")
    if spoil == "the input":
        write_text(tmp_path / "a.txt", DOCUMENTS * 11)
    elif spoil == "the part":
        part.write_bytes(part.read_bytes()[:-3])
    elif spoil == "the milestone":
        (out / "shards" / ".a.milestone.json").write_text("{")
    changes = {"on_bad": "skip"} if spoil == "--on_bad" else {}
    build(path, out, vocab, **MANY, **changes)
    build(path, tmp_path / "whole", vocab, **MANY, **changes)
    assert digest(out) == digest(tmp_path / "whole")


def test_a_stop_without_a_milestone_leaves_no_part(tmp_path, vocab):
    path, out, plan = write_text(tmp_path / "a.txt", DOCUMENTS * 12), tmp_path / "out", plan_of(vocab)
    with Folder(out).claimed(plan.settings()), pytest.raises(Stopped):
        input_file.build_file(path, "a", plan, out, stopping(6))
    assert not [entry for entry in (out / "shards").iterdir() if entry.name.startswith(".")]


def test_a_build_says_how_far_it_is(tmp_path, vocab, caplog, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    caplog.set_level("INFO", "ernie.pretrain")
    paths = [write_text(tmp_path / f"{name}.txt", DOCUMENTS * 12) for name in "ab"]
    build(paths, tmp_path / "out", vocab, **MANY)
    said = [record.getMessage() for record in caplog.records if "% of the input" in record.getMessage()]
    shares = [int(line.partition(": ")[2].partition("%")[0]) for line in said]
    assert shares == sorted(shares)
    assert 0 <= shares[0] < 20
    assert shares[-1] == 100
    assert {line.partition(":")[0] for line in said} == set(paths)


def test_the_counts_of_words_are_the_same_however_many_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(counting, "BLOCK_CHARS", 300)
    paths = [write_text(tmp_path / f"{name}.txt", DOCUMENTS * 9) for name in "ab"]
    alone = counting.count_words(paths)
    assert list(counting.count_words(paths, num_workers=2).items()) == list(alone.items())
    few = counting.count_words(paths, max_words=20)
    assert list(counting.count_words(paths, max_words=20, num_workers=2).items()) == list(few.items())
    assert len(few) <= 20 < len(alone)


@pytest.mark.parametrize("after", [0, 1, 4])
def test_a_count_goes_on_where_it_was_stopped(tmp_path, monkeypatch, caplog, after):
    monkeypatch.setattr(counting, "BLOCK_CHARS", 300)
    monkeypatch.setattr(counting, "SAVE_EVERY", 0.0)
    paths = [write_text(tmp_path / f"{name}.txt", DOCUMENTS * 9) for name in "ab"]
    alone, seen = counting.count_words(paths, max_words=40), []

    def stops(task, count=counting.count_block):
        if len(seen) == after:
            raise Stopped
        seen.append((task[0], task[3].number))
        return count(task)

    saved = counting.SavedCounts(tmp_path / "counts")
    with monkeypatch.context() as patched:
        patched.setattr(counting, "count_block", stops)
        with pytest.raises(Stopped):
            counting.count_words(paths, max_words=40, saved=saved)
    again, count = [], counting.count_block
    monkeypatch.setattr(counting, "count_block", lambda task: again.append((task[0], task[3].number)) or count(task))
    assert list(counting.count_words(paths, max_words=40, saved=saved).items()) == list(alone.items())
    assert not set(seen) & set(again)
    assert len(seen) == after
    write_text(tmp_path / "b.txt", DOCUMENTS)  # another input: from the beginning
    again.clear()
    counting.count_words(paths, max_words=40, saved=saved)
    assert (paths[0], 0) in again


def test_large_text_is_counted_by_all_cores_and_what_is_wrong_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(build_vocab, "SMALL", 0)
    path = write_text(tmp_path / "text.txt", DOCUMENTS)
    given = ["--input", path, "--min_count", "1", "--output"]
    build_vocab.main([*given, str(tmp_path / "alone.txt"), "--num_workers", "0"])
    build_vocab.main([*given, str(tmp_path / "two.txt"), "--num_workers", "2"])
    assert (tmp_path / "two.txt").read_bytes() == (tmp_path / "alone.txt").read_bytes()
    assert not list(tmp_path.glob("*.counts"))
    write_text(tmp_path / "text.txt", ["中国/ns 人/n 好"])
    with pytest.raises(UserError, match="text.txt, line 1: document: 2 of 3 words have a tag"):
        build_vocab.main([*given, str(tmp_path / "x.txt"), "--segmenter", "pre-segmented", "--num_workers", "2"])
    with pytest.raises(UserError, match="--num_workers -1: give 0 or more"):
        build_vocab.main([*given, str(tmp_path / "x.txt"), "--num_workers", "-1"])


def test_a_milestone_is_read_as_it_was_written(tmp_path):
    whole = milestone.Milestone(
        3, Counter({"documents": 2, 17: 4}), [Counter({"instances": 1})], [{"shards": [], "open": None}]
    )
    milestone.write(tmp_path / "m", {"path": "a"}, whole)
    assert json.loads((tmp_path / "m").read_text())["blocks"] == 3
    assert milestone.read(tmp_path / "m", {"path": "a"}, 1) == whole
    assert milestone.read(tmp_path / "m", {"path": "b"}, 1) is None
    assert milestone.read(tmp_path / "m", {"path": "a"}, 2) is None
