"""What every fine-tuning run does: flags -> readers, model, loop -> checkpoints, log, predictions.

python -m finetune classify --train_set train.tsv --dev_set dev.tsv ...
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from ernie.checkpoint import load_params, scan_params
from ernie.foreign_folder import ready
from finetune import task_class
from finetune.columns import check_label_column
from finetune.prediction.export import load_weights
from finetune.spec import read_record
from finetune.task import FinetuneTask
from finetune.training.args import Args
from finetune.training.effects import evaluates
from finetune.training.files import RunFiles
from finetune.training.fingerprint import explain_data, fingerprint, former_record, is_of_dev_set
from finetune.training.heads import with_stored_head
from finetune.training.log_lines import LegacyLogLines, log_arguments, log_best
from finetune.training.reading import facts_of_rows
from finetune.training.result import RunResult, numbers_of, result_of
from finetune.training.schedule import log_plan, make_optimizer, num_steps
from finetune.training.settled import RunModel, check_checkpoint, settle_run, text_files, with_settled_flags
from finetune.training.train_model import train_model, with_balanced_weights
from finetune.training.tuned import with_stored
from propeller import log as log_setup
from propeller import runtime
from propeller.errors import UserError
from propeller.flags import split
from propeller.train import distribution
from propeller.train.args import explain_difference, flag_names, open_saver, run_config, set_up_log
from propeller.train.faults import guarded
from propeller.train.hooks import EarlyStopping, ProgressBar, RunHook
from propeller.train.journal import Journal, left_in
from propeller.train.model import RunMode
from propeller.train.trainer import Learner
from reader.pyreader import PyReader

log = logging.getLogger("ernie.finetune")

NAMES = flag_names(warmup="--warmup_proportion")  # what the engine's errors call its settings


def start(task_name: str, args: Args) -> int:
    """Run a fine-tuning script with its flags; returns its exit status."""
    task = task_class(task_name)
    if not task.trains:
        raise UserError(f"the task {task_name!r} has nothing to train: use {task.script}")
    ranks = distribution.start()
    args = args._replace(ranks=ranks)
    bar = runtime.on_terminal() and ranks.size == 1  # with several, standard error goes to files
    set_up_log(args.run, ranks, args.run.checkpoints if args.run.do_train else None, bar)
    run(task, args, bar)
    return 0


def run(task: type[FinetuneTask], args: Args, bar: bool = False, hooks: Sequence[RunHook] = ()) -> RunResult:
    """Train, or evaluate and predict, as the flags say; the log and the process group are set up.

    Args:
        task: the class of the task.
        args: the flags.
        bar: whether to show a progress bar.
        hooks: what is hung into the training besides.
    """
    args.train.precision(runtime.place(args.run.use_cuda))  # what is wrong with the flags is said before files are read
    with ready(args.model.model, pooler=args.run.do_train):
        args, labels = with_stored_head(task, args)
        model = settle_run(task, args, labels)
        given, args = args, with_settled_flags(args, model)
        log_arguments(args, given)
        model.config.print_config()
        finetuner = Finetuner(model, args, bar, hooks)
        if args.run.do_train:
            return finetuner.train()
        if args.run.do_test and not evaluates(args):  # no other file has to have labels
            check_label_column(split(args.data.test_set), args.tables.form(), model.task.name)
        return finetuner.evaluate_and_predict()


class Finetuner(RunFiles):
    """One run of one task.

    Args:
        model: ``finetune.training.settled.RunModel``.
        args: ``Args``.
        bar: whether to show a progress bar.
        hooks: ``RunHook`` objects of others.
    """

    def __init__(self, model: RunModel, args: Args, bar: bool = False, hooks: Sequence[RunHook] = ()) -> None:
        super().__init__(model, args)
        self.bar, self.ranks, self.hooks = bar, args.ranks, hooks
        self.place = runtime.place(args.run.use_cuda)
        self.precision = args.train.precision(self.place)

    def train(self) -> RunResult:
        """Train with evaluation, then predict the test sets; an interrupted run goes on where it was."""
        args, run = self.args, self.args.run
        reader = self.reader(args.data.train_set, training=True)
        saver = open_saver(
            self.ranks,
            run,
            meta={**self.spec.record(), **facts_of_rows(self.task, reader)},
            also=self.task.run_files,
            names=NAMES,
            files=text_files(self.vocab_path, self.tokenizer),
        )
        with contextlib.ExitStack() as stack:
            stack.callback(saver.close)
            evaluations = self.evaluations()
            self.check_tests()
            known = fingerprint(args, self.spec, reader, self.config)
            former = former_record(known, self.task, self.spec)
            status = saver.claim(known, run.overwrite, explain=self._explain, former=former, told=is_of_dev_set)
            log_setup.write_held()
            if status == "finished":
                self._log_finished()
                return self._result()
            log_plan(args, self.task, self.spec, self.config, self.place, reader.num_examples)
            survey = self.training_survey()
            self.spec = with_balanced_weights(self.spec, self.task, args, self.tokenizer, survey)
            learner = self._learner(num_steps(args, self.spec, reader.num_examples))
            stack.callback(learner.close)
            self._load_initial(learner)
            self.task.prepare(learner, self.spec)
            reader.prepare()
            journal = Journal(run.checkpoints) if self.ranks.first else None
            with guarded(learner, run.hang_timeout):
                state = learner.train(
                    lambda position: PyReader(lambda: reader.batches(position), args.data.queue_size),
                    reader.num_examples,
                    saver,
                    evaluations,
                    self._hooks(reader.num_examples, journal),
                )
                if state.stop:
                    log.info("stopped early at step %d: %s", state.step, state.stop)
                self._log_reader(reader)
                self._test_last_and_best(learner, saver, state, journal)
            saver.finish(steps=state.step, best_step=state.best_step)
            result = self._result()
            log_best(result, self.task.score_names(self.spec))
            log.info("finished; %s are in %s", left_in(run.checkpoints), run.checkpoints)
            return result

    def _log_finished(self):
        best, last = (Path(self.args.run.checkpoints) / name for name in ("best", "last"))
        log.info(
            "this run is finished: %s, last %s; --overwrite begins it afresh",
            f"best checkpoint {best.resolve().name}" if best.exists() else "no best checkpoint",
            last.resolve().name,
        )

    def _hooks(self, examples, journal):
        """What looks on while the run trains."""
        hooks = [LegacyLogLines(self.task, self.spec, examples, self.args.run.verbose)]
        hooks += [*([journal] if journal else []), *self.hooks]
        hooks.append(ProgressBar(num_steps(self.args, self.spec, examples, whole=True), self.bar))
        if self.args.train.early_stop:
            hooks.append(EarlyStopping(self.args.train.early_stop))
        return hooks

    def _explain(self, difference):
        return explain_data(difference) or explain_difference(difference, self.ranks.size)

    def evaluate_and_predict(self) -> RunResult:
        """Evaluate and predict with a fine-tuned checkpoint, without training."""
        args = self.args
        self.pairs = self.task.trained_on_pairs(read_record(str(args.model.init_checkpoint)))
        evaluations = self.evaluations()
        self.check_tests()
        learner, described = self._load_checkpoint()
        self.found = with_stored(self.spec, described)
        step, scores = described.get("step", 0), []
        lines = LegacyLogLines(self.task, self.spec, 0, False)
        if args.run.do_val:
            scores = [self._score(learner, entry, lines, step, 0) for entry in evaluations]
        if args.run.do_test:
            for path, save in self.predicted_files():
                self._predict(learner, path, save)
                if self.is_labelled(path):
                    self._score(learner, self.test_evaluation(path), lines, step, 0)
        return RunResult(scores[0] if scores else {}, Path(args.model.init_checkpoint or ""), step, None)

    def _result(self):
        """How the run ended, from its folder."""
        folder = Path(self.args.run.checkpoints)
        return result_of(folder) if self.ranks.first else RunResult({}, folder, 0, None)

    def _load_checkpoint(self):
        """(a learner with the weights of --init_checkpoint, what its checkpoint.json says)."""
        checkpoint = Path(self.args.model.init_checkpoint)
        described = check_checkpoint(checkpoint, self.spec)
        learner = self._learner()
        load_weights(learner, checkpoint)
        return learner, described

    def _learner(self, steps=0):
        """What runs the Programs; steps: how many the schedule is for."""

        def make_model(mode):
            if mode is not RunMode.TRAIN:
                return self.task(self.config, self.spec, mode)
            optimizer = make_optimizer(self.args, steps, self.config)
            return train_model(self.task, self.config, self.spec, self.args, optimizer)

        train, run = self.args.train, self.args.run
        return Learner(
            make_model,
            run_config(
                train,
                run,
                best_by=run.best_metric,
                least_gain=train.early_stop_min_gain,
                max_steps=self.args.optimizer.max_steps or None,
                precision=self.precision,
                place=self.place,
                ranks=self.ranks,
                names=NAMES,
                save_at_error=self.task.saves_at_error(self.spec),
                tell_waiting=self.task.tells_waiting(self.spec),
            ),
        )

    def _load_initial(self, learner):
        """The weights to start from; --init_checkpoint brings its head, --init_pretraining_params does not."""
        model = self.args.model
        source = model.init_checkpoint or model.init_pretraining_params
        if model.init_checkpoint and model.init_pretraining_params:
            log.warning("--init_checkpoint is given, so --init_pretraining_params is not used")
        if not source:
            log.warning("no --init_pretraining_params and no --init_checkpoint: the encoder starts from random weights")
            return
        shapes = wanted = learner.parameter_shapes(RunMode.TRAIN)
        if model.init_checkpoint:
            check_checkpoint(source, self.spec)
        else:
            wanted = {name: shape for name, shape in wanted.items() if not name.startswith(self.task.head_prefix)}
        unused = learner.unused_parameters(RunMode.TRAIN)
        optional = not model.init_checkpoint and not self.task.needs_head
        arrays, report = load_params(source, wanted, heads_optional=optional, unused=unused)
        log.info("%s: %s", source, report.summary())
        if optional:
            heads = {name: shape for name, shape in shapes.items() if name not in wanted}
            own = heads.keys() <= set(report.unexpected) and all(
                variable.shape == tuple(heads[name]) for name, variable in scan_params(source, heads).items()
            )
            own = own and bool(heads) and not model.model  # of --model it was looked at, see ``with_stored_head``
            log.info(
                "the head is new: initialised from --random_seed %d%s", self.args.train.random_seed,
                f" (--init_checkpoint {source} trains the one that is there)" if own else "",
            )  # fmt: skip
        learner.write(arrays)

    def _log_reader(self, reader):
        stats = distribution.add_numbers(self.ranks.all_gather(reader.stats))
        if stats["rows"]:
            share = 100.0 * stats["padding"] / max(stats["padding"] + stats["tokens"], 1)
            log.info(
                "reader: %d rows, %d of them cut to %d tokens%s",
                stats["rows"],
                stats["truncated"],
                self.spec.max_seq_len,
                "" if self.args.train.fused_encoder == "true" else f", {share:.1f}% of the batches padding",
            )
        for line in reader.notes():
            log.info(line)

    def _test_last_and_best(self, learner, saver, state, journal):
        """Predict and, where labelled, score the test sets once: with the last and with the best checkpoint."""
        if not self.args.run.do_test or not self.predicted_files():
            return
        lines = LegacyLogLines(self.task, self.spec, 0, False, journal)
        checkpoints = {"last": state.step}
        if state.best_step is not None:
            checkpoints["best"] = state.best_step
        for kind, step in checkpoints.items():
            if kind == "best" and step == state.step:
                log.info("the best checkpoint is the last one, step %d", step)
                continue
            epoch = state.epoch if kind == "last" else state.best_epoch
            log.info("testing with the %s checkpoint, step %d", kind, step)
            if kind == "best":
                learner.load(saver, step)
            if self.ranks.first:
                self.found = with_stored(self.spec, read_record(Path(self.args.run.checkpoints) / f"step_{step}"))
            for path, save in self.predicted_files():
                self._predict(learner, path, f"{save}.{epoch}.{step}")
                if self.is_labelled(path):
                    self._score(learner, self.test_evaluation(path), lines, step, epoch, checkpoint=kind)
        if journal:
            journal.close()

    def _score(self, learner, evaluation, lines, step, epoch, **facts):
        begin = time.monotonic()
        scores = learner.score(evaluation, step)
        elapsed = time.monotonic() - begin
        record = {"event": evaluation.kind, "step": step, "epoch": epoch, "file": evaluation.file, **scores, **facts}
        lines.on_record(learner, None, {**record, "elapsed": elapsed})
        return numbers_of(scores)

    def _predict(self, learner, path, save):
        """Write the prediction file: one line per row, in the order of the rows."""
        log.info("testing %s, save to %s", path, save)
        reader = self.reader(path, labelled=False)
        with PyReader(reader.batches, self.args.data.queue_size) as batches:
            outputs = learner.predict(batches)
            written = self.task.write_predictions(outputs, reader, save, self.found) if self.ranks.first else None
            for _ in outputs:  # of all ranks, whoever writes
                pass
        self.ranks.barrier()
        if self.ranks.first and written != reader.num_examples:
            raise UserError(f"{save}: {written} predictions for {reader.num_examples} rows of {path}")
