"""benchmark/sentence_vectors.py: its texts, its verdict, and a whole run on tiny text and a tiny model."""

import json
import subprocess
import sys

import pytest

from benchmark import sentence_vectors as bench
from propeller.errors import UserError
from tests.helpers.common import ROOT
from tests.helpers.tiny import characters, make_model, write_tsv

STS = ("index", "sentence1", "sentence2", "score")


@pytest.fixture
def glue(tmp_path):
    """GLUE's columns: 30 training pairs, one of which has a sentence of the dev set, and 8 dev pairs."""
    for name in ("STS-B", "MRPC"):
        (tmp_path / "glue" / name).mkdir(parents=True)
    nouns = ("man", "dog", "film", "boat", "tree", "road")
    pairs = [
        (number, f"a {nouns[number % 6]} is {number}", f"the {nouns[number % 6]} was {number}", f"{number % 6:.3f}")
        for number in range(30)
    ]
    dev = [
        (number, f"a {nouns[number % 6]} runs {number}", f"one {nouns[5 - number % 6]} {number}", f"{number % 5}.000")
        for number in range(8)
    ]
    pairs.append((30, dev[0][1], "something else", "5.000"))
    write_tsv(tmp_path / "glue/STS-B/train.tsv", pairs, STS)
    write_tsv(tmp_path / "glue/STS-B/dev.tsv", dev, STS)
    write_tsv(tmp_path / "glue/MRPC/train.tsv", [("1", 1, 2, "it rains here", "rain falls here")] * 3,
              ("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"))  # fmt: skip
    return tmp_path / "glue"


def test_no_sentence_of_the_dev_set_is_trained_on(glue, tmp_path):
    texts = bench.Texts(glue, tmp_path / "texts", 20)
    assert texts.counts == {"dev": 8, "sentences": 20, "pairs": 10, "scored": 10, "corpus": 62}
    dev = {text for line in (tmp_path / "texts/dev.tsv").read_text().splitlines()[1:] for text in line.split("\t")[:2]}
    for name in ("sentences.tsv", "pairs.tsv", "scored.tsv", "corpus.txt"):
        content = (tmp_path / "texts" / name).read_text()
        assert not [text for text in dev if text in content.replace("\t", "\n").splitlines()], name
    assert all(float(line.split("\t")[2]) <= 5 for line in (tmp_path / "texts/scored.tsv").read_text().splitlines()[1:])
    (glue / "STS-B/train.tsv").unlink()
    with pytest.raises(UserError, match="train.tsv: not there: give --glue"):
        bench.Texts(glue, tmp_path / "texts", 20)


def arms(simcse, mean=0.5):
    return {
        name: {"spearman": value, "pearson": value}
        for name, value in (("mean", mean), ("whitened", 0.6), ("SimCSE", simcse), ("pairs", 0.7), ("scores", 0.7))
    }


@pytest.mark.parametrize(
    ("found", "said", "good"),
    [
        (
            {"masked": arms(0.6), "minilm": arms(0.8, 0.8)},
            "SimCSE over the plain mean: +10.00 points, target 8: met",
            True,
        ),
        ({"masked": arms(0.55), "minilm": arms(0.8, 0.8)}, "+5.00 points, target 8: NOT met", False),
        ({"masked": {**arms(0.6), "pairs": None}}, "NOT everything was measured", False),
        ({"minilm": arms(0.9)}, "NOT everything was measured", False),
    ],
    ids=["met", "not_met", "a_cell_missing", "a_start_missing"],
)
def test_the_verdict(found, said, good, capsys):
    assert bench.report(found) is good
    assert said in capsys.readouterr().out


@pytest.mark.slow
def test_a_whole_run(glue, tmp_path):
    model = make_model(tmp_path / "model", characters(glue), max_position_embeddings=64)
    given = {"glue": glue, "model": model, "work": tmp_path / "work", "results": tmp_path / "results", "rows": 40,
             "steps": 2, "dimensions": 4, "minutes": 30}  # fmt: skip
    words = [str(word) for name, value in given.items() for word in (f"--{name}", value)]
    command = [sys.executable, str(ROOT / "benchmark/sentence_vectors.py"), *words]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False, timeout=1500)
    assert done.returncode in (0, 1), done.stderr[-3000:]
    cells = json.loads((tmp_path / "results/sentence_vectors.json").read_text())["cells"]
    assert len(cells) == 1 + 5 + 3
    assert done.stdout.count(" points\n") == 8
    assert "SimCSE over the plain mean: " in done.stdout
