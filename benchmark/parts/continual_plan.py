"""The ways that benchmark/continual.py compares: which task has how many steps in which stage.

    plan = Plan(("knowledge_masking", "token_document_relation", "sentence_reordering"), 4080)
    plan.stages(CONTINUAL)          # {"knowledge_masking": (1, [680, 340, 340]), ...}
    plan.borders(CONTINUAL)         # [680, 2040, 4080]

The tasks share the steps evenly, and stand in the stages as in the paper's table: a task has one part of its steps in
each stage after its first, and the rest in that one. There is one part more than there are tasks.
"""

from __future__ import annotations

from typing import NamedTuple

from benchmark.parts.pretraining_runs import MASKING
from propeller.errors import UserError

ALONE, MIXED, SEQUENTIAL, CONTINUAL = "masking alone", "all from the start", "one after another", "continual"
WORDS, PIECES = "masking words alone", "masking pieces alone"
WAYS = {ALONE: "continual", MIXED: "multitask", SEQUENTIAL: "sequential", CONTINUAL: "continual"}
SCHEDULES = {**WAYS, WORDS: "continual", PIECES: "continual"}
UNITS = {ALONE: "entity", WORDS: "word", PIECES: "basic"}  # of masking alone: --mask_units of train.py
# Name in a task list -> its id there: the place in pretrain.TASKS.
IDS = {
    MASKING: 0,
    "capitalization": 1,
    "token_document_relation": 2,
    "sentence_reordering": 3,
    "sentence_distance": 4,
}
# Accuracy in points without reading the text. Reordering: by the number of segments, which tells the group of orders.
CHANCE = {
    "capitalization": 50.0,
    "token_document_relation": 50.0,
    "sentence_reordering": 33.3,
    "sentence_distance": 33.3,
}


class Plan(NamedTuple):
    """Steps of every way.

    Attributes: learnt: the tasks, in the order in which they enter; steps: of each way, of all its tasks together.
    """

    learnt: tuple
    steps: int

    def check(self):
        """Raises UserError: the stages do not divide the steps, or the tasks are not as the ways need them."""
        if len(self.learnt) < 2 or len(set(self.learnt)) < len(self.learnt) or self.learnt[0] != MASKING:
            raise UserError(
                f"--learn {' '.join(self.learnt)}: give {MASKING} and at least one other task after it, each once"
            )
        if self.steps % self._units or self.steps < 1:
            raise UserError(f"--steps {self.steps}: give a multiple of {self._units}, which the stages divide")

    @property
    def _units(self) -> int:
        return len(self.learnt) * (len(self.learnt) + 1)

    @property
    def unit(self) -> int:
        """Steps between looks at the held-out text, and the least that a task has in a stage."""
        return self.steps // self._units

    def stages(self, method) -> dict:
        """task -> (its first stage, steps of that stage and of those after it), for a task list."""
        if method in UNITS:
            return {MASKING: (1, [self.steps])}
        count = len(self.learnt)
        return {
            name: (number, [self.unit * (number + 1), *[self.unit] * (count - number)])
            for number, name in enumerate(self.learnt, 1)
        }

    def borders(self, method) -> list:
        """Steps at which the stages of a way end."""
        count = len(self.learnt)
        if method == MIXED:
            return [self.steps]
        if method == SEQUENTIAL or method in UNITS:  # masking alone is looked at as often
            return [self.steps // count * (number + 1) for number in range(count)]
        given, ends = self.stages(method), [0]
        for stage in range(1, count + 1):
            counts = [counts[stage - first] for first, counts in given.values() if 0 <= stage - first < len(counts)]
            ends.append(ends[-1] + sum(counts))
        return ends[1:]

    def look(self, part) -> int:
        """The step of the last look in the first `part` of the steps."""
        return int(self._units * part) * self.unit
