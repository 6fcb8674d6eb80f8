"""Batch prediction: rows -> windows sorted by length -> predictor -> the order of the file -> a file, or printed.

from finetune.prediction import main
main("infer_classifyer.py", "classify", sys.argv[1:])

Memory does not grow with the file: rows are read, predicted and written a window at a time. What a script predicts is a
``Job``: a class that opens the reader and writes what the predictor says, in a file of its own for each task.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from finetune.predict_args import parse
from finetune.prediction_source import open_model, prepare_bundle, reading_args
from propeller import log as log_setup
from propeller import runtime
from propeller.errors import UserError, leave_stdout
from propeller.files import atomic_text
from propeller.flags import log_values
from reader.ordered import in_file_order, ordered_batches
from reader.pyreader import PyReader
from reader.sources import CHUNK_ROWS
from reader.tsv import read_lines

log = logging.getLogger("ernie.finetune")

JOBS = {
    "classify": "finetune.prediction_classes:ClassifyJob",
    "sequence_label": "finetune.prediction_tags:TaggingJob",
    "mrc": "finetune.prediction_answers:MrcJob",
}
AHEAD = 8  # batches made ready while the predictor runs
STANDARD = "-"
TELL_EVERY = 30  # seconds between lines of the log where there is no bar


def main(prog, name, argv):
    """Run a prediction script; returns its exit status."""
    module, _, attribute = JOBS[name].partition(":")
    job = getattr(importlib.import_module(module), attribute)()
    args = parse(prog, f"Predict new data. {job.__doc__.splitlines()[0]}", argv, job.flags, job.task_flags)
    job.check(args)
    bar = runtime.on_terminal() and not (job.prints(args) and sys.stdout.isatty())
    log_setup.setup(args.data.log_file, bar=bar)
    log_values(log, args.values())
    try:
        with contextlib.ExitStack() as stack:
            predict(job, args, bar, stack)
    except BrokenPipeError:  # what reads our standard output (head, less) has enough
        log.info("standard output was closed: stopped")
        leave_stdout()
        return 1
    return 0


def predict(job, args, bar, stack):
    """Everything but the flags: the model, the rows, the output, the lines of the log."""
    data = args.data
    if data.do_prediction and data.predict_set != STANDARD and not Path(data.predict_set).exists():
        raise UserError(f"{data.predict_set}: no such file; check the path")  # before a checkpoint is made ready
    folder = prepare_bundle(args, job.tasks, stack)
    if not data.do_prediction:
        return
    model = open_model(folder, args, job.tasks)
    path = stack.enter_context(_named_file(data.predict_set))
    reader = job.open_reader(path, model, reading_args(model, args))
    log.info("-------------- prediction results --------------")
    progress = Progress(model, reader.num_examples, job.unit, bar)
    with contextlib.closing(progress):
        job.write(model, reader, args, progress)
    log.info("qps:%s\ttotal_time:%s\ttotal_example:%d\tbatch_size:%d",
             progress.done / max(progress.busy, 1e-9), progress.busy, progress.done, data.batch_size)  # fmt: skip
    stats, elapsed = reader.stats, time.monotonic() - progress.begun
    if stats["truncated"]:
        log.info("%d of %d rows were cut to %d tokens", stats["truncated"], stats["rows"], reader.max_seq_len)
    log.info("predicted %d %s in %.2f s, %.1f %s/s: %s", progress.done, job.unit, elapsed,
             progress.done / max(elapsed, 1e-9), job.unit, data.output or "standard output")  # fmt: skip


class Job:
    """What a script predicts. Its docstring's first line is the script's help.

    Attributes:
        tasks: names of the tasks it predicts, the first one that of a checkpoint which does not say.
        flags: the script's own flags, see ``finetune.predict_args``, or None.
        task_flags: ``FinetuneTask.flags``, or None.
        unit: what is counted.
    """

    tasks = ()
    flags = None
    task_flags = None
    unit = "rows"

    def check(self, args):
        """Raises UserError: flags that do not go together."""
        check_output(args)

    def prints(self, args):
        """Whether predictions go to standard output."""
        return args.data.output in (None, STANDARD)

    def open_reader(self, path, model, read):
        """The reader of the rows. read: ``finetune.args.Args``."""
        return model.task.open_reader(path, model.tokenizer, read, model.label_map, labelled=False)

    def write(self, model, reader, args, progress):
        """Predict and write every row."""
        raise NotImplementedError


class Progress:
    """Runs batches and says how far they are: a bar on a terminal, else a line of the log now and then.

    Attributes: done: rows; busy: seconds in the predictor; begun: when this was made.
    """

    def __init__(self, model, total, unit, bar):
        self.model, self.total, self.unit = model, total, unit
        self.done, self.busy, self.begun = 0, 0.0, time.monotonic()
        self.bar = tqdm(total=total, unit=unit, unit_scale=True, file=sys.stderr, disable=not bar, dynamic_ncols=True)
        self.told = self.begun

    def run(self, batch):
        """What the predictor says of a batch."""
        begin = time.monotonic()
        outputs = self.model.run(batch)
        self.busy += time.monotonic() - begin
        return outputs

    def add(self, count):
        """So many rows more are done."""
        self.done += count
        self.bar.update(count)
        now = time.monotonic()
        if self.bar.disable and now - self.told > TELL_EVERY:
            self.told = now
            log.info("predicted %d/%d %s, %.1f %s/s", self.done, self.total, self.unit,
                     self.done / (now - self.begun), self.unit)  # fmt: skip

    def close(self):
        """Ends the bar."""
        self.bar.close()


def ordered_results(reader, progress, items_of):
    """Yield an item a row in the file's order.

    Args:
        reader: a reader without shuffling.
        items_of: called with (outputs, OrderedBatch); gives a list, an item for each row of the batch.
    """

    def results():
        with PyReader(lambda: ordered_batches(reader), AHEAD) as batches:
            for item in batches:
                items = items_of(progress.run(item.batch), item)
                progress.add(len(item.rows))
                yield item.rows, items

    return in_file_order(results(), reader.num_examples)


def table_rows(table):
    """Yield the fields of every row of a TsvFile: dict of column -> str. The rows were found good before."""
    rows = np.arange(table.num_rows)
    with table.open() as fd:
        for begin in range(0, len(rows), CHUNK_ROWS):
            for line in read_lines(fd, *table.bounds(rows[begin : begin + CHUNK_ROWS])):
                yield dict(zip(table.columns, line.decode("utf8").removesuffix("\r").split("\t")))


@contextlib.contextmanager
def open_output(path):
    """A text file in UTF-8 to write: ``path``, which appears whole or not at all, or standard output (None or -).

    A device or a pipe (/dev/null) is written to; only files are replaced.
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


def check_output(args):
    """Raises UserError: --output cannot be a file, or is the file to predict; told before anything is computed."""
    output, source = args.data.output, args.data.predict_set
    if output in (None, STANDARD) or not args.data.do_prediction:
        return
    if Path(output).is_dir():
        raise UserError(f"--output {output}: is a directory; name a file in it")
    if source != STANDARD and Path(output).resolve() == Path(source).resolve():
        raise UserError(f"--output {output}: is the file to predict; name another one")
    if not _is_special(Path(output)):
        check_writable(Path(output).resolve().parent)


def check_writable(folder):
    """Make a folder. Raises UserError: it cannot be made, or nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"--output: {folder} cannot be written ({error.strerror}); name another place") from None


@contextlib.contextmanager
def _named_file(path):
    """The path of what is to be read. Standard input is copied to a temporary file, since rows are read by offset.

    A UserError then names standard input.
    """
    if path != STANDARD:
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="ernie-input-") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        try:
            yield file.name
        except UserError as error:
            raise UserError(str(error).replace(file.name, "standard input")) from None
