"""Which task a step trains: the paper's schedules, their order, and what may stand in a task list."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie.config import ErnieConfig
from ernie.optimization import OptimizationConfig, learning_rate_at
from pretrain.training.schedule import SCHEDULES, StepPlan
from pretrain.training.task_list import Entry, check_ids, read_task_list
from propeller.errors import UserError
from tests.helpers.tiny import CONFIG

# ERNIE 2.0, the comparison of learning methods: thousands of steps by stage, 50 for each task in all.
PAPER = [
    Entry("knowledge_masking", 0, steps=(20, 10, 10, 10)),
    Entry("capitalization", 1, start_stage=2, steps=(30, 10, 10)),
    Entry("token_document_relation", 2, start_stage=3, steps=(40, 10)),
    Entry("sentence_reordering", 3, start_stage=4, steps=(50,)),
]


def drawn(plan):
    return [plan.task(step) for step in range(plan.total)]


def test_continual_learning_allots_the_steps_of_the_paper():
    plan = StepPlan(PAPER, "continual", seed=3)
    assert plan.total == 200
    stages = [(stage.first, stage.counts, stage.enters) for stage in plan.stages]
    masking, capital, relation, order = (entry.name for entry in PAPER)
    assert stages == [
        (0, {masking: 20}, (masking,)),
        (20, {masking: 10, capital: 30}, (capital,)),
        (60, {masking: 10, capital: 10, relation: 40}, (relation,)),
        (120, {masking: 10, capital: 10, relation: 10, order: 50}, (order,)),
    ]
    found = drawn(plan)
    for number, (first, counts, _) in enumerate(stages):
        part = found[first : first + sum(counts.values())]
        assert Counter(part) == counts
        assert {plan.stage(step) for step in range(first, first + len(part))} == {number}
    assert plan.restarts == (20, 60, 120)
    mixed = found[120:]
    assert mixed != sorted(mixed, key=list(stages[3][1]).index), "tasks of a stage are mixed"


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_steps_before_a_step_are_counted(schedule):
    plan = StepPlan(PAPER, schedule, seed=3)
    found = drawn(plan)
    for step in (0, 1, 20, 61, 199):
        assert plan.before(step) == Counter(found[:step])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_task_has_its_steps_in_every_schedule(schedule):
    plan = StepPlan(PAPER, schedule)
    assert Counter(drawn(plan)) == {entry.name: 50 for entry in PAPER}
    assert len(plan.stages) == {"continual": 4, "multitask": 1, "sequential": 4}[schedule]


def test_one_after_another():
    found = drawn(StepPlan(PAPER[::-1], "sequential"))
    changes = [later for earlier, later in zip(found, found[1:]) if earlier != later]
    assert [found[0], *changes] == [entry.name for entry in PAPER]


@settings(deadline=None)  # a busy machine is no fault
@given(st.integers(0, 2**31), st.lists(st.integers(0, 199), min_size=1, max_size=8))
def test_a_step_is_drawn_from_seed_and_step_alone(seed, steps):
    whole = drawn(StepPlan(PAPER, "continual", seed))
    plan = StepPlan(PAPER, "continual", seed)
    assert [plan.task(step) for step in steps] == [whole[step] for step in steps]


def test_another_seed_is_another_order():
    assert drawn(StepPlan(PAPER, "multitask", 1)) != drawn(StepPlan(PAPER, "multitask", 2))


@pytest.mark.parametrize("scheduler", ["noam_decay", "linear_warmup_decay"])
def test_the_warm_up_begins_anew_where_it_is_asked_to(scheduler):
    common = {"learning_rate": 1e-3, "num_train_steps": 100, "warmup_steps": 10, "scheduler": scheduler}
    plain, again = OptimizationConfig(**common), OptimizationConfig(**common, restarts=(40,))
    for step in range(40):
        assert learning_rate_at(plain, step) == learning_rate_at(again, step)
    rates = [learning_rate_at(again, step) for step in range(40, 50)]
    assert rates == sorted(rates), "it rises again"
    assert rates[0] < 0.5 * learning_rate_at(plain, 40)
    if scheduler == "noam_decay":
        assert learning_rate_at(again, 45) == learning_rate_at(plain, 5)
    else:
        assert learning_rate_at(again, 60) == learning_rate_at(plain, 60), "the fall is that of the whole run"


# Task lists.

GOOD = {"name": "sentence_distance", "task_id": 1, "filelist": "a", "steps": [3, 2]}


def write(tmp_path, *tasks):
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps({"tasks": list(tasks)}))
    return path


def test_a_list_is_read(tmp_path):
    other = {**GOOD, "name": "capitalization", "task_id": 2, "weight": 2, "start_stage": 2, "head": {"classes": 2}}
    one, two = read_task_list(write(tmp_path, GOOD, other))
    assert one == Entry("sentence_distance", 1, "a", steps=(3, 2))
    assert (two.weight, two.start_stage, two.head) == (2.0, 2, {"classes": 2})


def test_filelists_count_from_a_folder(tmp_path, monkeypatch):
    path = write(tmp_path, {**GOOD, "valid_filelist": "/v"})
    (entry,) = read_task_list(path, data="data")
    assert (entry.filelist, entry.valid_filelist) == ("data/a", "/v")
    (tmp_path / "a").write_text("")
    assert read_task_list(path)[0].filelist == str(tmp_path / "a"), "beside the list"
    monkeypatch.chdir(tmp_path)
    assert read_task_list(path)[0].filelist == "a"


def test_steps_are_scaled_and_none_is_lost(tmp_path):
    other = {**GOOD, "name": "ir_relevance", "task_id": 2, "steps": [0, 30]}
    path = write(tmp_path, GOOD, other)
    assert [entry.steps for entry in read_task_list(path, scale=0.1)] == [(1, 1), (0, 3)]
    assert [entry.steps for entry in read_task_list(path, scale=2.5)] == [(8, 5), (0, 75)]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([], 'give an object {"tasks"'),
        ([{**GOOD, "name": "riddles"}], "task 1 ('riddles'): there is no such task; known are knowledge_masking, "),
        ([GOOD, {**GOOD, "name": "ir_relevance"}], "sentence_distance and ir_relevance both have the id 1; give each"),
        ([GOOD, {**GOOD, "task_id": 2}], "both are named 'sentence_distance'; give each its own"),
        ([{**GOOD, "steps": [0, 0]}], 'its "steps" sum to zero; give it some, or take it out'),
        ([{**GOOD, "steps": [1, -1]}], "give a whole number, 0 or more, for each stage"),
        ([{**GOOD, "steps": [1, 0, 1]}], "the steps of stage 2 sum to zero"),
        ([{**GOOD, "start_stage": 2}], "the steps of stage 1 sum to zero"),
        ([{**GOOD, "start_stage": 0}], "start_stage from 1"),
        ([{**GOOD, "weight": 0}], "a weight is above 0"),
        ([{**GOOD, "weight": float("inf")}], "a weight is above 0"),
        ([{**GOOD, "filelist": ""}], '"filelist" is empty; give the path of the list of its shards'),
        ([{**GOOD, "task_id": True}], '"task_id" is True'),
        ([{**GOOD, "stage": 1}], '"stage" is unknown; known are name, task_id'),
        ([{"name": "ir_relevance"}], 'has no "task_id"; add it'),
        ([1], "task 1: is 1; give an object"),
    ],
)
def test_mistakes_are_named(tmp_path, tasks, message):
    path = write(tmp_path, *tasks)
    with pytest.raises(UserError) as caught:
        read_task_list(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "line 1: not JSON"), ('{"task": []}', "give an object"), (None, "cannot")]
)
def test_a_list_that_is_none(tmp_path, text, message):
    path = tmp_path / "tasks.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_task_list(path)


def test_an_id_beyond_the_embedding():
    config = ErnieConfig({**CONFIG, "use_task_id": True, "task_type_vocab_size": 3})
    check_ids([Entry("ir_relevance", 2)], config, "c.json", "tasks.json")
    with pytest.raises(UserError, match="tasks.json: task ir_relevance: its task_id 3 is outside the 3 task .*c.json"):
        check_ids([Entry("ir_relevance", 3)], config, "c.json", "tasks.json")
    check_ids([Entry("ir_relevance", 3)], ErnieConfig({**CONFIG, "use_task_id": False}), "c.json", "tasks.json")


def test_orders_are_small():
    plan = StepPlan([Entry("knowledge_masking", 0, steps=(100_000,)), Entry("ir_relevance", 1, steps=(200_000,))])
    plan.task(299_999)
    assert [order.dtype for order in plan._orders.values()] == [np.int16]
