"""The training loop, and evaluation and prediction beside it.

learner = Learner(make_model, RunConfig(seed=1, log_steps=10, eval_steps=100, save_steps=1000))
learner.write(parameters)                                       # what is known beforehand, name -> array
learner.train(open_batches, epoch_size, saver, evaluations, hooks)
learner.evaluate(batches)                                       # {"loss": 0.3, "data_num": 872, "acc": 0.91}
"""

from __future__ import annotations

import dataclasses
import logging
import time
from dataclasses import dataclass, field
from typing import Callable, NamedTuple

import numpy as np
import paddle

from propeller.bundle import write_bundle
from propeller.errors import UserError
from propeller.train import amp, program
from propeller.train.model import RunMode
from propeller.train.saver import contiguous

log = logging.getLogger("propeller.train")


@dataclass(frozen=True)
class RunConfig:
    """How a run goes.

    Args:
        seed: of initial weights and dropout.
        accumulate: batches whose gradients make one step.
        log_steps, eval_steps, save_steps: every so many steps; 0: only at the end.
        best_by: the score of the first evaluation set that picks the best checkpoint, the higher the better.
        max_steps: end after this step; None: when the batches end.
        precision: of training, see ``amp.Precision``.
        place: a Paddle place; None: the CPU.
    """

    seed: int = 0
    accumulate: int = 1
    log_steps: int = 10
    eval_steps: int = 0
    save_steps: int = 0
    best_by: str = "loss"
    max_steps: int | None = None
    precision: amp.Precision = amp.FP32
    place: object = None


class Evaluation(NamedTuple):
    """A data set to evaluate on.

    ``kind`` (``dev``), ``file``, a function that opens its batches, and one that makes the final scores of those that
    ``Learner.evaluate`` returns, with the ``step``.
    """

    kind: str
    file: str
    open_batches: Callable
    finish: Callable = dict


@dataclass
class TrainState:
    """Where a run is; all of it goes into checkpoints."""

    step: int = 0
    batches: int = 0
    epoch: int = 0
    rows: int = 0
    position: dict | None = None
    best_score: float | None = None
    best_step: int | None = None
    best_epoch: int | None = None
    evaluated_step: int | None = None
    saved_step: int | None = None
    waited: int = 0
    stop: str | None = None
    skipped: int = 0  # steps without an update, since a gradient was no number
    skipped_in_a_row: int = 0
    last_loss: float = 0.0
    window: dict = field(default_factory=dict)  # sums over examples since the last report
    window_examples: int = 0
    window_steps: int = 0


