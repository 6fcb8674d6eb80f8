"""The tasks of a run, one or several: their models, readers and evaluations.

tasks = tasks_of(args, config, tokenizer)               # name -> RunTask, of --task_list or of the flags
tasks["sentence_distance"].model(RunMode.TRAIN, optimizer)
"""

from __future__ import annotations

import dataclasses

from pretrain import task_class
from pretrain.task_list import Entry, check_ids, read_task_list
from propeller.errors import UserError
from propeller.train.trainer import Evaluation
from reader.pyreader import PyReader
from reader.shard_check import check_shards

ALONE = "knowledge_masking"  # what a run without a task list trains


def tasks_of(args, config, tokenizer, stored=None):
    """name -> ``RunTask``, in the order of the list.

    Args:
        args: ``pretrain.args.Args``.
        config: ``ErnieConfig``.
        stored: what the checkpoint to be used says of its tasks (name -> ``task_id`` and ``head``), where there is no
            task list.

    Raises:
        UserError: the list is wrong, or does not go with the configuration.
    """
    given, model = args.tasks, args.model
    if given.task_list:
        entries = read_task_list(given.task_list, given.task_data, given.scale_steps)
        check_ids(entries, config, model.ernie_config_path)
        return {entry.name: RunTask(entry, args, config, tokenizer, several=True) for entry in entries}
    data, known = args.data, (stored or {}).get(ALONE, {})
    entry = Entry(
        ALONE,
        model.task_id or known.get("task_id", 0),
        data.train_filelist,
        data.valid_filelist,
        data.test_filelist,
        known.get("head", {}),
        steps=(args.train.num_train_steps,),
    )
    if config.use_task_id and not 0 <= entry.task_id < config.task_type_vocab_size:
        raise UserError(
            f"--task_id {entry.task_id} is outside the {config.task_type_vocab_size} task embeddings of "
            f"{model.ernie_config_path} (task_type_vocab_size)"
        )
    return {ALONE: RunTask(entry, args, config, tokenizer, several=False)}


class RunTask:
    """A task of a run.

    Args:
        entry: ``task_list.Entry``.
        several: whether the run has a task list; without one the flags say how often data are read.

    Attributes:
        task: its ``PretrainTask`` class.
        head: its ``HeadConfig``.
    """

    def __init__(self, entry, args, config, tokenizer, several):
        self.entry, self.args, self.config, self.tokenizer, self.several = entry, args, config, tokenizer, several
        self.name, self.task = entry.name, task_class(entry.name)
        self.head = self.task.head_config(args, entry)

    def model(self, mode, optimizer=None):
        """The ``Model``, to be called inside a Program."""
        return self.task(self.config, self.head, mode, optimizer)

    def reader(self, filelist, training=False):
        """The reader of one of the entry's filelists."""
        entry = self.entry if self.several else None
        return self.task.open_reader(filelist, self.tokenizer, self.config, self.args, training, entry)

    def check(self, filelist, training=False):
        """Whether the shards of one of the entry's filelists suit the task; for training: whether every class occurs.

        Raises:
            UserError: they are of another task, all too long, lack a class, or have one that the head does not.
        """
        asked = {"remedy": self.task.declared.fewer_classes} if self.task.declared else {}
        check_shards(
            filelist,
            self.task.kind,
            self.head.classes,
            task=self.name,
            max_seq_len=self.args.model.max_seq_len,
            every_class=training,
            on_bad=self.args.data.on_bad,
            **asked,
        )

    def evaluation(self, reader):
        """The ``Evaluation`` over the validation data."""
        queue = self.args.data.queue_size
        opened = lambda: PyReader(lambda: of_this_rank(reader.batches()), queue)  # noqa: E731
        shared = (self.name, self.entry.weight) if self.several else ()
        return Evaluation("dev", self.entry.valid_filelist, opened, self.task.finish_scores, *shared)

    def facts(self):
        """What a checkpoint says of the task."""
        head = {"classes": self.head.classes} if self.task.declared else {"next_sentence": self.head.next_sentence}
        return {"task_id": self.entry.task_id, "head": head}

    def settings(self):
        """What decides the weights that a run with the task ends with, but for its data."""
        entry = dataclasses.asdict(self.entry)
        return {name: entry[name] for name in ("task_id", "head", "weight", "start_stage", "steps")}


def of_this_rank(batches):
    """Pairs of a batch and None: to the loop a position with ``done`` is inside of a file's window."""
    return ((batch, None) for batch, _ in batches)
