"""The flags that a sweep tries, and between which values.

    space = read_space("space.json", task_flags)
    values = {name: entry.suggest(trial) for name, entry in space.items()}     # trial: optuna's

The file is a JSON object of flags without their dashes. A list names the values to choose from; ``{"low": 1e-5, "high":
1e-4, "log": true}`` is a range, of whole numbers where the flag has them, with ``"step"`` on a grid.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, fields
from typing import Any

from finetune.training.args import GROUPS
from propeller.errors import UserError
from propeller.json_file import read_json

NOT_TRIED = frozenset(("checkpoints", "overwrite", "do_train", "do_val", "dev_set", "best_metric", "log_file", "model"))


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    name: str
    values: tuple[Any, ...]

    def suggest(self, trial: Any) -> Any:
        """The value of an optuna ``Trial``."""
        return trial.suggest_categorical(self.name, list(self.values))


@dataclass(frozen=True)
class Range:
    """A number from ``low`` to ``high``, both included."""

    name: str
    low: float
    high: float
    whole: bool = False
    log: bool = False
    step: float | None = None

    def suggest(self, trial: Any) -> Any:
        """The value of an optuna ``Trial``."""
        if self.whole:
            return trial.suggest_int(self.name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)


def read_space(path: str, task_flags: type | None) -> dict[str, Choice | Range]:
    """The space of a file.

    Raises:
        UserError: the file cannot be read; a name is no flag, or one that a sweep sets itself; an entry is neither a
            list nor a range.
    """
    content = read_json(
        path,
        absent="give a JSON file of flags and their values",
        remedy="give an object of flags and their values",
    )
    if not isinstance(content, dict) or not content:
        raise UserError(f'{path}: give an object of flags and their values, as in {{"batch_size": [16, 32]}}')
    groups = [*GROUPS.values(), *([task_flags] if task_flags else [])]
    known = {entry.name: entry for group in groups for entry in fields(group)}
    return {name: _entry(path, name, value, known) for name, value in content.items()}


def _entry(path: str, name: str, value: Any, known: dict[str, Field]) -> Choice | Range:
    where = f"{path}: {name}"
    if name not in known:
        raise UserError(f"{where}: is no flag of the task: give its name without the dashes")
    if name in NOT_TRIED:
        raise UserError(f"{where}: is the same for all trials: give it as a flag")
    if isinstance(value, list) and value and all(isinstance(each, (bool, int, float, str)) for each in value):
        return Choice(name, tuple(value))
    if not isinstance(value, dict) or not {"low", "high"} <= set(value) <= {"low", "high", "log", "step"}:
        raise UserError(f'{where}: give a list of values, or {{"low": …, "high": …}} with "log" or "step"')
    return _range(where, name, value, known[name].type)


def _range(where: str, name: str, value: dict[str, Any], kind: Any) -> Range:
    numbers = [value["low"], value["high"], value.get("step", 1)]
    if any(isinstance(each, bool) or not isinstance(each, (int, float)) for each in numbers):
        raise UserError(f"{where}: low, high and step must be numbers")
    whole, log, step = str(kind).startswith("int"), value.get("log", False), value.get("step")
    if not (whole or str(kind).startswith("float")):
        raise UserError(f"{where}: is no number: give a list of its values")
    if whole and any(float(each) != int(each) for each in numbers):
        raise UserError(f"{where}: low, high and step must be whole numbers")
    if not isinstance(log, bool) or value["low"] > value["high"] or (step is not None and (step <= 0 or log)):
        raise UserError(f"{where}: low must not be above high, step above 0, log true or false and without step")
    if log and value["low"] <= 0:
        raise UserError(f"{where}: with log, low must be above 0")
    return Range(name, value["low"], value["high"], whole, log, step)


def plain_space(space: dict[str, Choice | Range]) -> dict[str, Any]:
    """The space as a JSON-able dict, for the record of a sweep."""
    return {name: {key: list(value) if isinstance(value, tuple) else value for key, value in vars(entry).items()}
            for name, entry in space.items()}  # fmt: skip
