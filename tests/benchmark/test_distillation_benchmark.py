"""benchmark/distillation.py: its table and its targets, and a live run on a tiny model."""

import functools
import subprocess
import sys
from argparse import Namespace

import pytest

from benchmark import distillation
from benchmark.parts.common import Bench
from tests.helpers.common import ROOT
from tests.helpers.tiny import characters, make_model, write_tsv


def cells(*scores):
    return {seed: {"accuracy": score / 100, "mb": 1.5, "bundle": "b"} for seed, score in enumerate(scores, 1)}


def table(capsys, alone, taught, speed, students=("bow",)):
    found = {(name, False): cells(*alone) for name in students} | {(name, True): cells(*taught) for name in students}
    speeds = {"teacher": 100.0, **dict.fromkeys(students, speed)}
    args = Namespace(labelled=9, students=list(students))
    good = distillation.report("films", {"accuracy": 0.9, "mb": 90.0}, found, speeds, args)
    return good, capsys.readouterr().out


def test_what_is_reached_is_said(capsys):
    good, out = table(capsys, (80, 81, 82), (89.5, 89.6, 89.7), 2500.0)
    assert good
    assert "80.00" not in out
    assert "81.00 ± 0.58" in out
    assert "89.60 ± 0.06" in out
    assert "99.6%" in out
    assert "25.0" in out
    assert out.count("speed: reached") == 2


@pytest.mark.parametrize(
    ("alone", "taught", "speed", "told"),
    [
        ((80, 81, 82), (81, 82, 83), 2500.0, "not better by two standard errors"),
        ((80, 81, 82), (88, 88.1, 88.2), 2500.0, "99% of the teacher's accuracy at 3 times its speed: not reached"),
        ((80, 81, 82), (89.5, 89.6, 89.7), 500.0, "97% of the teacher's accuracy at 20 times its speed: not reached"),
    ],
    ids=["noise", "accuracy", "speed"],
)
def test_what_is_missed_is_said(alone, taught, speed, told, capsys):
    good, out = table(capsys, alone, taught, speed)
    assert not good
    assert told in out


def test_one_seed_proves_nothing(capsys):
    assert not table(capsys, (80,), (89,), 2500.0)[0]


def test_the_order_of_the_rows_is_always_the_same(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("text_a\n" + "".join(f"{number}\n" for number in range(50)))
    one = distillation.shuffled(path)
    assert one == distillation.shuffled(path)
    assert one[0] == "text_a"
    assert one[1:] != sorted(one[1:], key=int)
    assert sorted(one[1:], key=int) == [str(number) for number in range(50)]


def test_help_shows_the_command():
    command = [sys.executable, "benchmark/distillation.py", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "python benchmark/distillation.py" in done.stdout
    for name in ("demo_films.sh", "demo_reviews.sh"):
        script = ROOT / "distill" / "script" / name
        assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0
        for flag in ("--parts", "--minutes", "--labelled", "--copies", "--ratio", "--teacher_epochs", "--teacher_rate"):
            assert flag in done.stdout


@pytest.mark.slow
def test_a_live_run_on_a_tiny_model(tmp_path, monkeypatch, capsys):
    """Every step by the real commands; started again, nothing is measured anew."""
    pytest.importorskip("jieba")
    rows = [(1, "酒店的位置很好"), (0, "房间实在太差"), (1, "服务非常热情"), (0, "电池很快坏了")] * 5
    for name in ("train", "dev"):
        held = [(label, text + ("！" if name == "dev" else "")) for label, text in rows]
        (tmp_path / "data/chnsenticorp").mkdir(parents=True, exist_ok=True)
        write_tsv(tmp_path / "data/chnsenticorp" / f"{name}.tsv", held)
    model = make_model(tmp_path / "model", characters(tmp_path / "data"), max_position_embeddings=128)
    monkeypatch.setattr(distillation, "WORK", tmp_path / "work")
    monkeypatch.setattr(distillation, "Bench", functools.partial(Bench, results=tmp_path))
    given = {
        "parts": ["chnsenticorp"],
        "students": ["bow", "transformer"],
        "seeds": [1, 2],
        "minutes": 20,
        "again": False,
    }
    places = {"model": str(model), "data": str(tmp_path / "data")}
    numbers = {"labelled": 20, "copies": 2, "ratio": 1, "temperature": 2.0, "teacher_epochs": 1, "teacher_rate": 1e-3}
    args = Namespace(**given, **places, **numbers)
    monkeypatch.setitem(distillation.KINDS, "transformer", distillation.Kind({}, keep=1, epochs=1))
    assert distillation.main(args) in (0, 1)
    first = capsys.readouterr().out
    assert "transformer" in first
    assert "not better" in first or "reached" in first
    monkeypatch.setattr(distillation, "run", None)
    distillation.main(args)
    assert capsys.readouterr().out == first
