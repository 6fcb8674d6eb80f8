"""The tasks of a run, one or several: their models, readers and evaluations.

tasks = tasks_of(args, config, tokenizer)               # name -> RunTask, of --task_list or of the flags
tasks["sentence_distance"].model(RunMode.TRAIN, optimizer)
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ernie.config import ErnieConfig
from pretrain import DEFAULT_TASK, TASKS, declared, task_class
from pretrain.task import HeadConfig, PretrainTask
from pretrain.training.args import Args
from pretrain.training.reading import open_reader
from pretrain.training.task_list import Entry, check_ids, read_task_list
from propeller.train.model import RunMode
from propeller.train.trainer import Evaluation
from reader.pretraining.batches import CLASS_KINDS
from reader.pretraining.reader import PretrainingReader
from reader.pretraining.shard_check import check_shards, of_other_tokens
from reader.pretraining.stages import Staged
from reader.pyreader import PyReader

if TYPE_CHECKING:
    from tokenization_base import BaseTokenizer

log = logging.getLogger("ernie.pretrain")


def tasks_of(
    args: Args, config: ErnieConfig, tokenizer: BaseTokenizer, stored: dict | None = None
) -> dict[str, RunTask]:
    """name -> ``RunTask``, in the order of the list.

    Args:
        args: ``pretrain.training.args.Args``.
        config: ``ErnieConfig``.
        stored: what the checkpoint to be used says of its tasks (name -> ``task_id`` and ``head``), where there is no
            task list.

    Raises:
        UserError: the list is wrong, or does not go with the configuration.
    """
    given, model = args.tasks, args.model
    if given.task_list:
        entries = read_task_list(given.task_list, given.task_data, given.scale_steps)
        check_ids(entries, config, model.ernie_config_path, given.task_list)
        return {entry.name: RunTask(entry, args, config, tokenizer, several=True) for entry in entries}
    data, known = args.data, _default_of(stored or {})
    entry = Entry(
        DEFAULT_TASK,
        model.task_id or known.get("task_id", 0),
        data.train_filelist,
        data.valid_filelist,
        data.test_filelist,
        known.get("head", {}),
        steps=(args.train.num_train_steps,),
    )
    config.check_task_id(entry.task_id)
    return {DEFAULT_TASK: RunTask(entry, args, config, tokenizer, several=False)}


def _default_of(stored):
    """What a checkpoint says of the default task, or of another one with its network, which fills masks as well."""
    network = declared(DEFAULT_TASK).model
    alike = (facts for name, facts in stored.items() if name in TASKS and declared(name).model == network)
    return stored.get(DEFAULT_TASK) or next(alike, {})


class RunTask:
    """A task of a run.

    Args:
        entry: ``task_list.Entry``.
        several: whether the run has a task list; without one the flags say how often data are read.

    Attributes:
        declared: its ``Declaration``.
        task: its ``PretrainTask`` class.
        head: its ``HeadConfig``.
    """

    def __init__(self, entry: Entry, args: Args, config: ErnieConfig, tokenizer: BaseTokenizer, several: bool) -> None:
        self.entry, self.args, self.config, self.tokenizer, self.several = entry, args, config, tokenizer, several
        self.name = entry.name
        self.task: type[PretrainTask] = task_class(entry.name)
        self.declared = self.task.declared
        settings = self.declared.head_settings(entry.head)
        self.head = HeadConfig(args.model.weight_sharing, entry.weight, settings)
        self.classes: int | None = settings.get("classes") if self.declared.kind in CLASS_KINDS else None

    def model(self, mode: RunMode, optimizer: Any = None) -> PretrainTask:
        """The ``Model``, to be called inside a Program."""
        return self.task(self.config, self.head, mode, optimizer)

    def reader(self, filelist: str, training: bool = False) -> PretrainingReader:
        """The reader of one of the entry's filelists.

        Raises:
            UserError: as ``PretrainingReader``.
        """
        entry = self.entry if self.several else None
        given = (self.tokenizer, self.config, self.args)
        return open_reader(self.declared, filelist, *given, classes=self.classes, training=training, entry=entry)

    def training_reader(self) -> PretrainingReader | Staged:
        """The reader of the training data: of one filelist, or of one for each stage."""
        readers = [self.reader(filelist, training=True) for filelist in self.entry.filelists]
        if len(readers) == 1:
            return readers[0]
        batches = self.args.train.gradient_accumulation_steps
        return Staged(readers, [batches * sum(self.entry.steps[:stage]) for stage in range(len(readers))])

    def check(self, filelist: str, training: bool = False) -> None:
        """Whether the shards of one of the entry's filelists suit the task; for training: whether every class occurs.

        Warns where the build says that their pieces are those of another tokenizer.

        Raises:
            UserError: they are of another task, all too long, lack a class, or have one that the head does not.
        """
        check_shards(
            filelist,
            self.declared.kind,
            self.classes or 0,
            task=self.name,
            max_seq_len=self.args.model.max_seq_len,
            every_class=training,
            on_bad=self.args.data.on_bad,
            remedy=self.declared.fewer_classes,
        )
        if other := of_other_tokens(filelist, self.tokenizer.fingerprint):
            log.warning(
                "%s: its shards were built with another vocabulary or tokenizer (%s), so ids may mean other pieces: "
                "give the --vocab_path, --tokenizer and --do_lower_case of the build",
                filelist,
                other,
            )

    def evaluation(self, reader: PretrainingReader) -> Evaluation:
        """The ``Evaluation`` over the validation data."""
        queue = self.args.data.queue_size
        opened = lambda: PyReader(lambda: of_this_rank(reader.batches()), queue)  # noqa: E731
        shared = (self.name, self.entry.weight) if self.several else ()
        return Evaluation("dev", self.entry.valid_filelist, opened, self.task.finish_scores, *shared)

    def facts(self) -> dict[str, Any]:
        """What a checkpoint says of the task."""
        return {"task_id": self.entry.task_id, "head": dict(self.head.settings)}

    def settings(self) -> dict[str, Any]:
        """What decides the weights that a run with the task ends with, but for its data."""
        entry = dataclasses.asdict(self.entry)
        return {name: entry[name] for name in ("task_id", "head", "weight", "start_stage", "steps")}


def of_this_rank(batches: Iterable[tuple]) -> Iterator[tuple]:
    """Pairs of a batch and None: to the loop a position with ``done`` is inside of a file's window."""
    return ((batch, None) for batch, _ in batches)
