"""Shards of several tasks in one pass over the text: their folders, the same bytes always, and what can be wrong."""

import dataclasses
import json
import signal
import subprocess
import sys
import time

import pytest

from pretrain import TASKS, build_data, inspect
from pretrain.corpus import connective_list
from pretrain.corpus.builder import Plan
from pretrain.corpus.instances import line_of
from pretrain.corpus.pieces import Tokens
from propeller.errors import UserError
from reader.pretraining.shard_check import check_shards
from tests.helpers.build_data import tasks_digest as digest
from tests.helpers.build_data import tasks_flags
from tests.helpers.common import ROOT
from tests.helpers.pretrain_text import DOCUMENTS, shard_lines, write_text, write_vocab

THREE = ("knowledge_masking", "sentence_reordering", "sentence_distance")


@pytest.fixture(scope="module")
def vocab(tmp_path_factory):
    return write_vocab(tmp_path_factory.mktemp("vocab") / "vocab.txt")


def flags(inputs, out, vocab, tasks=THREE, **changes):
    return tasks_flags(inputs, out, vocab, tasks, **changes)


def build(inputs, out, vocab, tasks=THREE, *more, **changes):
    """Statistics by task."""
    build_data.main([*flags(inputs, out, vocab, tasks, **changes), *more])
    return {task: json.loads((out / task / "stats.json").read_text()) for task in tasks}


def tokens(*words):
    """Tokens of words, given as tuples of ids."""
    return Tokens(" ".join(",".join(map(str, word)) for word in words).encode(), sum(map(len, words)), 0, [])


def test_lines_of_one_two_and_three_texts():
    a, b, c = tokens((5, 6), (7,)), tokens((8,)), tokens((9, 10, 11))
    assert line_of([[a]], 3, 1, 2) == b"1 5 6 7 2;0 0 0 0 0;0 1 2 3 4;-1 0 1 0 -1;3"
    assert line_of([[a, b], [c]], 0, 1, 2) == (
        b"1 5 6 7 8 2 9 10 11 2;0 0 0 0 0 0 1 1 1 1;0 1 2 3 4 5 6 7 8 9;-1 0 1 0 0 -1 0 1 1 -1;0"
    )
    assert (
        line_of([[b], [a], [b]], 11, 1, 2)
        == b"1 8 2 5 6 7 2 8 2;0 0 0 1 1 1 1 1 1;0 1 2 3 4 5 6 7 8;-1 0 -1 0 1 0 -1 0 -1;11"
    )
    assert line_of([[a], [b]], 0, 1, 2, [b"1 1 -1", b"0"]).split(b";")[3] == b"-1 1 1 -1 -1 0 -1"


def test_a_folder_for_each_task(tmp_path, vocab):
    text = write_text(tmp_path / "a.txt", DOCUMENTS * 9)
    stats = build([text], tmp_path / "out", vocab, max_segments=2, mask_word_prob=0.5)
    for task in THREE:
        lines = shard_lines(tmp_path / "out" / task)
        assert (tmp_path / "out" / task / "filelist").read_text() == "shards/a-00000.gz\t0.5\n"
        assert len(lines) == stats[task]["instances"]
        assert sum(len(line[0].split()) for line in lines) == stats[task]["tokens"]
        assert stats[task]["documents"] == 36
        if task == "knowledge_masking":
            assert "classes" not in stats[task]
            continue
        names = list(stats[task]["classes"])
        counts = [sum(line[4] == str(label) for line in lines) for label in range(3)]
        assert counts == list(stats[task]["classes"].values())
        assert check_shards(tmp_path / "out" / task / "filelist", "sentence", names, task=task) == dict(
            enumerate(counts)
        )
    assert list(stats["sentence_reordering"]["classes"]) == ["1", "1 2", "2 1"]
    assert not (tmp_path / "out" / "filelist").exists()
    alone = tmp_path / "alone"  # knowledge masking is the same whatever is beside it
    build_data.main(flags([text], alone, vocab, ()))
    beside = tmp_path / "out" / "knowledge_masking" / "shards" / "a-00000.gz"
    assert (alone / "shards" / "a-00000.gz").read_bytes() == beside.read_bytes()
    before = set(json.loads((alone / "build.json").read_text()))
    assert not before & {"tasks", "max_segments", "connectives", "stop_words"}  # builds of before go on


