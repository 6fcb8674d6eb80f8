"""The line of the log about few steps: when it is said, and that the flags which it names make enough."""

import logging
import re

import pytest

from finetune import task_class
from finetune.training.args import from_keywords
from finetune.training.few_steps import ENOUGH, log_few_steps, more_steps
from finetune.training.schedule import num_steps

GIVEN = {"ernie_config_path": "c", "vocab_path": "v", "train_set": "t", "init_pretraining_params": "p"}
TASK = task_class("classify")


def args_of(**changes):
    return from_keywords({**GIVEN, **changes}, TASK.flags)


def said(args, rows, caplog, task=TASK):
    caplog.clear()
    logger = logging.getLogger("ernie.finetune")
    logger.propagate, before = True, logger.propagate
    with caplog.at_level(logging.INFO, logger="ernie.finetune"):
        log_few_steps(args, task, num_steps(args, None, rows, whole=True), rows)
    logger.propagate = before
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("rows", "changes", "remedy"),
    [
        (581, {}, "--batch_size 8 (219 steps)"),
        (1500, {}, "--batch_size 16 (282 steps)"),
        (50, {}, "--batch_size 4 --epoch 16 (208 steps)"),
        (7, {"batch_size": 2}, "--epoch 50 (200 steps)"),
        (300, {"batch_size": 8, "epoch": 1}, "--batch_size 4 --epoch 3 (225 steps)"),
    ],
)
def test_the_flags_that_it_names_make_enough_steps(caplog, rows, changes, remedy):
    args = args_of(**changes)
    steps = num_steps(args, None, rows, whole=True)
    (line,) = said(args, rows, caplog)
    assert line == f"{steps} steps are few: a new head over a pre-trained encoder needs {ENOUGH} or more: give {remedy}"
    words = remedy.partition(" (")[0].split()
    more = {name.lstrip("-"): int(value) for name, value in zip(words[::2], words[1::2])}
    steps = num_steps(args_of(**{**changes, **more}), None, rows, whole=True)
    assert steps >= ENOUGH
    assert steps == int(re.search(r"\((\d+) steps\)", remedy).group(1))


@pytest.mark.parametrize(
    ("rows", "changes"),
    [
        (2200, {}),
        (581, {"init_pretraining_params": None}),
        (581, {"init_checkpoint": "best"}),
        (581, {"max_steps": 57}),
    ],
)
def test_it_is_silent_where_steps_are_enough_or_chosen_or_the_head_is_not_new(caplog, rows, changes):
    assert said(args_of(**changes), rows, caplog) == []


def test_it_is_silent_of_a_prompt_whose_head_is_pre_trained(caplog):
    assert said(args_of(), 581, caplog, task_class("prompt")) == []


@pytest.mark.parametrize("changes", [{"in_tokens": True, "batch_size": 4096}, {"gradient_accumulation_steps": 4}])
def test_without_a_number_it_names_the_flags(changes):
    assert "a smaller --batch_size or a larger --epoch" in more_steps(args_of(**changes), 581)
