"""One task of a run of several: its model, reader, evaluations and the checkpoint of its own.

run = TaskRun(entry, settle_run(task, entry.args))
run.model(RunMode.TRAIN, optimizer)                 # inside a Program; its head has sentiment@_cls_out_w
run.save(folder, arrays, step)                      # folder/step_N, a checkpoint as a run of the task alone writes
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ernie.layers import renamed
from finetune.multitask.args import Entry
from finetune.multitask.mixture import FOREVER
from finetune.task import FinetuneTask
from finetune.training.files import RunFiles
from finetune.training.reading import facts_of_rows
from finetune.training.runner import Finetuner
from finetune.training.schedule import num_steps
from finetune.training.settled import RunModel, text_files, with_settled_flags
from finetune.training.train_model import train_model, with_balanced_weights
from propeller import runtime
from propeller.errors import UserError
from propeller.train.evaluating import lower_is_better
from propeller.train.model import Model, RunMode
from propeller.train.saver import Saver
from propeller.train.trainer import Evaluation
from propeller.variables import read_variable, write_variable
from reader.batch_reader import BatchReader

BETWEEN = "@"  # a task's name and its head's weights
SCORE = "score"  # what picks the best checkpoint: the sum of it over tasks


class TaskRun(RunFiles):
    """One of several tasks.

    Args:
        entry: of the list.
        model: ``RunModel``.
        bar: whether to show a progress bar.
    """

    def __init__(self, entry: Entry, model: RunModel, bar: bool = False) -> None:
        super().__init__(model, with_settled_flags(entry.args, model))
        self.bar = bar
        self.place = runtime.place(self.args.run.use_cuda)
        self.precision = self.args.train.precision(self.place)
        self.name, self.weight, self.settled = entry.name, entry.weight, model
        self.facts: dict[str, bool] = {}  # of the rows of the training file, for the record
        if self.task.make_encoder is not FinetuneTask.make_encoder:
            raise UserError(f"task {entry.name}: {entry.task} has no ERNIE encoder to share: train it alone")

    def training_reader(self) -> BatchReader:
        """The reader of the training file, which never ends. Raises UserError: see ``check_file``."""
        reader = self.reader(self.args.data.train_set, training=True)
        reader.epochs = FOREVER
        self.facts = facts_of_rows(self.task, reader)
        survey = self.training_survey()
        self.spec = with_balanced_weights(self.spec, self.task, self.args, self.tokenizer, survey)
        self.check_tests()
        return reader

    def steps(self, rows: int) -> int:
        """The steps that ``--epoch`` passes over so many rows make, whatever ``--max_steps`` says."""
        free = dataclasses.replace(self.args.optimizer, max_steps=0)
        return max(num_steps(self.args._replace(optimizer=free), self.spec, rows, whole=True), 1)

    def evaluations(self) -> list[Evaluation]:
        """Those of the dev sets; the first one counts for the best checkpoint, by the task's own score."""
        found = []
        for number, entry in enumerate(super().evaluations()):
            finish = self._with_score(entry.finish)
            found.append(entry._replace(finish=finish, task=self.name, weight=0.0 if number else 1.0))
        return found

    def _with_score(self, finish):
        name = self.args.run.best_metric

        def finished(scores):
            found = finish(scores)
            return {**found, SCORE: -found[name] if lower_is_better(name) else found[name]}

        return finished

    def model(self, mode: RunMode, optimizer: Any = None) -> Model:
        """The ``Model``, to be called inside a Program."""
        with renamed(self._renamed):
            if mode is RunMode.TRAIN:
                return train_model(self.task, self.config, self.spec, self.args, optimizer)
            return self.task(self.config, self.spec, mode)

    def _renamed(self, name: str) -> str:
        return f"{self.name}{BETWEEN}{name}" if name.startswith(self.task.head_prefix) else name

    def save(self, folder: Path, arrays: Mapping[str, np.ndarray], step: int) -> Path:
        """Write a checkpoint of this task; returns it, ``folder/best``.

        Args:
            arrays: name -> weight of the task's Program.
            step: the run's.
        """
        own = {name.removeprefix(f"{self.name}{BETWEEN}"): array for name, array in arrays.items()}
        files = text_files(self.vocab_path, self.tokenizer)
        meta = {**self.spec.record(), **self.facts}
        saver = Saver(folder, write_variable, read_variable, keep=0, meta=meta, files=files)
        saver.clear()
        saver.save(step, own, {}, {"step": step}, logging.DEBUG)
        saver.link("best", step)
        saver.close()
        return folder / "best"

    def test(self, checkpoint: Path) -> None:
        """Predict the test sets with a checkpoint of the task, and score those that are labelled."""
        given = dataclasses.replace(self.args.model, init_checkpoint=str(checkpoint), init_pretraining_params=None)
        run = dataclasses.replace(self.args.run, do_train=False, do_val=False)
        alone = Finetuner(self.settled, self.args._replace(model=given, run=run), self.bar)
        alone.evaluate_and_predict()
