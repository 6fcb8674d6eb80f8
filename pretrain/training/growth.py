"""Weights and moments of a checkpoint for a network that has more task embeddings than it had.

arrays, report, moments = load_grown("run/last", shapes, config, seed=1)
check_growth("run/last", stored_tasks, {"question": 7}, plan.before(step), "my_tasks.json")

A task that is added to a running model takes a row of its own in the task embedding. Where the table has more rows than
the checkpoint's, the stored ones stay as they are and the others are drawn as a new model's are, with moments of 0. A
checkpoint without a task embedding (ERNIE 1.0) gets a new one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Callable

import numpy as np

from ernie.checkpoint import LoadReport, list_params, load_params, scan_params
from ernie.config import ErnieConfig
from propeller.errors import UserError

TABLE = "task_embedding"


def load_grown(
    source: str | Path,
    shapes: Mapping[str, tuple[int, ...]],
    config: ErnieConfig,
    seed: int,
    unused: Collection[str] = (),
) -> tuple[dict[str, np.ndarray], LoadReport, Callable[[dict], dict]]:
    """Read the parameters that a network of ``shapes`` (name -> shape) has; ``unused`` ones may be missing.

    Returns:
        (name -> float32 array, without what a new network has to initialise; ``LoadReport``; a function that makes
        moments of that shape, name -> array, from those stored with the checkpoint).

    Raises:
        UserError: as ``load_params``.
    """
    wanted = dict(shapes)
    stored = scan_params(source, [name for name in list_params(source)[0] if name == TABLE])
    rows = wanted[TABLE][0] if TABLE in wanted else 0
    had = stored[TABLE].shape[0] if TABLE in stored else 0
    fewer = 0 < had < rows and tuple(stored[TABLE].shape[1:]) == tuple(wanted[TABLE][1:])
    if fewer:
        wanted[TABLE] = tuple(stored[TABLE].shape)
    elif rows and not had:
        del wanted[TABLE]
    arrays, report = load_params(source, wanted, unused=unused)
    if fewer:
        new = _drawn((rows - had, *wanted[TABLE][1:]), config.initializer_range, seed)
        arrays[TABLE] = np.concatenate([arrays[TABLE], new])

    def grown(name, array):
        if fewer and name.startswith(f"{TABLE}_") and array.shape == tuple(wanted[TABLE]):
            return np.concatenate([array, np.zeros((rows - had, *array.shape[1:]), array.dtype)])
        return array

    return arrays, report, lambda moments: {name: grown(name, array) for name, array in moments.items()}


def check_growth(
    source: str | Path,
    stored: Mapping[str, dict],
    tasks: Mapping[str, int],
    before: Mapping[str, int],
    listed: str | Path,
) -> None:
    """Whether the tasks of a list can go on from a checkpoint.

    Args:
        source: the checkpoint.
        stored: name -> ``task_id`` (and more) of its tasks.
        tasks: name -> id of the list's.
        before: how many steps each has in the plan up to the checkpoint's step.
        listed: the list's path.

    Raises:
        UserError: a task has another id than it had, or that of another one; or steps of a new task would be passed
            over.
    """
    rows = {facts["task_id"]: name for name, facts in stored.items()}
    for name, task_id in tasks.items():
        if name in stored and stored[name]["task_id"] != task_id:
            raise UserError(
                f"{listed}: {name} has the id {task_id}, but {stored[name]['task_id']} in {source}, whose embedding "
                "was learnt for it; give it that"
            )
        if name not in stored and task_id in rows:
            raise UserError(
                f"{listed}: {name} has the id {task_id}, that of {rows[task_id]} in {source}; give it one of its own"
            )
        if name not in stored and before.get(name):
            raise UserError(
                f"{listed}: {name}, which {source} does not know, has {before[name]} of its steps before the one at "
                "which that goes on; they would be left out: let it enter in a stage after those that were trained"
            )


def _drawn(shape, deviation, seed):
    """Normal numbers cut at two deviations, as new weights are."""
    random = np.random.Generator(np.random.PCG64([seed, shape[0]]))
    numbers = random.standard_normal(shape)
    while (wide := np.abs(numbers) > 2).any():
        numbers[wide] = random.standard_normal(int(wide.sum()))
    return (numbers * deviation).astype(np.float32)
