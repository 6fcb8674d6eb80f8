"""``Learner`` and ``train_and_eval`` in 2019's form, over the one training loop (``trainer.Learner``).

learner = Learner(MyModel, RunConfig(model_dir="out", max_steps=1000), HParams(width=8))
learner.train(train_dataset)                    # again: continues
learner.evaluate(dev_dataset)                   # {"loss": 0.3, "acc": 0.9}
for probabilities, in learner.predict(test_dataset, ckpt="best"): ...
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Callable, NamedTuple

import paddle

from propeller import runtime
from propeller.data import Dataset
from propeller.errors import UserError
from propeller.hparams import HParams, RunConfig, run_config_of
from propeller.train import adapter, distribution, trainer
from propeller.train.checkpoints import Checkpoints, verify_checkpoint
from propeller.train.contract import as_model_fn
from propeller.train.events import EventFiles
from propeller.train.faults import guarded
from propeller.train.model import RunMode
from propeller.train.run_hooks import LoggingHook, RunHook, StopAtStepHook
from propeller.train.saver import Saver
from propeller.train.shared import SharedSaver
from propeller.variables import read_header, read_variable, write_variable

log = logging.getLogger("propeller.train")

LOG_STEPS, CHECKPOINTS_KEPT = 10, 10


class Variable(NamedTuple):
    """What a warm start is asked about."""

    name: str
    shape: tuple


class WarmStartSetting(NamedTuple):
    """Weights to begin from.

    Attributes:
        predicate_fn: called with a ``Variable`` (``name``, ``shape``); whether it is read from ``from_dir``.
        from_dir: a folder with one file per variable, such as a released model's ``params``.
    """

    predicate_fn: Callable[[Variable], bool]
    from_dir: str | Path


@functools.lru_cache(maxsize=1)
def _ranks():
    """The processes of the launcher's environment, or of ``PROPELLER_DISCONFIG``; joined once."""
    static = not paddle.in_dynamic_mode()
    paddle.disable_static()
    try:
        return distribution.start()
    finally:
        if static:
            paddle.enable_static()


