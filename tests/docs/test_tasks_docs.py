"""docs/tasks.md: its commands are taken by the programs, its flags are there, its errors are those of the code.

python -m pytest tests/docs/test_tasks_docs.py
"""

from __future__ import annotations

import dataclasses
import re
import shlex

import pytest

from finetune import TASKS, flags_of, task_class
from finetune.prediction.args import parse as parse_prediction
from finetune.training.args import parse
from tests.helpers.common import ROOT

TEXT = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
COMMANDS = [block.replace("\\\n", " ") for block in re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)]
PROGRAMS = [shlex.split(command)[1] for command in COMMANDS]
CODE = " ".join(
    re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8"))
    for folder in ("finetune", "reader", "propeller")
    for path in (ROOT / folder).rglob("*.py")
)


def rows(head):
    """The first two cells of every row of the tables with this head."""
    found, inside = [], False
    for line in TEXT.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        inside = line.startswith("|") and (inside or cells[0] == head)
        if inside and cells[0] != head and not cells[0].startswith("---"):
            found.append(cells[:2])
    return found


def task_of(program):
    """The task that an entry script names."""
    return re.search(r'main, "[\w.]+", \(?"(\w+)"', (ROOT / program).read_text(encoding="utf-8")).group(1)


@pytest.mark.parametrize("number", range(len(COMMANDS)), ids=PROGRAMS)
def test_the_program_takes_the_command(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "MODEL" / "params").mkdir(parents=True)
    for name in ("ernie_config.json", "vocab.txt"):
        (tmp_path / "MODEL" / name).touch()
    python, program, *given = shlex.split(COMMANDS[number])
    assert python == "python"
    if program.startswith("infer_"):
        flags = flags_of(task_of(program))
        assert parse_prediction(program, "", given, flags.prediction, flags.task).data.predict_set
        return
    task = task_class(task_of(program))
    args = parse(program, "", given, task.flags)
    assert not args.ignored
    assert task.variant(args.task).name in TASKS


def test_every_flag_of_a_table_is_there():
    known = {
        entry.name for name in TASKS if task_class(name).flags for entry in dataclasses.fields(task_class(name).flags)
    }
    named = [re.match(r"`--(\w+)`", cell).group(1) for cell, _ in rows("flag")]
    assert len(named) == 9
    assert set(named) <= known


def test_every_error_of_a_table_is_one_of_the_code():
    """Its longest run of words without what differs from case to case."""
    found = rows("error")
    assert len(found) == 13
    for cell, remedy in found:
        message = re.search(r"`(.+?)`(?: |$)", cell).group(1)
        parts = re.split(r"'[^']*'|\b\d+(?:\.\d+)?\b|--\w+", message)
        assert max(parts, key=len).strip(" :;,") in CODE, message
        assert remedy
