"""The Programs of a model, or of several tasks' models, built as they are needed over one scope of variables.

graphs = Graphs(make_model, tasks=("masking", "distance"), ...)
graphs.train("distance").gradient.main          # the train Program of a task
graphs.parameters(RunMode.TRAIN)                # name -> shape, of all tasks

Each task has Programs of its own. Variables of one name are one variable: an encoder that several tasks' models build
has one set of weights, moments and step powers, whichever task trains it.
"""

from __future__ import annotations

from propeller.errors import UserError
from propeller.train import program
from propeller.train.distribution import BUCKET_MB, GradientReducer
from propeller.train.model import RunMode


class Graphs:
    """Programs by mode and task.

    Args:
        make_model: called inside a Program with its ``RunMode``, and with the task where there are ``tasks``.
        tasks: names; empty: there is one model, its task is None.
        config: ``RunConfig``.
        ranks: ``distribution.Ranks``.
        executor, scope, place: Paddle's.
    """

    def __init__(self, make_model, tasks, config, ranks, executor, scope, place):
        self.make_model, self.tasks, self.config, self.ranks = make_model, tuple(tasks) or (None,), config, ranks
        self.executor, self.scope, self.place = executor, scope, place
        self._built = {}

    def train(self, task=None):
        """The ``TrainGraph`` of a task."""
        task, config = self._known(task), self.config
        if (RunMode.TRAIN, task) not in self._built:
            self._built[RunMode.TRAIN, task] = program.build_train(
                self._maker(task), config.accumulate > 1, self.reducer(), config.precision, config.recompute
            )
        return self._built[RunMode.TRAIN, task]

    def of(self, mode, task=None, ready=True):
        """The ``Graph`` of evaluation or prediction; ``ready``: all its weights must be there."""
        task = self._known(task)
        if (mode, task) not in self._built:
            self._built[mode, task] = program.build(self._maker(task), mode)
        graph = self._built[mode, task]
        lacking = [name for name in program.parameters(graph.main) if not program.has(self.scope, name)]
        if ready and lacking:
            raise UserError(f"{mode.value}: no weights for {', '.join(lacking[:3])}…: give --init_checkpoint or train")
        return graph

    def parameters(self, mode):
        """name -> shape of the parameters of all tasks' Programs of a mode."""
        shapes = {}
        for task in self.tasks:
            graph = self.train(task).gradient if mode is RunMode.TRAIN else self.of(mode, task, ready=False)
            shapes.update(program.parameters(graph.main))
        return shapes

    def optimizer_variables(self):
        """Names of the moments, step powers and what else all tasks' updates keep."""
        names = {}
        for graph in map(self.train, self.tasks):
            kept = program.persistables((graph.update or graph.gradient).main)
            names.update((name, None) for name, (_, is_parameter) in kept.items() if not is_parameter)
        return list(names)

    def initialise(self):
        """Give a first value to all that training needs and the scope lacks."""
        for graph in map(self.train, self.tasks):
            for part in filter(None, (graph.gradient, graph.update)):
                program.initialise(self.executor, self.scope, part.startup, self.place, self.config.seed)

    def _known(self, task):
        return self.tasks[0] if task is None else task

    def _maker(self, task):
        return self.make_model if task is None else lambda mode: self.make_model(mode, task)

    def reducer(self):
        """What sums gradients over the ranks; None for one alone."""
        if self.ranks.size == 1:
            return None
        return GradientReducer(self.config.bucket_mb or BUCKET_MB[self.ranks.backend])
