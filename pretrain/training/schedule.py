"""Which task each step of a run trains: continual multi-task learning and what it is compared with.

    plan = StepPlan(entries, "continual", seed=1)
    plan.task(15000)                # "knowledge_masking": drawn from the seed and the step alone
    plan.total, plan.restarts       # steps of the run; steps at which a stage brings a new task

ERNIE 2.0 (arXiv 1907.12412, section 3.1 and the comparison of learning methods in its experiments):

    continual    stage by stage, each with its own steps of every task that has entered (the task list says how many)
    multitask    all steps of all tasks in one stage, mixed from the start
    sequential   one task after another, in the order in which they enter

Every task has the same steps in all three. Within a stage the steps of its tasks stand in a random order of their own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pretrain.training.task_list import Entry

SCHEDULES = ("continual", "multitask", "sequential")


class Stage(NamedTuple):
    """A stage of a plan.

    Attributes:
        first: its first step, from 0.
        counts: task -> steps.
        enters: names of the tasks that no earlier stage has.
    """

    first: int
    counts: dict
    enters: tuple


class StepPlan:
    """The tasks of all steps.

    Args:
        entries: ``pretrain.training.task_list.Entry`` of every task: ``name``, ``start_stage``, ``steps``.
        schedule: one of SCHEDULES.
        seed: of the order within stages.
    """

    def __init__(self, entries: Sequence[Entry], schedule: str = "continual", seed: int = 0) -> None:
        self.names, self.seed = [entry.name for entry in entries], seed
        self.stages, known, first = [], set(), 0
        for counts in _counts(entries, schedule):
            enters = tuple(name for name in counts if name not in known)
            self.stages.append(Stage(first, counts, enters))
            known.update(counts)
            first += sum(counts.values())
        self.total = first
        self._firsts = [stage.first for stage in self.stages]
        self._orders: dict[int, np.ndarray] = {}

    @property
    def restarts(self) -> tuple[int, ...]:
        """Steps after the first at which a stage with a new task begins."""
        return tuple(stage.first for stage in self.stages if stage.enters and stage.first)

    def stage(self, step: int) -> int:
        """Number of the stage of a step, from 0."""
        return bisect_right(self._firsts, step) - 1

    def task(self, step: int) -> str:
        """Name of the task of a step, which counts from 0."""
        number = self.stage(step)
        if number not in self._orders:
            self._orders = {number: self._order(number)}  # one at a time: a stage may have hundreds of thousands
        return self.names[self._orders[number][step - self._firsts[number]]]

    def before(self, step: int) -> Counter:
        """Counter: task -> how many of the steps before this one are its."""
        found: Counter = Counter()
        for stage in self.stages[: (number := self.stage(step))]:
            found.update(stage.counts)
        found.update(self.task(each) for each in range(self._firsts[number], step))
        return found

    def _order(self, number):
        """int16 [steps of the stage]: numbers of tasks."""
        counts = self.stages[number].counts
        steps = np.repeat([self.names.index(name) for name in counts], list(counts.values())).astype(np.int16)
        return np.random.Generator(np.random.PCG64([self.seed, number])).permutation(steps)


def _counts(entries, schedule):
    """Of every stage a dict of task -> steps, without those that have none."""
    if schedule == "multitask":
        return [{entry.name: sum(entry.steps) for entry in entries}]
    if schedule == "sequential":
        return [{entry.name: sum(entry.steps)} for entry in sorted(entries, key=lambda entry: entry.start_stage)]
    last = max(entry.start_stage + len(entry.steps) for entry in entries)
    stages = []
    for stage in range(1, last):
        places = [(entry, stage - entry.start_stage) for entry in entries]
        found = {entry.name: entry.steps[at] for entry, at in places if 0 <= at < len(entry.steps) and entry.steps[at]}
        stages.append(found)
    return stages
