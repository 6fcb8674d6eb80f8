"""Weights and moments of a checkpoint for a network that has more task embeddings than it had.

arrays, report, moments = load_grown("run/last", shapes, config, seed=1)

A task that is added to a running model takes a row of its own in the task embedding. Where the table has more rows than
the checkpoint's, the stored ones stay as they are and the others are drawn as a new model's are, with moments of 0. A
checkpoint without a task embedding (ERNIE 1.0) gets a new one.
"""

from __future__ import annotations

import numpy as np

from ernie.checkpoint import list_params, load_params, scan_params

TABLE = "task_embedding"


def load_grown(source, shapes, config, seed):
    """Read the parameters that a network of ``shapes`` (name -> shape) has.

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
    arrays, report = load_params(source, wanted)
    if fewer:
        new = _drawn((rows - had, *wanted[TABLE][1:]), config.initializer_range, seed)
        arrays[TABLE] = np.concatenate([arrays[TABLE], new])

    def grown(name, array):
        if fewer and name.startswith(f"{TABLE}_") and array.shape == tuple(wanted[TABLE]):
            return np.concatenate([array, np.zeros((rows - had, *array.shape[1:]), array.dtype)])
        return array

    return arrays, report, lambda moments: {name: grown(name, array) for name, array in moments.items()}


def _drawn(shape, deviation, seed):
    """Normal numbers cut at two deviations, as new weights are."""
    random = np.random.Generator(np.random.PCG64([seed, shape[0]]))
    numbers = random.standard_normal(shape)
    while (wide := np.abs(numbers) > 2).any():
        numbers[wide] = random.standard_normal(int(wide.sum()))
    return (numbers * deviation).astype(np.float32)
