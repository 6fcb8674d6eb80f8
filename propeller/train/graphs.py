"""The Programs of a model, or of several tasks' models, built as they are needed over one scope of variables.

graphs = Graphs(make_model, tasks=("masking", "distance"), ...)
graphs.train("distance").gradient.main          # the train Program of a task; so graphs.eval, graphs.predict
graphs.parameters(RunMode.TRAIN)                # name -> shape, of all tasks

Each task has Programs of its own. Variables of one name are one variable: an encoder that several tasks' models build
has one set of weights, moments and step powers, whichever task trains it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Callable

from propeller.errors import UserError
from propeller.train import program
from propeller.train.distribution import BUCKET_MB, GradientReducer
from propeller.train.model import RunMode

if TYPE_CHECKING:
    import paddle

    from propeller.train.distribution import Ranks
    from propeller.train.model import Model
    from propeller.train.state import RunConfig


class Graphs:
    """Programs by mode and task.

    Args:
        make_model: called inside a Program with its ``RunMode``, and with the task where there are ``tasks``.
        tasks: names; empty: there is one model, its task is None.
        config: ``RunConfig``.
        ranks: ``distribution.Ranks``.
        executor, scope, place: Paddle's.
    """

    def __init__(
        self,
        make_model: Callable[..., Model],
        tasks: Sequence[str],
        config: RunConfig,
        ranks: Ranks,
        executor: paddle.static.Executor,
        scope: paddle.static.Scope,
        place: Any,
    ) -> None:
        self.make_model, self.tasks, self.config, self.ranks = make_model, tuple(tasks) or (None,), config, ranks
        self.executor, self.scope, self.place = executor, scope, place
        self._built: dict[tuple[RunMode, str | None], Any] = {}

    def train(self, task: str | None = None) -> program.TrainGraph:
        """The ``TrainGraph`` of a task."""
        task, config = self._or_only(task), self.config
        if (RunMode.TRAIN, task) not in self._built:
            self._built[RunMode.TRAIN, task] = program.build_train(
                self._maker(task), config.accumulate > 1, self.reducer(), config.precision, config.recompute
            )
        return self._built[RunMode.TRAIN, task]

    def eval(self, task: str | None = None, ready: bool = True) -> program.Graph:
        """The evaluation ``Graph`` of a task; ``ready``: all its weights must be there.

        Raises:
            UserError: they are not.
        """
        return self._built_for(RunMode.EVAL, task, ready)

    def predict(self, task: str | None = None, ready: bool = True) -> program.Graph:
        """The prediction ``Graph`` of a task, see ``eval``."""
        return self._built_for(RunMode.PREDICT, task, ready)

    def main(self, mode: RunMode, task: str | None = None) -> paddle.static.Program:
        """The Program of a mode and task that sees batches, whether its weights are there or not."""
        graph = self.train(task).gradient if mode is RunMode.TRAIN else self._built_for(mode, task, ready=False)
        return graph.main

    def _built_for(self, mode, task, ready):
        task = self._or_only(task)
        if (mode, task) not in self._built:
            self._built[mode, task] = program.build(self._maker(task), mode)
        graph = self._built[mode, task]
        if ready:
            self._check_ready(mode, graph)
        return graph

    def _check_ready(self, mode, graph):
        """That all weights of a Program are there; one that nothing in it uses is made up."""
        lacking = {name for name in program.parameters(graph.main) if not program.has(self.scope, name)}
        missing = sorted(lacking - program.unused(graph.main))
        if missing:
            weights = self.config.names.weights
            raise UserError(f"{mode.name.lower()}: no weights for {', '.join(missing[:3])}…: give {weights} or train")
        if lacking:
            program.initialise(self.executor, self.scope, graph.startup, self.place, self.config.seed)

    def parameters(self, mode: RunMode) -> dict[str, tuple[int, ...]]:
        """name -> shape of the parameters of all tasks' Programs of a mode."""
        shapes = {}
        for task in self.tasks:
            shapes.update(program.parameters(self.main(mode, task)))
        return shapes

    def unused_parameters(self, mode: RunMode) -> set[str]:
        """Names of the parameters that nothing is computed from in the Programs of a mode, of any task."""
        used: set[str] = set()
        for task in self.tasks:
            main = self.main(mode, task)
            used |= set(program.parameters(main)) - program.unused(main)
        return set(self.parameters(mode)) - used

    def optimizer_variables(self) -> list[str]:
        """Names of the moments, step powers and what else all tasks' updates keep."""
        names: dict[str, None] = {}  # in order, each once
        for graph in map(self.train, self.tasks):
            variables = program.persistables((graph.update or graph.gradient).main)
            names.update((name, None) for name, (_, is_parameter) in variables.items() if not is_parameter)
        return list(names)

    def clear(self) -> None:
        """Free the values of all variables; nothing can be run after that.

        Paddle keeps a scope that a Program has run over, and would keep the values too.
        """
        for graph in self._built.values():
            parts = (graph.gradient, graph.update) if isinstance(graph, program.TrainGraph) else (graph,)
            for part in filter(None, parts):
                for name in program.persistables(part.main):
                    if program.has(self.scope, name):
                        self.scope.find_var(name).get_tensor()._clear()

    def initialise(self) -> None:
        """Give a first value to all that training needs and the scope lacks."""
        for graph in map(self.train, self.tasks):
            for part in filter(None, (graph.gradient, graph.update)):
                program.initialise(self.executor, self.scope, part.startup, self.place, self.config.seed)

    def _or_only(self, task):
        return self.tasks[0] if task is None else task

    def _maker(self, task):
        return self.make_model if task is None else lambda mode: self.make_model(mode, task)

    def reducer(self) -> GradientReducer | None:
        """What sums gradients over the ranks; None for one alone."""
        if self.ranks.size == 1:
            return None
        return GradientReducer(self.config.bucket_mb or BUCKET_MB[self.ranks.backend or "gloo"])
