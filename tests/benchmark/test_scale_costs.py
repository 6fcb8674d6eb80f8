"""benchmark/scale_costs.py: its arithmetic, and that docs/scaling.md shows what it prints."""

import json
import re
import subprocess
import sys

import pytest

from benchmark import scale_costs
from benchmark.scale_costs import FIGURES, UNKNOWN, Costs, report, shown, table
from tests.helpers.common import ROOT

PAGE = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
SIMPLE = {
    "text_bytes_per_token": {"value": 4},
    "shard_bytes_per_token": {"value": 2},
    "build_tokens_per_second": {"value": 1e6},
    "reader_tokens_per_second": {"value": 1e7},
    "training": [
        {"network": "small", "parameters": 1e6, "tokens_per_second": 1e4},
        {"network": "large", "parameters": 1e8, "tokens_per_second": None},
    ],
}


def test_the_costs_of_simple_figures():
    """4 GB are a billion tokens: 2 GB of shards, 0.28 core hours, 100 s of reading, 1.2 days at 10,000 a second."""
    costs = Costs(SIMPLE, epochs=3, days=2)
    assert costs.tokens(4) == 1e9
    assert costs.data_rows([4.0]) == [["4 GB", "1,000", "2", "0.28", "0.028"]]
    small, large = costs.training_rows([4.0])
    assert small == ["small", "4 GB", "10,000", "3.5", "2", "1,000"]
    assert large == ["large", "4 GB", *[UNKNOWN] * 4]
    assert costs.estimated_rows([4.0], 150, 0.4)[0] == ["small", "4 GB", "10,000,000", "0.0035", "1", "1"]
    assert [shown(number) for number in (None, 0.5, 123.0, 98765.0)] == [UNKNOWN, "0.5", "120", "99,000"]
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n|---|---|\n| 1 | 2 |"


def test_the_page_shows_what_the_script_prints():
    done = subprocess.run(
        [sys.executable, "benchmark/scale_costs.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() in PAGE


def test_every_figure_has_its_command():
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    commands = [each["command"] for each in figures.values() if isinstance(each, dict) and "command" in each]
    commands += [each["command"] for each in figures["training"]]
    assert len(commands) == 6
    for command in commands:
        assert (ROOT / command.split()[1]).is_file()
    results = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for each in figures["training"]:
        if each["tokens_per_second"]:
            assert f"{each['tokens_per_second']:,}" in results
    for each in figures["training"]:
        layers, hidden = map(int, re.fullmatch(r"(\d+) layers of (\d+)", each["network"]).groups())
        assert each["parameters"] == layers * (12 * hidden**2 + 13 * hidden)


@pytest.mark.parametrize("name", ["scale_costs", "shard_costs", "continued_pretraining"])
def test_help(name):
    done = subprocess.run(
        [sys.executable, f"benchmark/{name}.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert f"python benchmark/{name}.py" in done.stdout


def test_a_figure_that_is_missing_is_said(capsys, monkeypatch, tmp_path):
    figures = {**SIMPLE, "reader_tokens_per_second": {"value": None}}
    assert UNKNOWN in report(Costs(figures), [1.0], 150, 0.4)
    path = tmp_path / "figures.json"
    path.write_text(json.dumps(SIMPLE))
    monkeypatch.setattr(sys, "argv", ["scale_costs.py", "--figures", str(path), "--gb", "4"])
    scale_costs.main()
    assert "| 4 GB | 1,000 | 2 |" in capsys.readouterr().out
