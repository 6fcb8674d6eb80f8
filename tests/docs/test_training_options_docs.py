"""docs/training_options.md: its table has every option, its command runs as printed.

python -m pytest tests/docs/test_training_options_docs.py
"""

import re
import shlex
from dataclasses import fields

import pytest

from finetune.training.args import GROUPS
from finetune.training.main import main
from finetune.training.options import DEFAULTS
from tests.helpers.common import ROOT
from tests.helpers.tiny import characters, make_model

TEXT = (ROOT / "docs/training_options.md").read_text(encoding="utf8")


def test_the_table_has_every_option_and_no_other_flag():
    rows = [line for line in TEXT.splitlines() if line.startswith("| `--")]
    named = {name for row in rows for name in re.findall(r"`--(\w+)", row.split("|")[1])}
    assert set(DEFAULTS) - {"lr_end", "lr_power"} <= named
    assert {"lr_end", "lr_power"} <= {name for row in rows for name in re.findall(r"--(\w+)", row)}
    known = {entry.name for group in GROUPS.values() for entry in fields(group)}
    assert set(re.findall(r"--(\w+)", TEXT)) - known == {"help"}


@pytest.mark.slow
def test_the_command_runs(tmp_path, monkeypatch):
    model = make_model(tmp_path / "MODEL", characters(ROOT / "data/SST-2"), max_position_embeddings=64)
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    words = shlex.split(block.replace("\\\n", " "))
    assert words[:4] == ["python", "-m", "finetune", "classify"]
    main("python -m finetune classify", "classify", [*words[4:], "--use_cuda", "false"])
    assert model.is_dir()
    assert (tmp_path / "output/options/step_40").is_dir()