def test_the_same_bytes_however_many_processes(tmp_path, vocab):
    inputs = [write_text(tmp_path / f"{number}.txt", DOCUMENTS[number:] * 7) for number in range(2)]
    found = []
    for workers in (0, 2):
        build(inputs, tmp_path / f"out{workers}", vocab, num_workers=workers, block_chars=200)
        found.append(digest(tmp_path / f"out{workers}"))
    assert found[0] == found[1]
    build(inputs, tmp_path / "other", vocab, seed=1, block_chars=200)
    other = digest(tmp_path / "other")
    assert all(other[name] != made for name, made in found[0].items() if name.endswith("1-00000.gz"))
    build(inputs[1:], tmp_path / "fewer", vocab, THREE[:0:-1], block_chars=200)  # other tasks and files change nothing
    for task in THREE[1:]:
        name = f"{task}/shards/1-00000.gz"
        assert digest(tmp_path / "fewer")[name] == found[0][name]


def test_all_tasks_of_english_text(tmp_path, vocab, capsys):
    paragraph = (
        "Ed was late. However, the bus was late too and he got on. But Di did not go on, and he was sad. It was hot."
    )
    rows = [{"title": f"Ed and bus {number}", "text": f"{paragraph}\n{paragraph}"} for number in range(12)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    connectives = tmp_path / "connectives.json"
    entries = [{"connective": name, "sense": "x", "place": "sentence"} for name in ("but", "however")]
    connectives.write_text(json.dumps({"words": [2, 32], "connectives": entries}))
    more = {"segmenter": "english", "connectives": connectives, "max_seq_len": 128}
    stats = build([tmp_path / "a.jsonl"], tmp_path / "out", vocab, tuple(TASKS), **more)
    for each in stats.values():
        assert each["instances"] > 0
        assert "classes" not in each or sum(each["classes"].values()) > 0
    capsys.readouterr()
    for task in list(TASKS)[1:]:
        shard = tmp_path / "out" / task / "shards" / "a-00000.gz"
        inspect.main([str(shard), "--vocab_path", vocab, "--number", "1"])
        shown = capsys.readouterr().out.splitlines()
        inspect.main([str(shard), "--vocab_path", vocab, "--task", task, "--number", "1"])
        assert capsys.readouterr().out.splitlines() == shown
        assert shown[0].startswith("line 1: ")
        assert any(name in shown[0] for name in stats[task].get("classes", [""]))
        assert shown[1].startswith(("  [CLS]", "  A  [CLS]"))
        other = "ir_relevance" if task != "ir_relevance" else "capitalization"
        with pytest.raises(UserError, match=f"a.json: the shard is of {task}, not of {other}; leave --task out"):
            inspect.main([str(shard), "--vocab_path", vocab, "--task", other])
    connectives.write_text(json.dumps({"words": [3, 32], "connectives": entries}))
    with pytest.raises(UserError, match="was built with connectives"):
        build([tmp_path / "a.jsonl"], tmp_path / "out", vocab, tuple(TASKS), **more)


def test_a_file_is_done_when_all_tasks_are(tmp_path, vocab):
    inputs = [write_text(tmp_path / f"{name}.txt") for name in "ab"]
    build(inputs, tmp_path / "out", vocab)
    whole, shards = digest(tmp_path / "out"), tmp_path / "out" / "sentence_distance" / "shards"
    other = tmp_path / "out" / "knowledge_masking" / "shards"
    times = [(other / f"{name}-00000.gz").stat().st_mtime_ns for name in "ab"]
    (shards / "b.json").unlink()
    (shards / "b-00000.gz").unlink()
    (tmp_path / "out" / "sentence_distance" / ".b-00000.gz.part").touch()
    build(inputs, tmp_path / "out", vocab)
    assert digest(tmp_path / "out") == whole
    assert (other / "a-00000.gz").stat().st_mtime_ns == times[0]
    assert (other / "b-00000.gz").stat().st_mtime_ns > times[1]


@pytest.mark.slow
def test_a_build_killed_midway_goes_on(tmp_path, vocab):
    inputs = [write_text(tmp_path / f"{name}.txt", DOCUMENTS * 300) for name in "abc"]
    options = {"block_chars": 2000, "instances_per_shard": 300}
    build(inputs, tmp_path / "whole", vocab, **options)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "pretrain.build_data", *flags(inputs, out, vocab, **options)]
    run = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while not (out / "sentence_distance" / "shards" / "b-00000.gz").exists() and run.poll() is None:
        time.sleep(0.002)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not list(out.glob("*/filelist"))
    first = (out / "sentence_distance" / "shards" / "a-00000.gz").stat().st_mtime_ns
    build(inputs, out, vocab, **options)
    assert digest(out) == digest(tmp_path / "whole")
    assert (out / "sentence_distance" / "shards" / "a-00000.gz").stat().st_mtime_ns == first
    assert not list(out.glob("*/shards/.*"))


