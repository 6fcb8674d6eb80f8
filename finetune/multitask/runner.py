"""Fine-tune one encoder on several tasks (Liu et al. 2019, arXiv 1901.11504).

    python -m finetune multitask --tasks tasks.json --ernie_config_path ... --vocab_path ... --checkpoints output/many

Each step trains one task, in an order that depends on ``--random_seed`` alone. At the end CHECKPOINTS/NAME/best is a
checkpoint of each task, with the shared encoder and its own head: prediction, the server and ``finetune.load`` take it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path

from ernie.checkpoint import load_params
from ernie.foreign_folder import ready
from finetune import task_class
from finetune.multitask.args import ManyArgs
from finetune.multitask.log_lines import TaskLines, log_best
from finetune.multitask.mixture import Endless, shares, step_order
from finetune.multitask.task_run import BETWEEN, SCORE, TaskRun
from finetune.training.fingerprint import fingerprint, former_record
from finetune.training.log_lines import log_arguments
from finetune.training.result import RunResult, dev_scores, result_of
from finetune.training.schedule import make_optimizer
from finetune.training.settled import settle_run, text_files
from propeller import log as log_setup
from propeller import runtime
from propeller.errors import UserError
from propeller.train import distribution, program
from propeller.train.args import explain_difference, flag_names, open_saver, run_config, set_up_log
from propeller.train.faults import guarded
from propeller.train.hooks import EarlyStopping, ProgressBar
from propeller.train.journal import Journal
from propeller.train.model import RunMode
from propeller.train.trainer import Learner
from reader.pretraining.mixture import Mixture
from reader.pyreader import PyReader

log = logging.getLogger("ernie.finetune")

NAMES = flag_names(warmup="--warmup_proportion")


def start(args: ManyArgs) -> int:
    """Run the command with its flags; returns its exit status."""
    ranks = distribution.start()
    bar = runtime.on_terminal() and ranks.size == 1
    flags = args.entries[0].args.run
    set_up_log(flags, ranks, flags.checkpoints, bar)
    run(args, ranks, bar)
    return 0


def run(args: ManyArgs, ranks: distribution.Ranks | None = None, bar: bool = False) -> RunResult:
    """Train; the log and the process group are set up.

    Args:
        args: ``ManyArgs``.
        ranks: the processes that train together; None: this one alone.
        bar: whether to show a progress bar.
    """
    with ready(args.entries[0].args.model.model):
        return _train(args, ranks or distribution.Ranks(), bar)


def _train(args, ranks, bar):
    entries = [entry._replace(args=entry.args._replace(ranks=ranks)) for entry in args.entries]
    tasks = {}
    for entry in entries:
        if not task_class(entry.task).trains:
            raise UserError(f"{args.path}, task {entry.name}: {entry.task} has nothing to train: take it out")
        try:
            tasks[entry.name] = TaskRun(entry, settle_run(task_class(entry.task), entry.args), bar)
        except UserError as error:
            raise UserError(f"{args.path}, task {entry.name}: {error}") from None
        log.info("task %s: %s", entry.name, entry.task)
        log_arguments(tasks[entry.name].args, entry.args)
    next(iter(tasks.values())).config.print_config()
    return Multitask(tasks, bar).train()


class Multitask:
    """One run of several tasks.

    Args:
        tasks: name -> ``TaskRun``, in the order of the list.
        bar: whether to show a progress bar.
    """

    def __init__(self, tasks: Mapping[str, TaskRun], bar: bool = False) -> None:
        self.tasks, self.bar = dict(tasks), bar
        self.first = next(iter(self.tasks.values()))
        self.args, self.config, self.ranks = self.first.args, self.first.config, self.first.args.ranks
        self.folder = Path(self.args.run.checkpoints)

    def train(self) -> RunResult:
        """Train with evaluation, then write each task's checkpoint and predict its test sets."""
        run = self.args.run
        with contextlib.ExitStack() as stack:
            saver = self._saver()
            stack.callback(saver.close)
            readers = {name: task.training_reader() for name, task in self.tasks.items()}
            evaluations = [entry for task in self.tasks.values() for entry in task.evaluations()]
            counts = self._counts({name: reader.num_examples for name, reader in readers.items()})
            known, former = self._record(readers)
            status = saver.claim(known, run.overwrite, explain=self._explain, former=former)
            log_setup.write_held()
            if status == "finished":
                log.info("this run is finished: a checkpoint of each task is in %s/NAME/best", run.checkpoints)
                return self._result()
            total = sum(counts.values())
            log.info("steps of each task: %s", ", ".join(f"{name} {count}" for name, count in counts.items()))
            learner = self._learner(total)
            stack.callback(learner.close)
            self._load_initial(learner)
            for reader in readers.values():
                reader.prepare()
            mixture = Mixture(
                {name: Endless(reader) for name, reader in readers.items()},
                step_order(counts, self.args.train.random_seed),
                self.args.train.gradient_accumulation_steps,
            )
            with guarded(learner, run.hang_timeout):
                state = learner.train(
                    lambda position: PyReader(lambda: mixture.batches(position), self.args.data.queue_size),
                    None,
                    saver,
                    evaluations,
                    self._hooks(total),
                )
                if state.stop:
                    log.info("stopped early at step %d: %s", state.step, state.stop)
            made = self._save_each(learner, saver, state.step if state.best_step is None else state.best_step)
            for name, task in self.tasks.items():
                task.test(made[name])
            saver.finish(steps=state.step, best_step=state.best_step)
            result = self._result()
            log_best(result, {name: str(task.args.run.best_metric) for name, task in self.tasks.items()})
            log.info("finished; a checkpoint of each task is in %s/NAME/best", run.checkpoints)
            return result

    def _saver(self):
        first = self.first
        text = first.spec.record()
        names = ("tokenizer", "tokenizer_fingerprint", "do_lower_case", "for_cn", "ernie_config")
        meta = {
            "task": "multitask",
            "members": {name: task.spec.task for name, task in self.tasks.items()},
            **{name: text[name] for name in names},
        }
        files = text_files(first.vocab_path, first.tokenizer)
        return open_saver(self.ranks, self.args.run, meta=meta, also=tuple(self.tasks), names=NAMES, files=files)

    def _counts(self, rows):
        """name -> steps of each task."""
        own = {name: task.steps(rows[name]) for name, task in self.tasks.items()}
        total = self.args.optimizer.max_steps or sum(own.values())
        if total < len(own):
            raise UserError(f"--max_steps {total}: there are {len(own)} tasks: give at least one step for each")
        weights = {name: task.weight for name, task in self.tasks.items()}
        return shares(own, None if None in weights.values() else weights, total)

    def _record(self, readers):
        """What makes this run this run; and what records of earlier versions lack of it."""
        own = {name: fingerprint(task.args, task.spec, readers[name], self.config) for name, task in self.tasks.items()}
        weights = {name: task.weight for name, task in self.tasks.items()}
        first = own[self.first.name]
        known = {"flag": first["flag"], "initial_weights": first["initial_weights"], "weight": weights, "of": own}
        former = {name: former_record(own[name], task.task, task.spec) for name, task in self.tasks.items()}
        return known, {"flag": former[self.first.name]["flag"], "of": former}

    def _explain(self, difference):
        return explain_difference(difference, self.ranks.size)

    def _learner(self, total):
        def make_model(mode, name):
            optimizer = make_optimizer(self.args, total, self.config) if mode is RunMode.TRAIN else None
            return self.tasks[name].model(mode, optimizer)

        train = self.args.train
        return Learner(
            make_model,
            run_config(
                train,
                self.args.run,
                best_by=SCORE,
                least_gain=train.early_stop_min_gain,
                max_steps=total,
                precision=self.first.precision,
                place=self.first.place,
                ranks=self.ranks,
                names=NAMES,
            ),
            tasks=list(self.tasks),
        )

    def _load_initial(self, learner):
        """The encoder's weights, and what else of the Programs belongs to a pre-trained model; heads are new."""
        source = self.args.model.init_pretraining_params
        if not source:
            log.warning("no --init_pretraining_params: the encoder starts from random weights")
            return
        shapes = learner.parameter_shapes(RunMode.TRAIN)
        wanted = {name: shape for name, shape in shapes.items() if BETWEEN not in name}
        optional = not any(task.task.needs_head for task in self.tasks.values())
        unused = learner.unused_parameters(RunMode.TRAIN)
        arrays, report = load_params(source, wanted, heads_optional=optional, unused=unused)
        log.info("%s: %s", source, report.summary())
        learner.write(arrays)

    def _hooks(self, total):
        hooks = [TaskLines(self.tasks, total), *([Journal(self.folder)] if self.ranks.first else [])]
        if self.args.train.early_stop:
            hooks.append(EarlyStopping(self.args.train.early_stop))
        return [*hooks, ProgressBar(total, self.bar)]

    def _save_each(self, learner, saver, step):
        """name -> the checkpoint of each task, with the weights of a step."""
        if self.ranks.first:
            arrays = saver.parameters(step)
            for name, task in self.tasks.items():
                own = program.parameters(learner.graphs.main(RunMode.TRAIN, name))
                made = task.save(self.folder / name, {each: arrays[each] for each in own}, step)
                log.info("saved the checkpoint of %s, step %d: %s", name, step, made)
        self.ranks.barrier()
        return {name: self.folder / name / "best" for name in self.tasks}

    def _result(self):
        """How the run ended, with the scores of each task."""
        if not self.ranks.first:
            return RunResult({}, self.folder, 0, None)
        found = result_of(self.folder)
        step = found.step if found.best_step is None else found.best_step
        return found._replace(scores={name: dev_scores(self.folder, step, name) for name in self.tasks})
