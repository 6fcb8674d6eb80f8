"""Building Programs from a Model, one a mode, and reaching their variables in a scope.

graph = build(make_model, RunMode.EVAL)
initialise(executor, scope, graph.startup, seed=1)      # only what the scope lacks
loss, = executor.run(graph.main, feed=batch, fetch_list=[graph.fetches["loss"]], scope=scope)
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable

import numpy as np
import paddle

from propeller.train import amp
from propeller.train import recompute as recomputation
from propeller.train.model import RunMode

if TYPE_CHECKING:
    from propeller.train.distribution import GradientReducer
    from propeller.train.model import Model


GRADIENT_SUM = "@GRADIENT_SUM"
FROZEN = "@FROZEN"  # ends the names of weights that a model only looks at: they are not its own, and not stored


@dataclass
class Graph:
    """A Program, its startup Program and the names of what goes in and comes out."""

    main: paddle.static.Program
    startup: paddle.static.Program
    feeds: tuple = ()
    fetches: dict = field(default_factory=dict)
    model: object = None
    metrics: dict = field(default_factory=dict)


@dataclass
class TrainGraph:
    """What one training step runs.

    ``gradient`` sees a batch. Without accumulation it makes the update too and ``update`` is None; with it, gradients
    are summed over batches, weighted by their examples, and ``update`` applies the sum and clears it.
    """

    gradient: Graph
    update: Graph | None
    optimizer: object


@contextlib.contextmanager
def _program():
    """A fresh Program under its own unique names, so that Programs built apart name their variables alike."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
        yield main, startup


def _declare(inputs):
    return {entry.name: paddle.static.data(entry.name, entry.shape, entry.dtype) for entry in inputs}


def _fetches(metrics, named):
    fetches = dict(named)
    for name, metric in metrics.items():
        for i, tensor in enumerate(metric.tensors):
            fetches[f"{name}/{i}"] = tensor
    return fetches


def build(make_model: Callable[[RunMode], Model], mode: RunMode) -> Graph:
    """Build the evaluation or the prediction Program.

    Args:
        make_model: called with the mode inside the Program; returns a ``Model``.
        mode: ``RunMode.EVAL`` (fetches ``loss`` and what metrics need) or ``RunMode.PREDICT`` (fetches predictions).
    """
    with _program() as (main, startup):
        model = make_model(mode)
        model.eval()
        inputs = [entry for entry in model.inputs if mode is not RunMode.PREDICT or not entry.label]
        values = _declare(inputs)
        label = {entry.name: values[entry.name] for entry in inputs if entry.label}
        predictions = model({name: value for name, value in values.items() if name not in label})
        metrics = {}
        if mode is RunMode.PREDICT:
            fetches = dict(predictions)
        else:
            metrics = model.metrics(predictions, label)
            fetches = _fetches(metrics, {"loss": model.loss(predictions, label)})
    return Graph(main, startup, tuple(values), fetches, model, metrics)


def build_train(
    make_model: Callable[[RunMode], Model],
    accumulate: bool = False,
    reducer: GradientReducer | None = None,
    precision: amp.Precision = amp.FP32,
    recompute: bool = False,
) -> TrainGraph:
    """Build the training Programs; with ``accumulate`` the update stands apart from the gradients.

    With a ``reducer`` (``distribution.GradientReducer``) the update is made from the gradients of all processes; with
    ``recompute`` the inside of the model's segments is not kept for the backward pass, but computed again.
    """
    with _program() as (main, startup):
        model = make_model(RunMode.TRAIN)
        model.train()
        values = _declare(model.inputs)
        label = {entry.name: values[entry.name] for entry in model.inputs if entry.label}
        segments = model.segments() if recompute else ()
        scaler, reduces = precision.scaler(), None if accumulate else reducer
        weight = paddle.static.data("loss_weight", [1], "float32") if reduces else None

        def run() -> tuple[Any, Any, Any]:
            """The network on the batch: predictions, loss, and what the backward pass begins from."""
            with precision.autocast(), recomputation.marked(segments, main):
                predictions = model({name: value for name, value in values.items() if name not in label})
            predictions = precision.widened(predictions)
            loss = model.loss(predictions, label)
            return predictions, loss, scaler.scaled(reduces.share(loss, weight) if reduces else loss)

        predictions, loss, scaled = run()
        metrics = model.metrics(predictions, label)
        forward_ops = len(main.global_block().ops)
        pairs = model.adversary.backward(scaled, lambda: run()[2]) if model.adversary else model.backward(scaled)
        params_grads = [(p, g) for p, g in pairs if g is not None]
        if segments:
            recomputation.recompute(main, startup, forward_ops)
        precision.check_backward(main)
        update_fetches: dict[str, Any] = {}
        if accumulate:
            _sum_gradients(params_grads)
        else:
            update_fetches = scaler.apply(model.optimizer, reduces(params_grads) if reduces else params_grads)
    gradient = Graph(main, startup, tuple(values), _fetches(metrics, {"loss": loss, **update_fetches}), model, metrics)
    update = _build_update(model.optimizer, params_grads, reducer, precision) if accumulate else None
    return TrainGraph(gradient, update, model.optimizer)


