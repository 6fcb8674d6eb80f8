"""Mistakes in a task list and in flags beside it, all named before the first step."""

import gzip
import json
import re

import pytest

from pretrain.training.args import parse
from pretrain.training.runner import main
from pretrain.training.task_list import read_task_list
from propeller.errors import UserError
from tests.helpers.class_shards import TASKS, make_task_shards, task_flags, write_list
from tests.helpers.pretraining import write_shard
from tests.helpers.runs import log_of
from tests.helpers.tiny import make_model

MASKING, DISTANCE, CAPITAL = (task["name"] for task in TASKS)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model") / "tiny", use_task_id=True, task_type_vocab_size=4)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return make_task_shards(tmp_path_factory.mktemp("shards") / "shards")


def train(model, shards, folder, **changes):
    """The messages of the log of a run in this process."""
    return log_of(main, "train.py", task_flags(model, shards, folder, **changes))


@pytest.mark.parametrize(
    ("filelist", "said"),
    [(["a", "b", "c"], "3 filelists for 2 stages"), ([], "is empty; give"), (["a", 3], "give paths of lists")],
    ids=["too many", "none", "a number"],
)
def test_filelists_are_as_many_as_stages(tmp_path, filelist, said):
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps({"tasks": [{"name": MASKING, "task_id": 0, "steps": [1, 2], "filelist": filelist}]}))
    with pytest.raises(UserError, match=said):
        read_task_list(path)


def test_validation_shards_that_do_not_suit_the_head_are_named_before_the_first_step(model, shards, tmp_path):
    with gzip.open(shards / "valid" / DISTANCE / "part.gz", "rt") as file:
        lines = [line[: line.rindex(";")] + ";7" for line in file.read().splitlines()]
    (tmp_path / "beyond").write_text(f"{write_shard(tmp_path / 'beyond.gz', lines)}\t1\n")
    alone = {**TASKS[1], "start_stage": 1, "valid_filelist": str(tmp_path / "beyond")}
    path = write_list(tmp_path / "tasks.json", [alone])
    with pytest.raises(UserError, match="beyond.gz, line 1: the class is '7', but the head has 3"):
        train(model, shards, tmp_path / "run", task_list=path)
    assert not list((tmp_path / "run").glob("step_*"))
    path = write_list(
        tmp_path / "tests.json", [{**alone, "valid_filelist": "", "test_filelist": str(tmp_path / "beyond")}]
    )
    assert "step: 6/6" in train(model, shards, tmp_path / "run", task_list=path, skip_steps=1)
    with pytest.raises(UserError, match="beyond.gz, line 1: the class is '7', but the head has 3"):
        train(model, shards, tmp_path / "x", task_list=path, do_test="true", init_checkpoint=tmp_path / "run" / "last")


def test_instances_that_are_all_too_long_are_named_before_the_first_step(model, shards, tmp_path):
    with pytest.raises(UserError, match=r"instances are longer than --max_seq_len 4, the shortest has \d+ tokens"):
        train(model, shards, tmp_path / "run", max_seq_len=4)
    assert not list((tmp_path / "run").glob("step_*"))


@pytest.mark.slow
def test_tasks_without_task_embeddings_are_told(shards, tmp_path):
    plain = make_model(tmp_path / "plain", use_task_id=False)
    text = train(plain, shards, tmp_path / "run")
    assert re.search(r"ernie_config.json has no task embeddings: .*\"task_type_vocab_size\" above 2", text)


def without_class(shards, tmp_path):
    with gzip.open(shards / "train" / DISTANCE / "part.gz", "rt") as file:
        lines = [line for line in file.read().splitlines() if not line.endswith(";1")]
    (tmp_path / "few").write_text(f"{write_shard(tmp_path / 'few.gz', lines)}\t1\n")
    return {"filelist": str(tmp_path / "few")}


def changed(**changes):
    return lambda shards, tmp_path: changes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_class, "no instance of class 1"),
        (changed(head={"classes": 2}), "class"),
        (changed(head={"classes": 1}), 'give "classes": a whole number from 2 on'),
        (changed(name="capitalization", head={"classes": 12}), 'task capitalization: its head is {'),
        (changed(name="capitalization", head={"classes": 12}), '; give "classes": a whole number from 2 to 9'),
        (changed(head={"labels": 3}), 'give "classes": a whole number from 2 on, nothing else'),
        (changed(task_id=4), "its task_id 4 is outside the 4 task embeddings"),
        (changed(filelist="nowhere"), "nowhere: cannot be read as a list of shards (No such file or directory); name"),
        (changed(steps=8), '"steps" is 8; give a list with the steps of each stage, as [1000]'),
        (changed(weight="2"), "\"weight\" is '2'; give a number"),
    ],
)  # fmt: skip
def test_mistakes_are_named_before_the_first_step(model, shards, tmp_path, change, message):
    alone = {**TASKS[1], "start_stage": 1, **change(shards, tmp_path)}
    path = write_list(tmp_path / "tasks.json", [alone])
    with pytest.raises(UserError) as caught:
        train(model, shards, tmp_path / "run", task_list=path)
    assert message in str(caught.value)
    assert not list((tmp_path / "run").glob("step_*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_filelist": "x"}, "--train_filelist with --task_list, which says that for each task"),
        ({"num_train_steps": 7}, "--num_train_steps with --task_list"),
        ({"predict_mask": "x", "init_checkpoint": "c"}, "--predict_mask with --task_list"),
        (
            {"eval_strategy": "epoch"},
            "--eval_strategy epoch with --task_list, whose tasks have no common end of a pass",
        ),
        ({"save_strategy": "both"}, "--save_strategy both with --task_list, whose tasks have no common end of a pass"),
        ({"scale_steps": 0}, "--scale_steps must be above 0"),
        ({"random_seed": 2**32}, "--random_seed must be below 2**32, not 4294967296"),
        ({"beta2": 1}, "--beta2 must be from 0 to below 1"),
        ({"task_list": None, "train_filelist": "x", "task_data": None, "schedule": "multitask"}, "--schedule is about"),
        ({"task_list": None, "task_data": None}, "training needs --train_filelist"),
    ],
)
def test_flags_that_do_not_go_together(model, shards, tmp_path, changes, message):
    with pytest.raises(UserError) as caught:
        parse("train.py", "", task_flags(model, shards, tmp_path, **changes))
    assert message in str(caught.value)
