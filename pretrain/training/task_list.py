"""The task list of a run: which tasks are learnt together, from what, for how long. JSON:

    {"tasks": [
      {"name": "knowledge_masking", "task_id": 0, "head": {"next_sentence": false},
       "filelist": "train/knowledge_masking/filelist", "valid_filelist": "valid/knowledge_masking/filelist",
       "weight": 1.0, "start_stage": 1, "steps": [20000, 10000, 10000, 10000]}, ...]}

    entries = read_task_list("config/task_list_en.json", data="output/corpus", scale=0.01)

name: of pretrain.TASKS. task_id: the row of the task embedding. head: of knowledge masking {"next_sentence": whether
pairs are told too}, of a task with classes {"classes": how many}. filelist: of its training shards, or a list with one
filelist for each of its "steps": short instances first, say. weight: what its loss is multiplied by before the
backward pass. start_stage: the stage in which it enters, from 1. steps: of that stage and of each after it. Filelists
(test_filelist too) count from the data folder if one is given, else from the working folder, else from the list's.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from ernie.config import ErnieConfig
from pretrain import TASKS
from propeller.errors import UserError
from propeller.json_file import beside, read_tasks

log = logging.getLogger("ernie.pretrain")
FILELISTS = ("filelist", "valid_filelist", "test_filelist")  # the first may be several


@dataclass(frozen=True)
class Entry:
    """A task of a run."""

    name: str
    task_id: int
    filelist: str | tuple[str, ...] = ""
    valid_filelist: str = ""
    test_filelist: str = ""
    head: dict = field(default_factory=dict)
    weight: float = 1.0
    start_stage: int = 1
    steps: tuple = ()

    @property
    def filelists(self) -> tuple[str, ...]:
        """Those of training: one for all its stages, or one for each."""
        return (self.filelist,) if isinstance(self.filelist, str) else self.filelist


KINDS = {
    "name": str, "task_id": int, "filelist": (str, list), "valid_filelist": str, "test_filelist": str, "head": dict,
    "weight": (int, float), "start_stage": int, "steps": list,
}  # fmt: skip
SAID = {
    "name": "a name in quotes", "task_id": "a whole number", "filelist": "a path in quotes, or a list, one per stage",
    "valid_filelist": "a path in quotes", "test_filelist": "a path in quotes", "head": 'an object, as {"classes": 3}',
    "weight": "a number", "start_stage": "a whole number", "steps": "a list with the steps of each stage, as [1000]",
}  # fmt: skip
NEEDED = ("name", "task_id", "filelist", "steps")


def read_task_list(path: str | Path, data: str | Path | None = None, scale: float = 1.0) -> list[Entry]:
    """The entries of a task list.

    Args:
        data: folder that filelists count from.
        scale: what all steps are multiplied by, rounded, to 1 at least where there were any.

    Raises:
        UserError: naming the file, the task and what to do.
    """
    tasks = read_tasks(path, absent="give a task list, as config/task_list_en.json")
    entries = []
    for number, given in enumerate(tasks, 1):
        entry = _entry(f"{path}, task {number}", given)
        steps = tuple(max(1, round(count * scale)) if count else 0 for count in entry.steps)
        places = {name: _place(path, data, getattr(entry, name)) for name in FILELISTS[1:]}
        training = tuple(_place(path, data, name) for name in entry.filelists)
        places["filelist"] = training[0] if isinstance(entry.filelist, str) else training
        entries.append(replace(entry, steps=steps, **places))
    _check_all(path, entries)
    return entries


def _entry(where, given):
    """The ``Entry`` of an object of the list. Raises UserError."""
    if not isinstance(given, dict):
        raise UserError(f"{where}: is {given!r}; give an object with {', '.join(NEEDED)}")
    where += f" ({given.get('name')!r})"
    _check_keys(where, given)
    if given["name"] not in TASKS:
        raise UserError(f"{where}: there is no such task; known are {', '.join(TASKS)}")
    filelist, steps = given["filelist"], given["steps"]
    _check_steps(where, steps)
    _check_filelists(where, filelist, len(steps))
    if given["task_id"] < 0 or given.get("start_stage", 1) < 1 or not 0 < given.get("weight", 1.0) < math.inf:
        raise UserError(f"{where}: task_id counts from 0, start_stage from 1, and a weight is above 0; correct them")
    filelist = tuple(filelist) if isinstance(filelist, list) else filelist
    return Entry(**{**given, "filelist": filelist, "steps": tuple(steps), "weight": float(given.get("weight", 1.0))})


def _check_keys(where, given):
    """Raise UserError for a key that is missing or unknown, or a value of another kind."""
    for name in NEEDED:
        if name not in given:
            raise UserError(f'{where}: has no "{name}"; add it')
    for name, value in given.items():
        if name not in KINDS:
            known = ", ".join(field.name for field in fields(Entry))
            raise UserError(f'{where}: "{name}" is unknown; known are {known}')
        if not isinstance(value, KINDS[name]) or isinstance(value, bool):
            raise UserError(f'{where}: "{name}" is {value!r}; give {SAID[name]}')


def _check_steps(where, steps):
    if any(not isinstance(count, int) or isinstance(count, bool) or count < 0 for count in steps):
        raise UserError(f'{where}: "steps" is {steps}; give a whole number, 0 or more, for each stage')
    if not sum(steps):
        raise UserError(f'{where}: its "steps" sum to zero; give it some, or take it out of the list')


def _check_filelists(where, filelist, stages):
    if not filelist or not all(filelist):
        raise UserError(f'{where}: its "filelist" is empty; give the path of the list of its shards')
    if not all(isinstance(name, str) for name in filelist):
        raise UserError(f'{where}: "filelist" is {filelist!r}; give paths of lists of its shards')
    if isinstance(filelist, list) and len(filelist) != stages:
        raise UserError(f'{where}: has {len(filelist)} filelists for {stages} stages; give as many as "steps"')


def _place(path, data, name):
    if not name or Path(name).is_absolute():
        return name
    return str(Path(data) / name) if data else beside(path, name)


def _check_all(path, entries):
    for key, what in (("name", "are named"), ("task_id", "have the id")):
        seen = {}
        for entry in entries:
            value = getattr(entry, key)
            if value in seen:
                raise UserError(f"{path}: {seen[value]} and {entry.name} both {what} {value!r}; give each its own")
            seen[value] = entry.name
    last = max(entry.start_stage + len(entry.steps) for entry in entries)
    for stage in range(1, last):
        places = [(entry.steps, stage - entry.start_stage) for entry in entries]
        if not sum(steps[at] for steps, at in places if 0 <= at < len(steps)):
            raise UserError(f"{path}: the steps of stage {stage} sum to zero; give one task steps in it")


def check_ids(entries: Sequence[Entry], config: ErnieConfig, source: str | Path, path: str | Path) -> None:
    """Whether the configuration has an embedding for every task; warns where it has none at all.

    Args:
        entries: of the task list.
        config: of the encoder.
        source: where the configuration stands, for messages.
        path: where the task list stands, for messages.

    Raises:
        UserError: a task id is beyond it.
    """
    if not config.use_task_id and len(entries) > 1:
        log.warning(
            "%s has no task embeddings: the encoder is not told which task a batch is of; ERNIE 2.0's are had with "
            '"use_task_id": true and "task_type_vocab_size" above %d',
            source,
            max(entry.task_id for entry in entries),
        )
    for entry in entries if config.use_task_id else ():
        if entry.task_id >= (config.task_type_vocab_size or 0):
            raise UserError(
                f"{path}: task {entry.name}: its task_id {entry.task_id} is outside the {config.task_type_vocab_size} "
                f"task embeddings of {source} (task_type_vocab_size): give a lower task_id, or more embeddings"
            )
