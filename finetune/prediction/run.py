"""Batch prediction: rows -> windows sorted by length -> predictor -> the order of the file -> a file, or printed.

    python -m finetune.prediction --init_checkpoint output/sst2/best --predict_set new.tsv --output predictions.tsv

The checkpoint or inference model knows its task; infer_classifyer.py, infer_sequence_labeling.py and infer_mrc.py are
the same for one kind of task each. Memory does not grow with the file: rows are read, predicted and written a window at
a time. A task may have a ``PredictionJob`` of its own (``FinetuneTask.job``); the default suits rows of text.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, TextIO

import numpy as np
from tqdm import tqdm

from ernie.foreign_folder import ready
from finetune import TASKS, task_class
from finetune.checks import check_file
from finetune.columns import check_columns
from finetune.pairs import warn_of_pairs
from finetune.prediction.args import PredictArgs
from finetune.prediction.formats import JsonLines, TableFormat, table_rows
from finetune.prediction.gold import Gold, RowGold
from finetune.prediction.source import open_source
from finetune.spec import ModelSpec, Reading
from propeller import log as log_setup
from propeller import runtime
from propeller.errors import UserError, leave_stdout
from propeller.files import atomic_text, temporary_directory
from propeller.flags import log_values
from propeller.shown import show_as
from reader.ordered import OrderedBatch, in_file_order, ordered_batches
from reader.pyreader import PyReader
from reader.tables.form import bare_name, is_copied

if TYPE_CHECKING:
    from finetune.prediction.model import InferenceModel
    from reader.batch_reader import BatchReader


log = logging.getLogger("ernie.finetune")

AHEAD = 8  # batches made ready while the predictor runs
STANDARD = "-"
TELL_EVERY = 30  # seconds between lines of the log where there is no bar


def start(tasks: Sequence[str], args: PredictArgs) -> int:
    """Run a prediction script with its flags; returns its exit status.

    Args:
        tasks: names of the tasks that it predicts, the first one that of a checkpoint which does not say.
        args: the flags.
    """
    job = open_job(tasks)
    job.check(args)
    bar = runtime.on_terminal() and not (job.prints(args) and sys.stdout.isatty())
    log_setup.setup(args.data.log_file, bar=bar)
    log_values(log, args.values(), shown=args.changed())
    try:
        check_input(args)  # before a checkpoint is made ready
        with contextlib.ExitStack() as stack:
            path = stack.enter_context(_named_file(args.data.predict_set)) if args.data.do_prediction else ""
            if path and path != args.data.predict_set:  # a file has been looked at before Paddle was loaded
                check_columns(path, args.tables.form().copying(), tasks[0] if tasks else None)
            stack.enter_context(ready(args.model.model, pooler=False))
            opened = open_source(args, job, stack)
            if opened:
                predict(job, *opened, args, bar, path)
    except BrokenPipeError:  # what reads our standard output (head, less) has enough
        log.info("standard output was closed: stopped")
        leave_stdout()
        return 1
    return 0


def open_job(tasks: Sequence[str]) -> PredictionJob:
    """The job of the first task, for all of them. Raises UserError: the task has none."""
    if not tasks:
        return PredictionJob(tasks)
    task = task_class(tasks[0])
    if not task.job:
        raise UserError(f"models of the task {tasks[0]!r} have no predictions of rows: use {task.script}")
    module, _, attribute = task.job.partition(":")
    return getattr(importlib.import_module(module), attribute)(tasks)


def check_input(args: PredictArgs) -> None:
    """Raise UserError where the file to predict is not there."""
    source = args.data.predict_set
    if args.data.do_prediction and source != STANDARD and not Path(source).exists():
        raise UserError(f"{source}: no such file; check the path")


def predict(
    job: PredictionJob, model: InferenceModel, spec: ModelSpec, args: PredictArgs, bar: bool, path: str
) -> None:
    """Predict a file with a model that is ready: the rows, the output, the lines of the log.

    Args:
        job: what is done with each row.
        model: the model.
        spec: its record, with the settings that were given.
        args: the flags.
        bar: whether a progress bar is shown.
        path: the file, where --predict_set is standard input its copy.
    """
    data = args.data
    reading = Reading(
        batch_size=data.batch_size,
        num_workers=data.num_workers,
        labelled=False,
        on_bad=args.checks.on_bad,
        form=args.tables.form().copying(),
    )
    reader = job.open_reader(path, model, spec, reading, args)
    check_file(reader, args.checks)
    warn_of_pairs(model.task.trained_on_pairs(spec.facts), reader, path)
    _tell_copied(reader)
    if job.prints(args):
        log.info("-------------- prediction results --------------")
    progress = Progress(model, reader.num_examples, job.unit, bar)
    with contextlib.closing(progress):
        gold = job.write(model, spec, reader, args, progress)
    log.info("qps:%s\ttotal_time:%s\ttotal_example:%d\tbatch_size:%d", progress.done / max(progress.busy, 1e-9),
             progress.busy, progress.done, data.batch_size, extra=log_setup.IN_FILE)  # fmt: skip
    stats, elapsed = reader.stats, time.monotonic() - progress.begun
    if stats["truncated"]:
        log.info("%d of %d rows were cut to %d tokens", stats["truncated"], stats["rows"], reader.max_seq_len)
    rate = progress.done / max(elapsed, 1e-9)
    log.info("predicted %d %s in %.2f s, %.1f %s/s (%.2f s of it in the model): %s", progress.done,
             job.unit, elapsed, rate, job.unit, progress.busy, data.output or "standard output")  # fmt: skip
    if gold is not None:
        gold.tell()


def _tell_copied(reader):
    """Names the columns that nobody reads: one of them may be misspelt."""
    names = [bare_name(name) for name in getattr(reader.table, "columns", ()) if is_copied(name)]
    if names:
        log.info("columns that are copied, not read: %s", ", ".join(names))


class PredictionJob:
    """Rows of a file and what a model predicts of them, as TSV or JSON lines.

    Args:
        tasks: names of the tasks it predicts, the first one that of a checkpoint which does not say.

    Attributes:
        unit: what is counted.
    """

    unit = "rows"

    def __init__(self, tasks: Sequence[str]) -> None:
        self.tasks = tuple(tasks)

    def check(self, args: PredictArgs) -> None:
        """Raise UserError for flags that do not go together."""
        check_output(args)

    def prints(self, args: PredictArgs) -> bool:
        """Whether predictions go to standard output."""
        return args.data.output in (None, STANDARD)

    def task_of(self, stored: str | None, args: PredictArgs, where: str | Path) -> str:
        """The task of a model.

        Args:
            stored: what the model says, or None.
            where: the model's folder.

        Raises:
            UserError: it is of another task than this script's.
        """
        if stored is not None and stored not in self.tasks:
            raise UserError(
                f"{where}: is of the task {stored!r}, this script predicts {' and '.join(self.tasks)}: "
                f"use {task_class(stored).script}"
                if stored in TASKS
                else f"{where}: its task {stored!r} is unknown here, known: {', '.join(TASKS)}"
            )
        return stored or self.tasks[0]

    def settings(self, task_name: str) -> dict[str, Any]:
        """Settings of a checkpoint that says none, beside the defaults."""
        return {}

    def open_reader(
        self, path: str, model: InferenceModel, spec: ModelSpec, reading: Reading, args: PredictArgs
    ) -> BatchReader:
        """The reader of the rows."""
        return model.task.open_reader(path, model.tokenizer, spec, reading)

    def format(self, model: InferenceModel, spec: ModelSpec, columns: Sequence[str], args: PredictArgs) -> TableFormat:
        """The form of the output."""
        kind = {"tsv": TableFormat, "jsonl": JsonLines}[args.script.output_format]
        return kind(model.task, spec, columns, args.script.copy_columns, keep_label=True)

    def write(
        self, model: InferenceModel, spec: ModelSpec, reader: BatchReader, args: PredictArgs, progress: Progress
    ) -> Gold | None:
        """Predict and write every row; returns the labels of the rows, to score them, or None."""
        gold = RowGold.of(model.task, spec, reader)
        lines = self.format(model, spec, reader.table.columns, args)
        names = model.task.answer_outputs

        def items_of(outputs, item):
            outputs = model.task.by_example(outputs, item.batch, reader)
            wanted = names or tuple(outputs)
            return [{name: outputs[name][number] for name in wanted} for number in range(len(item.rows))]

        results = ordered_results(reader, progress, items_of)
        with open_output(args.data.output) as file:
            for arrays, row in zip(results, table_rows(reader.table)):
                file.write(lines.line(row, model.task.decode(arrays, row, spec)))
                if gold is not None:
                    gold.add(arrays, row)
        return gold


class Progress:
    """Runs batches and reports progress: a bar on a terminal, otherwise a log line every ``TELL_EVERY`` seconds.

    Attributes:
        done: rows.
        busy: seconds in the predictor.
        begun: when this was made.
    """

    def __init__(self, model: InferenceModel, total: int, unit: str, bar: bool) -> None:
        self.model, self.total, self.unit = model, total, unit
        self.done, self.busy, self.begun = 0, 0.0, time.monotonic()
        self.bar = tqdm(total=total, unit=unit, unit_scale=True, file=sys.stderr, disable=not bar, dynamic_ncols=True)
        self.logged = self.begun

    def run(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of the predictor for a batch: name -> array [batch, ...]."""
        begin = time.monotonic()
        outputs = self.model.run(batch)
        self.busy += time.monotonic() - begin
        return outputs

    def add(self, count: int) -> None:
        """Count ``count`` more rows as done."""
        self.done += count
        self.bar.update(count)
        now = time.monotonic()
        if self.bar.disable and now - self.logged > TELL_EVERY:
            self.logged = now
            log.info("predicted %d/%d %s, %.1f %s/s", self.done, self.total, self.unit,
                     self.done / (now - self.begun), self.unit)  # fmt: skip

    def close(self) -> None:
        """End the bar."""
        self.bar.close()


