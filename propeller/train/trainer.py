"""The training loop, and evaluation and prediction beside it.

learner = Learner(make_model, RunConfig(seed=1, log_steps=10, eval_steps=100, save_steps=1000))
learner.write(parameters)                                       # what is known beforehand, name -> array
learner.train(open_batches, epoch_size, saver, evaluations, hooks)
learner.evaluate(batches)                                       # {"loss": 0.3, "data_num": 872, "acc": 0.91}
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import numpy as np
import paddle

from propeller.bundle import write_bundle
from propeller.errors import UserError
from propeller.train import amp, averaging, program
from propeller.train.batches import Outcome, blank, ends_epoch, groups_of, metric_arrays, size_of
from propeller.train.checkpointing import Checkpointer
from propeller.train.clock import StepClock
from propeller.train.distribution import Ranks
from propeller.train.evaluating import Evaluator
from propeller.train.faults import Stopped
from propeller.train.graphs import Graphs
from propeller.train.model import RunMode
from propeller.train.state import Evaluation, RunConfig, StepSums, TrainState

if TYPE_CHECKING:
    from propeller.train.hooks import RunHook
    from propeller.train.model import Model
    from propeller.train.saver import Saver
    from propeller.train.shared import SharedSaver


__all__ = ["Evaluation", "Learner", "RunConfig", "TrainState"]

log = logging.getLogger("propeller.train")


class Learner:
    """Builds a model's Programs as they are needed, over one scope of variables, and runs them.

    Args:
        make_model: called with a ``RunMode`` inside the mode's Program; returns a ``Model``. With ``tasks`` also with
            the name of one.
        config: ``RunConfig``.
        tasks: names of the tasks that are learnt together; empty: there is one, without a name.
    """

    def __init__(self, make_model: Callable[..., Model], config: RunConfig, tasks: Sequence[str] = ()) -> None:
        paddle.enable_static()
        self.config = config
        self.place = config.place or paddle.CPUPlace()
        self.ranks = config.ranks or Ranks()
        self.executor = paddle.static.Executor(self.place)
        self.scope = paddle.static.Scope()
        self.graphs = Graphs(make_model, tasks, config, self.ranks, self.executor, self.scope, self.place)
        # task -> the batch that a process computes for nothing, beside the others, where it has none of its own
        self._idle_batches: dict[str | None, dict[str, np.ndarray]] = {}
        self._stop_requested: str | None = None  # why this process is to stop
        self.stop_reason: str | None = None  # why all do, agreed on
        self._first_step = 0  # of the present call of train
        self.progress = 0  # runs of Programs so far: who watches sees whether it still grows

    def train(
        self,
        open_batches: Callable[[dict[str, Any] | None], AbstractContextManager[Any]],
        epoch_size: int | None,
        saver: Saver | SharedSaver,
        evaluations: Sequence[Evaluation] = (),
        hooks: Sequence[RunHook] = (),
        begin: TrainState | None = None,
    ) -> TrainState:
        """Train until the batches end; continues from the saver's last checkpoint, if there is one.

        Args:
            open_batches: called with a position (None: the beginning); gives a context manager over pairs of a batch
                and the position after it, which has ``epoch``, ``rows`` and ``to_dict()``. With several ranks a batch
                is this one's, None where fewer are left than there are ranks; the position is that of all. With
                ``tasks`` a position has the ``task`` of its batch, and all batches of a step are of one task.
            epoch_size: rows of an epoch: at its end a step is made of what gradients there are. None: positions have
                ``ended`` instead, whether the epoch is.
            saver: a ``Saver``.
            evaluations: ``Evaluation`` sets; the first one's score picks the best checkpoint.
            hooks: ``RunHook`` objects.
            begin: the ``TrainState`` to begin from where the saver has no checkpoint; None: step 0.

        Returns:
            the ``TrainState`` at the end.

        Raises:
            UserError: the loss is non-finite; the last checkpoint cannot be written; a batch cannot be
                read (see ``save_at_error``).
            faults.Stopped: asked for by ``ask_to_stop``; the checkpoint of the last step is written.
        """
        checkpoints = Checkpointer(self, saver)
        evaluator = Evaluator(self, evaluations, checkpoints, hooks)
        state = checkpoints.start(begin)
        self._first_step = state.step
        self.notify(hooks, "before_train", state)
        if state.step == state.saved_step and self._reaches(self.config.eval_steps, self.config.eval_epochs, state):
            # it was due after the step of the checkpoint, and the run was stopped before its end
            evaluator.run(state, self._reaches(self.config.save_steps, self.config.save_epochs, state))
        with open_batches(state.position) as batches:
            self.queue_size = batches.queue_size
            self._clock = StepClock(state, batches.waited if self.config.tell_waiting else None)
            if not self._is_over(state):  # else the checkpoint is that of the last step
                self._loop(batches, epoch_size, state, checkpoints, evaluator, hooks)
        # at the end: evaluation and checkpoint of the last step
        evaluator.run(state, kept=True)
        checkpoints.save(state, last=True)
        averaging.settle(self)
        self.notify(hooks, "after_train", state)
        if self.stop_reason:
            raise Stopped(self.stop_reason, state)
        return state

    def _loop(self, batches, epoch_size, state, checkpoints, evaluator, hooks):
        """The loop: ``state`` goes from batch to batch until they end, or a hook, ``max_steps`` or a signal ends it."""
        config, sums = self.config, StepSums()
        for batch, position in checkpoints.before_error(batches, state, sums):
            # every batch: its gradients; without accumulation this is the update, too
            task = getattr(position, "task", None)
            graph = self.graphs.train(task)
            self._run_batch(graph, batch, state, sums, task, hooks)
            state.epoch, state.rows, state.position = position.epoch, position.rows, position.to_dict()
            ends = ends_epoch(position, epoch_size)  # where the step of an epoch's end is skipped, the next one ends it
            state.ended_epoch = ends or (state.ended_epoch and state.skipped_in_a_row > 0)
            if sums.micro_batches < config.accumulate and not ends:
                continue
            # every step: the update from all the batches of the step, of all ranks; no number, no step
            self.stop_reason = sums.share(self.ranks, self._stop_requested)
            if graph.update:
                share = np.array([1.0 / sums.weight], "float32")
                feed = {**graph.optimizer.feed(state.step), "example_share": share}
                sums.skipped = bool(self._run(graph.update, feed).get("skipped"))
            # with a loss scale: gradients that are no numbers changed nothing, so the step is none
            if sums.skipped:
                self._skip(state, sums)
                continue
            self._check(sums.totals["loss"], state)
            state.step, state.skipped_in_a_row = state.step + 1, 0
            sums.close(state, task)
            # every log_steps: the mean loss and scores since the last time
            if self._is_due(config.log_steps, state):
                self._report(state, hooks)
            # every eval_steps, every epoch: all evaluation sets; a better score makes a checkpoint
            saves = self._is_due(config.save_steps, state, config.save_epochs)
            if self._is_due(config.eval_steps, state, config.eval_epochs):
                with self._clock.stopped():
                    evaluator.run(state, saves)
            # every save_steps, every epoch: a checkpoint
            if saves:
                checkpoints.save(state)
            # every step: what hooks do; one of them, or max_steps, may end the run
            self.notify(hooks, "after_step", state)
            if self._is_over(state):
                break

    def evaluate(
        self, batches: Iterable[tuple[Any, Any]], task: str | None = None, hooks: Sequence[RunHook] = ()
    ) -> dict[str, Any]:
        """Loss and scores over batches.

        Args:
            batches: iterable of pairs of a batch and anything.
            task: whose batches they are, where there are several.
            hooks: ``RunHook`` objects, whose ``before_run`` and ``after_run`` are called around each batch.

        Returns:
            dict with ``loss`` (mean over examples), ``data_num`` and the model's scores.
        """
        graph = self.graphs.eval(task)
        for metric in graph.metrics.values():
            metric.reset()
        total, examples = 0.0, 0

        def run(batch):
            return self._run_watched(graph, batch, None, hooks), size_of(batch)

        for fetched, size in self._in_order(batches, run):
            total, examples = total + float(fetched["loss"]) * size, examples + size
            for metric, arrays in metric_arrays(graph, fetched):
                metric.update(arrays)
        scores = {"loss": total / max(examples, 1), "data_num": examples}
        for metric in graph.metrics.values():
            scores.update(metric.eval())
        return scores

    def score(self, evaluation: Evaluation, step: int) -> dict[str, Any]:
        """The final scores of an ``Evaluation``, the same on all ranks; the first one makes them."""
        with evaluation.open_batches() as batches:
            hooks = {"hooks": evaluation.hooks} if evaluation.hooks else {}
            scores = self.evaluate(batches, evaluation.task, **hooks)
        if self.ranks.first:
            scores = evaluation.finish({**scores, "step": step})
        self.ranks.barrier()
        return self.ranks.broadcast(scores)

    def predict(
        self, batches: Iterable[tuple[Any, Any]]
    ) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
        """(dict of predicted arrays, batch) for each pair of a batch and a position, all ranks' in the file's order.

        Every rank must take all of them.
        """
        graph = self.graphs.predict()
        return self._in_order(batches, lambda batch: (self._run(graph, batch), batch))

    def ask_to_stop(self, reason: str) -> None:
        """Stop after a step that all ranks agree on, or in the evaluation or prediction that is under way.

        May be called at any moment, by a signal's handler too. ``train`` writes a checkpoint, leaves evaluation to the
        run that continues, and raises ``faults.Stopped``; ``evaluate``, ``score`` and ``predict`` just raise it.
        """
        self._stop_requested = reason

    def _is_due(self, every, state, at_epochs=False):
        return self._reaches(every, at_epochs, state) and state.step - self._first_step > self.config.skip_steps

    def _reaches(self, every, at_epochs, state):
        """Whether something is due after the step: every so many steps, or with ``at_epochs`` at an epoch's end."""
        return (bool(every) and state.step % every == 0) or (at_epochs and state.ended_epoch)

    def _is_over(self, state):
        return bool(self.stop_reason or state.stop) or (
            self.config.max_steps is not None and state.step >= self.config.max_steps
        )

    def parameter_shapes(self, mode: RunMode) -> dict[str, tuple[int, ...]]:
        """name -> shape of the parameters the mode's Programs have."""
        return self.graphs.parameters(mode)

    def unused_parameters(self, mode: RunMode) -> set[str]:
        """Names of those that nothing in the mode's Programs is computed from."""
        return self.graphs.unused_parameters(mode)

    def write(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Set variables from name -> array."""
        program.write(self.scope, self.place, arrays)

    def load(self, saver: Saver | SharedSaver, step: int) -> None:
        """Set the parameters from the checkpoint of a step; with several ranks the first one reads it."""
        if self.ranks.first:
            self.write(saver.parameters(step) or {})
        if self.ranks.size > 1:
            self.ranks.barrier()
            self.write(self.ranks.broadcast_arrays(self.read(self.graphs.parameters(RunMode.TRAIN))))

    def read(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        """name -> array of variables in the scope."""
        return {name: program.read(self.scope, name) for name in names}

    def close(self) -> None:
        """Free the weights and what else training keeps, in a process that goes on to do something else."""
        self.graphs.clear()

    def export(
        self,
        folder: str | Path,
        task: str,
        meta: dict[str, Any],
        files: Mapping[str, str | Path] | None = None,
        overwrite: bool = False,
        extend: Callable[[Path, list[str]], None] | None = None,
    ) -> None:
        """Write the prediction Program with the present weights as a bundle, see ``propeller.bundle.write_bundle``."""
        graph = self.graphs.predict()
        write_bundle(folder, graph, self.scope, self.place, task, meta, files, overwrite, extend)

    def _in_order(self, batches, run):
        """What ``run`` makes of every batch; with several ranks of all their batches, in the file's order."""

        def outcome(batch):
            return Outcome(self._stop_requested, None) if self._stop_requested else Outcome(None, run(batch))

        if self.ranks.size == 1:
            outcomes = (outcome(batch) for batch, _ in batches)
        else:
            outcomes = (Outcome(*fields) for fields in self.ranks.in_order(groups_of(batches, outcome)))
        for stop_reason, result in outcomes:
            if stop_reason is not None:
                raise Stopped(stop_reason)
            yield result

    def _run(self, graph, feed):
        """One run of a Program; what it fetches, by name."""
        feed = {name: feed[name] for name in graph.feeds or feed}
        names = list(graph.fetches)
        fetched = self.executor.run(
            graph.main, feed=feed, fetch_list=[graph.fetches[name] for name in names], scope=self.scope
        )
        self.progress += 1
        return dict(zip(names, fetched))

    def _run_watched(self, graph, feed, state, hooks):
        """One run in which hooks may have tensors fetched besides."""
        wanted = [hook.before_run(self, state) or {} for hook in hooks]
        more = {f"hook {i}/{name}": tensor for i, each in enumerate(wanted) for name, tensor in each.items()}
        fetched = self._run(dataclasses.replace(graph, fetches={**graph.fetches, **more}), feed)
        for i, (hook, names) in enumerate(zip(hooks, wanted)):
            hook.after_run(self, state, {name: fetched.pop(f"hook {i}/{name}") for name in names})
        return fetched

    def _run_batch(self, graph, batch, state, sums, task, hooks):
        """Gradients of one batch; dropout is seeded by its number, so a resumed run draws what a whole one does."""
        number = state.batches + sums.micro_batches * self.ranks.size + self.ranks.rank
        paddle.seed(int(np.random.SeedSequence([self.config.seed, number]).generate_state(1)[0]))
        idle, weight = batch is None, 0
        if idle and graph.update:
            sums.micro_batches += 1
            return
        if idle:  # its Program sums over the ranks: it must run, and its gradients count for nothing
            batch = self._idle_batches.get(task) or blank(graph.gradient.model.inputs)
        else:
            weight = graph.gradient.model.loss_weight(batch)
        feed = {name: batch[name] for name in graph.gradient.feeds}
        if graph.update:
            feed["examples"] = np.array([weight], "float32")
        else:
            feed.update(graph.optimizer.feed(state.step))
        if self.ranks.size > 1 and not graph.update:
            feed["loss_weight"] = np.array([weight], "float32")
            self._idle_batches[task] = batch
        fetched = self._run_watched(dataclasses.replace(graph.gradient, feeds=()), feed, state, hooks)
        sums.skipped = bool(fetched.get("skipped"))
        if idle:
            sums.micro_batches += 1
            return
        loss = float(fetched["loss"])
        if not self.config.precision.scaling:
            self._check(loss, state)
        scores = {}
        for metric, arrays in metric_arrays(graph.gradient, fetched):
            metric.reset()
            metric.update(arrays)
            scores.update(metric.eval())
        sums.add(size_of(batch), weight, loss, scores)

    def _check(self, loss, state):
        if not np.isfinite(loss):
            names = self.config.names
            raise UserError(
                f"step {state.step + 1} (epoch {state.epoch}): the loss is {loss}: lower {names.learning_rate} or "
                f"lengthen {names.warmup}; the last checkpoint is good"
            )

    def _skip(self, state, sums):
        state.skipped, state.skipped_in_a_row = state.skipped + 1, state.skipped_in_a_row + 1
        self.config.precision.scaling.check_skips(self._loss_scale(), state)
        sums.drop(state)

    def _loss_scale(self):
        return float(program.read(self.scope, amp.SCALE)[0])

    def _report(self, state, hooks):
        figures = self._clock.read(state)
        record = {
            "event": "train",
            "step": state.step,
            "epoch": state.epoch,
            "learning_rate": self.graphs.train().optimizer.learning_rate(state.step - 1),
            "queue_size": self.queue_size(),
            **state.means(),
        }
        if self.config.precision.scaling:
            record.update(loss_scale=self._loss_scale(), skipped_steps=state.skipped)
        state.clear_window()
        self.notify(hooks, "on_record", state, {**record, **figures})
        self._clock.begin(state)

    def notify(self, hooks: Sequence[RunHook], event: str, state: TrainState, *facts: Any) -> None:
        """Call one of the methods of every hook."""
        for hook in hooks:
            getattr(hook, event)(self, state, *facts)
