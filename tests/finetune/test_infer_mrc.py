"""infer_mrc.py as its user starts it, on a tiny model."""

import json
import re

import pytest

from finetune.training.main import main
from tests.helpers.predicting import fails, infer, train
from tests.helpers.squad import write_questions
from tests.helpers.tiny import flags

SCRIPT, RUN = "infer_mrc.py", ("run_mrc.py", "mrc")
OWN = {"doc_stride": 8, "max_answer_length": 4, "n_best_size": 5}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folder with train.json, and the questions of new.json without answers; long contexts among them."""
    folder = tmp_path_factory.mktemp("mrc")
    for name, count, seed in (("train", 24, 1), ("new", 70, 2)):
        write_questions(folder / f"{name}.json", count, seed)
    content = json.loads((folder / "new.json").read_text())
    for article in content["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                del question["answers"]
    (folder / "new.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def checkpoint(model, place, tmp_path_factory):
    given = {"train_set": place / "train.json", "dev_set": None, "test_set": None, "epoch": 4}
    return train(*RUN, model, place, tmp_path_factory.mktemp("run") / "run", **given, **OWN)


@pytest.fixture(scope="module")
def saved(model, checkpoint, place, tmp_path_factory):
    """An inference model, and the folder of what was predicted while it was made."""
    folder = tmp_path_factory.mktemp("saved")
    given = {"init_checkpoint": checkpoint, "vocab_path": model / "vocab.txt", "predict_set": place / "new.json"}
    infer(SCRIPT, **given, save_inference_model_path=folder / "saved", output=folder / "answers")
    return folder / "saved", folder / "answers"


def read(path):
    return json.loads(path.read_text(encoding="utf8"))


def test_equal_to_run_mrc(model, place, checkpoint, saved, tmp_path):
    """The windows' settings are those of the training unless they are given."""
    given = {"do_train": "false", "do_val": "false", "init_checkpoint": checkpoint, "init_pretraining_params": None}
    given.update(test_set=place / "new.json", test_save=tmp_path / "run.json", **OWN)
    main(*RUN, flags(model, place, tmp_path / "unused", **given))
    assert read(saved[1] / "predictions.json") == read(tmp_path / "run.json")
    ours, theirs = read(saved[1] / "nbest_predictions.json"), read(tmp_path / "run.json.nbest")
    assert list(ours) == list(theirs)
    assert len(ours) == 70
    for name in ours:
        for one, other in zip(ours[name], theirs[name]):
            assert one.pop("text") == other.pop("text")
            assert one == pytest.approx(other, abs=1e-4)


def test_an_inference_model_needs_nothing_else(place, saved, tmp_path):
    given = {"inference_model": saved[0], "predict_set": place / "new.json"}
    _, log = infer(SCRIPT, **given, output=tmp_path / "same")
    for name in ("predictions.json", "nbest_predictions.json"):
        assert (tmp_path / "same" / name).read_bytes() == (saved[1] / name).read_bytes()
    assert " windows/s (" in log.splitlines()[-1]
    infer(SCRIPT, **given, output=tmp_path / "other", n_best_size=2)
    infer(SCRIPT, **given, output=tmp_path / "short", max_answer_length=1)
    plain, few, short = (read(folder / "nbest_predictions.json") for folder in
                         (saved[1], tmp_path / "other", tmp_path / "short"))  # fmt: skip
    assert max(map(len, few.values())) == 2 < max(map(len, plain.values()))
    assert all(" " not in answer["text"] for answers in short.values() for answer in answers)
    assert any(" " in answer["text"] for answers in plain.values() for answer in answers)


def test_windows_are_as_the_flags_say(place, saved, tmp_path):
    given = {"inference_model": saved[0], "predict_set": place / "new.json", "output": tmp_path / "answers"}
    counts = []
    for flags_given in ({}, {"doc_stride": 16}, {"max_seq_len": 40}):
        log = infer(SCRIPT, **given, **flags_given)[1]
        counts.append(int(re.search(r"predicted (\d+) windows in", log)[1]))
    assert counts[0] > counts[1] > counts[2] == 70


def test_bad_input(place, saved, tmp_path):
    path = tmp_path / "new.json"
    given = {"inference_model": saved[0], "predict_set": path, "output": tmp_path / "answers"}
    for content, words in (
        ("{", [f"{path}, line 1", "JSON"]),
        ('{"data": []}', [path, "no question"]),
        ('{"data": [{"paragraphs": [{"context": " ", "qas": [{"id": "q", "question": "x"}]}]}]}', ["'q'", "blank"]),
    ):
        path.write_text(content)
        fails(SCRIPT, *words, **given)
    fails(SCRIPT, "--output", **{**given, "output": None})
    fails(SCRIPT, f"--output {path}: is a file", **{**given, "output": path})
    fails(SCRIPT, "--doc_stride", **{**given, "predict_set": place / "new.json", "doc_stride": 0})
    assert not (tmp_path / "answers").exists()
