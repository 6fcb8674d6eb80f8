"""The files of a run of one task: opened, read through before the first step, and evaluated.

files = RunFiles(model, args)
files.reader("train.tsv", training=True)            # a reader whose file was checked
files.evaluations()                                 # ``Evaluation`` of each dev set
files.predicted_files()                             # [("test.tsv", "output/test_pred.tsv"), ...]
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.checks import check_file, other_readings
from finetune.pairs import warn_of_pairs
from finetune.training.reading import facts_of_rows, reading_of
from finetune.training.tuned import with_found
from propeller.flags import split
from propeller.train.trainer import Evaluation
from reader.pyreader import PyReader

if TYPE_CHECKING:
    from finetune.training.args import Args
    from finetune.training.settled import RunModel
    from reader.batch_reader import BatchReader
    from reader.survey import Survey

log = logging.getLogger("ernie.finetune")


class RunFiles:
    """The files that the flags of a run name.

    Args:
        model: ``finetune.training.settled.RunModel``.
        args: the flags.

    Attributes:
        spec: the record of the model.
        found: ``spec`` with what evaluations found, see ``finetune.training.tuned``.
        pairs: whether the model learns, or has learnt, from pairs of texts; None: not known.
    """

    def __init__(self, model: RunModel, args: Args) -> None:
        self.task, self.spec, self.config, self.tokenizer = model.task, model.spec, model.config, model.tokenizer
        self.found, self.vocab_path, self.args = model.spec, model.vocab_path, args
        self.pairs: bool | None = None
        self._surveys: dict[tuple[str, bool, bool], Survey] = {}  # (path, trained on, labels are read) -> what is in it
        self._labelled: dict[str, bool] = {}

    def training_survey(self) -> Survey:
        """What is in the training file, once it was opened."""
        return self._surveys[self.args.data.train_set, True, True]

    def reader(self, path: str, training: bool = False, labelled: bool = True) -> BatchReader:
        """A reader of a file. The file is read through and checked when it is first asked for.

        Args:
            path: the file.
            training: whether the model is trained on it.
            labelled: whether its labels are read.

        Raises:
            UserError: see ``check_file``.
        """
        reading, checks = reading_of(self.args, training, labelled), self.args.checks
        reader = self.task.open_reader(path, self.tokenizer, self.spec, reading)
        key = (path, training, labelled)  # rows are numbered as they were drawn for training
        if key in self._surveys:
            reader.leave_out(self._surveys[key])
            return reader
        sp_model = getattr(self.tokenizer, "sp_model", None)
        others = other_readings(self.spec, self.task, self.vocab_path, sp_model)
        seen = any(known == path for known, _, _ in self._surveys)
        self._surveys[key] = check_file(reader, checks, others, quiet=seen)
        if training:
            self.pairs = self.task.trained_on_pairs(facts_of_rows(self.task, reader))
        elif not seen:
            warn_of_pairs(self.pairs, reader, path)
        return reader

    def is_labelled(self, path: str) -> bool:
        """Whether a test set can be scored; the log says once where its labels are placeholders."""
        if path not in self._labelled:
            self._labelled[path] = self.task.is_labelled(path, self.spec, self.args.tables.form())
            if not self._labelled[path]:
                log.info("%s: no labels or answers to score against: it is predicted alone", path)
        return self._labelled[path]

    def check_tests(self) -> None:
        """Read every test set through, before the first step."""
        for path, _ in self.predicted_files() if self.args.run.do_test else []:
            if self.is_labelled(path):
                self.reader(path)
            self.reader(path, labelled=False)

    def _evaluation(self, kind: str, path: str, number: int = 0) -> Evaluation:
        reader = self.reader(path)
        facts = {"event": kind, "file": path, "stem": f"{kind}_{number + 1}" if number else kind}
        folder = Path(self.args.run.checkpoints)

        def finish(scores):
            scores = self.task.finish_scores({**scores, **facts}, reader, self.found, folder)
            self.found = with_found(self.found, scores)
            return {name: value for name, value in scores.items() if name != "stem"}

        return Evaluation(kind, path, lambda: PyReader(reader.batches, self.args.data.queue_size), finish)

    def evaluations(self) -> list[Evaluation]:
        """Those of the dev sets, in the order of the flag."""
        paths = split(self.args.data.dev_set) if self.args.run.do_val else []
        return [self._evaluation("dev", path, number) for number, path in enumerate(paths)]

    def predicted_files(self) -> list[tuple[str, str]]:
        """(file to predict, where to) pairs: test sets, then what else the task predicts."""
        data = self.args.data
        return [*zip(split(data.test_set), split(data.test_save)), *self.task.more_tests(self.spec.settings)]

    def test_evaluation(self, path: str) -> Evaluation:
        """The ``Evaluation`` of a labelled test set."""
        paths = split(self.args.data.test_set)
        return self._evaluation("test", path, paths.index(path) if path in paths else 0)
