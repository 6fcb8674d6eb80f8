"""Batches of several readers, those of one step from one of them: multi-task pre-training (ERNIE 2.0, section 3.2).

    mixture = Mixture({"knowledge_masking": one, "capitalization": other}, order=lambda step: ..., batches_per_step=2,
                      total_steps=50_000)
    for batch, position in PyReader(mixture.batches):       # position.task: whose batch it is
        ...                                                 # position.to_dict() goes into the checkpoint
    mixture.batches(start=position)                         # the batches that follow

Whose turn a step is, depends on the step alone, so all ranks agree and a restart needs no history but how far each
reader was. A reader that is not drawn opens no file.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Callable

from propeller.errors import UserError


@dataclass(frozen=True)
class MixturePosition:
    """Where to continue, the same for all ranks.

    Attributes:
        task: whose batch came last.
        step: whole steps given out since the run began.
        turn: batches of the next one given out.
        positions: task -> its reader's own position, as a dict; a task is in it from its first batch on.
        epoch, rows, file, path, mask_type: those of `task`'s reader, for the loop and the log.
        steps: batches of all tasks and ranks.
        ended: always False: the ends of the readers' epochs end no step.
    """

    task: str = ""
    step: int = 0
    turn: int = 0
    positions: Mapping[str, dict] = field(default_factory=dict)
    epoch: int = 0
    rows: int = 0
    steps: int = 0
    file: int = 0
    path: str = ""
    mask_type: str = ""
    ended: bool = False

    def to_dict(self) -> dict:
        """Of a JSON-able kind."""
        plain = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        return {**plain, "positions": {task: dict(place) for task, place in self.positions.items()}}


class Mixture:
    """Batches of several readers, a task a step.

    Args:
        readers: task -> reader: `batches(start)` gives pairs of a batch and a position, which has epoch, rows, steps,
            file, path, mask_type and `to_dict()`. Readers of several ranks are made with `even`, so that all take the
            same number of turns; a batch is None for a rank without one. They have to go on for as many epochs as the
            run may take.
        order: step, from 0 -> the task whose batches make it; it must say the same whenever it is asked.
        batches_per_step: batches of every rank that make one step.
        total_steps: the batches end after so many; None: never.
        first_step: the step that a run begins with which continues no mixture's position, but another run's steps.

    Attributes:
        num_files: task -> shards in its list.
    """

    def __init__(
        self,
        readers: Mapping[str, Any],
        order: Callable[[int], str],
        batches_per_step: int = 1,
        total_steps: int | None = None,
        first_step: int = 0,
    ) -> None:
        if not readers or batches_per_step < 1:
            raise ValueError(
                f"{len(readers)} readers, {batches_per_step} batches per step: a mixture needs one of each"
            )
        self.readers, self.order, self.batches_per_step = dict(readers), order, batches_per_step
        self.total_steps, self.first_step = total_steps, first_step

    @property
    def num_files(self) -> dict:
        return {task: reader.num_files for task, reader in self.readers.items()}

    @property
    def stats(self) -> dict:
        """What the readers counted, added up."""
        total: Counter[str] = Counter()
        for reader in self.readers.values():
            total.update(reader.stats)
        return dict(total)

    def fingerprint(self) -> dict:
        """task -> its reader's."""
        return {task: reader.fingerprint() for task, reader in self.readers.items()}

    def batches(
        self, start: MixturePosition | dict[str, Any] | None = None
    ) -> Iterator[tuple[dict | None, MixturePosition]]:
        """(batch, position after it) for every batch from `start` (None, a position or its dict) on.

        Closing it closes what it opened of the readers. Raises UserError: the position is of another mixture; a reader
        has come to its end.
        """
        return self._batches(self._place(start))

    def _place(self, value):
        if value is None:
            return MixturePosition(step=self.first_step)
        value = value.to_dict() if isinstance(value, MixturePosition) else value
        kinds = {each.name: type(getattr(MixturePosition(), each.name)) for each in dataclasses.fields(MixturePosition)}
        good = isinstance(value, dict) and all(type(value[name]) is kinds.get(name) for name in value)
        good = good and not any(type(n) is int and n < 0 for n in value.values())
        if not good or value.get("turn", 0) >= self.batches_per_step:
            raise UserError(
                f"reader position {value} does not belong to a mixture of tasks with {self.batches_per_step} batches "
                "per step; start anew"
            )
        unknown = sorted(value.get("positions", {}).keys() - self.readers.keys())
        if unknown:
            known = ", ".join(self.readers)
            raise UserError(f"the run has read of task {unknown[0]}, which is none of {known}; put it on the list")
        return MixturePosition(**value)

    def _batches(self, at):
        opened = {}
        try:
            step, positions = at.step, dict(at.positions)
            steps, turn = at.steps, at.turn
            while self.total_steps is None or step < self.total_steps:
                task = self.order(step)
                if task not in opened:
                    opened[task] = self.readers[task].batches(positions.get(task))
                while turn < self.batches_per_step:
                    batch, own = self._next(opened[task], task)
                    before = positions.get(task, {}).get("steps", 0)
                    positions = {**positions, task: own.to_dict()}
                    turn, steps = turn + 1, steps + own.steps - before
                    whole = turn == self.batches_per_step
                    yield batch, MixturePosition(
                        task, step + whole, 0 if whole else turn, positions,
                        own.epoch, own.rows, steps, own.file, own.path, own.mask_type,
                    )  # fmt: skip
                step, turn = step + 1, 0
        finally:
            for batches in opened.values():
                batches.close()

    def _next(self, batches, task):
        found = next(batches, None)
        if found is None:
            raise UserError(f"task {task}: its reader came to its end within the run; let it go on for more epochs")
        return found