class Learner:
    """Builds a model's Programs as they are needed, over one scope of variables, and runs them.

    Args:
        make_model: called with a ``RunMode`` inside the mode's Program; returns a ``Model``.
        config: ``RunConfig``.
    """

    def __init__(self, make_model, config):
        paddle.enable_static()
        self.make_model, self.config = make_model, config
        self.place = config.place or paddle.CPUPlace()
        self.executor = paddle.static.Executor(self.place)
        self.scope = paddle.static.Scope()
        self._graphs = {}

    def train(self, open_batches, epoch_size, saver, evaluations=(), hooks=()):
        """Train until the batches end; continues from the saver's last checkpoint, if there is one.

        Args:
            open_batches: called with a position (None: the beginning); gives a context manager over pairs of a batch
                and the position after it, which has ``epoch``, ``rows`` and ``to_dict()``.
            epoch_size: rows of an epoch: at its end a step is made of what gradients there are.
            saver: a ``Saver``.
            evaluations: ``Evaluation`` sets; the first one's score picks the best checkpoint.
            hooks: ``RunHook`` objects.

        Returns:
            the ``TrainState`` at the end.

        Raises:
            UserError: the loss is no finite number any more.
        """
        config, graph = self.config, self._train_graph()
        state, group = self._start(saver), _Group()
        self._tell(hooks, "before_train", state)
        with open_batches(state.position) as batches:
            self.queue_size, self._reported = batches.queue_size, time.monotonic()
            for batch, position in batches:
                # every batch: its gradients; without accumulation this is the update, too
                self._run_batch(graph, batch, state, group)
                state.epoch, state.rows, state.position = position.epoch, position.rows, position.to_dict()
                if len(group.losses) < config.accumulate and position.rows < epoch_size:
                    continue
                # every step: the update from all the batches of the step; no number, no step
                if graph.update:
                    share = np.array([1.0 / group.examples], "float32")
                    feed = {**graph.optimizer.feed(state.step), "example_share": share}
                    group.skipped = bool(self._run(graph.update, feed).get("skipped"))
                # with a loss scale: gradients that are no numbers changed nothing, so the step is none
                if group.skipped:
                    self._skip(state, group)
                    continue
                self._check(sum(group.losses), state)
                state.step, state.skipped_in_a_row = state.step + 1, 0
                group.close(state)
                # every log_steps: the mean loss and scores since the last time
                if state.step % config.log_steps == 0:
                    self._report(state, hooks)
                # every eval_steps: all evaluation sets; a better score makes a checkpoint
                if config.eval_steps and state.step % config.eval_steps == 0:
                    self._evaluate_all(state, evaluations, saver, hooks)
                # every save_steps: a checkpoint
                if config.save_steps and state.step % config.save_steps == 0:
                    self._save(state, saver)
                # every step: what hooks have hung in; one of them, or max_steps, may end the run
                self._tell(hooks, "after_step", state)
                if state.stop or state.step == config.max_steps:
                    break
        # at the end: evaluation and checkpoint of the last step
        self._evaluate_all(state, evaluations, saver, hooks)
        self._save(state, saver)
        self._tell(hooks, "after_train", state)
        return state

    def evaluate(self, batches):
        """Loss and scores over batches.

        Args:
            batches: iterable of pairs of a batch and anything.

        Returns:
            dict with ``loss`` (mean over examples), ``data_num`` and the model's scores.
        """
        graph = self._graph(RunMode.EVAL)
        for metric in graph.metrics.values():
            metric.reset()
        total, examples = 0.0, 0
        for batch, _ in batches:
            fetched, size = self._run(graph, batch), _examples(batch)
            total, examples = total + float(fetched["loss"]) * size, examples + size
            for metric, arrays in _metric_arrays(graph, fetched):
                metric.update(arrays)
        scores = {"loss": total / max(examples, 1), "data_num": examples}
        for metric in graph.metrics.values():
            scores.update(metric.eval())
        return scores

    def predict(self, batches):
        """Yield (dict of predicted arrays, batch) for pairs of a batch and anything."""
        graph = self._graph(RunMode.PREDICT)
        for batch, _ in batches:
            yield self._run(graph, batch), batch

    def parameter_shapes(self, mode):
        """name -> shape of the parameters the mode's Program has."""
        graph = self._train_graph().gradient if mode is RunMode.TRAIN else self._graph(mode, ready=False)
        return program.parameters(graph.main)

    def write(self, arrays):
        """Set variables from name -> array."""
        program.write(self.scope, self.place, arrays)

    def read(self, names):
        """name -> array of variables in the scope."""
        return {name: program.read(self.scope, name) for name in names}

    def export(self, folder, task, meta, files=None, overwrite=False, extend=None):
        """Write the prediction Program with the present weights as a bundle, see ``propeller.bundle.write_bundle``."""
        graph = self._graph(RunMode.PREDICT)
        write_bundle(folder, graph, self.scope, self.place, task, meta, files, overwrite, extend)

    def _train_graph(self):
        if RunMode.TRAIN not in self._graphs:
            self._graphs[RunMode.TRAIN] = program.build_train(
                self.make_model, self.config.accumulate > 1, precision=self.config.precision
            )
        return self._graphs[RunMode.TRAIN]

    def _graph(self, mode, ready=True):
        if mode not in self._graphs:
            self._graphs[mode] = program.build(self.make_model, mode)
        graph = self._graphs[mode]
        lacking = [name for name in program.parameters(graph.main) if not program.has(self.scope, name)]
        if ready and lacking:
            raise UserError(f"{mode.value}: no weights for {', '.join(lacking[:3])}…: give --init_checkpoint or train")
        return graph

    def _run(self, graph, feed):
        """One run of a Program; what it fetches, by name."""
        feed = {name: feed[name] for name in graph.feeds or feed}
        names = list(graph.fetches)
        fetched = self.executor.run(
            graph.main, feed=feed, fetch_list=[graph.fetches[name] for name in names], scope=self.scope
        )
        return dict(zip(names, fetched))

    def _run_batch(self, graph, batch, state, group):
        """Gradients of one batch; dropout is seeded by its number, so a resumed run draws what a whole one does."""
        paddle.seed(int(np.random.SeedSequence([self.config.seed, state.batches]).generate_state(1)[0]))
        size = _examples(batch)
        feed = {name: batch[name] for name in graph.gradient.feeds}
        if graph.update:
            feed["examples"] = np.array([size], "float32")
        else:
            feed.update(graph.optimizer.feed(state.step))
        fetched = self._run(dataclasses.replace(graph.gradient, feeds=()), feed)
        loss = float(fetched["loss"])
        if not self.config.precision.scaling:
            self._check(loss, state)
        scores = {}
        for metric, arrays in _metric_arrays(graph.gradient, fetched):
            metric.reset()
            metric.update(arrays)
            scores.update(metric.eval())
        state.batches += 1
        group.add(size, loss, scores)
        group.skipped = bool(fetched.get("skipped"))

    def _check(self, loss, state):
        if not np.isfinite(loss):
            raise UserError(
                f"step {state.step + 1} (epoch {state.epoch}): the loss is {loss}: lower --learning_rate or lengthen "
                "the warm-up; the last checkpoint is good"
            )

    def _skip(self, state, group):
        state.skipped, state.skipped_in_a_row = state.skipped + 1, state.skipped_in_a_row + 1
        self.config.precision.scaling.check_skips(self._loss_scale(), state)
        group.clear()

    def _loss_scale(self):
        return float(program.read(self.scope, amp.SCALE)[0])

    def _start(self, saver):
        """Variables from the last checkpoint, what it lacks from the startup Programs; the state to go on from."""
        graph, restored = self._train_graph(), saver.restore()
        state = TrainState()
        if restored:
            parameters, optimizer_state, stored = restored
            self.write({**parameters, **optimizer_state})
            state = TrainState(**stored)
            log.info("continue from step %d, epoch %d, %d rows read in it", state.step, state.epoch, state.rows)
        for part in filter(None, (graph.gradient, graph.update)):
            program.initialise(self.executor, self.scope, part.startup, self.place, self.config.seed)
        return state

    def _report(self, state, hooks):
        means = {name: total / state.window_examples for name, total in state.window.items()}
        now = time.monotonic()
        record = {
            "event": "train",
            "step": state.step,
            "epoch": state.epoch,
            "learning_rate": self._train_graph().optimizer.learning_rate(state.step - 1),
            "queue_size": self.queue_size(),
            **means,
        }
        if self.config.precision.scaling:
            record.update(loss_scale=self._loss_scale(), skipped_steps=state.skipped)
        speed = state.window_steps / max(now - self._reported, 1e-9)
        state.window, state.window_examples, state.window_steps = {}, 0, 0
        self._tell(hooks, "on_record", state, {**record, "speed": speed})
        self._reported = time.monotonic()

    def _evaluate_all(self, state, evaluations, saver, hooks):
        if not evaluations or state.evaluated_step == state.step:
            return
        score = None
        for entry in evaluations:
            begin = time.monotonic()
            self._tell(hooks, "before_evaluation", state, entry)
            with entry.open_batches() as batches:
                scores = entry.finish({**self.evaluate(batches), "step": state.step})
            record = {"event": entry.kind, "step": state.step, "epoch": state.epoch, "file": entry.file, **scores}
            self._tell(hooks, "on_record", state, {**record, "elapsed": time.monotonic() - begin})
            if score is None:
                score = -scores["loss"] if self.config.best_by == "loss" else scores[self.config.best_by]
        state.evaluated_step = state.step
        improved = state.best_score is None or score > state.best_score
        if improved:
            state.best_score, state.best_step, state.best_epoch = score, state.step, state.epoch
            self._save(state, saver)
            saver.link("best", state.step)
        self._tell(hooks, "after_evaluation", state, score, improved)
        self._reported = time.monotonic()

    def _save(self, state, saver):
        if state.saved_step == state.step:
            return
        state.saved_step = state.step
        graph = self._train_graph()
        update = graph.update or graph.gradient
        kept = [name for name, (_, is_parameter) in program.persistables(update.main).items() if not is_parameter]
        saver.save(
            state.step,
            self.read(program.parameters(graph.gradient.main)),
            contiguous(self.read(kept)),
            {**dataclasses.asdict(state), "stop": None},
        )
        saver.prune(state.best_step)

    def _tell(self, hooks, event, state, *facts):
        for hook in hooks:
            getattr(hook, event)(self, state, *facts)


class _Group:
    """The batches of one step: examples, loss and scores, weighted by examples."""

    def __init__(self):
        self.clear()

    def clear(self):
        self.examples, self.losses, self.sums, self.skipped = 0, [], {}, False

    def add(self, size, loss, scores):
        self.examples += size
        self.losses.append(loss)
        for name, value in {"loss": loss, **scores}.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * size

    def close(self, state):
        """Add the step to the window of the next report, and begin the next step."""
        for name, value in self.sums.items():
            state.window[name] = state.window.get(name, 0.0) + value
        state.window_examples += self.examples
        state.window_steps += 1
        state.last_loss = self.sums["loss"] / self.examples
        self.clear()


def _examples(batch):
    return len(next(iter(batch.values())))


def _metric_arrays(graph, fetched):
    for name, metric in graph.metrics.items():
        yield metric, [fetched[f"{name}/{i}"] for i in range(len(metric.tensors))]
