"""A process that dies before any one of its file operations: the same run again ends as an undisturbed one."""

import contextlib
import gc
import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from propeller.errors import UserError
from propeller.files import atomic_directory, atomic_text, remove_directory, write_file
from propeller.train.checkpointing import Checkpointer
from propeller.train.distribution import Ranks
from propeller.train.saver import Saver
from propeller.train.state import TrainState
from propeller.variables import read_variable, write_variable
from tests.helpers.killing import fork, killed_before


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """A killed process loses nothing that the system has: only a power cut does."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def test_a_child_frees_nothing_that_the_parent_made():
    """Paddle's executors wait for their threads when they go, and a child has none."""
    assert gc.isenabled()
    child = fork()
    if child == 0:
        os._exit(gc.isenabled())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert gc.isenabled()


STEPS, BEST, KEEP = 4, (1, 4), 1


def train(folder):
    """The file operations of a run of four steps: a checkpoint each, one of them kept, and the best one besides."""
    learner = SimpleNamespace(
        ranks=Ranks(),
        read=lambda names: {name: np.full(2, state.step, "float32") for name in names},
        graphs=SimpleNamespace(parameters=lambda mode: ["weight", "bias"], optimizer_variables=lambda: ["moment"]),
    )
    with contextlib.closing(Saver(folder, write_variable, read_variable, keep=KEEP)) as saver:
        if saver.claim({"seed": 1}) == "finished":
            return
        found = saver.restore()
        state = TrainState(**found[-1]) if found else TrainState()
        while state.step < STEPS:
            state.step += 1
            if state.step in BEST:
                state.best_step = state.step
            Checkpointer(learner, saver).save(state)
        saver.finish(steps=state.step, best_step=state.best_step)


def picture(folder):
    """Name -> content of all there is, links as what they point to."""
    found = {}
    for path in sorted(folder.rglob("*")):
        content = path.is_file() and path.read_bytes()
        found[str(path.relative_to(folder))] = str(path.readlink()) if path.is_symlink() else content
    return found


@pytest.mark.slow
def test_a_run_killed_anywhere_ends_the_same(tmp_path):
    whole = tmp_path / "whole"
    train(whole)
    expected = picture(whole)
    assert {name for name in expected if "/" not in name} == {
        ".lock", "run.json", "step_4", "last", "best"
    }  # fmt: skip
    number = 0
    while killed_before(number, lambda: train(tmp_path / f"killed{number}")):  # noqa: B023 - called at once
        folder = tmp_path / f"killed{number}"
        if folder.exists():
            for name in ("last", "best"):
                assert not (folder / name).is_symlink() or (folder / name).is_dir(), f"{name} dangles after {number}"
            if (folder / "step_2").exists() and (folder / "step_3").exists():  # before step_2 goes
                assert (folder / "best").resolve().name == "step_1"
        train(folder)
        assert picture(folder) == expected, f"killed before operation {number}"
        number += 1
    assert number > 70


@pytest.mark.parametrize("damage", ["checkpoint.json", "weight", "training_state/state.json"])
def test_a_half_removed_checkpoint_does_not_count(tmp_path, damage):
    train(tmp_path)
    (tmp_path / "run.json").write_text('{"fingerprint": {"seed": 1}, "finished": false}')
    shutil.copytree(tmp_path / "step_4", tmp_path / "step_3")
    (tmp_path / "step_3" / damage).unlink()
    with contextlib.closing(Saver(tmp_path, write_variable, read_variable, keep=2)) as saver:
        assert saver.claim({"seed": 1}) == "resume"
        assert saver.restore()[-1]["step"] == 4
        assert saver.steps() == [4]
        assert (tmp_path / "step_3.damaged").is_dir()


def test_links_of_a_finished_run_are_mended(tmp_path):
    train(tmp_path)
    (tmp_path / "best").unlink()
    (tmp_path / "last").unlink()
    (tmp_path / "last").symlink_to("step_1")
    train(tmp_path)
    assert {name: str((tmp_path / name).readlink()) for name in ("best", "last")} == {
        "best": "step_4",
        "last": "step_4",
    }


@pytest.mark.parametrize("number", [40, 75, None])
def test_a_copy_with_links_followed_goes_on(tmp_path, number):
    """As ``cp -rL`` makes it, of a run killed or finished: ``last`` and ``best`` are directories."""
    train(tmp_path / "whole")
    killed_before(number, lambda: train(tmp_path / "run"))
    shutil.copytree(tmp_path / "run", tmp_path / "copy", symlinks=False)
    assert (tmp_path / "copy" / "last").is_dir()
    assert not (tmp_path / "copy" / "last").is_symlink()
    saver = Saver(tmp_path / "copy", write_variable, read_variable)
    assert saver.step_of("last") == saver.steps()[-1]
    saver.close()
    train(tmp_path / "copy")
    assert picture(tmp_path / "copy") == picture(tmp_path / "whole")


