"""The flags of multi-task fine-tuning and the list of its tasks. JSON:

    {"tasks": [
      {"name": "sentiment", "task": "classify", "train_set": "sst2/train.tsv", "dev_set": "sst2/dev.tsv", "weight": 2},
      {"name": "names", "task": "sequence_label", "train_set": "ner/train.tsv", "dev_set": "ner/dev.tsv"}, ...]}

    args = parse("python -m finetune multitask", sys.argv[1:])
    args.entries[0].args                    # finetune.training.args.Args of the first task

``name``: what its files and weights are called. ``task``: of ``finetune.TASKS``. ``weight``: its share of the steps
beside the others'; where none has one, tasks have as many steps as their rows make. All else are flags of the task, of
its files and of its loss; flags of the command line hold for every task. Files count from --data_dir, or without it
from the working directory, else from the list's. ``from_python`` takes the same tasks as dicts.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from ernie.model_folder import look_into
from finetune import TASKS, flags_of
from finetune.tables import LabelledTableFlags
from finetune.training.args import GROUPS, Args, RunArgs, build_parser, from_keywords
from finetune.training.effects import check_evaluations, evaluates
from finetune.training.keywords import joined
from finetune.training.options import LossArgs
from propeller.errors import UserError
from propeller.flag_names import meant
from propeller.flags import flag, read_flags, split
from propeller.json_file import beside, read_tasks

FILES = ("train_set", "dev_set", "test_set", "label_map_config")
OF_A_TASK = (
    *FILES, "test_save", "max_train_rows", "max_seq_len", "task_id", "num_labels", "batch_size", "predict_batch_size",
    "best_metric", *(entry.name for group in (LabelledTableFlags, LossArgs) for entry in fields(group)),
)  # fmt: skip
# On the command line these would be those of every task, or mean one task alone.
ONLY_OF_A_TASK = ("train_set", "dev_set", "test_set", "label_map_config", "num_labels", "best_metric", "max_train_rows",
                  "class_weights")  # fmt: skip
TAKEN = ("best", "last", "events", "log", "token_cache", "layer_norm")


@dataclass(frozen=True)
class MultitaskArgs:
    """several tasks: what is learnt together"""

    tasks: str = flag(None, "JSON file that lists the tasks, their files and flags", required=True)
    data_dir: str | None = flag(
        None, "directory that the paths in the list count from [the working directory, else that of the list]"
    )


class Entry(NamedTuple):
    """A task of the list. weight: its share of the steps, None: by its rows; args: its flags."""

    name: str
    task: str
    weight: float | None
    args: Args


class ManyArgs(NamedTuple):
    """The flags of a run. path: of the list; entries: its tasks."""

    path: str
    entries: list[Entry]


def parse(prog: str, argv: Sequence[str]) -> ManyArgs:
    """Flags from a command line, and the list that it names.

    Raises:
        UserError: a flag or the list is wrong; flags that do not go together.
    """
    example = "--tasks tasks.json --model MODEL --for_cn false --checkpoints output/several"
    parser = build_parser(prog, "Fine-tune one encoder on several tasks.", MultitaskArgs, example)
    parser.usage = f"{prog} --tasks PATH (--model DIR | --ernie_config_path PATH --vocab_path PATH) [flags]"
    values = read_flags(parser, argv)
    shared = {name: value for name, value in values.items() if name in _known() and value is not MISSING}
    path = values["tasks"]
    return ManyArgs(path, read_list(path, _for_all(path, shared), values["data_dir"]))


def from_python(given: Mapping[str, Any]) -> ManyArgs:
    """Flags from keyword arguments: ``tasks``, the path of a list or its tasks as dicts, and flags for every task.

    Raises:
        UserError: an unknown name; see ``parse``.
    """
    shared = {name: value for name, value in given.items() if value is not None}
    tasks, data_dir = shared.pop("tasks", None), shared.pop("data_dir", None)
    if tasks is None:
        raise UserError("tasks is missing: give the tasks as dicts, or the path of a JSON file that lists them")
    for name in shared:
        if name not in _known():
            near = meant(name, _known())
            raise UserError(f"unknown argument {name}: {f'did you mean {near}?' if near else 'no such flag'}")
    shared = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in shared.items()}
    shared = _for_all("tasks", {"checkpoints": RunArgs.checkpoints, "do_train": True, **shared})
    if isinstance(tasks, (str, os.PathLike)):
        return ManyArgs(os.fspath(tasks), read_list(os.fspath(tasks), shared, data_dir))
    plain = [
        {key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in task.items()}
        if isinstance(task, Mapping)
        else task
        for task in tasks
    ]
    return ManyArgs("tasks", _entries("tasks", plain, shared, data_dir))


def _known():
    """name -> field of every flag that is not of one task alone."""
    return {entry.name: entry for group in GROUPS.values() for entry in fields(group)}


def _for_all(path, shared):
    """The flags of every task, checked; with --model, those of its parts."""
    for name in ONLY_OF_A_TASK:
        if shared.get(name) not in (None, ""):
            raise UserError(f"--{name} is of one task: give it in {path}")
    _check_shared(shared)
    if shared.get("model"):  # of a fine-tuned checkpoint, too, the encoder alone: heads are new
        shared = {**shared, **look_into(shared["model"]).filled(shared, "init_pretraining_params")}
    return shared


def _check_shared(shared: Mapping[str, Any]) -> None:
    if shared.get("init_checkpoint"):
        raise UserError(
            "--init_checkpoint is of one task: take its encoder with --init_pretraining_params, heads are new"
        )
    if not shared.get("do_train"):
        raise UserError(
            "--do_train false: evaluate the checkpoint of one task, CHECKPOINTS/NAME/best, with python -m finetune TASK"
        )
    if shared.get("ema_decay") or shared.get("swa_start", 1.0) < 1:
        raise UserError("--ema_decay and --swa_start average the weights of one task's steps: leave them out")
    if shared.get("eval_strategy") == "epoch" or shared.get("save_strategy") in ("epoch", "both"):
        raise UserError(
            "several tasks have no common end of an epoch: give --validation_steps and --save_steps, and leave "
            "--eval_strategy and --save_strategy out"
        )


def read_list(path: str, shared: Mapping[str, Any], data_dir: str | os.PathLike[str] | None = None) -> list[Entry]:
    """The tasks of a list.

    Args:
        path: the file.
        shared: name -> value of the flags that hold for every task.
        data_dir: where paths count from; None: the working directory, else the folder of the list.

    Raises:
        UserError: naming the file, the task and what to do.
    """
    tasks = read_tasks(path, absent="give a list of tasks", name=f"--tasks {path}")
    return _entries(path, tasks, shared, data_dir)


def _entries(path, tasks, shared, data_dir):
    if not tasks:
        raise UserError(f"{path}: there is none: give one task or more")
    if data_dir is not None and not Path(data_dir).is_dir():
        raise UserError(f"--data_dir {data_dir}: no such directory; give the one that the paths of {path} count from")
    entries = [_entry(path, number, given, shared, data_dir) for number, given in enumerate(tasks, 1)]
    if not any(evaluates(entry.args) for entry in entries):
        check_evaluations(entries[0].args)
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{path}: two tasks have the name {name!r}; give each its own")
    weighted = [entry.weight is not None for entry in entries]
    if any(weighted) and not all(weighted):
        name = names[weighted.index(False)]
        raise UserError(f"{path}: {name} has no weight and others have: give every task one, or none")
    return entries


def _entry(path, number, given, shared, data_dir):
    """The ``Entry`` of an object of the list. Raises UserError."""
    where = f"{path}, task {number}"
    _check_form(where, given)
    name, task, weight = given["name"], given["task"], given.get("weight")
    where = f"{where} ({name})"
    _check_declaration(where, name, task, weight)
    group = flags_of(task).task
    values = {key: value for key, value in given.items() if key not in ("name", "task", "weight")}
    try:
        values = _joined(values, task, group)
        for key in FILES:
            if isinstance(values.get(key), str):
                values[key] = ",".join(_place(path, part, data_dir) for part in split(values[key]))
        values = _with_test_save(values, name, shared["checkpoints"])
        args = from_keywords({**shared, **values}, group, alone=False)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return Entry(name, task, None if weight is None else float(weight), args)


def _check_form(where, given):
    """Raise UserError where an entry is no object, or lacks a text that every task has."""
    if not isinstance(given, dict):
        raise UserError(f'{where}: give an object such as {{"name": ..., "task": ..., "train_set": ...}}')
    for key in ("name", "task", "train_set"):
        if not isinstance(given.get(key), str):
            raise UserError(f'{where}: "{key}" is missing or no text; add it')


def _check_declaration(where, name, task, weight):
    """Raise UserError for a name that cannot be a folder's and a weight's, an unknown task, or a wrong weight."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) or any(word in name for word in TAKEN) or "step_" in name:
        raise UserError(
            f'{where}: "name" must be letters, digits, _ and -, and hold none of step_, {", ".join(TAKEN)}; rename it'
        )
    if task not in TASKS:
        raise UserError(f"{where}: task {task!r} is unknown: give one of {', '.join(TASKS)}")
    if weight is not None and (
        isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < math.inf
    ):
        raise UserError(f'{where}: "weight" must be a number above 0, not {weight!r}')


def _joined(values, task, group):
    """The flags of an entry, lists as the command line has them. Raises UserError: a flag is not of one task."""
    own = {entry.name: entry for entry in (fields(group) if group else ())}
    for key in values:
        if key not in own and key not in OF_A_TASK:
            raise UserError(f'"{key}" is no flag of the task {task} or its files: leave it out')
        if key in own and own[key].metadata.get("facts", {}).get("tunes"):
            raise UserError(f"{key} is for a run of the task alone: leave it out")
    known = _known()
    return {key: joined(own.get(key) or known[key], value) for key, value in values.items()}


def _with_test_save(values, name, folder):
    """The flags with prediction files in the directory of the run, where there are test sets and none are named."""
    tests = len(split(values["test_set"])) if isinstance(values.get("test_set"), str) else 0
    if not tests or "test_save" in values:
        return values
    ends = [f"{name}_test.tsv" if tests == 1 else f"{name}_test_{number}.tsv" for number in range(1, tests + 1)]
    return {**values, "test_save": ",".join(str(Path(folder) / end) for end in ends)}


def _place(path, name, data_dir):
    return beside(path, name) if data_dir is None else str(Path(data_dir) / name)
