"""What every fine-tuning script does: flags -> readers, model, loop -> checkpoints, log, predictions.

from finetune.runner import main
main("run_classifier.py", "classify", sys.argv[1:])
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from pathlib import Path

from ernie.checkpoint import check_vocab, load_params, read_variable, write_variable
from ernie.config import ErnieConfig
from ernie.export import export_bundle
from ernie.optimization import AdamW, OptimizationConfig
from finetune import task_class
from finetune.args import parse, split
from finetune.fingerprint import fingerprint
from finetune.lines import SeedLines, log_arguments
from propeller import log as log_setup
from propeller import runtime
from propeller.errors import UserError
from propeller.train import distribution
from propeller.train.faults import guarded
from propeller.train.hooks import EarlyStopping, ProgressBar
from propeller.train.journal import Journal
from propeller.train.model import RunMode
from propeller.train.precision import precision
from propeller.train.saver import Saver, read_json
from propeller.train.shared import SharedSaver
from propeller.train.trainer import Evaluation, Learner, RunConfig
from reader.pyreader import PyReader
from reader.row_encoder import load_label_map
from tokenization import build_tokenizer

log = logging.getLogger("ernie.finetune")


def main(prog, task_name, argv):
    """Run a fine-tuning script; returns its exit status."""
    task = task_class(task_name)
    args = parse(prog, f"Fine-tune, evaluate, predict. {task.__doc__.splitlines()[0]}", argv, task.flags)
    ranks = distribution.start()
    args = args._replace(ranks=ranks)
    bar = runtime.on_terminal() and ranks.size == 1  # with several, standard error goes to files
    log_setup.setup(args.run.log_file if ranks.first else None, bar=bar)
    log_arguments(args)
    finetuner = Finetuner(task.variant(args), args, bar)
    if args.run.do_train:
        finetuner.train()
    else:
        finetuner.evaluate_and_predict()
    return 0


class Finetuner:
    """One run of one task.

    Args:
        task: a ``FinetuneTask`` class.
        args: ``Args``.
        bar: whether to show a progress bar.
    """

    def __init__(self, task, args, bar=False):
        self.task, self.args, self.bar, self.ranks = task, args, bar, args.ranks
        model = args.model
        self.place = runtime.place(args.run.use_cuda)
        self.precision = precision(args.train, self.place)
        self.config = ErnieConfig(model.ernie_config_path)
        self.config.print_config()
        if model.max_seq_len > self.config.max_position_embeddings:
            raise UserError(
                f"--max_seq_len {model.max_seq_len} is above the {self.config.max_position_embeddings} positions of "
                f"{model.ernie_config_path} (max_position_embeddings): give that or less"
            )
        if self.config.use_task_id and not 0 <= model.task_id < self.config.task_type_vocab_size:
            raise UserError(
                f"--task_id {model.task_id} is outside the {self.config.task_type_vocab_size} task embeddings of "
                f"{model.ernie_config_path} (task_type_vocab_size)"
            )
        self.tokenizer = build_tokenizer(
            model.tokenizer,
            model.vocab_path,
            model.do_lower_case,
            model.for_cn and self.task.drops_blanks,
            model.sp_model,
        )
        check_vocab(max(self.tokenizer.vocab.values()) + 1, self.config, {})
        self.label_map = load_label_map(model.label_map_config) if model.label_map_config else None
        self.head = self.task.head_config(args, self.label_map)

    def train(self):
        """Train with evaluation, then predict the test sets; an interrupted run goes on where it was."""
        args, run = self.args, self.args.run
        folder = (run.checkpoints, write_variable, read_variable, run.keep_checkpoints)
        saver = SharedSaver(self.ranks, lambda: Saver(*folder, self._meta(), self.task.run_files))
        with contextlib.closing(saver):
            reader = self._reader(args.data.train_set, training=True)
            evaluations = self._evaluations()
            known = fingerprint(args, reader, self.config, self.tokenizer, self.label_map)
            status = saver.claim(known, run.overwrite)
            if status == "finished":
                log.info(
                    "this run is finished: best checkpoint %s, last %s; --overwrite begins it afresh",
                    (Path(run.checkpoints) / "best").resolve().name,
                    (Path(run.checkpoints) / "last").resolve().name,
                )
                return
            learner = self._learner(self._optimization(reader))
            self._load_initial(learner)
            journal = Journal(run.checkpoints) if self.ranks.first else None
            hooks = [SeedLines(self.task, self.head, reader.num_examples, run.verbose), *([journal] if journal else [])]
            hooks.append(ProgressBar(self._steps(reader, whole=True), self.bar))
            if args.train.early_stop:
                hooks.append(EarlyStopping(args.train.early_stop))
            with guarded(learner, run.hang_timeout):
                state = learner.train(
                    lambda position: PyReader(lambda: reader.batches(position), args.data.queue_size),
                    reader.num_examples,
                    saver,
                    evaluations,
                    hooks,
                )
                if state.stop:
                    log.info("stopped early at step %d: %s", state.step, state.stop)
                self._log_reader(reader)
                self._test_last_and_best(learner, saver, state, journal)
            saver.finish(steps=state.step, best_step=state.best_step)
            log.info("finished; checkpoints, metrics.jsonl, events/ and curves.png are in %s", run.checkpoints)

    def evaluate_and_predict(self):
        """Evaluate and predict with a fine-tuned checkpoint, without training."""
        args = self.args
        learner, described = self._load_checkpoint()
        step = described.get("step", 0)
        if args.run.do_val:
            lines = SeedLines(self.task, self.head, 0, False)
            for entry in self._evaluations():
                self._score(learner, entry, lines, step, 0)
        if args.run.do_test:
            for path, save in self._tests():
                self._predict(learner, path, save)
                if self.task.is_labelled(path):
                    lines = SeedLines(self.task, self.head, 0, False)
                    self._score(learner, self._evaluation("test", path), lines, step, 0)

    def export(self, folder, onnx=False, overwrite=False):
        """Write the fine-tuned checkpoint of ``--init_checkpoint`` as a bundle; returns its directory.

        Raises:
            UserError: see ``ernie.export.export_bundle``; the checkpoint is of another task, labels or vocabulary.
        """
        learner, _ = self._load_checkpoint()
        model = self.args.model
        sp_model = getattr(self.tokenizer, "sp_model", None)
        facts = self._meta()
        del facts["ernie_config"]  # a file of its own
        return export_bundle(learner, folder, facts, self.config, model.vocab_path, sp_model, onnx, overwrite)

    def _load_checkpoint(self):
        """(a learner with the weights of --init_checkpoint, what its checkpoint.json says)."""
        checkpoint = Path(self.args.model.init_checkpoint)
        described = self._check_checkpoint(checkpoint)
        learner = self._learner(None)
        arrays, report = load_params(checkpoint, learner.parameter_shapes(RunMode.PREDICT), heads_optional=False)
        log.info("%s: %s", checkpoint, report.summary())
        learner.write(arrays)
        return learner, described

    def _learner(self, optimization):
        def make_model(mode):
            optimizer = AdamW(optimization) if mode is RunMode.TRAIN else None
            return self.task(self.config, self.head, mode, optimizer)

        train, run = self.args.train, self.args.run
        return Learner(
            make_model,
            RunConfig(
                seed=train.random_seed,
                accumulate=train.gradient_accumulation_steps,
                log_steps=run.skip_steps,
                eval_steps=run.validation_steps,
                save_steps=run.save_steps,
                best_by=self.task.best_by(self.head),
                precision=self.precision,
                recompute=train.use_recompute,
                place=self.place,
                ranks=self.ranks,
                bucket_mb=train.fuse_grad_size_mb,
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
        wanted = learner.parameter_shapes(RunMode.TRAIN)
        if model.init_checkpoint:
            self._check_checkpoint(source)
        else:
            wanted = {name: shape for name, shape in wanted.items() if not name.startswith(self.task.head_prefix)}
        arrays, report = load_params(source, wanted, heads_optional=not model.init_checkpoint)
        log.info("%s: %s", source, report.summary())
        if not model.init_checkpoint:
            log.info("the head is new: initialised from --random_seed %d", self.args.train.random_seed)
        learner.write(arrays)

    def _reader(self, path, training=False, labelled=True):
        return self.task.open_reader(path, self.tokenizer, self._reading(training), self.label_map, training, labelled)

    def _reading(self, training):
        """The flags as a reader takes them: ``--token_cache_dir auto`` is a folder beside the checkpoints, or off."""
        data = self.args.data
        if data.token_cache_dir != "auto":
            return self.args
        folder = str(Path(self.args.run.checkpoints) / "token_cache") if training else "off"
        return self.args._replace(data=dataclasses.replace(data, token_cache_dir=folder))

    def _evaluation(self, kind, path):
        reader = self._reader(path)
        return Evaluation(
            kind,
            path,
            lambda: PyReader(reader.batches, self.args.data.queue_size),
            lambda scores: self.task.finish_scores({**scores, "event": kind, "file": path}, reader, self.args),
        )

    def _evaluations(self):
        return [self._evaluation("dev", path) for path in split(self.args.data.dev_set)] if self.args.run.do_val else []

    def _tests(self):
        """(file to predict, where to) pairs: test sets, then the diagnostics."""
        data = self.args.data
        pairs = list(zip(split(data.test_set), split(data.test_save)))
        return pairs + ([(data.diagnostic, data.diagnostic_save)] if data.diagnostic else [])

    def _steps(self, reader, whole=False):
        """Steps of the run by the 2019 formula, which the schedule uses; with ``whole``, as many as there will be."""
        train = self.args.train
        group = train.gradient_accumulation_steps * self.ranks.size
        if train.in_tokens:
            return max(
                train.epoch * reader.num_examples // (train.batch_size // self.args.model.max_seq_len) // group, 1
            )
        if whole:
            return train.epoch * -(-reader.num_examples // (train.batch_size * group))
        return max(train.epoch * reader.num_examples // train.batch_size // group, 1)

    def _optimization(self, reader):
        train = self.args.train
        steps = self._steps(reader)
        warmup = int(steps * train.warmup_proportion)
        log.info("Device count: %d (%s)", self.ranks.size, self.place)
        log.info("Num train examples: %d", reader.num_examples)
        log.info("Max train steps: %d", steps)
        log.info("Num warmup steps: %d", warmup)
        if train.gradient_accumulation_steps > 1:
            log.info("Batches a step: %d", train.gradient_accumulation_steps)
        return OptimizationConfig(
            learning_rate=train.learning_rate,
            num_train_steps=steps,
            warmup_steps=warmup,
            weight_decay=train.weight_decay,
            scheduler=train.lr_scheduler,
        )

    def _meta(self):
        """What a checkpoint says of itself."""
        model = self.args.model
        return {
            "task": self.task.name,
            "label_map": self.label_map,
            "num_labels": model.num_labels,
            "max_seq_len": model.max_seq_len,
            "tokenizer": model.tokenizer,
            "tokenizer_fingerprint": self.tokenizer.fingerprint,
            "do_lower_case": model.do_lower_case,
            "for_cn": model.for_cn,
            "task_id": model.task_id,
            "metric": model.metric,
            "flags": dataclasses.asdict(self.args.task) if self.args.task else {},
            "ernie_config": self.config.to_dict(),
        }

    def _check_checkpoint(self, folder):
        """What ``checkpoint.json`` says, {} where there is none (2019); it must be of this task, labels and vocabulary.

        Raises:
            UserError: it is of another; both sides are named.
        """
        path = Path(folder) / "checkpoint.json"
        stored, ours = (read_json(path), self._meta()) if path.is_file() else ({}, {})
        remedies = {
            "task": "run the script of that task",
            "label_map": "give its --label_map_config",
            "num_labels": "give its --num_labels",
            "tokenizer": "give its --tokenizer",
            "tokenizer_fingerprint": "give its --vocab_path, --do_lower_case and --for_cn",
        }
        for key, remedy in remedies.items():
            if key in stored and stored[key] != ours[key]:
                raise UserError(
                    f"{folder}: the checkpoint's {key} is {stored[key]!r}, this run's {ours[key]!r}: {remedy}, "
                    "or take the encoder alone with --init_pretraining_params"
                )
        if stored and stored["max_seq_len"] != ours["max_seq_len"]:
            log.info("%s was trained with --max_seq_len %d, now %d", folder, stored["max_seq_len"], ours["max_seq_len"])
        return stored

    def _log_reader(self, reader):
        stats = distribution.add_numbers(self.ranks.all_gather(reader.stats))
        if stats["rows"]:
            log.info(
                "reader: %d rows, %d of them cut to %d tokens, %.1f%% of the batches padding",
                stats["rows"],
                stats["truncated"],
                self.args.model.max_seq_len,
                100.0 * stats["padding"] / max(stats["padding"] + stats["tokens"], 1),
            )

    def _test_last_and_best(self, learner, saver, state, journal):
        """Predict and, where labelled, score the test sets once: with the last and with the best checkpoint."""
        if not self.args.run.do_test or not self._tests():
            return
        lines = SeedLines(self.task, self.head, 0, False, journal)
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
            for path, save in self._tests():
                self._predict(learner, path, f"{save}.{epoch}.{step}")
                if self.task.is_labelled(path):
                    self._score(learner, self._evaluation("test", path), lines, step, epoch, checkpoint=kind)
        if journal:
            journal.close()

    def _score(self, learner, evaluation, lines, step, epoch, **facts):
        begin = time.monotonic()
        scores = learner.score(evaluation, step)
        elapsed = time.monotonic() - begin
        record = {"event": evaluation.kind, "step": step, "epoch": epoch, "file": evaluation.file, **scores, **facts}
        lines.on_record(learner, None, {**record, "elapsed": elapsed})

    def _predict(self, learner, path, save):
        """Write the prediction file: a line a row, in the order of the rows."""
        log.info("testing %s, save to %s", path, save)
        reader = self._reader(path, labelled=False)
        with PyReader(reader.batches, self.args.data.queue_size) as batches:
            outputs = learner.predict(batches)
            written = self.task.write_predictions(outputs, reader, save, self.args) if self.ranks.first else None
            for _ in outputs:  # of all ranks, whoever writes
                pass
        self.ranks.meet()
        if self.ranks.first and written != reader.num_examples:
            raise UserError(f"{save}: {written} predictions for {reader.num_examples} rows of {path}")
