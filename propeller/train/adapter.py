"""Where 2019's form meets the training loop: all that differs between the two is translated here.

A data set of tuples becomes named batches with positions, a ``model_fn`` becomes a ``propeller.Model``, a Paddle
optimiser one that is fed its rate, a hook of 2019 one of the loop, and the loop's reports the results by data set.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Callable

import numpy as np
import paddle

from propeller import summary
from propeller.data import Dataset
from propeller.errors import UserError
from propeller.metrics import Metric
from propeller.train import hooks as loop_hooks
from propeller.train import model as loop_model
from propeller.train.batches import size_of
from propeller.train.model import Input, RunMode
from propeller.train.rates import Rates
from propeller.train.run_hooks import RunHook, RunState, tensors_of

if TYPE_CHECKING:
    from propeller.train.distribution import Ranks
    from propeller.train.state import TrainState
    from propeller.train.trainer import Learner

log = logging.getLogger("propeller.train")

NOT_METRICS = ("event", "step", "epoch", "file", "elapsed", "data_num")


# ---------------------------------------------------------------- data


def inputs_of(dataset: Dataset) -> tuple:
    """The ``Input``s of a data set, ``placeholder_<i>`` whatever its name: data sets share a mode's Program."""
    columns = enumerate(zip(dataset.data_shapes, dataset.data_types))
    return tuple(Input(f"placeholder_{i}", [None if n < 0 else n for n in shape], kind) for i, (shape, kind) in columns)


def batches_of(dataset: Dataset) -> Iterator[dict]:
    """name of placeholder -> array, checked against the data set's shapes.

    Raises:
        UserError: a batch has other columns than the first one.
    """
    inputs, name = inputs_of(dataset), dataset.name or "without a name"
    for number, element in enumerate(dataset):
        columns = element if isinstance(element, tuple) else (element,)
        if len(columns) != len(inputs):
            raise UserError(f"data set {name}, batch {number}: {len(columns)} columns, not {len(inputs)}")
        batch = {}
        for entry, column in zip(inputs, columns):
            array = np.asarray(column, entry.dtype)
            if array.ndim != len(entry.shape) or any(n not in (None, m) for n, m in zip(entry.shape, array.shape)):
                raise UserError(
                    f"data set {name}, batch {number}: {entry.name} has shape {list(array.shape)}, not "
                    f"{[-1 if n is None else n for n in entry.shape]}: set data_shapes, or batch it alike"
                )
            batch[entry.name] = array
        yield batch


@dataclass(frozen=True)
class Position:
    """Where training is in its data set: passes before this one, then batches per process and examples of all."""

    epoch: int = 0
    batches: int = 0
    rows: int = 0
    ended: bool = False

    def to_dict(self) -> dict:
        return asdict(self)


class TrainBatches:
    """The batches of a training data set with their positions, for ``Learner.train`` of the loop.

    Each process reads its own shard; where one ends first it has None until all have ended.
    """

    def __init__(self, dataset: Dataset, ranks: Ranks) -> None:
        self.dataset, self.ranks = dataset, ranks

    @contextlib.contextmanager
    def open(self, position: dict | None) -> Iterator[TrainBatches]:
        """From a position: after the batches before it, or, where the data set had ended, from its beginning."""
        begin = Position(**position) if position else Position()
        self._begin = Position(begin.epoch + 1) if begin.ended else begin
        self._iterator = itertools.islice(batches_of(self.dataset), self._begin.batches, None)
        yield self

    def queue_size(self) -> int:
        """Nothing is read ahead here; ``Dataset.buffered`` does that."""
        return 0

    def __iter__(self) -> Iterator[tuple]:
        at, batch = self._begin, next(self._iterator, None)
        while True:
            following = next(self._iterator, None) if batch is not None else None
            facts = self.ranks.all_gather([0 if batch is None else size_of(batch), following is not None])
            if not any(size for size, _ in facts):
                if at == self._begin and not at.batches:
                    raise UserError(f"data set {self.dataset.name or 'without a name'} is empty: nothing to train on")
                return
            ended = not any(more for _, more in facts)
            at = Position(at.epoch, at.batches + 1, at.rows + sum(size for size, _ in facts), ended)
            yield batch, at
            if ended:
                return
            batch = following


def dealt(dataset: Dataset, ranks: Ranks, steps: int | None = None, stop: Callable = bool) -> Iterator[tuple]:
    """(batch, None) of this process's share of a data set that every process has whole: every n-th batch."""
    for number, batch in enumerate(itertools.islice(batches_of(dataset), steps)):
        if stop():
            return
        if number % ranks.size == ranks.rank:
            yield batch, None


# ---------------------------------------------------------------- the model


class Maker:
    """Makes the loop's model of a ``model_fn`` for each mode; ``models`` keeps them."""

    def __init__(self, model_fn: Callable, params: Any, run_config: Any, datasets: dict, ranks: Ranks) -> None:
        self.model_fn, self.params, self.run_config, self.ranks = model_fn, params, run_config, ranks
        self.inputs = {mode: inputs_of(dataset) for mode, dataset in datasets.items()}
        self.models: dict = {}

    def __call__(self, mode: RunMode) -> loop_model.Model:
        self.models[mode] = AdaptedModel(self, mode)
        return self.models[mode]


