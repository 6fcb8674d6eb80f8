"""findings/: the index and the folder agree, and every script has the form that its readers are promised."""

import re
import subprocess

import pytest

from tests.helpers.common import ROOT

FOLDER = ROOT / "findings"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.sh") if path.stem != "common")
INDEX = (FOLDER / "README.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)\.sh` \| (.+) \| (.+) \|$", re.MULTILINE)


def test_the_index_names_every_script_once():
    assert [name for name, _, _ in ROW.findall(INDEX)] == SCRIPTS
    assert f"sh findings/{SCRIPTS[-1]}.sh" in INDEX


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_has_its_form(name):
    """A head that says what surprises, where, and what was printed; pinned packages; a comparison with the head."""
    path = FOLDER / f"{name}.sh"
    text = path.read_text(encoding="utf-8")
    first, *lines = text.splitlines()
    assert first == "#!/bin/sh"
    head = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    seen = next(i for i, line in enumerate(head) if line.startswith("# Output seen (Python 3."))
    assert seen >= 2
    assert head[seen + 1 :]
    assert all(line.startswith("#   ") for line in head[seen + 1 :])
    assert '. "$(dirname "$0")/common.sh"' in lines
    (asked,) = re.findall(r"^in_venv (.+)$", text, re.MULTILINE)
    helpers = {"setuptools", "packaging"}
    pinned = [word.partition("==") for word in asked.split() if word not in helpers]
    assert all(version for _, _, version in pinned)
    assert any(version in " ".join(head) for _, _, version in pinned), "the head states the version"
    assert lines[-1] == "expect seen"
    assert subprocess.run(["sh", "-n", str(path)], check=False).returncode == 0
