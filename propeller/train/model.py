"""The contract between a task and the loop.

class MyModel(propeller.Model):
    inputs = (Input("x", [None, 8], "float32"), Input("y", [None, 1], "int64", label=True))
    def forward(self, features): ...
    def loss(self, predictions, label): ...
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import paddle
from paddle import nn

if TYPE_CHECKING:
    from propeller.metrics import Metric


class RunMode(enum.IntEnum):
    """What a Program is built for."""

    TRAIN = 1
    PREDICT = 2
    EVAL = 3


class Input(NamedTuple):
    """One array of a batch: its name, shape (None where it varies), dtype, and whether ``forward`` may not see it."""

    name: str
    shape: list
    dtype: str
    label: bool = False


class Model(nn.Layer):
    """A network with its loss, gradients and metrics, built once into each mode's Program.

    Attributes:
        inputs: tuple of ``Input``: what a batch holds.
        optimizer: in train mode, an object with ``apply(params_grads, skip=None)`` (``skip``: a bool [1], no update if
            true), ``feed(step)`` and ``learning_rate(step)``.
        adversary: None, or in train mode an object with ``backward(loss, again)``, which is taken in place of
            ``backward``; ``again()`` runs the network once more on the batch and returns its loss.
    """

    inputs: tuple[Input, ...] = ()
    optimizer: Any = None
    adversary: Any = None

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """features: dict of the inputs that are no labels -> dict of named predictions, first axis the batch."""
        raise NotImplementedError

    def loss(self, predictions: dict[str, Any], label: dict[str, Any]) -> Any:
        """predictions: what ``forward`` gave; label: dict of the label inputs -> a scalar, the mean over the batch."""
        raise NotImplementedError

    def loss_weight(self, batch: dict[str, np.ndarray]) -> int:
        """How many things the loss of a batch (name -> array) is the mean over: its rows, unless a subclass says else.

        Batches of one step, of accumulated gradients or of several processes, are weighted by it, so that the step is
        that of the one batch they make together.
        """
        return len(next(iter(batch.values())))

    def backward(self, loss: Any) -> list[tuple[Any, Any]]:
        """Append the backward pass; returns pairs of parameter and gradient."""
        return paddle.static.append_backward(loss)

    def segments(self) -> Iterable[paddle.nn.Layer]:
        """The layers whose inside need not be kept for the backward pass where memory is to be saved."""
        return ()

    def metrics(self, predictions: dict[str, Any], label: dict[str, Any]) -> dict[str, Metric]:
        """dict of name -> ``propeller.metrics.Metric`` over the arrays to be fetched."""
        return {}