class AdaptedModel(loop_model.Model):
    """A ``model_fn`` as a ``propeller.Model``."""

    def __init__(self, maker: Maker, mode: RunMode) -> None:
        super().__init__()
        self.maker, self.mode, self.inputs = maker, mode, maker.inputs[mode]
        self.spec: Any = None  # the ``ModelSpec``, once ``forward`` has made it
        self.summaries, self.program = summary.SummaryRecord(), None

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        self.program = paddle.static.default_main_program()
        with self._summaries():
            maker = self.maker
            spec = maker.model_fn(list(features.values()), self.mode, maker.params, maker.run_config)
        spec.mode = self.mode
        self.spec = spec.check()
        return {f"prediction_{i}": value for i, value in enumerate(spec.predictions or ())}

    def _summaries(self):
        return summary.collecting(self.summaries) if self.mode is RunMode.TRAIN else contextlib.nullcontext()

    def loss(self, predictions: dict[str, Any], label: dict[str, Any]) -> Any:
        return paddle.zeros([]) if self.spec.loss is None else self.spec.loss.reshape([])

    def metrics(self, predictions: dict[str, Any], label: dict[str, Any]) -> dict[str, Metric]:
        if self.mode is RunMode.TRAIN:
            return {}
        return {name: Named(name, metric) for name, metric in self.spec.metrics.items()}

    def backward(self, loss: Any) -> list[tuple[Any, Any]]:
        ops = paddle.static.default_main_program().global_block().ops
        made = self.spec.optimizer
        if made is not None and not hasattr(made, "apply_gradients"):
            with self._summaries():
                made = made(loss)
        new = paddle.static.default_main_program().global_block().ops[len(ops) :]
        if made is None or any(op.name().endswith("_grad") for op in new):
            if self.maker.ranks.size > 1:
                raise UserError(
                    "the model has called minimize itself, and its gradients are not summed over the processes: "
                    "return the optimizer from backward instead"
                )
            self.optimizer = Minimised(made)
            return []
        self.optimizer = made if hasattr(made, "feed") else StockOptimizer(made)
        return super().backward(loss)


class Named(Metric):
    """One of ``propeller.metrics.Metrics`` as the loop's ``Metric``."""

    def __init__(self, name: str, metric: Any) -> None:
        self.name, self.metric = name, metric
        super().__init__(metric.tensor)

    def reset(self) -> None:
        self.metric.reset()

    def update(self, arrays: Sequence[np.ndarray]) -> None:
        self.metric.update(arrays)

    def eval(self) -> dict[str, float]:
        return {self.name: float(self.metric.eval())}


def _check_kind(optimizer):
    """Refuse the optimiser that Paddle 3.3.1 computes as another one in a Program."""
    batches = getattr(optimizer, "_n", 1) if isinstance(optimizer, paddle.optimizer.ASGD) else 1
    if batches > 1:
        raise UserError(
            f"ASGD with batch_num={batches}: Paddle forgets the gradients of the other batches in a Program, and so "
            "computes SGD; give SGD, or another optimizer"
        )


class StockOptimizer:
    """A ``paddle.optimizer.Optimizer`` whose rate is fed with every step: a run that continues has the right one.

    Args:
        optimizer: with a rate that is a number, or a scheduler that knows its rate by the step alone.
    """

    def __init__(self, optimizer: Any) -> None:
        _check_kind(optimizer)
        rate = optimizer._learning_rate  # the scheduler; get_lr() gives no more than its present value
        self._rates = None if isinstance(rate, (int, float)) else Rates(rate)
        self._rate, self.optimizer = float(optimizer.get_lr()), optimizer
        optimizer._learning_rate = self._rate  # a scheduler's variable would be set in another scope than the run's

    def apply(self, params_grads: Sequence, skip: Any = None) -> None:
        """Append the update to the Program, see ``propeller.Model``."""
        rate = paddle.static.data("learning_rate", [1], "float32")
        for parameter, _ in params_grads:
            own = (getattr(parameter, "optimize_attr", None) or {}).get("learning_rate", 1.0)
            parameter.optimize_attr = {"learning_rate": rate if own == 1.0 else rate * own}
        self.optimizer._set_auxiliary_var("found_inf", skip)
        self.optimizer.apply_gradients(params_grads)

    def learning_rate(self, step: int) -> float:
        """The rate of update ``step``, from 0."""
        return self._rate if self._rates is None else self._rates(step)

    def feed(self, step: int) -> dict:
        """What the update needs besides its batch."""
        return {"learning_rate": np.array([self.learning_rate(step)], "float32")}