def ordered_results(
    reader: BatchReader, progress: Progress, items_of: Callable[[dict[str, np.ndarray], OrderedBatch], list[Any]]
) -> Iterator[Any]:
    """Yield one item per row, in the file's order.

    Args:
        reader: a reader without shuffling.
        items_of: called with (outputs, OrderedBatch); returns a list with one item per row of the batch.
    """

    def results():
        with PyReader(lambda: ordered_batches(reader), AHEAD) as batches:
            for item in batches:
                items = items_of(progress.run(item.batch), item)
                progress.add(len(item.rows))
                yield item.rows, items

    return in_file_order(results(), reader.num_examples)


@contextlib.contextmanager
def open_output(path: str | Path | None) -> Iterator[TextIO]:
    """A text file in UTF-8 to write: ``path``, which appears whole or not at all, or standard output (None or -).

    Devices and pipes (/dev/null) are written to directly; only files are replaced.
    """
    if path in (None, STANDARD):
        sys.stdout.flush()
        with open(sys.stdout.fileno(), "w", encoding="utf8", newline="\n", closefd=False) as file:
            yield file
        return
    path = Path(path).resolve()  # a link stays, what it points to is replaced
    with open(path, "w", encoding="utf8", newline="\n") if _is_special(path) else atomic_text(path) as file:
        yield file


def _is_special(path):
    return path.exists() and not path.is_file()


def check_output(args: PredictArgs) -> None:
    """Raise UserError, before anything is computed, if --output cannot be a file or is the file to predict."""
    output, source = args.data.output, args.data.predict_set
    if output in (None, STANDARD) or not args.data.do_prediction:
        return
    if Path(output).is_dir():
        raise UserError(f"--output {output}: is a directory; name a file in it")
    if source != STANDARD and Path(output).resolve() == Path(source).resolve():
        raise UserError(f"--output {output}: is the file to predict; name another one")
    if not _is_special(Path(output)):
        check_writable(Path(output).resolve().parent)


def check_writable(folder: Path) -> None:
    """Raise UserError if a folder cannot be made or written to. It is made when there is something to write."""
    place = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise UserError(f"--output: {folder} cannot be written ({error.strerror}); name another place") from None


@contextlib.contextmanager
def _named_file(path):
    """The path of what is to be read. Standard input is copied to a temporary file, since rows are read by offset.

    Messages name standard input.
    """
    if path != STANDARD:
        yield path
        return
    with temporary_directory("ernie-input-") as folder:
        name = str(folder / "input")
        with open(name, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        show_as({name: "standard input"})
        yield name