@pytest.mark.parametrize("half_there", [False, True])
def test_a_copy_of_the_last_checkpoint_takes_the_place_of_one_that_is_missing(tmp_path, half_there):
    train(tmp_path / "whole")
    (tmp_path / "copy" / ("step_4" if half_there else "")).mkdir(parents=True)
    shutil.copytree(tmp_path / "whole" / "last", tmp_path / "copy" / "last")
    (tmp_path / "copy" / "run.json").write_text('{"fingerprint": {"seed": 1}, "finished": false}')
    train(tmp_path / "copy")
    if half_there:
        (tmp_path / "copy" / "step_4.damaged").rmdir()
    assert picture(tmp_path / "copy") == picture(tmp_path / "whole")


@pytest.mark.parametrize("foreign", [{"notes": "mine"}, {"checkpoint.json": json.dumps({"step": 4, "files": {}})}])
def test_another_directory_in_the_place_of_a_link_is_left_alone(tmp_path, foreign):
    train(tmp_path)
    (tmp_path / "best").unlink()
    (tmp_path / "best").mkdir()
    for name, text in foreign.items():
        (tmp_path / "best" / name).write_text(text)
    before = picture(tmp_path)
    with pytest.raises(UserError, match="best: a directory where a link .*: move it away"):
        train(tmp_path)
    assert picture(tmp_path) == before
    (tmp_path / "best").rename(tmp_path / "mine")  # the remedy
    train(tmp_path)
    assert (tmp_path / "best").readlink().name == "step_4"


def replaced(folder):
    """Both atomic ways of writing, over what is there."""
    with atomic_directory(folder / "model", overwrite=True) as temporary:
        (temporary / "a").write_text("new")
        (temporary / "b").write_text("new")
    write_file(folder / "facts.json", b"new")
    with atomic_text(folder / "rows.tsv") as file:
        file.write("new\n")


def test_what_is_replaced_is_old_or_new_and_leftovers_go_at_the_next_start(tmp_path):
    number = 0
    while True:
        folder = tmp_path / str(number)
        (folder / "model").mkdir(parents=True)
        for name in ("model/a", "model/b", "facts.json", "rows.tsv"):
            (folder / name).write_text("old")
        if not killed_before(number, lambda: replaced(folder)):  # noqa: B023 - called at once
            break
        for name in ("facts.json", "rows.tsv"):
            assert (folder / name).read_text().strip() in ("old", "new")
        replaced(folder)
        assert picture(folder) == {
            "facts.json": b"new", "model": False, "model/a": b"new", "model/b": b"new", "rows.tsv": b"new\n"
        }, number  # fmt: skip
        number += 1
    assert number > 15


def test_the_old_directory_is_put_back_where_no_new_one_came(tmp_path):
    old = tmp_path / ".model.old-abcdefgh" / "model"
    old.mkdir(parents=True)
    (old / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_directory(tmp_path / "model", overwrite=True):
        raise ZeroDivisionError
    assert picture(tmp_path) == {"model": False, "model/a": b"old"}


def test_what_a_living_process_writes_is_left_alone(tmp_path):
    with atomic_text(tmp_path / "rows") as file, atomic_directory(tmp_path / "model") as temporary:
        write_file(tmp_path / "rows", b"another was first")
        with pytest.raises(ZeroDivisionError), atomic_directory(tmp_path / "model"):
            raise ZeroDivisionError
        file.write("whole\n")
        (temporary / "a").write_text("whole")
    assert picture(tmp_path) == {"model": False, "model/a": b"whole", "rows": b"whole\n"}


def test_other_names_are_left_alone(tmp_path):
    kept = [".notes.new-x", ".rows.new-ABC", "rows.new-abcdefgh", ".other.new-abcdefgh"]
    for name in kept:
        (tmp_path / name).write_text("mine")
    write_file(tmp_path / "rows", b"")
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "rows"}


def test_a_removed_directory_is_never_half_there(tmp_path):
    number = 0
    while True:
        folder = tmp_path / f"model{number}"
        folder.mkdir()
        for name in "abc":
            (folder / name).write_text("old")
        killed = killed_before(number, lambda: remove_directory(folder))  # noqa: B023 - called at once
        assert not folder.exists() or len(list(folder.iterdir())) == 3
        if not killed:
            break
        number += 1
    assert number > 4