def _buffer(parameter):
    return paddle.static.create_parameter(
        parameter.shape,
        "float32",
        name=parameter.name + GRADIENT_SUM,
        attr=paddle.ParamAttr(
            name=parameter.name + GRADIENT_SUM, initializer=paddle.nn.initializer.Constant(0.0), trainable=False
        ),
    )


def _sum_gradients(params_grads):
    """Add each gradient, times the batch's weight (``Model.loss_weight``, its number of examples), to its buffer."""
    examples = paddle.static.data("examples", [1], "float32")
    for parameter, grad in params_grads:
        buffer = _buffer(parameter)
        paddle.assign(buffer + grad * examples, buffer)


def _build_update(optimizer, params_grads, reducer, precision):
    """A Program without a batch: the mean gradient over all examples of the step, the update, buffers back to 0."""
    specs = [(p.name, list(p.shape)) for p, _ in params_grads]
    with _program() as (main, startup):
        share = paddle.static.data("example_share", [1], "float32")
        pairs, buffers = [], []
        for name, shape in specs:
            parameter = paddle.static.create_parameter(shape, "float32", name=name, attr=paddle.ParamAttr(name=name))
            buffer = _buffer(parameter)
            buffers.append(buffer)
            pairs.append((parameter, buffer * share))
        fetches = precision.scaler().apply(optimizer, reducer(pairs) if reducer else pairs)
        for buffer in buffers:
            paddle.assign(paddle.zeros_like(buffer), buffer)
    return Graph(main, startup, fetches=fetches)


def persistables(program: paddle.static.Program) -> dict[str, tuple[tuple[int, ...], bool]]:
    """name -> (shape, is_parameter) of every variable that outlives a run of the Program."""
    variables = {}
    for op in program.global_block().ops:
        if op.name() == "builtin.parameter":
            variables[op.attrs()["parameter_name"]] = (tuple(op.result(0).shape), True)
        elif op.name() == "pd_op.data" and op.result(0).persistable:
            variables[op.attrs()["name"]] = (tuple(op.result(0).shape), False)
    return variables


def parameters(program: paddle.static.Program) -> dict[str, tuple[int, ...]]:
    """name -> shape of the Program's own parameters, gradient sums and frozen ones left out."""
    return {
        name: shape
        for name, (shape, is_parameter) in persistables(program).items()
        if is_parameter and not name.endswith((GRADIENT_SUM, FROZEN))
    }


def unused(program: paddle.static.Program) -> set[str]:
    """Names of the parameters that nothing in the Program is computed from."""
    ops = program.global_block().ops
    return {op.attrs()["parameter_name"] for op in ops if op.name() == "builtin.parameter" and op.result(0).use_empty()}


def read(scope: paddle.static.Scope, name: str) -> np.ndarray:
    """The variable as a numpy array, copied."""
    return np.array(scope.find_var(name).get_tensor())


def write(scope: paddle.static.Scope, place: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Set variables (made where the scope lacks them) from name -> array."""
    for name, array in arrays.items():
        scope.var(name).get_tensor().set(np.ascontiguousarray(array), place)


def initialise(
    executor: paddle.static.Executor, scope: paddle.static.Scope, startup: paddle.static.Program, place: Any, seed: int
) -> list[str]:
    """Run a startup Program aside and take from it only what the scope lacks; returns the names taken."""
    fresh = paddle.static.Scope()
    paddle.seed(seed)
    executor.run(startup, scope=fresh)
    taken = []
    for name in sorted(_set_names(startup)):
        if not has(scope, name):
            write(scope, place, {name: read(fresh, name)})
            taken.append(name)
        fresh.find_var(name).get_tensor()._clear()  # Paddle keeps the scope, and would keep the values too
    return taken


def has(scope: paddle.static.Scope, name: str) -> bool:
    """Whether the scope holds a value for the variable."""
    variable = scope.find_var(name)
    return variable is not None and variable.get_tensor()._is_initialized()


def _set_names(startup):
    """Names of the variables a startup Program sets: parameters and the optimiser's accumulators."""
    keys = {"builtin.set_parameter": "parameter_name", "builtin.shadow_output": "output_name"}
    ops = startup.global_block().ops
    return {op.attrs()[keys[op.name()]] for op in ops if op.name() in keys}
