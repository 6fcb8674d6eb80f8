"""Small things the loop knows of batches.

turns(batches, run, asked), ends_epoch(position, epoch_size), blank(inputs), size_of(batch)
"""

import numpy as np


def turns(batches, run, asked):
    """What ``run`` makes of the batches, in lists that belong together: the windows of one rank's long sentences.

    The reason to stop, where ``asked`` gives one, stands in the place of what would have been made.
    """
    turn = []
    for batch, position in batches:
        turn.append(asked() or run(batch))
        if not getattr(position, "done", 0):
            yield turn
            turn = []
    if turn:
        yield turn


def ends_epoch(position, epoch_size):
    """Whether an epoch ends at a position: by its rows, or, where their number is not known, as the position says."""
    return position.ended if epoch_size is None else position.rows >= epoch_size


def blank(inputs):
    """A batch of zeros, one by one, for a process that never had another."""
    return {entry.name: np.zeros([size or 1 for size in entry.shape], entry.dtype) for entry in inputs}


def size_of(batch):
    """The number of examples of a batch."""
    return len(next(iter(batch.values())))


def metric_arrays(graph, fetched):
    """(metric, its arrays) of what a run of a Program fetched."""
    for name, metric in graph.metrics.items():
        yield metric, [fetched[f"{name}/{i}"] for i in range(len(metric.tensors))]