# ---------------------------------------------------------------- what can be wrong


def test_a_task_without_an_instance_is_named(tmp_path, vocab):
    text = write_text(tmp_path / "a.txt")
    with pytest.raises(
        UserError, match="no instance of capitalization produced: 4 documents with 13 sentences, .* leave it"
    ):
        build([text], tmp_path / "out", vocab, ("knowledge_masking", "capitalization"))
    assert not list((tmp_path / "out").glob("*/filelist"))
    build(
        [text, write_text(tmp_path / "b.txt", ["Ab.", "cd."])],
        tmp_path / "out",
        vocab,
        ("capitalization",),
        "--overwrite",
    )
    (tmp_path / "c.txt").write_text("中\n\n文\n", encoding="utf-8")
    with pytest.raises(
        UserError, match="c.capitalization: no instance of capitalization produced: 2 documents with 2 sent"
    ):
        build([tmp_path / "c.txt"], tmp_path / "c", vocab, ("capitalization",))
    (tmp_path / "c.txt").write_text(" \n")
    with pytest.raises(UserError, match="c.txt: no instance produced: no document in it"):
        build([tmp_path / "c.txt"], tmp_path / "c", vocab, ("capitalization",))
    (tmp_path / "c.txt").write_text("ab\n\n\u200b\n", encoding="utf-8")
    with pytest.raises(UserError, match="c.txt, line 3: a document without a sentence"):
        build([tmp_path / "c.txt"], tmp_path / "c", vocab, ("capitalization",))


@pytest.mark.parametrize(
    ("tasks", "changes", "message"),
    [
        (("capitalisation",), {}, "--tasks: task 'capitalisation' is unknown; give names out of knowledge_masking, "),
        (("capitalization", "capitalization"), {}, "--tasks: capitalization is there twice"),
        (("sentence_reordering",), {"max_segments": 6}, "--max_segments 6: give 2 to 5"),
        (("discourse_relation",), {"connectives": "none.json"}, "none.json: cannot be read"),
        (("token_document_relation",), {"stop_words": "none.txt"}, "--stop_words none.txt: No such file"),
    ],
)
def test_flags_out_of_range(tmp_path, vocab, tasks, changes, message):
    with pytest.raises(UserError, match=message):
        build([write_text(tmp_path / "a.txt")], tmp_path / "out", vocab, tasks, **changes)
    assert not (tmp_path / "out").exists()


def test_other_tasks_are_another_build(tmp_path, vocab):
    text = write_text(tmp_path / "a.txt")
    build([text], tmp_path / "out", vocab)
    with pytest.raises(UserError, match="was built with tasks .*, not .*'sentence_distance'.*--overwrite"):
        build([text], tmp_path / "out", vocab, THREE[1:])
    with pytest.raises(UserError, match="was built with tasks .*, not None"):
        build_data.main(flags([text], tmp_path / "out", vocab, ()))
    build([text], tmp_path / "out", vocab, THREE[2:], "--overwrite")
    assert not list((tmp_path / "out" / "knowledge_masking").glob("*"))
    build_data.main([*flags([text], tmp_path / "out", vocab, ()), "--overwrite"])
    assert (tmp_path / "out" / "filelist").exists()
    assert not list(tmp_path.glob("out/*/filelist"))


def test_exit_status(tmp_path, vocab):
    command = [sys.executable, "-m", "pretrain.build_data"]
    for tasks, status, said in ((("capitalization",), 2, "error: "), (THREE, 0, "")):
        words = flags([write_text(tmp_path / "a.txt")], tmp_path / f"out{status}", vocab, tasks)
        done = subprocess.run([*command, *words], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == status
        assert said in done.stderr.splitlines()[-1]


def test_a_build_knows_the_lists_it_was_made_with(vocab, tmp_path, monkeypatch):
    """Those of config/ too: by their content, for the tasks that use them."""
    plan = Plan(vocab_path=str(vocab), segmenter="char", tasks=("discourse_relation", "token_document_relation"))
    known, listed = plan.settings(), connective_list.CONFIG / "connectives_zh.json"
    assert dataclasses.replace(plan, connectives=str(listed)).settings() == known
    assert dataclasses.replace(plan, stop_words="").settings()["stop_words"] != known["stop_words"]
    (tmp_path / "connectives_zh.json").write_bytes(listed.read_bytes() + b"\n")
    monkeypatch.setattr(connective_list, "CONFIG", tmp_path)
    assert plan.settings()["connectives"] != known["connectives"]
    assert dataclasses.replace(plan, tasks=THREE).settings()["connectives"] is None
