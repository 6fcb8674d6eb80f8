"""The line of a run's end that names the step of its best checkpoint."""

import logging
from pathlib import Path

import pytest

from finetune.multitask.log_lines import log_best as log_best_of_tasks
from finetune.training.log_lines import log_best
from finetune.training.main import main
from finetune.training.result import RunResult
from tests.helpers.runs import log_of
from tests.helpers.tiny import flags

NAMES = ("loss", "f1", "precision", "recall")


@pytest.mark.parametrize(
    ("scores", "best", "said"),
    [
        ({"loss": 0.1234567, "f1": 0.5, "data_num": 26.0}, 120, ["best: step 120, loss 0.123457, f1 0.5"]),
        ({}, 120, ["best: step 120"]),
        ({}, None, []),
    ],
    ids=["scores", "no scores", "no evaluation"],
)
def test_it_names_the_step_and_its_scores(caplog, scores, best, said):
    with caplog.at_level(logging.INFO, "ernie.finetune"):
        log_best(RunResult(scores, Path("run"), 200, best), NAMES)
    assert caplog.messages == said


@pytest.mark.parametrize(
    ("scores", "best", "said"),
    [
        (
            {"mood": {"loss": 0.5, "acc": 0.9111111}, "names": {"f1": 0.25, "loss": 1.0}, "unseen": {}},
            60,
            ["best: step 60, mood acc 0.911111, names f1 0.25"],
        ),
        ({}, 60, ["best: step 60"]),
        ({}, None, []),
    ],
    ids=["scores", "no scores", "no evaluation"],
)
def test_of_several_tasks_it_names_the_score_of_each_that_chose(caplog, scores, best, said):
    with caplog.at_level(logging.INFO, "ernie.finetune"):
        log_best_of_tasks(RunResult(scores, Path("run"), 200, best), {"mood": "acc", "names": "f1", "unseen": "acc"})
    assert caplog.messages == said


@pytest.mark.parametrize(
    ("dev", "said"),
    [({}, "best checkpoint step_2, last step_2"), ({"dev_set": None}, "no best checkpoint, last step_2")],
    ids=["with a dev set", "without"],
)
def test_a_finished_run_names_only_checkpoints_that_are_there(model, data, tmp_path, dev, said):
    values = {"do_test": "false", "epoch": 1, "max_steps": 2, "test_set": None, "test_save": None, **dev}
    words = flags(model, data, tmp_path / "run", **values)
    for _ in range(2):
        text = log_of(main, "run_classifier.py", "classify", words)
    assert f"this run is finished: {said}; --overwrite begins it afresh" in text
