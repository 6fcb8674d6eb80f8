"""docs/finetuning.md: from a file in CoNLL's form to a report; and the loops that wait for a server end."""

import re
import shlex
import subprocess

import pytest

from finetune.split import main as split
from script import convert_tagged
from tests.helpers.common import ROOT
from tests.helpers.pages import DOCUMENTS, commands, read

(CHAIN,) = re.findall(r"^```\n(python script/convert_tagged\.py .*?)^```$", read("docs/finetuning.md"), re.M | re.S)
COMMANDS = [shlex.split(line) for line in CHAIN.replace("\\\n", " ").splitlines()]
WAITING = sorted({line for name in DOCUMENTS for line in commands(name) if line.startswith("until curl")})


def conll(rows):
    """Sentences of a TSV as lines of a token and its tag."""
    pairs = [[part.split() for part in row.split("\t")] for row in rows]
    return "".join("".join(f"{token} {tag}\n" for token, tag in zip(*pair)) + "\n" for pair in pairs)


def test_the_chain_hands_files_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, *rows = (ROOT / "data/ner_en/train.tsv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "names.conll").write_text(conll(rows), encoding="utf-8")
    converter, splitting, training, predicting, reporting = COMMANDS
    assert convert_tagged.main(converter[2:]) == 0
    _, *made = (tmp_path / converter[-1]).read_text(encoding="utf-8").splitlines()
    assert made == rows, "in the form of the sample: separated by blanks"
    assert split(splitting[3:]) == 0
    parts = [training[training.index(flag) + 1] for flag in ("--train_set", "--dev_set")] + reporting[4:5]
    found = [(tmp_path / part).read_text(encoding="utf-8").splitlines() for part in parts]
    assert sum(len(lines) - 1 for lines in found) == len(rows)
    assert {path.name for path in tmp_path.iterdir()} == {"names.conll", "output"}, "git ignores output/"
    best = f"{training[training.index('--checkpoints') + 1]}/best"
    assert predicting[predicting.index("--model") + 1] == best == reporting[3]


@pytest.mark.parametrize("line", WAITING)
def test_waiting_for_a_server_that_stopped_ends(line):
    line = re.sub(r":\d+/", ":9/", line)  # where nothing listens
    command = ["sh", "-c", f"false &\n{line}\necho over"]
    assert subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout == "over\n"


def test_every_loop_looks_after_the_server():
    assert WAITING
    assert all("|| ! kill -0 $!; do sleep 1; done" in line for line in WAITING)


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name != "CHANGELOG.md"])
def test_parts_and_reports_go_below_output(name):
    """Git ignores output/; the commands' own places would be left in the clone."""
    text = read(name).replace("\\\n", " ")
    given = re.findall(r"python -m finetune\.(?:split|report) ([^`\n]+)", text)
    assert all("--output_dir output/" in words for words in given if words.strip() != "--help"), given
