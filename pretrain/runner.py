"""What train.py does: flags -> readers, model, loop -> checkpoints, log; or a test, or filled [MASK]s.

from pretrain.runner import main
main("train.py", sys.argv[1:])
"""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path

from ernie.checkpoint import check_vocab, load_params, read_variable, write_variable
from ernie.config import ErnieConfig
from ernie.optimization import AdamW, OptimizationConfig
from pretrain import task_class
from pretrain.args import parse
from pretrain.fingerprint import fingerprint
from pretrain.lines import SeedLines
from propeller import log as log_setup
from propeller import runtime
from propeller.errors import UserError
from propeller.files import write_file
from propeller.flags import log_values
from propeller.train import distribution
from propeller.train.faults import guarded
from propeller.train.hooks import ProgressBar
from propeller.train.journal import Journal
from propeller.train.model import RunMode
from propeller.train.precision import precision
from propeller.train.saver import Saver, read_json, read_training_state
from propeller.train.shared import SharedSaver
from propeller.train.state import TrainState
from propeller.train.trainer import Evaluation, Learner, RunConfig
from reader.pyreader import PyReader
from tokenization import build_tokenizer

log = logging.getLogger("ernie.pretrain")

# What a run puts beside its checkpoints, so that the folder is a model that recipes take as MODEL_PATH.
CONFIG, VOCAB, PARAMS = "ernie_config.json", "vocab.txt", "params"


def main(prog, argv):
    """Run train.py; returns its exit status."""
    args = parse(prog, "Pre-train ERNIE 1.0, score a checkpoint, or let it fill [MASK]s.", argv)
    ranks = distribution.start()
    args = args._replace(ranks=ranks)
    fills = args.run.predict_mask is not None
    bar = runtime.on_terminal() and ranks.size == 1
    log_setup.setup(args.run.log_file if ranks.first else None, bar=bar and not fills)
    log_values(log, args.values(), args.ignored)
    pretrainer = Pretrainer(task_class("knowledge_masking"), args, bar)
    if fills:
        from pretrain.predict_mask import fill_all

        fill_all(pretrainer, args)
    elif args.run.do_test:
        pretrainer.test()
    else:
        pretrainer.train()
    return 0