class Learner:
    """Trains, evaluates and predicts with a model; its state is in ``run_config.model_dir``.

    Args:
        model_class_or_model_fn: a subclass of ``contract.Model``, or a function
            ``(features, mode, params, run_config) -> ModelSpec``.
        run_config: ``model_dir`` is needed.
        params: hyper-parameters, handed to the model.
        warm_start_setting: weights to begin from, where ``model_dir`` has no checkpoint yet.

    Raises:
        UserError: ``run_config`` has no ``model_dir`` or a value that is none.
    """

    def __init__(
        self,
        model_class_or_model_fn: Callable,
        run_config: RunConfig,
        params: HParams | None = None,
        warm_start_setting: WarmStartSetting | None = None,
    ) -> None:
        self.run_config = run_config_of(run_config._asdict())
        if not run_config.model_dir:
            raise UserError("run config: model_dir is missing: give the folder of checkpoints")
        self.model_dir = Path(run_config.model_dir)
        self.model_fn, self.params = as_model_fn(model_class_or_model_fn), params
        self.warm_start_setting, self.ranks = warm_start_setting, _ranks()

    # ---------------------------------------------------------------- training

    def train(self, train_ds: Dataset, train_hooks: Sequence[RunHook] = ()) -> list:
        """Train until the data end, ``max_steps`` or ``run_steps``, or a hook ends it.

        Continues from the newest checkpoint in ``model_dir``, at the batch after it; where the data set had ended, from
        its beginning. With several processes ``train_ds`` is this one's shard.

        Args:
            train_ds: its elements are batches, the last column is the label.
            train_hooks: ``RunHook`` objects.

        Returns:
            what ``after_train`` of each of ``train_hooks`` returned.

        Raises:
            UserError: the checkpoint or ``from_dir`` is of another network; a batch cannot be read; see
                ``trainer.Learner.train``.
            SystemExit: after SIGTERM or Ctrl-C, when a checkpoint is written.
        """
        return self._train(train_ds, train_hooks)

    def _train(self, train_ds, train_hooks, evaluation=None):
        config, ranks = self.run_config, self.ranks
        datasets = {RunMode.TRAIN: train_ds, **({RunMode.EVAL: evaluation.first} if evaluation else {})}
        engine, maker = self._engine(datasets)
        engine.parameter_shapes(RunMode.TRAIN)
        model = maker.models[RunMode.TRAIN]
        kept = config.max_ckpt or CHECKPOINTS_KEPT
        own = Saver(self.model_dir, write_variable, read_variable, kept) if ranks.first else None
        with contextlib.closing(SharedSaver(ranks, lambda: own)) as saver:
            if own:
                self._begin(engine, own)
            hooks = [StopAtStepHook(None, config.run_steps), *train_hooks]
            if ranks.first:
                history = EventFiles(self.model_dir / "train_history")
                hooks.append(
                    LoggingHook(None, config.log_steps or LOG_STEPS, config.skip_steps or 0, history, model.summaries)
                )
            adapted = adapter.TrainHooks(hooks, lambda: model)
            reports = [evaluation.reports(engine, maker, adapted)] if evaluation else []
            batches = adapter.TrainBatches(train_ds, ranks)
            sets = evaluation.sets(ranks, adapted) if evaluation else ()
            with guarded(engine):
                engine.train(batches.open, None, saver, sets, [adapted, *reports])
        return adapted.results[1 : 1 + len(train_hooks)]

    def _begin(self, engine, saver):
        """Look whether the checkpoint is this network's; without one, read the warm start's weights."""
        shapes = engine.parameter_shapes(RunMode.TRAIN)
        if not saver.steps():
            if self.warm_start_setting:
                engine.write(_warm_start(self.warm_start_setting, shapes))
            return
        folder = saver.path(saver.steps()[-1])
        for name, shape in shapes.items():
            if not (folder / name).is_file():
                log.warning("%s: %s is not in it: it begins anew", folder, name)
                continue
            there = _shape(folder / name)
            if there not in (None, list(shape)):
                raise UserError(
                    f"{folder}: of another network, {name} is {there} there and {list(shape)} here: "
                    "choose another model_dir, or remove it"
                )

    def _engine(self, datasets):
        """The loop's Learner, and the ``Maker`` of its models."""
        config = self.run_config
        maker = adapter.Maker(self.model_fn, self.params, config, datasets, self.ranks)
        loop_config = trainer.RunConfig(
            seed=config.seed or 0,
            log_steps=config.log_steps or LOG_STEPS,
            eval_steps=config.eval_steps or 0,
            save_steps=config.save_steps or 0,
            skip_steps=config.skip_steps or 0,
            best_by=config.best_by or "loss",
            max_steps=config.max_steps,
            place=runtime.place("auto"),
            ranks=self.ranks,
        )
        return trainer.Learner(maker, loop_config), maker

    # ---------------------------------------------------------------- evaluation and prediction

    def evaluate(self, eval_ds: Dataset, eval_hooks: Sequence[RunHook] = (), ckpt: int | str | None = None) -> dict:
        """The metrics of a checkpoint over a data set, at most ``eval_max_steps`` batches of it.

        With several processes each is given the whole data set; its batches are dealt out.

        Args:
            eval_ds: its elements are batches, the last column is the label.
            eval_hooks: ``RunHook`` objects, called around each batch.
            ckpt: see ``predict``.

        Returns:
            metric -> value, ``loss`` among them where the model has one.

        Raises:
            UserError: there is no such checkpoint.
        """
        return self._evaluate(eval_ds.name or "eval", eval_ds, eval_hooks, ckpt)

    def _evaluate(self, name, eval_ds, eval_hooks, ckpt=None):
        engine, maker = self._engine({RunMode.EVAL: eval_ds})
        step = self._load(engine, ckpt)
        hooks = adapter.EvalHooks(eval_hooks, lambda: step)
        batches = adapter.dealt(eval_ds, self.ranks, self.run_config.eval_max_steps, lambda: hooks.stopped)
        with hooks.around(batches):
            scores = engine.evaluate(batches, hooks=[hooks])
        results = adapter.metrics_of(scores, maker.models[RunMode.EVAL].spec.loss is not None)
        if self.ranks.first:
            self._report({name: results}, step)
        return results

    def predict(
        self, ds: Dataset, ckpt: int | str | None = None, steps: int = -1, split_batch: bool = True
    ) -> Iterator:
        """The predictions for a data set, in its order.

        Args:
            ds: its elements are batches without a label.
            ckpt: a step, a name (``step_300``, ``best``, ``last``), an index from the end (-1); None: the newest.
            steps: how many batches; -1: all.
            split_batch: one item per row, else one per batch.

        Yields:
            per row a tuple of lists, one per prediction of the model; per batch a list of arrays.

        Raises:
            UserError: there is no such checkpoint.
        """
        engine, _ = self._engine({RunMode.PREDICT: ds})
        self._load(engine, ckpt)
        for outputs, _ in engine.predict(adapter.dealt(ds, self.ranks, None if steps < 0 else steps)):
            arrays = list(outputs.values())
            if split_batch:
                yield from (tuple(row.tolist() for row in rows) for rows in zip(*arrays))
            else:
                yield arrays

    def _load(self, engine, ckpt):
        """Set the weights of a checkpoint; returns its step."""
        checkpoints = Checkpoints(self.model_dir, read_variable)
        step = checkpoints.step_of(-1 if ckpt is None else ckpt)
        verify_checkpoint(checkpoints.path(step), parameters_only=True)
        engine.write(checkpoints.parameters(step))
        return step

    def _report(self, results, step):
        for name, scores in results.items():
            lines = "".join(f"\n{metric}\t{value:.6g}" for metric, value in scores.items())
            log.info("*** eval res: %s ***%s", name, lines)
            history = EventFiles(self.model_dir / "eval_history" / name)
            try:
                history.write("eval", step, scores)
            except OSError as error:
                log.warning("%s: not written (%s): make room", history.folder, error.strerror or error)
            finally:
                history.close()


