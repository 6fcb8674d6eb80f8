"""Means of the weights of many steps: what is evaluated, predicted with and stored in place of the last weights.

    model.optimizer = Averaged(optimizer, ema_rate(0.999))      # or swa_rate(start=900, every=50)
    with averaged(learner):                                     # the scope's weights are the means
        learner.evaluate(batches)

The train Program keeps a mean beside each trained weight: after update ``step`` it is ``(1 - a) * mean + a * weight``,
with ``a`` the rate of the step. A rate depends on the number of the step alone, so the means are all the state there
is. A checkpoint has the means as its weights; the weights that training goes on from are beside the moments.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

if TYPE_CHECKING:
    from propeller.train.trainer import Learner

MEAN = "@MEAN"  # ends the names of the means in a scope
TRAINED = "@TRAINED"  # ends the names, in a checkpoint's optimiser state, of the weights that are averaged


def ema_rate(decay: float) -> Callable[[int], float]:
    """The rates of an exponential moving average (Polyak & Juditsky 1992; Tarvainen & Valpola 2017, arXiv 1703.01780).

    The decay of update ``step``, from 0, is ``min(decay, step / (step + 10))``: the first mean is the first weights,
    and a short run does not keep those it began with.
    """
    return lambda step: 1.0 - min(decay, step / (step + 10.0))


def swa_rate(start: int, every: int = 1) -> Callable[[int], float]:
    """The rates of stochastic weight averaging (Izmailov et al. 2018, arXiv 1803.05407, algorithm 1).

    Args:
        start: the update, from 0, after which the first weights are taken; before it the mean is the last weights.
        every: updates from one set of weights to the next.
    """

    def rate(step: int) -> float:
        if step < start:
            return 1.0
        taken, left = divmod(step - start, every)
        return 0.0 if left else 1.0 / (taken + 1)

    return rate


class Averaged:
    """An optimiser, see ``propeller.train.model.Model.optimizer``, that keeps means of what it updates.

    Args:
        inner: the optimiser.
        rate: the weight of the newest weights in the means, by the number of the update, from 0.
    """

    def __init__(self, inner: Any, rate: Callable[[int], float]) -> None:
        self.inner, self.rate = inner, rate

    def apply(self, params_grads: Sequence[tuple[Any, Any]], skip: paddle.Tensor | None = None) -> None:
        """Append the update, then that of the means; ``skip``: see the optimiser's own."""
        self.inner.apply(params_grads, skip)
        rate = paddle.static.data("mean_rate", [1], "float32")
        if skip is not None:
            rate = rate * (1.0 - skip.astype("float32"))
        for parameter, _ in params_grads:
            mean = paddle.pir.core.create_persistable_value(
                "float32", parameter.shape, parameter.name + MEAN, initializer=paddle.nn.initializer.Constant(0.0)
            )
            paddle.assign(mean * (1.0 - rate) + parameter * rate, mean)

    def learning_rate(self, step: int) -> float:
        """The optimiser's own."""
        return self.inner.learning_rate(step)

    def feed(self, step: int) -> dict[str, np.ndarray]:
        """What the optimiser is fed, and the rate."""
        return {**self.inner.feed(step), "mean_rate": np.array([self.rate(step)], "float32")}


def names_of(learner: Learner) -> list[str]:
    """The names of the weights that have a mean, in a learner that trains."""
    return [name[: -len(MEAN)] for name in learner.graphs.optimizer_variables() if name.endswith(MEAN)]


@contextlib.contextmanager
def averaged(learner: Learner) -> Iterator[None]:
    """The scope's weights are the means in here; nothing happens where there are none."""
    names = names_of(learner)
    trained = learner.read(names)
    settle(learner)
    try:
        yield
    finally:
        learner.write(trained)


def settle(learner: Learner) -> None:
    """Make the means the weights of the scope: at the end of training."""
    means = learner.read(name + MEAN for name in names_of(learner))
    learner.write({name[: -len(MEAN)]: array for name, array in means.items()})


Arrays = Mapping[str, np.ndarray]


def stored(parameters: Arrays, optimizer_state: Arrays) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Weights and optimiser state, name -> array, as a checkpoint has them: its weights are the means."""
    means = {name[: -len(MEAN)]: array for name, array in optimizer_state.items() if name.endswith(MEAN)}
    state = {name: array for name, array in optimizer_state.items() if not name.endswith(MEAN)}
    trained = {name + TRAINED: parameters[name] for name in means}
    return {**parameters, **means}, {**state, **trained}


def restored(parameters: Arrays, optimizer_state: Arrays) -> dict[str, np.ndarray]:
    """All variables of a checkpoint, name -> array, as training has them: what ``stored`` made undone."""
    trained = {name[: -len(TRAINED)]: array for name, array in optimizer_state.items() if name.endswith(TRAINED)}
    state = {name: array for name, array in optimizer_state.items() if not name.endswith(TRAINED)}
    return {**parameters, **state, **{name + MEAN: parameters[name] for name in trained}, **trained}
