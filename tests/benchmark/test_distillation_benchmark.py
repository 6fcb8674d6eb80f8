"""benchmark/distillation.py: its table and its targets, and a live run on a tiny model."""

import json
import re
import subprocess
import sys
from argparse import Namespace

import pytest

from benchmark import distillation
from benchmark.parts import distillation_part
from benchmark.parts.distillation_part import Kind
from benchmark.parts.online_teacher import report_online, waits
from tests.helpers.common import ROOT
from tests.helpers.shell import clean_environment, executable, shell
from tests.helpers.tiny import characters, make_model, write_tsv

SCRIPTS = ROOT / "distill" / "script"
DEMOS = ("demo_films.sh", "demo_reviews.sh")


def cells(*scores):
    return {seed: {"accuracy": score / 100, "seconds": 1.0} for seed, score in enumerate(scores, 1)}


def table(capsys, alone, taught, speed, students=("bow",)):
    found = {(name, False): cells(*alone) for name in students} | {(name, True): cells(*taught) for name in students}
    speeds = {"teacher": 100.0, **dict.fromkeys(students, speed)}
    args = Namespace(labelled=9, students=list(students))
    sizes = dict.fromkeys(students, 1.5)
    good = distillation.report("films", {"accuracy": 0.9, "mb": 90.0}, found, speeds, sizes, args)
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
    good, out = table(capsys, (80,), (89,), 2500.0)
    assert not good
    assert "one seed shows nothing" in out
    assert "9.00" in out
    assert "inf" not in out


