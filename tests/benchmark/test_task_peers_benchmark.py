"""benchmark/task_peers.py: its rows, its gains, a live cell of an option, and of the peers where they are installed."""

import json
import statistics
import subprocess
import sys

import numpy as np
import pytest

from benchmark import task_peers
from benchmark.parts import task_rows
from ernie.checkpoint import read_params
from propeller.errors import UserError
from propeller.flags import split
from tests.helpers.common import ROOT
from tests.helpers.tiny import CONFIG, VOCABULARY, make_model, sentences


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folders as those of GLUE and zh/, with sentences of the tiny vocabulary; "film" is an organisation's name."""
    folder = tmp_path_factory.mktemp("data")
    for name, count, seed in (("train", 60, 1), ("dev", 40, 2)):
        rows = sentences(count, seed)
        (folder / "glue/SST-2").mkdir(parents=True, exist_ok=True)
        lines = ["sentence\tlabel", *(f"{text}\t{label}" for label, text in rows)]
        (folder / f"glue/SST-2/{name}.tsv").write_text("\n".join(lines) + "\n")
        tagged = ["text_a\tlabel"]
        for _, text in rows:
            words = text.split()
            tags = ["B-ORG" if word == "film" else "B-PER" if word == "story" else "O" for word in words]
            tagged.append("\x02".join(words) + "\t" + "\x02".join(tags))
        (folder / "zh/msra_ner").mkdir(parents=True, exist_ok=True)
        (folder / f"zh/msra_ner/{name}.tsv").write_text("\n".join(tagged) + "\n")
    return folder


def test_a_label_set_has_the_kinds_of_names_of_its_sentence(data, tmp_path):
    task_rows.make_kinds(tmp_path, data, 20, 10)
    header, *lines = (tmp_path / "train.tsv").read_text().splitlines()
    assert header == "label\ttext_a"
    words = [set(text.split()) for _, text in sentences(60, 1)[:20]]
    expected = [",".join(kind for kind, word in (("ORG", "film"), ("PER", "story")) if word in row) for row in words]
    assert [line.split("\t")[0] for line in lines] == expected
    assert len(set(expected)) > 1
    assert json.loads((tmp_path / "labels.json").read_text()) == {"LOC": 0, "ORG": 1, "PER": 2}
    with pytest.raises(UserError, match="are needed: give fewer --rows"):
        task_rows.make_kinds(tmp_path, data, 61, 10)
    with pytest.raises(UserError, match="not there: give --data"):
        task_rows.make_kinds(tmp_path, tmp_path, 1, 1)


def test_of_the_options_of_a_question_one_praises(data, tmp_path):
    task_rows.make_questions(tmp_path, data, 12, 5)
    known = {text: label for label, text in sentences(60, 1)}
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert len(rows) == 12
    assert {row["label"] for row in rows} == {0, 1, 2, 3}
    for row in rows:
        assert [known[text] for text in row["choices"]] == [int(number == row["label"]) for number in range(4)]


def test_one_row_in_five_praises(data, tmp_path):
    task_rows.make_classes(tmp_path, data, 0.2, 20, 10)
    for name, count in (("train", 4), ("dev", 2)):
        labels = [line.split("\t")[0] for line in (tmp_path / f"{name}.tsv").read_text().splitlines()[1:]]
        assert labels.count("1") == count
        assert len(labels) == 5 * count
    assert "the film" in " ".join(task_rows.texts_of([tmp_path]))


def test_the_path_of_a_folder_is_one_file_to_a_flag(tmp_path):
    found = task_peers.folders_of(tmp_path)
    assert len(set(found.values())) == 3
    for folder in found.values():
        assert split(str(task_peers.files(folder)["train_set"])) == [str(folder / "train.tsv")]


def test_a_gain_is_the_mean_difference_of_the_same_seeds():
    plain, other = {1: 0.5, 2: 0.6, 3: 0.7}, {1: 0.52, 2: 0.63, 3: 0.71}
    error = statistics.stdev([2.0, 3.0, 1.0]) / 3**0.5
    assert task_peers.gain(other, plain) == f"+2.00 ± {error:.2f} *"
    assert task_peers.gain({1: 0.5, 2: 0.61, 3: None}, plain) == "+0.50 ± 0.50 (2 seeds)"
    assert task_peers.gain({1: 0.5}, plain) == ""


def test_the_small_model_has_the_lowest_layers(tmp_path):
    model = make_model(tmp_path / "model")
    small = task_rows.small_model(tmp_path / "small", model, 1, ["the film was good", "good story"])
    assert json.loads((small / "ernie_config.json").read_text())["num_hidden_layers"] == 1
    words = (small / "vocab.txt").read_text().split()
    assert words == ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", "good", "the", "film", "story", "was"]
    whole, cut = (read_params(place / "params")["word_embedding"] for place in (model, small))
    assert np.array_equal(cut, whole[[VOCABULARY.index(word) for word in words]])
    names = {path.name for path in (small / "params").iterdir()}
    assert "word_embedding" in names
    assert not any(name.startswith("encoder_layer_1_") for name in names)
    assert CONFIG["num_hidden_layers"] == 2


@pytest.mark.slow
def test_an_option_is_measured_and_kept(data, tmp_path, monkeypatch):
    folder = tmp_path / "SST-2"
    folder.mkdir()
    (folder / "model").symlink_to(make_model(tmp_path / "model", num_hidden_layers=1, max_position_embeddings=64))
    task_rows.make_classes(folder, data, None, 16, 10)
    stored = tmp_path / "results"
    args = type("Args", (), {"minutes": 1, "again": False})
    value = task_peers.measure_option(
        task_peers.Bench("t", args, {}, stored), folder, folder / "model", "SST-2", "R-Drop, alpha 1", 1
    )
    assert 0 <= value <= 1
    monkeypatch.setattr(task_peers, "train", None)  # what is stored is not measured again
    again = task_peers.Bench("t", args, {}, stored)
    assert task_peers.measure_option(again, folder, folder / "model", "SST-2", "R-Drop, alpha 1", 1) == value


@pytest.mark.slow
def test_both_sides_are_measured(data, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    model = make_model(tmp_path / "model", use_task_id=False, max_position_embeddings=64)
    words = [
        "--minutes",
        5,
        "--seeds",
        1,
        "--rows",
        32,
        "--epochs",
        1,
        "--dev_rows",
        10,
        "--model",
        model,
        "--zh_vocab",
        model / "vocab.txt",
        "--data",
        data,
        "--results",
        tmp_path,
    ]
    command = [sys.executable, str(ROOT / "benchmark/task_peers.py"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "NOT everything" not in done.stdout, done.stderr
    cells = json.loads((tmp_path / "task_peers_peers.json").read_text())["cells"]
    assert len(cells) == 4
    steps = {name: len(cells[f"{name}, peer, seed 1"]["losses"]) for name in task_peers.PEERS}
    assert steps == {task_peers.SETS: 1, task_peers.CHOICE: 2}
