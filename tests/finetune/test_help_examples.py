"""The example at the top of each command's help: it is there, and the command's own parser takes it."""

from __future__ import annotations

import runpy
import shlex
import sys

import pytest

from finetune import SEVERAL, TASKS, task_class, what_it_learns
from propeller.flags import FlagParser, read_flags, shell_lines
from tests.helpers.common import ROOT

COMMANDS = (
    *(f"finetune/__main__.py {name}" for name in (*TASKS, SEVERAL)),
    *(f"finetune/{name}.py" for name in ("split", "report", "score", "sweep classify", "prediction/__main__")),
    *(f"finetune/search/__main__.py {name}" for name in ("build", "query")),
    *(f"finetune/embedding/{name}.py" for name in ("sts", "whiten", "resize", "client", "server")),
    *(f"infer_{name}.py" for name in ("classifyer", "mrc", "sequence_labeling")),
    *(f"run_{name}.py" for name in ("classifier", "mrc", "sequence_labeling")),
    "ernie_encoder.py",
    "propeller/tools/start_server.py",
)
COMMANDS = tuple(name.replace("sweep classify.py", "sweep.py classify") for name in COMMANDS)


@pytest.fixture
def help_of(monkeypatch, capsys):
    """What a command prints with --help, and the last parser that made such a text."""
    parsers = []
    made = FlagParser.format_help

    def format_help(self):
        parsers.append(self)
        return made(self)

    def run(command):
        script, *words = command.split()
        monkeypatch.setattr(sys, "argv", [script, *words, "--help"])
        monkeypatch.setattr(sys, "path", list(sys.path))
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        assert end.value.code == 0
        return capsys.readouterr().out, parsers

    monkeypatch.setattr(FlagParser, "format_help", format_help)
    return run


def example_in(text):
    """The words of the example in a help text, which stands above everything but the usage."""
    usage, example = text.split("\n\n")[:2]
    assert usage.startswith("usage: ")
    head, _, command = example.partition("\n")
    assert head == "example:"
    assert max(map(len, command.splitlines())) <= 110
    return shlex.split(command.replace("\\\n", " "))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_begins_with_an_example_that_the_parser_takes(command, help_of):
    text, parsers = help_of(command)
    words = example_in(text)
    program = shlex.split(parsers[-1].prog)
    assert words[0] == "python"
    program = program if program[0] == "python" else ["python", *program]
    assert words[: len(program)] == program
    values = read_flags(parsers[-1], words[len(program) :])
    assert any(value not in (None, "") for value in values.values())


def test_the_tasks_are_listed_with_a_few_words_each(help_of):
    text, _ = help_of("finetune/__main__.py")
    assert "--text_column" in example_in(text)
    lines = [line.split(None, 1) for line in text.splitlines() if line.startswith("  ")]
    about = {words[0]: words[1] for words in lines if words[0] in (*TASKS, SEVERAL)}
    assert list(about) == [*TASKS, SEVERAL]
    assert about["mrc"].startswith("The answer to a question as a span")
    assert all(len(words.split()) > 3 for words in about.values())


def test_the_words_are_those_of_the_docstring():
    assert what_it_learns("regression") == task_class("regression").__doc__.partition("\n")[0].rstrip(".")


def test_a_line_of_the_example_never_begins_with_a_value():
    command = "python x.py " + " ".join(f"--flag_{number} 'a value of {number}%'" for number in range(9))
    lines = shell_lines(command).split(" \\\n")
    assert all(line.lstrip().startswith(("python", "--flag_")) for line in lines)
    assert shlex.split(" ".join(lines)) == shlex.split(command)
    text = FlagParser(prog="x.py", example=command.partition(".py ")[2]).format_help()
    assert example_in(text) == shlex.split(command)
