"""python -m pretrain.build_data --add: a task put beside those that a folder holds, and builds of tasks over Ray."""

import json
import subprocess
import sys

import pytest

from pretrain import build_data
from pretrain.corpus.adding import grown
from propeller.errors import UserError
from tests.helpers.build_data import tasks_digest as digest
from tests.helpers.build_data import tasks_flags as flags
from tests.helpers.common import ROOT
from tests.helpers.pretrain_text import DOCUMENTS, write_text, write_vocab

OLD, NEW = ("knowledge_masking", "sentence_distance"), ("whole_word_masking", "token_document_relation")


@pytest.fixture(scope="module")
def vocab(tmp_path_factory):
    return write_vocab(tmp_path_factory.mktemp("vocab") / "vocab.txt")


@pytest.fixture
def inputs(tmp_path):
    return [write_text(tmp_path / f"{number}.txt", DOCUMENTS[number:] * 7) for number in range(2)]


def build(inputs, out, vocab, tasks, *more, **changes):
    build_data.main([*flags(inputs, out, vocab, tasks, **changes), *more])


def test_the_folder_is_that_of_one_build_of_all(inputs, vocab, tmp_path):
    build(inputs, tmp_path / "whole", vocab, (*OLD, *NEW))
    out = tmp_path / "out"
    build(inputs, out, vocab, OLD)
    before = digest(out)
    build(inputs, out, vocab, NEW[:1], "--add")
    assert digest(out).items() > before.items()
    build(inputs, out, vocab, NEW[1:], "--add")
    assert digest(out) == digest(tmp_path / "whole")
    settings = [json.loads((folder / "build.json").read_text()) for folder in (out, tmp_path / "whole")]
    assert settings[0] == settings[1]
    build(inputs, out, vocab, (*OLD, *NEW))  # it is that build, finished


def test_an_addition_that_was_killed_goes_on(inputs, vocab, tmp_path):
    out = tmp_path / "out"
    build(inputs, out, vocab, OLD)
    build(inputs, out, vocab, NEW, "--add")
    whole = digest(out)
    for task in NEW:
        (out / task / "filelist").unlink()
        (out / task / "shards" / "1.json").unlink()
    build(inputs, out, vocab, NEW, "--add")
    assert digest(out) == whole


def test_what_cannot_be_added(inputs, vocab, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(UserError, match="out: holds no build that a task could be added to; leave --add out"):
        build(inputs, out, vocab, NEW, "--add")
    build(inputs, out, vocab, OLD)
    before, settings = digest(out), (out / "build.json").read_bytes()
    for given, more, changes, message in (
        (inputs, (), {"max_seq_len": 30}, "was built with max_seq_len 40, not 30"),
        (inputs, ("--overwrite",), {}, "--add adds --tasks to a folder: give both, without --overwrite"),
        (inputs[:1], (), {}, "knowledge_masking: knowledge_masking was built of 1 too; give --input the files of that"),
        ([*inputs, write_text(tmp_path / "2.txt")], (), {}, "2.txt is not what knowledge_masking was built of"),
    ):
        with pytest.raises(UserError, match=message):
            build(given, out, vocab, NEW, "--add", *more, **changes)
    with pytest.raises(UserError, match="--add adds --tasks to a folder"):
        build_data.main([*flags(inputs, out, vocab, ()), "--add"])
    assert digest(out) == before
    assert (out / "build.json").read_bytes() == settings
    build_data.main(flags(inputs, tmp_path / "alone", vocab, ()))
    with pytest.raises(UserError, match="alone: was built without --tasks, so its shards lie in the folder itself"):
        build(inputs, tmp_path / "alone", vocab, NEW, "--add")


def test_a_list_that_only_the_new_task_reads():
    """Connectives and stop words are settings of the tasks that use them."""
    common = {"seed": 0, "connectives": None}
    before = {**common, "tasks": ["a"], "stop_words": "123"}
    settings = {**common, "tasks": ["b", "a"], "stop_words": None, "connectives": "456"}
    both = {"seed": 0, "tasks": ["a", "b"], "stop_words": "123", "connectives": "456"}
    assert grown("out", before, settings) == (both, both)
    other = {**settings, "stop_words": "124"}
    had, has = grown("out", before, other)
    assert (had["stop_words"], has["stop_words"]) == ("123", "124"), "another list is another build"


@pytest.mark.slow
def test_tasks_over_ray(inputs, vocab, tmp_path):
    """The same bytes as without it, added ones too."""
    pytest.importorskip("ray")
    build(inputs, tmp_path / "local", vocab, (*OLD, *NEW), block_chars=200)
    for tasks, more in ((OLD, ()), (NEW, ("--add",))):
        words = flags(inputs, tmp_path / "ray", vocab, tasks, block_chars=200, engine="ray", num_workers=2)
        command = [sys.executable, "-m", "pretrain.build_data", *words, *more]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
    assert digest(tmp_path / "ray") == digest(tmp_path / "local")
