"""docs/tasks.md: its commands are taken by the programs, its flags are there, its errors are those of the code.

python -m pytest tests/docs/test_tasks_docs.py
"""

from __future__ import annotations

import dataclasses
import re
import shlex

import pytest

from finetune import TASKS, flags_of, task_class
from finetune.multitask.args import MultitaskArgs, from_python, read_list
from finetune.prediction.args import TableArgs, given_in
from finetune.prediction.args import parse as parse_prediction
from finetune.training.args import build_parser, parse
from finetune.training.result import RunResult
from propeller.flags import read_flags
from tests.helpers.common import ROOT

TEXT = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
COMMANDS = [block.replace("\\\n", " ") for block in re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)]
PROGRAMS = [" ".join(shlex.split(command)[1:4]).partition(" --")[0] for command in COMMANDS]
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
    for model in (tmp_path / "MODEL", tmp_path / "output/topics/best"):
        (model / "params").mkdir(parents=True)
        for name in ("ernie_config.json", "vocab.txt"):
            (model / name).touch()
    python, program, *given = shlex.split(COMMANDS[number])
    assert python == "python"
    if program == "-m":
        the_module_takes_the_command(*given)
        return
    if program.startswith("infer_"):
        flags = flags_of(task_of(program))
        assert parse_prediction(program, "", given, flags.prediction, flags.task).data.predict_set
        return
    task = task_class(task_of(program))
    args = parse(program, "", given, task.flags)
    assert not args.ignored
    assert task.variant(args.task).name in TASKS


def the_module_takes_the_command(module, *given):
    """``python -m finetune TASK``, its list of tasks, or batch prediction with the flags of a task."""
    if module == "finetune.prediction":
        flags = flags_of(given_in(given, "--task"))
        args = parse_prediction(module, "", given, flags.prediction or TableArgs, flags.task)
        assert args.data.predict_set
        assert args.task
        return
    assert module == "finetune"
    name, *rest = given
    if name == "multitask":
        args = read_flags(build_parser(name, "", MultitaskArgs), rest)
        assert args["tasks"]
        return
    args = parse(name, "", rest, task_class(name).flags)
    assert not args.ignored


def test_the_list_of_tasks_is_one(tmp_path):
    """That of the page; its flags are those of its tasks."""
    (listed,) = re.findall(r"^```json\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    (tmp_path / "tasks.json").write_text(listed)
    shared = {"ernie_config_path": "c", "vocab_path": "v", "checkpoints": "out", "batch_size": 16}
    entries = read_list(str(tmp_path / "tasks.json"), shared)
    assert [(entry.name, entry.task, entry.weight) for entry in entries] == [
        ("sentiment", "classify", 2.0), ("pairs", "classify", 1.0), ("entities", "sequence_label", 1.0)
    ]  # fmt: skip
    assert entries[1].args.model.max_seq_len == 128
    assert entries[1].args.train.batch_size == 16


def test_the_tasks_from_python_are_taken(tmp_path, monkeypatch):
    """Those of the page, on the samples; tests/finetune/test_multitask_api.py runs some."""
    found = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    (code,) = [block for block in found if "multitask" in block]
    (tmp_path / "MODEL/params").mkdir(parents=True)
    for name in ("ernie_config.json", "vocab.txt"):
        (tmp_path / "MODEL" / name).touch()
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    asked = []

    def train(task, **given):
        asked.append((task, from_python(given)))
        return RunResult({"pairs": {"acc": 1.0}}, tmp_path, 1, 1)

    monkeypatch.setattr("finetune.api.train", train)
    monkeypatch.setattr("finetune.api.load", lambda folder: folder)
    exec(compile(code, "docs/tasks.md", "exec"), {})
    ((task, args),) = asked
    assert task == "multitask"
    assert [entry.name for entry in args.entries] == ["sentiment", "pairs"]
    assert all((tmp_path / entry.args.data.train_set).is_file() for entry in args.entries)


def test_every_flag_of_a_table_is_there():
    known = {
        entry.name for name in TASKS if task_class(name).flags for entry in dataclasses.fields(task_class(name).flags)
    }
    named = [re.match(r"`--(\w+)`", cell).group(1) for cell, _ in rows("flag")]
    assert len(named) == 13
    assert set(named) <= known


def test_every_error_of_a_table_is_one_of_the_code():
    """Its longest run of words without what differs from case to case."""
    found = rows("error")
    assert len(found) == 26
    for cell, remedy in found:
        message = re.search(r"`(.+?)`(?: |$)", cell).group(1)
        parts = re.split(r"'[^']*'|\b\d+(?:\.\d+)?\b|--\w+", message)
        assert max(parts, key=len).strip(" :;,") in CODE, message
        assert remedy