class Minimised:
    """The optimiser of a model that has called ``minimize`` itself."""

    def __init__(self, optimizer: Any) -> None:
        _check_kind(optimizer)
        self._rate = float(optimizer.get_lr()) if optimizer is not None else float("nan")

    def apply(self, params_grads: Sequence, skip: Any = None) -> None:
        """Nothing: the update is in the Program."""

    def learning_rate(self, step: int) -> float:
        """The rate at the beginning, where it is known."""
        return self._rate

    def feed(self, step: int) -> dict:
        """Nothing."""
        return {}


# ---------------------------------------------------------------- hooks


class TrainHooks(loop_hooks.RunHook):
    """Hooks of 2019 in the loop.

    Args:
        hooks: ``run_hooks.RunHook`` objects.
        model: gives the ``AdaptedModel`` whose optimiser tells the rate.
    """

    def __init__(self, hooks: Sequence[RunHook], model: Callable) -> None:
        self.hooks, self.model, self.step = list(hooks), model, 0
        self.results: list = []

    def before_train(self, learner: Learner, state: TrainState) -> None:
        self._begin = state.step
        for hook in self.hooks:
            hook.before_train()

    def state(self, state: Any) -> RunState:
        """The loop's state in the form of 2019."""
        self.step = state.step
        done = state.step - self._begin
        rate = self.model().optimizer.learning_rate(state.step - 1) if state.step else None
        loss = state.last_loss if done else None
        return RunState(state.step, done, time.time(), loss, None if rate != rate else rate)

    def before_run(self, learner: Learner, state: TrainState | None) -> dict[str, Any]:
        now = self.state(state)
        asked = [tensors_of(hook.before_run(now)) for hook in self.hooks]
        self._names = [[f"{i}/{j}" for j in range(len(tensors))] for i, tensors in enumerate(asked)]
        return {f"{i}/{j}": tensor for i, tensors in enumerate(asked) for j, tensor in enumerate(tensors)}

    def after_run(self, learner: Learner, state: TrainState | None, values: dict[str, np.ndarray]) -> None:
        self._values = [[values[name] for name in names] for names in self._names]

    def after_step(self, learner: Learner, state: TrainState) -> None:
        now = self.state(state)
        for hook, values in zip(self.hooks, self._values):
            hook.after_run(values, now)
        said = [hook.should_stop(now) for hook in self.hooks]
        if any(learner.ranks.all_gather(any(said))):  # all processes or none
            state.stop = "a hook said so"

    def after_train(self, learner: Learner, state: TrainState) -> None:
        self.results = [hook.after_train() for hook in self.hooks]


class EvalHooks(loop_hooks.RunHook):
    """Hooks of 2019 around the batches of an evaluation; each process's see its own batches."""

    def __init__(self, hooks: Sequence[RunHook], step: Callable) -> None:
        self.hooks, self._step = list(hooks), step
        self.results: list = []

    @contextlib.contextmanager
    def around(self, batches: Iterator) -> Iterator:
        """An evaluation's beginning and end."""
        self._batches, self.stopped = 0, False
        for hook in self.hooks:
            hook.before_train()
        yield batches
        self.results = [hook.after_train() for hook in self.hooks]

    def before_run(self, learner: Learner, state: TrainState | None) -> dict[str, Any]:
        now = RunState(self._step(), self._batches, time.time())
        self._asked = [tensors_of(hook.before_run(now)) for hook in self.hooks]
        return {f"{i}/{j}": t for i, tensors in enumerate(self._asked) for j, t in enumerate(tensors)}

    def after_run(self, learner: Learner, state: TrainState | None, values: dict[str, np.ndarray]) -> None:
        self._batches += 1
        now = RunState(self._step(), self._batches, time.time())
        for i, (hook, tensors) in enumerate(zip(self.hooks, self._asked)):
            hook.after_run([values[f"{i}/{j}"] for j in range(len(tensors))], now)
            self.stopped = self.stopped or hook.should_stop(now)


class EvaluationReports(loop_hooks.RunHook):
    """Collects the results of all evaluation sets at a step, and tells of them when they are complete.

    Args:
        tell: called on the first process with data set -> metric -> value, and the loop's state.
        best_by: the metric that must be among them.
        has_loss: called; whether the model has a loss in EVAL.
    """

    def __init__(self, tell: Callable, best_by: str, has_loss: Callable) -> None:
        self.tell, self.best_by, self.has_loss = tell, best_by, has_loss
        self.results: dict = {}

    def on_record(self, learner: Learner, state: TrainState, record: dict[str, Any]) -> None:
        if record["event"] != "eval":
            return
        scores = metrics_of(record, self.has_loss())
        if self.best_by not in record:
            raise UserError(f"best_by {self.best_by!r} is no metric of the model: give one of {', '.join(scores)}")
        self.results = {**self.results, record["file"]: scores}

    def after_evaluation(self, learner: Learner, state: TrainState, score: float, improved: bool) -> None:
        if learner.ranks.first:
            self.tell(self.results, state)
        learner.ranks.barrier()  # the others wait for what the first one writes


def metrics_of(scores: dict, has_loss: bool = True) -> dict:
    """The metrics among what an evaluation reported."""
    return {
        name: float(value) for name, value in scores.items() if name not in NOT_METRICS and (has_loss or name != "loss")
    }
