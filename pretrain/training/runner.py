"""What train.py does: flags -> readers, models, loop -> checkpoints, log; or a test, or filled [MASK]s.

from pretrain.training.runner import main
main("train.py", sys.argv[1:])
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from ernie import packed
from ernie.checkpoint import check_vocab
from ernie.config import ErnieConfig
from ernie.foreign_folder import ready
from ernie.memory import training_line
from ernie.optimization import AdamW, OptimizationConfig
from pretrain import DEFAULT_TASK
from pretrain.training import model_folder
from pretrain.training.args import DESCRIPTION, GROUPS, Args, check_validated, parse
from pretrain.training.beginning import check_checkpoint, load_all, load_initial, stored_record
from pretrain.training.duration import MASKED_SHARE, warn_of_duration
from pretrain.training.fingerprint import FORMER, fingerprint
from pretrain.training.log_lines import LegacyLogLines, TaskLines
from pretrain.training.schedule import StepPlan
from pretrain.training.tasks_of_run import of_this_rank, tasks_of
from propeller import log as log_setup
from propeller import runtime
from propeller.errors import UserError
from propeller.flags import changed, log_values
from propeller.train import distribution
from propeller.train.args import explain_difference, flag_names, open_saver, run_config, set_up_log
from propeller.train.checkpoints import recorded_run
from propeller.train.faults import guarded
from propeller.train.hooks import ProgressBar
from propeller.train.journal import Journal, left_in
from propeller.train.model import RunMode
from propeller.train.trainer import Learner
from reader.pretraining.mixture import Mixture
from reader.pyreader import PyReader
from tokenization import build_tokenizer

log = logging.getLogger("ernie.pretrain")

NAMES = flag_names(warmup="--warmup_steps")  # what the engine's errors call its settings

TELL_EVERY = 5.0  # seconds between lines of progress while files are checked


def main(prog: str, argv: Sequence[str]) -> int:
    """Run train.py with the flags of a command line; returns its exit status."""
    return run(parse(prog, DESCRIPTION, argv))


def run(args: Args) -> int:
    """Run train.py with ``pretrain.training.args.Args``; returns its exit status."""
    ranks = distribution.start()
    args = args._replace(ranks=ranks)
    fills = args.run.predict_mask is not None
    bar = runtime.on_terminal() and ranks.size == 1
    set_up_log(args.run, ranks, args.run.checkpoints if args.train_mode else None, bar and not fills)
    with ready(args.model.model):
        _use(args, bar)
    return 0


def _use(args, bar):
    pretrainer = Pretrainer(args, bar)  # what is wrong with the settings is said before there is a log file
    log_values(log, pretrainer.args.values(), args.ignored, changed(args.values(), GROUPS.values()))
    pretrainer.config.print_config()
    if args.run.predict_mask is not None:
        from pretrain.training.predict_mask import fill_all

        fill_all(pretrainer, pretrainer.args)
    elif args.run.do_test:
        pretrainer.test()
    else:
        pretrainer.train()


class Pretrainer:
    """One run, of knowledge masking or of the tasks of a list.

    Args:
        args: ``pretrain.training.args.Args``.
        bar: whether to show a progress bar.
    """

    def __init__(self, args: Args, bar: bool = False) -> None:
        self.bar, self.ranks = bar, args.ranks
        self.place = runtime.place(args.run.use_cuda)
        self.precision = args.train.precision(self.place)
        self.config = ErnieConfig(args.model.ernie_config_path)
        model = dataclasses.replace(args.model, max_seq_len=args.model.longest(self.config))
        self.config.check_positions(model.longest(self.config))
        self.args = args = args._replace(model=model)
        self.learning = _with_dropout(self.config, args.train.dropout)
        self.tokenizer = build_tokenizer(model.tokenizer, model.vocab_path, model.do_lower_case, False, model.sp_model)
        check_vocab(max(self.tokenizer.vocab.values()) + 1, self.config, {})
        self.several = bool(args.tasks.task_list)
        source = None if args.train_mode else model.init_checkpoint
        self.tasks = tasks_of(args, self.learning, self.tokenizer, stored_record(source).get("tasks"))
        entries = [task.entry for task in self.tasks.values()]
        self.plan = StepPlan(entries, args.tasks.schedule, args.train.random_seed) if self.several else None
        self.steps = self.plan.total if self.plan else args.train.num_train_steps

    def train(self) -> None:
        """Train with validation; an interrupted run goes on where it was."""
        run = self.args.run
        if self.several and not any(task.entry.valid_filelist for task in self.tasks.values()):
            check_validated(run, f"a valid_filelist in {self.args.tasks.task_list}")
        begun = None if run.overwrite else recorded_run(run.checkpoints)
        train, on_gpu = self.args.train, "gpu" in str(self.place).lower()
        half = train.use_fp16 or train.use_bf16
        fused = packed.wanted(train.fused_encoder, self.learning, on_gpu, half, train.use_recompute, begun)
        args = self.args = self.args._replace(train=dataclasses.replace(train, fused_encoder=str(fused).lower()))
        own = {"also": model_folder.FILES, "links": model_folder.LINKS}
        saver = open_saver(self.ranks, run, meta=self._meta(), names=NAMES, **own)
        with contextlib.closing(saver):
            log.info("pretraining start")
            readers, evaluations, validation = self._open()
            known = fingerprint(args, self.config, self.tokenizer, self.tasks, readers, validation)
            with_weights = (
                f", with --init_checkpoint {run.checkpoints}/last to go on with its weights, moments and step"
            )
            status = saver.claim(known, run.overwrite, with_weights, self._explain, FORMER)
            log_setup.write_held()
            if status == "finished":
                self._complete_model(missing=True)
                log.info("this run is finished, see %s; --overwrite begins it afresh", run.checkpoints)
                return
            if status == "new" and not on_gpu:
                warn_of_duration(args, self.config, self.steps, DEFAULT_TASK in self.tasks)
            self._read_validation()
            learner = self._learner(self._optimization())
            begin = self._load_initial(learner)
            with guarded(learner, run.hang_timeout):
                state = learner.train(
                    lambda position: PyReader(lambda: self._batches(readers, position), args.data.queue_size),
                    None,
                    saver,
                    evaluations,
                    self._hooks(readers),
                    begin,
                )
            self._log_end(readers, state)
            self._complete_model()
            saver.finish(steps=state.step, best_step=state.best_step)  # last: what is finished is complete
            log.info("finished; %s are in %s", left_in(run.checkpoints), run.checkpoints)

    def _explain(self, difference):
        return explain_difference(difference, self.ranks.size)

    def _open(self):
        """Readers of the training data by task, evaluations, readers of the validation data by task.

        Raises:
            UserError: the data of a task are not as its head needs them, or a stage has no steps for anything.
        """
        readers, evaluations, validation = {}, [], {}
        for name, task in self.tasks.items():
            readers[name] = task.training_reader()
            for filelist in task.entry.filelists:
                task.check(filelist, training=True)
            if task.entry.valid_filelist:
                validation[name] = task.reader(task.entry.valid_filelist)
                task.check(task.entry.valid_filelist)
                evaluations.append(task.evaluation(validation[name]))
        return readers, evaluations, validation

    def _read_validation(self):
        """Read the validation shards once, so that a bad line of theirs is told before the first step.

        Raises:
            UserError: a line is bad, and such lines are not left out (--on_bad skip).
        """
        if self.args.data.on_bad != "error":
            return
        for task in self.tasks.values():
            if not task.entry.valid_filelist:
                continue
            told = time.monotonic()
            for number, _ in enumerate(task.reader(task.entry.valid_filelist).batches(), 1):
                if time.monotonic() - told > TELL_EVERY:
                    told = time.monotonic()
                    log.info("checking %s: %d batches so far", task.entry.valid_filelist, number)

    def _batches(self, readers, position):
        """Pairs of a batch and the position after it, from a position on."""
        if not self.several:
            return readers[DEFAULT_TASK].batches(position)
        accumulated = self.args.train.gradient_accumulation_steps
        # A step skipped for its loss scale is made up for after the last one: max_steps ends the run.
        order = lambda step: self.plan.task(min(step, self.steps - 1))  # noqa: E731
        return Mixture(readers, order, accumulated).batches(position)

    def test(self) -> None:
        """Score a checkpoint on the test shards, those of every task that has some."""
        tested = [task for task in self.tasks.values() if task.entry.test_filelist]
        if not tested:
            raise UserError(f"{self.args.tasks.task_list}: no task has a test_filelist; give one of them one")
        for task in tested:
            task.check(task.entry.test_filelist)
        learner = self.open_checkpoint()
        log.info("test begin")
        for task in tested:
            reader, begin = task.reader(task.entry.test_filelist), time.monotonic()
            with PyReader(reader.batches, self.args.data.queue_size) as batches:
                found = learner.evaluate(self._counted(of_this_rank(batches)), task.name if self.several else None)
            scores = task.task.finish_scores(found)
            speed = scores["batch_num"] / max(time.monotonic() - begin, 1e-9)
            line = task.task.evaluation_line(scores, batch_averaged=False)
            which = f"task: {task.name}, " if self.several else ""
            log.info("[test_set] %s%s, speed: %f steps/s", which, line, speed)

    def open_checkpoint(self) -> Learner:
        """A learner with all weights of --init_checkpoint, its heads' too.

        Raises:
            UserError: it lacks one, or is of another network or vocabulary.
        """
        source = self.args.model.init_checkpoint
        check_checkpoint(source, self._meta())
        learner = self._learner(None)
        load_all(learner, source)
        return learner

    def _learner(self, optimization):
        def make_model(mode, task=DEFAULT_TASK):
            model = self.tasks[task].model(mode, AdamW(optimization, fused) if mode is RunMode.TRAIN else None)
            model.encoder.packed = fused
            return model

        train, run = self.args.train, self.args.run
        fused = train.fused_encoder == "true"
        return Learner(
            make_model,
            run_config(
                train,
                run,
                save_at_error=True,  # --on_bad skip goes on there
                best_by=run.best_metric,
                max_steps=self.steps,
                precision=self.precision,
                place=self.place,
                ranks=self.ranks,
                names=NAMES,
            ),
            tasks=list(self.tasks) if self.several else (),
        )

    def _load_initial(self, learner):
        """Set the weights to start from; returns the ``TrainState`` to begin from, None for step 0."""
        model = self.args.model
        source = model.init_checkpoint or model.init_pretraining_params
        if not source:
            log.info("all weights are new: initialised from --random_seed %d", self.args.train.random_seed)
            return None
        check_checkpoint(source, self._meta())
        return load_initial(learner, self.args, self.config, self.tasks, self.plan, self.steps)

    def _hooks(self, readers):
        run = self.args.run
        if self.several:
            hooks = [TaskLines({name: task.task for name, task in self.tasks.items()}, self.plan)]
        else:
            reader = readers[DEFAULT_TASK]
            hooks = [
                LegacyLogLines(self.tasks[DEFAULT_TASK].task, reader.num_files, reader.stats if run.verbose else None)
            ]
        if self.ranks.first:
            hooks.append(Journal(run.checkpoints))
        return [*hooks, ProgressBar(self.steps, self.bar)]

    def _counted(self, batches):
        every = self.args.run.skip_steps
        for number, pair in enumerate(batches, 1):
            yield pair
            if number % every == 0:
                log.info("[test_set] steps: %d", number)

    def _optimization(self):
        train, ranks = self.args.train, self.ranks
        log.info("Device count %d", ranks.size)
        log.info("args.is_distributed: %s", ranks.size > 1)
        tokens = train.batch_size * train.gradient_accumulation_steps * ranks.size
        log.info(
            "a step is %d %s: %d batches of %d in each of %d processes, on %s",
            *(tokens, "tokens" if train.in_tokens else "instances", train.gradient_accumulation_steps),
            *(train.batch_size, ranks.size, self.place),
        )
        line = training_line(
            self.config,
            batch_size=train.batch_size,
            max_seq_len=self.args.model.max_seq_len,
            in_tokens=train.in_tokens,
            half=train.use_fp16 or train.use_bf16,
            on_gpu="gpu" in str(self.place).lower(),
            accumulate=train.gradient_accumulation_steps > 1,
            recompute=train.use_recompute,
            fused=train.fused_encoder == "true",
            masked_share=MASKED_SHARE if DEFAULT_TASK in self.tasks else 0.0,
        )
        log.info("%s", line)
        return OptimizationConfig(
            learning_rate=train.learning_rate,
            num_train_steps=self.steps,
            warmup_steps=train.warmup_steps,
            weight_decay=train.weight_decay,
            scheduler=train.lr_scheduler,
            beta2=train.beta2,
            restarts=self.plan.restarts if self.args.tasks.warmup_restart else (),
        )

    def _meta(self):
        """What a checkpoint says of itself."""
        model = self.args.model
        return {
            "task": "multi_task" if self.several else DEFAULT_TASK,
            "tasks": {name: task.facts() for name, task in self.tasks.items()},
            "max_seq_len": model.max_seq_len,
            "weight_sharing": model.weight_sharing,
            "tokenizer": model.tokenizer,
            "tokenizer_fingerprint": self.tokenizer.fingerprint,
            "do_lower_case": model.do_lower_case,
            "for_cn": False,
            **({} if self.several else {"task_id": self.tasks[DEFAULT_TASK].entry.task_id}),
            "ernie_config": self.config.to_dict(),
        }

    def _complete_model(self, missing=False):
        """Make the run's folder a model, as recipes take it: its last checkpoint as params/, config, vocabulary.

        Args:
            missing: only where one of them is missing, from a run that was killed before this was done.
        """
        folder = Path(self.args.run.checkpoints)
        if self.ranks.first and not (missing and model_folder.is_model(folder)):
            model_folder.make_model(folder, self.config, self.args.model.vocab_path, self.tokenizer)

    def _log_end(self, readers, state):
        if state.stop:
            log.info("stopped at step %d: %s", state.step, state.stop)
        elif state.step < self.steps:
            log.info("stopped at step %d: the %d epochs of the data end", state.step, self.args.train.epoch)
        for task, reader in readers.items():
            counts = {name: reader.stats[name] for name in ("too_long", "bad_lines", "bad_files") if reader.stats[name]}
            if counts:
                of_task = f" of {task}" if self.several else ""
                log.warning("left out%s: %s", of_task, ", ".join(f"{count} {name}" for name, count in counts.items()))


def _with_dropout(config, rate):
    """The configuration of the networks that learn: with this dropout, None: its own."""
    if rate is None:
        return config
    return ErnieConfig({**config.to_dict(), "hidden_dropout_prob": rate, "attention_probs_dropout_prob": rate})
