"""docs/training_options.md: its table has every option, its command runs as printed.

python -m pytest tests/docs/test_training_options_docs.py
"""

import re
import shlex
from dataclasses import fields

import pytest

from finetune.sweep import SweepArgs
from finetune.sweep import main as sweep
from finetune.sweep_ray import RayArgs
from finetune.training.args import GROUPS
from finetune.training.main import main
from finetune.training.options import DEFAULTS
from tests.helpers.common import ROOT
from tests.helpers.tiny import characters, make_model

TEXT = (ROOT / "docs/training_options.md").read_text(encoding="utf8")


def test_the_table_has_every_option_and_no_other_flag():
    rows = [line for line in TEXT.splitlines() if line.startswith("| `--") and "--sweep" not in line]
    named = {name for row in rows for name in re.findall(r"`--(\w+)", row.split("|")[1])}
    assert set(DEFAULTS) - {"lr_end", "lr_power"} <= named
    assert {"lr_end", "lr_power"} <= {name for row in rows for name in re.findall(r"--(\w+)", row)}
    known = {entry.name for group in (*GROUPS.values(), SweepArgs, RayArgs) for entry in fields(group)}
    own = {entry.name for group in (SweepArgs, RayArgs) for entry in fields(group)}
    assert own <= set(re.findall(r"^\| `--(\w+)", TEXT, re.MULTILINE))
    assert set(re.findall(r"--(\w+)", TEXT)) - known == {"help", "head", "address"}  # the last two are those of ray


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder in which the commands run as printed."""
    make_model(tmp_path / "MODEL", characters(ROOT / "data/SST-2"), max_position_embeddings=64)
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words_of(module, over_ray=False):
    """The words of the command of a module."""
    blocks = [shlex.split(text.replace("\\\n", " ")) for text in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)]
    found = [words[4:] for words in blocks if words[:4] == ["python", "-m", module, "classify"]]
    (words,) = [words for words in found if ("ray" in words) is over_ray]
    return [*words, "--use_cuda", "false"]


@pytest.mark.slow
def test_the_command_runs(here):
    main("python -m finetune classify", "classify", words_of("finetune"))
    assert (here / "output/options/step_40").is_dir()


@pytest.mark.slow
def test_the_sweep_runs(here):
    pytest.importorskip("optuna")
    (space,) = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    (here / "space.json").write_text(space)
    sweep(["classify", *words_of("finetune.sweep")])
    assert len((here / "output/sweep/sweep.tsv").read_text().splitlines()) == 4


def test_the_sweep_over_ray_is_taken(here, monkeypatch):
    """tests/finetune/test_sweep_ray.py runs one."""
    pytest.importorskip("optuna")
    (space,) = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    (here / "space.json").write_text(space)
    seen = []
    monkeypatch.setattr("finetune.sweep.Sweep.run", lambda self: seen.append(self.ray) or "best")
    sweep(["classify", *words_of("finetune.sweep", over_ray=True)])
    assert seen == [RayArgs("ray", sweep_workers=2)]
