"""The head that a model's directory brings: trained further where it is one for the task and the labels of the run.

    args, _ = with_stored_head(Classifier, args)    # --init_checkpoint in the place of --init_pretraining_params

Converted and Hugging Face models have one if they were fine-tuned; ``ernie_model.json`` says for what.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

from ernie.facts import read_facts
from finetune.labels import FoundLabels, find_labels
from finetune.spec import settled_labels
from finetune.task import FinetuneTask
from finetune.training.args import Args
from propeller.flags import Derived
from propeller.train.checkpoints import recorded_run
from reader.row_encoder import load_label_map

log = logging.getLogger("ernie.finetune")

ENCODER = "init_pretraining_params"  # the kind of initial weights, in a run's record, without a head


def with_stored_head(task: type[FinetuneTask], args: Args) -> tuple[Args, FoundLabels | None]:
    """The flags with the head of ``--model`` taken too, where there is one that fits; one that does not is logged.

    A run that began with the encoder alone goes on so, and so does one that was given ``--init_pretraining_params``.

    Args:
        task: the class of the task.
        args: the flags, those that ``--model`` stands for among them.

    Returns:
        the flags; and the labels of the training file, where they had to be compared with the head's.

    Raises:
        UserError: a file cannot be read; the labels of the training file are none.
    """
    given = args.model
    source = given.init_pretraining_params
    if not args.run.do_train or given.init_checkpoint or not isinstance(source, Derived):
        return args, None
    head = read_facts(source)
    if "task" not in head or "tasks" in head:
        return args, None
    begun = None if args.run.overwrite else recorded_run(args.run.checkpoints)
    if begun is not None and begun.fingerprint.get("initial_weights", {}).get("kind") == ENCODER:
        return args, None
    task = task.variant(args.task)
    found = None
    if head["task"] == task.name and "num_labels" in head and task.label_kind != "float" and not given.label_map_config:
        settings: Any = args.task
        found = find_labels(task, args.data.train_set, args.tables.form(), given.num_labels, settings)
    misfit = _misfit(task, given, head, found)
    if misfit:
        log.info("the head of %s is not used: %s", given.model, misfit)
        return args, found
    log.info("the head of %s is trained further (add --%s %s for its encoder alone)", given.model, ENCODER, given.model)
    with_head = dataclasses.replace(given, init_checkpoint=source, init_pretraining_params=None)
    return args._replace(model=with_head), found


def _misfit(task, given, head, found):
    """Why a head is not that of the run; None: it is. found: the labels of the training file, where they count."""
    if head["task"] != task.name:
        return f"it is for the task {head['task']}, not {task.name}"
    if task.label_kind == "float" or "num_labels" not in head:
        return None
    ours = load_label_map(given.label_map_config) if found is None else found.label_map
    stored = {} if found is None or found.num_labels is None else {"num_labels": found.num_labels}
    count = settled_labels(given, stored, task, ours)
    if set(ours or ()) != set(head.get("label_map") or ()) or count != head["num_labels"]:
        return f"it has the labels {_shown(head.get('label_map'), head['num_labels'])}, not {_shown(ours, count)}"
    if given.label_map_config and ours != head.get("label_map"):
        return f"{given.label_map_config} numbers its labels in another way"
    return None


def _shown(label_map, count, most=10):
    words = sorted(label_map, key=label_map.__getitem__) if label_map else []
    if not words:
        return f"0 to {count - 1}"
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
