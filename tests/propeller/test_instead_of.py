"""What messages name in place of a folder that is the directory of a run, or none of its checkpoints."""

import pytest

from propeller.train.checkpoints import instead_of


@pytest.mark.parametrize(
    ("there", "asked", "said"),
    [
        (("step_3", "last", "best"), "run", "name a checkpoint of the run, such as {run}/best"),
        (("step_3", "last"), "run", "name a checkpoint of the run, such as {run}/last"),
        (("step_3", "last"), "run/best", "name a checkpoint of the run, such as {run}/last"),
        ((), "run/best", "{run} has no checkpoint yet: train it first, or give another directory"),
        (("last",), "elsewhere/best", ""),
    ],
)
def test_only_what_is_there_is_named(tmp_path, there, asked, said):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").touch()
    for name in there:
        (run / name).mkdir()
    assert instead_of(tmp_path / asked) == said.format(run=run)
