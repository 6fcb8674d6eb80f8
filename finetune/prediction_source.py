"""From the flags of a prediction script to an inference model: a bundle, or a checkpoint that is made into one.

    with contextlib.ExitStack() as stack:
        folder = prepare_bundle(args, ("classify", "regression"), stack)
        model = open_model(folder, args, ("classify", "regression"))

What a flag leaves open is as the model's own ``checkpoint.json`` or ``bundle.json`` says; what it says otherwise is an
error that names both. A checkpoint of 2019 says nothing: there the defaults of 2019 hold.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import tempfile
from pathlib import Path

from ernie.config import ErnieConfig
from ernie.export import CONFIG, VOCAB
from finetune import args as finetune_args
from finetune import task_class
from finetune.inference import InferenceModel
from finetune.runner import Finetuner
from propeller.bundle import MANIFEST
from propeller.errors import UserError
from propeller.train.saver import read_json
from reader.row_encoder import load_label_map
from tokenization import build_tokenizer

log = logging.getLogger("ernie.finetune")

SCRIPTS = {
    "classify": "infer_classifyer.py",
    "regression": "infer_classifyer.py",
    "sequence_label": "infer_sequence_labeling.py",
    "mrc": "infer_mrc.py",
    "embed": "ernie_encoder.py",
}
SAME = ("num_labels", "tokenizer", "do_lower_case", "for_cn", "task_id")  # flags that must be as they were in training
DEFAULTS = {"num_labels": 2, "tokenizer": "FullTokenizer", "do_lower_case": True, "for_cn": True, "task_id": 0,
            "max_seq_len": 128}  # of a checkpoint that does not say  # fmt: skip
NOT_OF_PREDICTION = ("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range")


def prepare_bundle(args, tasks, stack):
    """The folder of the bundle to predict with.

    Args:
        args: ``PredictArgs``.
        tasks: names of the tasks that the script predicts.
        stack: an ``ExitStack`` that removes what is temporary.

    Raises:
        UserError: the checkpoint is of another task, vocabulary or labels than the flags say, lacks weights, or the
            bundle cannot be written.
    """
    if args.model.inference_model:
        return Path(args.model.inference_model)
    temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ernie-inference-")))
    tuned = checkpoint_args(args, tasks, temporary)
    name = f"{Path(args.model.init_checkpoint).name or 'checkpoint'}_inference_model"
    export = args.export
    folder = Path(export.save_inference_model_path or temporary) / name
    if folder.exists() and not export.overwrite:
        raise UserError(f"{folder}: exists already: predict with it (--inference_model), or replace it (--overwrite)")
    task = task_class("regression" if tuned.model.is_regression else tasks[0]).variant(tuned)
    Finetuner(task, tuned).export(folder, export.onnx, export.overwrite)
    if export.save_inference_model_path:
        log.info("save inference model to %s", folder)
    return folder


def checkpoint_args(args, tasks, temporary):
    """The flags of the fine-tuning script (``finetune.args.Args``) that go with a checkpoint.

    Args:
        args, tasks: see ``prepare_bundle``.
        temporary: a folder for a configuration and a label map that only ``checkpoint.json`` holds.
    """
    given, source = args.model, Path(args.model.init_checkpoint) / "checkpoint.json"
    if not source.parent.is_dir():
        raise UserError(f"--init_checkpoint {given.init_checkpoint}: no such directory; give a fine-tuned checkpoint")
    stored = read_json(source) if source.is_file() else {}
    regression = _is_regression(args, tasks, stored.get("task"), given.init_checkpoint)
    task = task_class("regression" if regression else tasks[0])
    check_same(given, stored, source)
    label_map = _file(given.label_map_config, stored.get("label_map"), temporary / "label_map.json")
    config = _file(given.ernie_config_path, stored.get("ernie_config"), temporary / CONFIG)
    if config is None:
        raise UserError(f"{given.init_checkpoint}: has no checkpoint.json (a checkpoint of 2019?): give its "
                        "--ernie_config_path")  # fmt: skip
    values = {name: _first(getattr(given, name), stored.get(name), DEFAULTS[name]) for name in DEFAULTS}
    if given.max_seq_len is None:
        values["max_seq_len"] = min(values["max_seq_len"], ErnieConfig(config).max_position_embeddings)
    if regression:
        values["num_labels"] = 1
    elif given.num_labels is None and "num_labels" not in stored and label_map:
        values["num_labels"] = len(load_label_map(label_map))
    values.update(_text_flags(given, stored, values, task))
    model = finetune_args.ModelArgs(
        ernie_config_path=config,
        vocab_path=given.vocab_path,
        init_checkpoint=given.init_checkpoint,
        sp_model=given.sp_model,
        label_map_config=label_map,
        metric=stored.get("metric", "pearson_and_spearman" if regression else "simple_accuracy"),
        is_regression=regression,
        **values,
    )
    own = task.flags(**{**_known(task.flags, stored.get("flags", {})), **args.task}) if task.flags else None
    run = finetune_args.RunArgs(do_train=False, use_cuda=args.data.use_cuda)
    return finetune_args.Args(model, finetune_args.DataArgs(), finetune_args.TrainArgs(), run, own, [])


def _first(*values):
    return next((value for value in values if value is not None), None)


def _file(path, stored, temporary):
    """The file that a flag names; else one made of what the checkpoint holds; else None."""
    if path or stored is None:
        return path
    temporary.write_text(json.dumps(stored, ensure_ascii=False), encoding="utf8")
    return str(temporary)


def _known(group, stored):
    return {entry.name: stored[entry.name] for entry in dataclasses.fields(group) if entry.name in stored}


def _is_regression(args, tasks, stored, where):
    """Whether the model predicts a number. Raises UserError: it is of another task than the script's or the flag's."""
    if stored is not None and stored not in tasks:
        other = SCRIPTS.get(stored)
        raise UserError(f"{where}: is of the task {stored!r}, this script predicts {' and '.join(tasks)}"
                        + (f": use {other}" if other else ""))  # fmt: skip
    given = getattr(args.script, "is_regression", None)
    if stored is not None and given is not None and given != (stored == "regression"):
        raise UserError(f"--is_regression {_shown(given)}: but {where} is of the task {stored!r}; leave it out")
    if not given and stored != "regression":
        return False
    if args.model.label_map_config:
        raise UserError(f"--label_map_config {args.model.label_map_config}: a regression has none; leave it out")
    if args.model.num_labels not in (None, 1):
        raise UserError(f"--num_labels {args.model.num_labels}: a regression has 1; leave it out")
    return True


def check_same(given, stored, source):
    """Raises UserError where a flag contradicts what the model says of itself.

    Args:
        given: ``ModelArgs``.
        stored: dict, as in ``checkpoint.json``; what it lacks is not checked.
        source: the file it is from.
    """
    for name in SAME:
        value = getattr(given, name)
        if value is not None and stored.get(name) is not None and value != stored[name]:
            raise UserError(f"--{name} {_shown(value)}: but {source} says {_shown(stored[name])}; leave the flag out")
    path = given.label_map_config
    if path and "label_map" in stored and load_label_map(path) != stored["label_map"]:
        ours, theirs = _shown_map(load_label_map(path)), _shown_map(stored["label_map"])
        raise UserError(f"--label_map_config {path}: has {ours}, but {source} has {theirs}; leave the flag out")
    if given.ernie_config_path and "ernie_config" in stored:
        _check_config(given.ernie_config_path, stored["ernie_config"], source)


def _shown(value):
    """A value as flags have it."""
    return str(value).lower() if isinstance(value, bool) else value


def _shown_map(mapping, limit=100):
    text = json.dumps(mapping, ensure_ascii=False) if mapping else "no label map"
    return text if len(text) <= limit else text[:limit] + "..."


def _check_config(path, stored, source):
    ours, theirs = ErnieConfig(path), ErnieConfig(stored)
    for name in sorted({*ours.to_dict(), *theirs.to_dict()} - set(NOT_OF_PREDICTION)):
        if ours[name] != theirs[name]:
            raise UserError(
                f"{path}: {name} is {ours[name]}, but {source} says {theirs[name]}; leave --ernie_config_path out"
            )


def _text_flags(given, stored, values, task):
    """do_lower_case and for_cn: where not given, those with which the vocabulary is that of the training.

    Raises:
        UserError: it is not with any.
    """
    wanted = stored.get("tokenizer_fingerprint")
    flags = {name: values[name] for name in ("do_lower_case", "for_cn")}
    if wanted is None:
        return flags
    open_flags = [name for name in flags if getattr(given, name) is None and stored.get(name) is None]
    for choice in itertools.product((False, True), repeat=len(open_flags)):
        tried = {name: flags[name] != turned for name, turned in zip(open_flags, choice)}
        tried = {**flags, **tried}
        tokenizer = build_tokenizer(values["tokenizer"], given.vocab_path, tried["do_lower_case"],
                                    tried["for_cn"] and task.drops_blanks, given.sp_model)  # fmt: skip
        if tokenizer.fingerprint == wanted:
            return tried
    raise UserError(
        f"{given.vocab_path}: is not the vocabulary that {given.init_checkpoint} was trained with, by its "
        f"checkpoint.json{_with(given)}: give that --vocab_path{' and leave these flags out' if _with(given) else ''}"
    )


def _with(given):
    names = [f"--{name} {_shown(getattr(given, name))}" for name in ("do_lower_case", "for_cn")
             if getattr(given, name) is not None]  # fmt: skip
    return f" (with {' and '.join(names)})" if names else ""


def open_model(folder, args, tasks):
    """The ``InferenceModel`` of a bundle, after the flags were checked against it.

    Raises:
        UserError: damaged, of another task, or a flag says otherwise than the bundle.
    """
    data, given = args.data, args.model
    model = InferenceModel.open(folder, precision=data.precision, use_cuda=data.use_cuda)
    where = model.bundle.folder / MANIFEST
    _is_regression(args, tasks, model.bundle.task, model.bundle.folder)
    stored = {**model.meta, "ernie_config": model.config.to_dict()}
    check_same(given, stored, where)
    if given.inference_model and given.vocab_path:
        meta = model.meta
        ours = build_tokenizer(meta["tokenizer"], given.vocab_path, model.tokenizer.do_lower_case,
                               model.tokenizer.for_cn, given.sp_model)  # fmt: skip
        if ours.fingerprint != model.tokenizer.fingerprint:
            raise UserError(
                f"{given.vocab_path}: is not the vocabulary of the inference model, {model.bundle.folder / VOCAB}: "
                "leave --vocab_path out"
            )
    if given.max_seq_len not in (None, model.max_seq_len):
        log.info(
            "%s was saved with --max_seq_len %d, now %d", model.bundle.folder, model.max_seq_len, given.max_seq_len
        )
    limit = model.config.max_position_embeddings
    if given.max_seq_len is not None and given.max_seq_len > limit:
        raise UserError(
            f"--max_seq_len {given.max_seq_len} is above the {limit} positions of {model.bundle.folder / CONFIG}: "
            "give that or less"
        )
    return model


def reading_args(model, args):
    """The flags with which the task's reader opens the file: the bundle's, and those given here."""
    read = model.args(args.data.batch_size, args.data.num_workers)
    if args.model.max_seq_len is not None:
        read = read._replace(model=dataclasses.replace(read.model, max_seq_len=args.model.max_seq_len))
    if args.task:
        read = read._replace(task=dataclasses.replace(read.task, **args.task))
    model.task.variant(read)  # checks the task's own flags
    return read