def _shape(path):
    """The shape of a variable's file; None where it is damaged: the loop then takes the checkpoint before."""
    try:
        return list(read_header(path).shape)
    except UserError:
        return None


def _warm_start(setting, shapes):
    """name -> array of the variables that the predicate selects."""
    folder, arrays = Path(setting.from_dir), {}
    verify_checkpoint(folder, parameters_only=True)
    for name, shape in shapes.items():
        if not setting.predicate_fn(Variable(name, tuple(shape))):
            continue
        array = read_variable(folder / name)
        if array.shape != tuple(shape):
            raise UserError(f"{folder / name}: of shape {list(array.shape)}, {list(shape)} is needed")
        arrays[name] = array
    log.info("warm start: %d of %d variables from %s", len(arrays), len(shapes), folder)
    if not arrays:
        log.warning("warm start: the predicate selects no variable; there are %s", ", ".join(list(shapes)[:5]))
    return arrays


class _Evaluation:
    """The evaluation sets of a training run and what is done with their results."""

    def __init__(self, learner, datasets, hooks, exporters):
        self.learner, self.datasets, self.hooks, self.exporters = learner, datasets, tuple(hooks), tuple(exporters)
        self.first = next(iter(datasets.values()))
        self._reports = None
        for name, dataset in datasets.items():
            if (dataset.data_shapes, dataset.data_types) != (self.first.data_shapes, self.first.data_types):
                raise UserError(f"evaluation set {name}: other shapes or types than the first one: give all the same")

    def sets(self, ranks, adapted):
        """The loop's ``Evaluation``s."""
        return [self._set(name, dataset, ranks, adapted) for name, dataset in self.datasets.items()]

    def _set(self, name, dataset, ranks, adapted):
        hooks = adapter.EvalHooks(self.hooks, lambda: adapted.step)
        limit = self.learner.run_config.eval_max_steps

        def open_batches():
            return hooks.around(adapter.dealt(dataset, ranks, limit, lambda: hooks.stopped))

        return trainer.Evaluation("eval", name, open_batches, hooks=(hooks,) if self.hooks else ())

    def reports(self, engine, maker, adapted):
        """The loop's hook that reports and exports."""

        def model():
            return maker.models[RunMode.EVAL]

        def tell(results, state):
            self.learner._report(results, state.step)
            with paddle.static.scope_guard(engine.scope):
                for exporter in self.exporters:
                    exporter.export(engine.executor, model().program, model().spec, results, adapted.state(state))

        best_by = self.learner.run_config.best_by or "loss"
        self._reports = adapter.EvaluationReports(tell, best_by, lambda: model().spec.loss is not None)
        return self._reports

    def results(self):
        """The last evaluation's, or, where the run had none left to do, those of the newest checkpoint."""
        if self._reports.results:
            return self._reports.results
        return {name: self.learner._evaluate(name, each, self.hooks) for name, each in self.datasets.items()}


def train_and_eval(
    *,
    model_class_or_model_fn: Callable,
    params: HParams | None,
    run_config: RunConfig,
    train_dataset: Dataset,
    eval_dataset: Dataset | Mapping[str, Dataset],
    warm_start_setting: WarmStartSetting | None = None,
    train_hooks: Sequence[RunHook] = (),
    eval_hooks: Sequence[RunHook] = (),
    exporters: Sequence = (),
) -> dict:
    """Train, and evaluate every ``eval_steps`` steps and at the end.

    Args:
        model_class_or_model_fn, params, run_config, warm_start_setting: see ``Learner``.
        train_dataset: with several processes, this one's shard.
        eval_dataset: one, called ``eval``, or name -> data set; all of the same shapes and types.
        train_hooks: called around the steps.
        eval_hooks: called around the batches of every evaluation.
        exporters: ``exporters.Exporter`` objects, called after each evaluation with all results.

    Returns:
        the last evaluation's results, data set -> metric -> value.

    Raises:
        UserError: see ``Learner.train``.
    """
    learner = Learner(model_class_or_model_fn, run_config, params, warm_start_setting)
    datasets = dict(eval_dataset) if isinstance(eval_dataset, Mapping) else {"eval": eval_dataset}
    evaluation = _Evaluation(learner, datasets, eval_hooks, exporters)
    learner._train(train_dataset, train_hooks, evaluation)
    return evaluation.results()