class Pretrainer:
    """One run of one task.

    Args:
        task: a ``PretrainTask`` class.
        args: ``pretrain.args.Args``.
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
        self.tokenizer = build_tokenizer(model.tokenizer, model.vocab_path, model.do_lower_case, False, model.sp_model)
        check_vocab(max(self.tokenizer.vocab.values()) + 1, self.config, {})

    def train(self):
        """Train with validation; an interrupted run goes on where it was."""
        args, run = self.args, self.args.run
        folder = (run.checkpoints, write_variable, read_variable, run.keep_checkpoints)
        saver = SharedSaver(self.ranks, lambda: Saver(*folder, self._meta(), (CONFIG, VOCAB, PARAMS)))
        with contextlib.closing(saver):
            log.info("pretraining start")
            reader = self._reader(args.data.train_filelist, training=True)
            evaluations = self._evaluations()
            known = fingerprint(args, self.config, self.tokenizer, reader, self._validation)
            if saver.claim(known, run.overwrite) == "finished":
                log.info("this run is finished, see %s; --overwrite begins it afresh", run.checkpoints)
                return
            learner = self._learner(self._optimization())
            begin = self._load_initial(learner)
            with guarded(learner, run.hang_timeout):
                state = learner.train(
                    lambda position: PyReader(lambda: reader.batches(position), args.data.queue_size),
                    None,
                    saver,
                    evaluations,
                    self._hooks(reader),
                    begin,
                )
            self._log_end(reader, state)
            saver.finish(steps=state.step, best_step=state.best_step)
            if self.ranks.first:
                self._complete_model()
            log.info("finished; checkpoints, metrics.jsonl, events/ and curves.png are in %s", run.checkpoints)

    def test(self):
        """Score a checkpoint on the test shards."""
        learner = self.open_checkpoint()
        log.info("test begin")
        reader, begin = self._reader(self.args.data.test_filelist), time.monotonic()
        with PyReader(reader.batches, self.args.data.queue_size) as batches:
            scores = self.task.finish_scores(learner.evaluate(self._counted(_of_this_rank(batches))))
        speed = scores["batch_num"] / max(time.monotonic() - begin, 1e-9)
        line = self.task.evaluation_line(scores, batch_averaged=False)
        log.info("[test_set] %s, speed: %f steps/s", line, speed)

    def open_checkpoint(self):
        """A learner with all weights of --init_checkpoint, its heads' too.

        Raises:
            UserError: it lacks one, or is of another network or vocabulary.
        """
        source = self.args.model.init_checkpoint
        self._check_checkpoint(source)
        learner = self._learner(None)
        arrays, report = load_params(source, learner.parameter_shapes(RunMode.PREDICT), heads_optional=False)
        log.info("Load pretraining parameters from %s.", source)
        log.info("%s: %s", source, report.summary())
        learner.write(arrays)
        return learner

    def _learner(self, optimization):
        head = self.task.head_config(self.args)

        def make_model(mode):
            optimizer = AdamW(optimization) if mode is RunMode.TRAIN else None
            return self.task(self.config, head, mode, optimizer)

        train, run = self.args.train, self.args.run
        return Learner(
            make_model,
            RunConfig(
                seed=train.random_seed,
                accumulate=train.gradient_accumulation_steps,
                log_steps=run.skip_steps,
                eval_steps=run.validation_steps,
                save_steps=run.save_steps,
                best_by="loss",
                max_steps=train.num_train_steps,
                precision=self.precision,
                place=self.place,
                ranks=self.ranks,
                bucket_mb=train.fuse_grad_size_mb,
                recompute=train.use_recompute,
            ),
        )

    def _load_initial(self, learner):
        """Set the weights to start from; returns the ``TrainState`` to begin from, None for step 0.

        ``--init_checkpoint`` with a training state brings moments, step powers and the step: the learning rate and the
        stages of ``--mask_units`` go on. Its place in the data is left behind, since the data may be other.
        """
        model = self.args.model
        source = model.init_checkpoint or model.init_pretraining_params
        if not source:
            log.info("all weights are new: initialised from --random_seed %d", self.args.train.random_seed)
            return None
        self._check_checkpoint(source)
        arrays, report = load_params(source, learner.parameter_shapes(RunMode.TRAIN))
        log.info("%s: %s", source, report.summary())
        learner.write(arrays)
        if not model.init_checkpoint or not (Path(source) / "training_state").is_dir():
            if model.init_checkpoint:
                log.info("%s has no training_state: a new run from its weights, from step 0", source)
            return None
        moments, stored = read_training_state(source)
        if stored["step"] >= self.args.train.num_train_steps:
            raise UserError(
                f"--init_checkpoint {source} is at step {stored['step']}, --num_train_steps is "
                f"{self.args.train.num_train_steps}: raise that, or take the weights alone, to begin at step 0, with "
                "--init_pretraining_params"
            )
        learner.write(moments)
        log.info("go on from step %d of %s, at the beginning of the data", stored["step"], source)
        steps = {"steps": stored["position"]["steps"]}
        return TrainState(step=stored["step"], batches=stored["batches"], position=steps)

    def _hooks(self, reader):
        run = self.args.run
        hooks = [SeedLines(self.task, reader.num_files, reader.stats if run.verbose else None)]
        if self.ranks.first:
            hooks.append(Journal(run.checkpoints))
        return [*hooks, ProgressBar(self.args.train.num_train_steps, self.bar)]

    def _reader(self, filelist, training=False):
        return self.task.open_reader(filelist, self.tokenizer, self.config, self.args, training)

    def _evaluations(self):
        filelist = self.args.data.valid_filelist
        self._validation = self._reader(filelist) if filelist else None
        if not filelist:
            return []
        make = self._validation.batches
        queue = self.args.data.queue_size
        opened = lambda: PyReader(lambda: _of_this_rank(make()), queue)  # noqa: E731
        return [Evaluation("dev", filelist, opened, self.task.finish_scores)]

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
        return OptimizationConfig(
            learning_rate=train.learning_rate,
            num_train_steps=train.num_train_steps,
            warmup_steps=train.warmup_steps,
            weight_decay=train.weight_decay,
            scheduler=train.lr_scheduler,
        )

    def _meta(self):
        """What a checkpoint says of itself."""
        model = self.args.model
        return {
            "task": self.task.name,
            "max_seq_len": model.max_seq_len,
            "weight_sharing": model.weight_sharing,
            "tokenizer": model.tokenizer,
            "tokenizer_fingerprint": self.tokenizer.fingerprint,
            "do_lower_case": model.do_lower_case,
            "task_id": model.task_id,
            "ernie_config": self.config.to_dict(),
        }

    def _check_checkpoint(self, folder):
        """Raise UserError where ``checkpoint.json`` says that the checkpoint is of another head or vocabulary."""
        path = Path(folder) / "checkpoint.json"
        stored, ours = (read_json(path), self._meta()) if path.is_file() else ({}, {})
        remedies = {
            "weight_sharing": "give its --weight_sharing",
            "tokenizer_fingerprint": "give its --vocab_path, --tokenizer and --do_lower_case",
        }
        for key, remedy in remedies.items():
            if stored.get("task") == self.task.name and stored[key] != ours[key]:
                was, now = stored[key], ours[key]
                raise UserError(f"{folder}: the checkpoint's {key} is {was!r}, this run's {now!r}: {remedy}")

    def _complete_model(self):
        """Make the run's folder a model, as recipes take it: its last checkpoint as params/, config, vocabulary."""
        folder = Path(self.args.run.checkpoints)
        self.config.save(folder / CONFIG)
        write_file(folder / VOCAB, Path(self.args.model.vocab_path).read_bytes())
        fresh = folder / f".{PARAMS}.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to("last")
        fresh.replace(folder / PARAMS)

    def _log_end(self, reader, state):
        if state.stop:
            log.info("stopped at step %d: %s", state.step, state.stop)
        elif state.step < self.args.train.num_train_steps:
            log.info("stopped at step %d: the %d epochs of the data end", state.step, self.args.train.epoch)
        left_out = {name: reader.stats[name] for name in ("too_long", "bad_lines", "bad_files") if reader.stats[name]}
        if left_out:
            log.warning("left out: %s", ", ".join(f"{count} {name}" for name, count in left_out.items()))


def _of_this_rank(batches):
    """Pairs of a batch and None: to the loop a position with ``done`` is inside of a file's window."""
    return ((batch, None) for batch, _ in batches)