def test_what_is_waited_is_counted_per_epoch(tmp_path):
    """A record is of the steps since the one before it."""
    records = [
        {"event": "train", "step": 10, "epoch": 0, "speed": 5.0, "waiting": 0.5},
        {"event": "dev", "step": 10, "epoch": 0, "loss": 1.0},
        {"event": "train", "step": 30, "epoch": 1, "speed": 20.0, "waiting": 0.1},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    assert waits(tmp_path) == {0: (1.0, 2.0), 1: (0.1, 1.0)}


@pytest.mark.parametrize(
    ("waited", "later", "good", "told"),
    [
        (3.0, 0.2, True, "2.0% of the time is waited, under 10%: reached"),
        (3.0, 2.0, False, "20.0% of the time is waited, under 10%: not reached"),
        (5.0, 0.2, False, "5.0 s of the first epoch's 9.0 s were waited: not less than it took"),
    ],
    ids=["both", "cached", "first"],
)
def test_what_a_student_waits_is_judged(waited, later, good, told, capsys):
    cell = {
        "asked": 80,
        "teacher_s": 4.0,
        "first": {"waited_s": waited, "total_s": 9.0},
        "later": {"waited_s": later, "total_s": 10.0},
    }
    assert report_online("films", cell) == good
    assert told in capsys.readouterr().out


def test_the_order_of_the_rows_is_always_the_same(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("text_a\n" + "".join(f"{number}\n" for number in range(50)))
    one = distillation_part.shuffled(path)
    assert one == distillation_part.shuffled(path)
    assert one[0] == "text_a"
    assert one[1:] != sorted(one[1:], key=int)
    assert sorted(one[1:], key=int) == [str(number) for number in range(50)]


def test_help_shows_the_command():
    command = [sys.executable, "benchmark/distillation.py", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "python benchmark/distillation.py" in done.stdout
    named = re.findall(r"--\w+", "".join((SCRIPTS / name).read_text() for name in (*DEMOS, "demo_common.sh")))
    assert len(set(named)) > 10
    assert set(named) - {"--help", "--out", "--cache", "--full"} <= set(re.findall(r"--\w+", done.stdout))


@pytest.mark.parametrize("name", DEMOS)
def test_help_of_a_demonstration_installs_nothing(name, tmp_path):
    env = clean_environment(VENV=tmp_path / "venv")
    done = shell(["sh", str(SCRIPTS / name), "--help"], env=env)
    assert done.returncode == 0
    assert f"sh distill/script/{name}" in done.stdout
    assert "ROWS=N" in done.stdout
    assert "--students" in done.stdout
    assert not (tmp_path / "venv").exists()
    done = shell(["sh", str(SCRIPTS / name)], env={**env, "ROWS": "few"})
    assert done.returncode == 2
    assert "ROWS=few: give a number of rows" in done.stderr


@pytest.mark.parametrize(
    ("name", "part", "encoder"),
    [
        ("demo_films.sh", "films", None),
        ("demo_reviews.sh", "chnsenticorp", None),
        ("demo_reviews.sh", "chnsenticorp", "zh_encoder/model"),
    ],
)
def test_a_demonstration_measures_with_its_sizes(name, part, encoder, tmp_path):
    """ROWS bounds it, and the user's own flags come last."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    executable(venv / "bin" / "python", 'case "$*" in -c*) exit 0 ;; esac; printf "%s\\n" "$*"')
    for wanted in ("requirements", "requirements-onnx"):
        stamp = (ROOT / f"{wanted}.txt").read_text() + (ROOT / "requirements-gpu.txt").read_text()
        known = subprocess.run(["cksum"], input=stamp, capture_output=True, text=True, check=True).stdout.strip()
        (venv / f"installed_{wanted}").write_text(f"{known} cpu\n")
    if encoder is not None:
        (tmp_path / "out" / encoder).mkdir(parents=True)
        (tmp_path / "out" / encoder / "ernie_config.json").write_text("{}")
    env = clean_environment(VENV=venv, ROWS=50, OUTPUT=tmp_path / "out")
    done = shell(["sh", str(SCRIPTS / name), "--students", "bow"], env=env)
    assert done.returncode == 0, done.stderr
    words = done.stdout.splitlines()[-1].split()
    work = str(tmp_path / "out" / "distill" / f"{name[:-3]}_50")
    assert words[1:3] == ["--parts", part]
    assert words[-2:] == ["--students", "bow"]
    given = {word: words[number + 1] for number, word in enumerate(words) if word.startswith("--")}
    assert (given["--labelled"], given["--unlabelled"], given["--work"], given["--results"]) == (
        "50",
        "200",
        work,
        work,
    )
    assert given["--data"] == f"{work}/data"
    start = encoder or {"films": "quickstart/model", "chnsenticorp": "demo/random-encoder"}[part]
    assert given["--model"] == str(tmp_path / "out" / start)
    assert given["--teacher_epochs"] == {"films": "80", "chnsenticorp": "180"}[part]


@pytest.mark.slow
def test_a_live_run_on_a_tiny_model(tmp_path, monkeypatch, capsys):
    """Every step by the real commands; started again, nothing is measured anew."""
    for package in ("jieba", "onnxruntime", "onnx", "ml_dtypes"):
        pytest.importorskip(package)
    rows = [(1, "酒店的位置很好"), (0, "房间实在太差"), (1, "服务非常热情"), (0, "电池很快坏了")] * 5
    for name in ("train", "dev"):
        held = rows if name == "train" else [*((label, f"{text}！") for label, text in rows), rows[0]]
        (tmp_path / "data/chnsenticorp").mkdir(parents=True, exist_ok=True)
        write_tsv(tmp_path / "data/chnsenticorp" / f"{name}.tsv", held)
    model = make_model(tmp_path / "model", characters(tmp_path / "data"), max_position_embeddings=128)
    given = {
        "parts": ["chnsenticorp"],
        "students": ["bow", "transformer_2"],
        "seeds": [1, 2],
        "minutes": 20,
        "again": False,
    }
    places = {"model": str(model), "data": str(tmp_path / "data"), "work": str(tmp_path / "work"), "results": tmp_path}
    numbers = {"labelled": 20, "copies": 2, "ratio": 1, "temperature": 2.0, "teacher_epochs": 1, "teacher_rate": 1e-3,
               "unlabelled": 30, "speed_rows": 40, "show": False, "label_precision": "fp32"}  # fmt: skip
    args = Namespace(**given, **places, **numbers)
    monkeypatch.setitem(distillation_part.KINDS, "bow", Kind({"network": "bow"}, vector_size=8))
    small = Kind({}, layers="1", inner=16, epochs=(1, 1), ratio=2, precision="int8")
    monkeypatch.setitem(distillation_part.KINDS, "transformer_2", small)
    assert distillation.main(args) in (0, 1)
    first, progress = capsys.readouterr()
    assert "transformer_2" in first
    assert list(tmp_path.glob("work/*/transformer_2-1-*/bundle/*/model.int8.onnx"))
    assert "not better" in first or "reached" in first
    assert "chnsenticorp, a teacher that is asked while the student learns" in first
    assert "for 30 rows" in first
    assert "1 of 21 dev texts are in train.tsv too and not scored" in progress
    for scored in tmp_path.glob("work/*/*-1-*/scored_out.tsv"):
        assert len(scored.read_text(encoding="utf8").splitlines()) == 1 + 20
    assert len(list(tmp_path.glob("work/*/*-1-*/scored_out.tsv"))) == 4, "two students, alone and distilled"
    monkeypatch.setattr(distillation_part, "run", None)
    distillation.main(args)
    assert capsys.readouterr().out == first
