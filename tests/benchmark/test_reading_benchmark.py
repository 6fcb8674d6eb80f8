"""benchmark/reading.py: its drawn questions, its verdicts, and a live run of all arms on tiny text."""

import json
import random
import subprocess
import sys

import numpy as np
import pytest

from benchmark import reading
from benchmark.parts import reading_start
from propeller.errors import UserError
from reader.squad.file import SquadFile
from tests.helpers.common import ROOT
from tests.helpers.squad import squad

TOWNS = ("北京", "上海", "南京", "广州")
SENTENCE = "一九九八年他们在{}建立了一所大学，后来有很多人去那里学习。"


def contexts(first, count):
    """(context, questions) pairs of different lengths; those of different `first` share no long run of characters."""
    opening = "".join(chr(ord("一") + 40 * first + place) for place in range(20))
    made = []
    for number in range(count):
        town = TOWNS[number % 4]
        context = f"{opening[: 8 + number]}。{SENTENCE.format(town) * (1 + number % 3)}"
        made.append((context, [(f"Q{first}_{number}", "他们在哪里建立大学？", town)]))
    return made


@pytest.fixture
def flags(tmp_path):
    """Flags for tiny files in the places of the real ones."""
    for name in ("cmrc2018", "drcd"):
        (tmp_path / "zh" / name).mkdir(parents=True)
    squad(tmp_path / "zh/cmrc2018/trial.json", *contexts(1, 12))
    squad(tmp_path / "zh/cmrc2018/dev.json", ("天" * 60, [("D", "？", "天")]))
    squad(tmp_path / "zh/drcd/dev.json", *contexts(3, 6))
    words = sorted({char for first in (1, 3) for text, _ in contexts(first, 12) for char in text} | set("哪里？什么"))
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("".join(f"{word}\n" for word in ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", *words)))
    places = {"data": tmp_path, "zh_vocab": vocab, "work": tmp_path / "work", "results": tmp_path / "results"}
    return [str(word) for name, value in places.items() for word in (f"--{name}", value)]


def run(*words):
    command = [sys.executable, str(ROOT / "benchmark/reading.py"), *map(str, words)]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)


def test_live_arms_agree_without_dropout(flags, tmp_path):
    """Windows of different lengths: both sides must agree about what padding is, its embedding included."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    words = [*flags, "--start_steps", 3, "--seeds", 1, "--questions", 12, "--dev_questions", 1, "--epochs", 31]
    done = run(*words)
    assert "target: 1e-03: met" in done.stdout, done.stdout + done.stderr
    cells = json.loads((tmp_path / "results/reading.json").read_text())["cells"]
    assert len(cells["losses, ours"]) == len(cells["losses, peer"]) == reading.LOSS_STEPS
    assert np.abs(np.subtract(cells["losses, ours"], cells["losses, peer"])).max() < 1e-4
    assert cells["losses, ours"][-1] < cells["losses, ours"][0]
    for arm in (reading.OURS, reading.WITHOUT, reading.PEER):
        assert cells[f"{arm}, seed 1"]["questions"] == 1
        assert 0 <= cells[f"{arm}, seed 1"]["em"] <= cells[f"{arm}, seed 1"]["f1"] <= 100
    dropped = cells[f"{reading.PEER}, seed 1"]["losses"]
    assert len(dropped) == 31
    assert dropped[0] != cells["losses, peer"][0], "the peer trains with dropout"
    again = run(*words, "--minutes", 0)
    assert again.stdout == done.stdout, "a rerun shows what is stored"


def test_questions_of_the_start_are_one_window_with_their_answer(flags, tmp_path):
    start = reading_start.ReadingStart(tmp_path, tmp_path, tmp_path / "vocab.txt", steps=3)
    path = tmp_path / "made.json"
    path.write_text(json.dumps(start.questions))
    file = SquadFile(path, "train")
    assert len(file.questions) == 3 * reading_start.BATCH
    assert file.repaired == file.found == 0
    assert all(len(question.context) <= reading_start.PART for question in file.questions)
    assert sum(reading_start.BLANK in question.text for question in file.questions) >= 24, "every other one is made"
    again = reading_start.ReadingStart(tmp_path, tmp_path, tmp_path / "vocab.txt", steps=3)
    assert again.folder == start.folder
    assert reading_start.ReadingStart(tmp_path, tmp_path, tmp_path / "vocab.txt", steps=4).folder != start.folder


def test_contexts_of_the_dev_set_are_left_out(flags, tmp_path):
    squad(tmp_path / "zh/drcd/dev.json", *contexts(3, 2), ("天" * 60, [("X", "？", "天")]))
    start = reading_start.ReadingStart(tmp_path, tmp_path, tmp_path / "vocab.txt", steps=3)
    assert (start.counts["kept"], start.counts["documents"]) == (2, 3)
    assert "天天" not in json.dumps(start.questions, ensure_ascii=False)


def test_a_cloze_question_leaves_its_answer_out():
    context = SENTENCE.format("北京")
    for seed in range(20):
        question, answer, place = reading_start.cloze(context, random.Random(seed))
        assert context.startswith(answer, place)
        left, right = question.split(reading_start.BLANK)
        assert context.startswith(left + answer + right, place - len(left))
    assert reading_start.cloze("短。", random.Random(0)) is None


def test_questions_are_drawn_once(flags, tmp_path):
    source = tmp_path / "zh/cmrc2018/trial.json"
    for name in "ab":
        reading.draw_questions(source, tmp_path / name, 5)
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()
    drawn = [question.id for question in SquadFile(tmp_path / "a").questions]
    every = [question.id for question in SquadFile(source).questions]
    assert len(drawn) == 5
    assert drawn == [name for name in every if name in drawn]
    reading.draw_questions(source, tmp_path / "all", 999)
    assert [question.id for question in SquadFile(tmp_path / "all").questions] == every


def test_missing_files_are_named(flags, tmp_path):
    done = run(*flags, "--data", tmp_path / "none")
    assert done.returncode == 2
    assert done.stderr.rstrip().endswith("zh/cmrc2018/dev.json: not there: give --data the folder that holds zh/")
    with pytest.raises(UserError, match="give --zh_vocab"):
        reading_start.ReadingStart(tmp_path, tmp_path, tmp_path / "none.txt", steps=3)


def figures(**em):
    """arm -> figures with these exact matches, F1 ten higher."""
    arms = {"ours": reading.OURS, "without": reading.WITHOUT, "peer": reading.PEER}
    return {arms[name]: {"em": value, "f1": value + 10} for name, value in em.items()}


def test_verdict_is_between_ours_and_transformers(capsys):
    near = {seed: figures(ours=20.0 + seed, without=9.0, peer=21.0 + seed) for seed in (1, 2, 3)}
    assert reading.report(near)
    shown = capsys.readouterr().out
    assert "| mean ± standard error | 22.00 ± 0.58 | 9.00 ± 0.00 | 23.00 ± 0.58 |" in shown
    assert "EM, with the dropout less without: +13.00 points" in shown
    assert not reading.report({seed: figures(ours=20.0, without=20.0, peer=22.0) for seed in (1, 2, 3)})
    assert not reading.report({1: {**near[1], reading.PEER: None}})
    assert "NOT everything was measured" in capsys.readouterr().out
