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

import numpy as np
import paddle

from propeller.bundle import write_bundle
from propeller.errors import UserError
from propeller.train import amp, program
from propeller.train.batches import blank, ends_epoch, metric_arrays, size_of, turns
from propeller.train.distribution import Ranks
from propeller.train.faults import Stopped
from propeller.train.graphs import Graphs
from propeller.train.model import RunMode
from propeller.train.saver import DiskFull, contiguous
from propeller.train.state import Evaluation, RunConfig, StepSums, TrainState

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

    def __init__(self, make_model, config, tasks=()):
        paddle.enable_static()
        self.config = config
        self.place = config.place or paddle.CPUPlace()
        self.ranks = config.ranks or Ranks()
        self.executor = paddle.static.Executor(self.place)
        self.scope = paddle.static.Scope()
        self.graphs = Graphs(make_model, tasks, config, self.ranks, self.executor, self.scope, self.place)
        self._spare = {}  # task -> what a process without a batch of its own computes, for nothing, beside the others
        self._asked = None  # why this process is to stop
        self._stopping = None  # why all do, agreed on
        self.progress = 0  # runs of Programs so far: who watches sees whether it still grows

    def train(self, open_batches, epoch_size, saver, evaluations=(), hooks=(), begin=None):
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
            UserError: the loss is no finite number any more; the last checkpoint cannot be written; a batch cannot be
                read (see ``save_at_error``).
            faults.Stopped: asked for by ``ask_to_stop``; the checkpoint of the last step is written.
        """
        config = self.config
        state, group = self._start(saver, begin), StepSums()
        self._tell(hooks, "before_train", state)
        self._make_up_evaluation(state, evaluations, saver, hooks)
        with open_batches(state.position) as batches:
            self.queue_size, self._reported = batches.queue_size, time.monotonic()
            for batch, position in () if self._is_over(state) else self._kept_at_an_error(batches, state, group, saver):
                # every batch: its gradients; without accumulation this is the update, too
                task = getattr(position, "task", None)
                graph = self.graphs.train(task)
                self._run_batch(graph, batch, state, group, task)
                state.epoch, state.rows, state.position = position.epoch, position.rows, position.to_dict()
                if group.turns < config.accumulate and not ends_epoch(position, epoch_size):
                    continue
                # every step: the update from all the batches of the step, of all ranks; no number, no step
                self._stopping = group.share(self.ranks, self._asked)
                if graph.update:
                    share = np.array([1.0 / group.weight], "float32")
                    feed = {**graph.optimizer.feed(state.step), "example_share": share}
                    group.skipped = bool(self._run(graph.update, feed).get("skipped"))
                # with a loss scale: gradients that are no numbers changed nothing, so the step is none
                if group.skipped:
                    self._skip(state, group)
                    continue
                self._check(group.sums["loss"], state)
                state.step, state.skipped_in_a_row = state.step + 1, 0
                group.close(state, task)
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
                if self._is_over(state):
                    break
        # at the end: evaluation and checkpoint of the last step
        self._evaluate_all(state, evaluations, saver, hooks)
        self._save(state, saver, last=True)
        self._tell(hooks, "after_train", state)
        if self._stopping:
            raise Stopped(self._stopping, state)
        return state

    def evaluate(self, batches, task=None):
        """Loss and scores over batches.

        Args:
            batches: iterable of pairs of a batch and anything.
            task: whose batches they are, where there are several.

        Returns:
            dict with ``loss`` (mean over examples), ``data_num`` and the model's scores.
        """
        graph = self.graphs.of(RunMode.EVAL, task)
        for metric in graph.metrics.values():
            metric.reset()
        total, examples = 0.0, 0
        for fetched, size in self._in_order(batches, lambda batch: (self._run(graph, batch), size_of(batch))):
            total, examples = total + float(fetched["loss"]) * size, examples + size
            for metric, arrays in metric_arrays(graph, fetched):
                metric.update(arrays)
        scores = {"loss": total / max(examples, 1), "data_num": examples}
        for metric in graph.metrics.values():
            scores.update(metric.eval())
        return scores

    def score(self, evaluation, step):
        """The final scores of an ``Evaluation``, the same on all ranks; the first one makes them."""
        with evaluation.open_batches() as batches:
            scores = self.evaluate(batches, evaluation.task)
        if self.ranks.first:
            scores = evaluation.finish({**scores, "step": step})
        self.ranks.meet()
        return self.ranks.from_first(scores)

    def predict(self, batches):
        """(dict of predicted arrays, batch) for each pair of a batch and a position, all ranks' in the file's order.

        Every rank must take all of them.
        """
        graph = self.graphs.of(RunMode.PREDICT)
        return self._in_order(batches, lambda batch: (self._run(graph, batch), batch))

    def ask_to_stop(self, reason):
        """Stop after a step that all ranks agree on, or in the evaluation or prediction that is under way.

        May be called at any moment, by a signal's handler too. ``train`` writes a checkpoint, leaves evaluation to the
        run that continues, and raises ``faults.Stopped``; ``evaluate``, ``score`` and ``predict`` just raise it.
        """
        self._asked = reason

    def _is_over(self, state):
        return bool(self._stopping or state.stop) or (
            self.config.max_steps is not None and state.step >= self.config.max_steps
        )

    def _make_up_evaluation(self, state, evaluations, saver, hooks):
        """The evaluation that was due after the step of the checkpoint, where the run was stopped before its end."""
        if self.config.eval_steps and state.step == state.saved_step and state.step % self.config.eval_steps == 0:
            self._evaluate_all(state, evaluations, saver, hooks)

    def parameter_shapes(self, mode):
        """name -> shape of the parameters the mode's Programs have."""
        return self.graphs.parameters(mode)

    def write(self, arrays):
        """Set variables from name -> array."""
        program.write(self.scope, self.place, arrays)

    def load(self, saver, step):
        """Set the parameters from the checkpoint of a step; with several ranks the first one reads it."""
        if self.ranks.first:
            self.write(saver.parameters(step))
        if self.ranks.size > 1:
            self.ranks.meet()
            self.write(self.ranks.copy_from_first(self.read(self.graphs.parameters(RunMode.TRAIN))))

    def read(self, names):
        """name -> array of variables in the scope."""
        return {name: program.read(self.scope, name) for name in names}

    def export(self, folder, task, meta, files=None, overwrite=False, extend=None):
        """Write the prediction Program with the present weights as a bundle, see ``propeller.bundle.write_bundle``."""
        graph = self.graphs.of(RunMode.PREDICT)
        write_bundle(folder, graph, self.scope, self.place, task, meta, files, overwrite, extend)

    def _in_order(self, batches, run):
        """What ``run`` makes of every batch; with several ranks of all their batches, in the file's order."""
        found = (
            (self._asked or run(batch) for batch, _ in batches)
            if self.ranks.size == 1
            else self.ranks.in_order(turns(batches, run, lambda: self._asked))
        )
        for item in found:
            if isinstance(item, str):  # why one of the ranks was asked to stop, in its place among the results
                raise Stopped(item)
            yield item

    def _run(self, graph, feed):
        """One run of a Program; what it fetches, by name."""
        feed = {name: feed[name] for name in graph.feeds or feed}
        names = list(graph.fetches)
        fetched = self.executor.run(
            graph.main, feed=feed, fetch_list=[graph.fetches[name] for name in names], scope=self.scope
        )
        self.progress += 1
        return dict(zip(names, fetched))

    def _run_batch(self, graph, batch, state, group, task):
        """Gradients of one batch; dropout is seeded by its number, so a resumed run draws what a whole one does."""
        number = state.batches + group.turns * self.ranks.size + self.ranks.rank
        paddle.seed(int(np.random.SeedSequence([self.config.seed, number]).generate_state(1)[0]))
        idle, weight = batch is None, 0
        if idle and graph.update:
            group.turns += 1
            return
        if idle:  # its Program sums over the ranks: it must run, and its gradients count for nothing
            batch = self._spare.get(task) or blank(graph.gradient.model.inputs)
        else:
            weight = graph.gradient.model.loss_weight(batch)
        feed = {name: batch[name] for name in graph.gradient.feeds}
        if graph.update:
            feed["examples"] = np.array([weight], "float32")
        else:
            feed.update(graph.optimizer.feed(state.step))
        if self.ranks.size > 1 and not graph.update:
            feed["loss_weight"] = np.array([weight], "float32")
            self._spare[task] = batch
        fetched = self._run(dataclasses.replace(graph.gradient, feeds=()), feed)
        group.skipped = bool(fetched.get("skipped"))
        if idle:
            group.turns += 1
            return
        loss = float(fetched["loss"])
        if not self.config.precision.scaling:
            self._check(loss, state)
        scores = {}
        for metric, arrays in metric_arrays(graph.gradient, fetched):
            metric.reset()
            metric.update(arrays)
            scores.update(metric.eval())
        group.add(size_of(batch), weight, loss, scores)

    def _check(self, loss, state):
        if not np.isfinite(loss):
            raise UserError(
                f"step {state.step + 1} (epoch {state.epoch}): the loss is {loss}: lower --learning_rate or lengthen "
                "the warm-up; the last checkpoint is good"
            )

    def _skip(self, state, group):
        state.skipped, state.skipped_in_a_row = state.skipped + 1, state.skipped_in_a_row + 1
        self.config.precision.scaling.check_skips(self._loss_scale(), state)
        group.clear(state)

    def _loss_scale(self):
        return float(program.read(self.scope, amp.SCALE)[0])

    def _start(self, saver, begin):
        """Variables from the last checkpoint, what it lacks from the startup Programs; the state to go on from."""
        restored = saver.restore()
        state = begin or TrainState()
        if restored:
            parameters, optimizer_state, stored = restored
            self.write({**parameters, **optimizer_state})
            state = TrainState(**stored)
            log.info("continue from step %d, epoch %d, %d rows read in it", state.step, state.epoch, state.rows)
        self.graphs.initialise()
        return state if self.ranks.size == 1 else self._start_as_first(state)

    def _start_as_first(self, state):
        """The first rank's state and variables, on every rank."""
        self.ranks.meet()
        state = TrainState(**self.ranks.from_first(dataclasses.asdict(state)))
        names = list(self.graphs.parameters(RunMode.TRAIN))
        if state.step:  # else the moments are those of a new run, alike everywhere
            names += self.graphs.optimizer_variables()
        self.write(self.ranks.copy_from_first(self.read(names)))
        return state

    def _report(self, state, hooks):
        means = state.means()
        now = time.monotonic()
        record = {
            "event": "train",
            "step": state.step,
            "epoch": state.epoch,
            "learning_rate": self.graphs.train().optimizer.learning_rate(state.step - 1),
            "queue_size": self.queue_size(),
            **means,
        }
        if self.config.precision.scaling:
            record.update(loss_scale=self._loss_scale(), skipped_steps=state.skipped)
        speed = state.window_steps / max(now - self._reported, 1e-9)
        state.clear_window()
        self._tell(hooks, "on_record", state, {**record, "speed": speed})
        self._reported = time.monotonic()

    def _evaluate_all(self, state, evaluations, saver, hooks):
        if self._stopping or not evaluations or state.evaluated_step == state.step:
            return
        try:
            score = self._scores(state, evaluations, hooks)
        except Stopped as stopped:
            self._stopping = stopped.reason
            return
        except UserError:
            self._save_alone(state, saver)
            raise
        state.evaluated_step = state.step
        improved = state.best_score is None or score > state.best_score
        if improved:
            before = state.best_score, state.best_step, state.best_epoch
            state.best_score, state.best_step, state.best_epoch = score, state.step, state.epoch
            if self._save(state, saver):
                saver.link("best", state.step)
            else:  # the disk is full: the best one is the best of those that are there
                state.best_score, state.best_step, state.best_epoch = before
        self._tell(hooks, "after_evaluation", state, score, improved)
        self._reported = time.monotonic()

    def _scores(self, state, evaluations, hooks):
        """Evaluate on all sets; the score that picks the best checkpoint."""
        score = None
        for entry in evaluations:
            begin = time.monotonic()
            self._tell(hooks, "before_evaluation", state, entry)
            scores = self.score(entry, state.step)
            record = {"event": entry.kind, "step": state.step, "epoch": state.epoch, "file": entry.file, **scores}
            if entry.task is not None:
                record["task"] = entry.task
            self._tell(hooks, "on_record", state, {**record, "elapsed": time.monotonic() - begin})
            found = -scores["loss"] if self.config.best_by == "loss" else scores[self.config.best_by]
            if entry.task is not None:  # of several tasks all count
                score = (score or 0.0) + entry.weight * found
            elif score is None:
                score = found
        return score

    def _kept_at_an_error(self, batches, state, group, saver):
        """The batches; where one cannot be read, the steps before it may be saved."""
        try:
            yield from batches
        except UserError:
            if not group.turns:  # else the gradients of a step under way would be missing
                self._save_alone(state, saver)
            raise

    def _save_alone(self, state, saver):
        """Write a checkpoint before an error that other ranks do not know of; with several there is none."""
        if self.config.save_at_error and self.ranks.size == 1 and state.step:
            self._save(state, saver)

    def _save(self, state, saver, last=False):
        """Write a checkpoint; whether there is one. A full disk is an error for the ``last`` one only."""
        if state.saved_step == state.step:
            return True
        before, state.saved_step, full = state.saved_step, state.step, None
        if self.ranks.first:
            try:
                saver.save(
                    state.step,
                    self.read(self.graphs.parameters(RunMode.TRAIN)),
                    contiguous(self.read(self.graphs.optimizer_variables())),
                    {**dataclasses.asdict(state), "stop": None},
                )
                saver.prune(state.best_step)
            except DiskFull as error:
                full = str(error)
        self.ranks.meet()
        full = self.ranks.from_first(full)
        if full is None:
            return True
        state.saved_step = before
        if last:
            raise UserError(f"{full}, and run again to continue from there")
        log.warning("%s; training goes on", full)
        return False

    def _tell(self, hooks, event, state, *facts):
        for hook in hooks:
            getattr(hook, event)(self, state, *facts)
