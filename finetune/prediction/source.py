"""From the flags of a prediction script to an inference model: a bundle, or a checkpoint that is made into one.

    with contextlib.ExitStack() as stack:
        model, spec = open_source(args, job, stack)

Settings that no flag gives come from the model's ``checkpoint.json`` or ``bundle.json``. A flag that contradicts them
is an error that names both. Checkpoints of the 2019 code store no settings and get the defaults of 2019.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ernie.checkpoint import check_vocab
from ernie.config import sequence_length
from ernie.export import CONFIG, VOCAB
from finetune import TASKS, task_class
from finetune.prediction.args import ModelArgs, PredictArgs, int8_of
from finetune.prediction.export import Checkpoint, export_checkpoint
from finetune.prediction.model import InferenceModel
from finetune.spec import (
    DEFAULTS,
    PAIRS,
    RECORD,
    ModelSpec,
    check_same,
    files_of,
    read_record,
    settings_of,
    settle,
    settled_labels,
    text_settings,
)
from propeller import runtime
from propeller.bundle import MANIFEST
from propeller.errors import UserError
from propeller.files import temporary_directory
from propeller.service.engines import runs_onnx
from propeller.shown import show_as, temporary_model
from reader.row_encoder import MAP, MODEL, load_label_map
from reader.tables.form import SKIP
from tokenization import build_tokenizer

if TYPE_CHECKING:
    from finetune.prediction.run import PredictionJob
    from finetune.task import FinetuneTask

log = logging.getLogger("ernie.finetune")

OF_TEXT = ("tokenizer", "tokenizer_fingerprint", "do_lower_case", "ernie_config")  # what pre-trained weights say
PARAMS = "params"  # the weights in a model's directory


def open_source(
    args: PredictArgs, job: PredictionJob, stack: contextlib.ExitStack
) -> tuple[InferenceModel, ModelSpec] | None:
    """The model to predict with, and its record with the settings that were given; None where it is only saved.

    Args:
        args: the flags.
        job: the task's batch prediction.
        stack: removes what is temporary when it closes.

    Raises:
        UserError: the model is of another task, vocabulary or labels than the flags say, lacks weights or is damaged;
            the bundle cannot be written.
    """
    if args.model.inference_model:
        model = open_model(args.model.inference_model, args, job)
        return model, reading_spec(model, args)
    folder = _bundle_of_checkpoint(args, job, stack)
    if not args.data.do_prediction:
        return None
    data = args.data
    model = InferenceModel.open(folder, precision=data.precision, use_cuda=data.use_cuda, engine=data.engine)
    return model, model.spec


def _bundle_of_checkpoint(args, job, stack):
    """The folder of the bundle that --init_checkpoint is made into."""
    checkpoint = _checkpoint_of(args, job)
    export = args.export
    saved = export.save_inference_model_path
    target = Path(saved) if saved else stack.enter_context(temporary_directory("ernie-inference-"))
    name = f"{checkpoint.folder.name or 'checkpoint'}_inference_model"
    folder = target / name
    if folder.exists() and not export.overwrite:
        raise UserError(f"{folder}: exists already: predict with it (--model), or replace it (--overwrite)")
    onnx = export.onnx or (runs_onnx(args.data.engine) and args.data.precision != "int8")
    int8 = int8_of(args.data.precision, export, dataclasses.replace(args.tables.form(), others=SKIP))
    if not saved:
        show_as({folder: temporary_model(checkpoint.folder)})
    is_new = not target.exists()
    try:
        export_checkpoint(folder, checkpoint, runtime.place(args.data.use_cuda), onnx, export.overwrite, int8)
    except UserError:
        if is_new:
            with contextlib.suppress(OSError):
                target.rmdir()
        raise
    if saved:
        log.info("save inference model to %s", folder)
    return folder


def _checkpoint_of(args, job):
    """The ``Checkpoint`` of --init_checkpoint."""
    given = args.model
    if not Path(given.init_checkpoint).is_dir():
        raise UserError(f"--init_checkpoint {given.init_checkpoint}: no such directory; give a fine-tuned checkpoint")
    given = dataclasses.replace(given, init_checkpoint=str(_weights_of(Path(given.init_checkpoint))))
    stored = read_record(given.init_checkpoint)
    if given.task and stored.get("task") not in TASKS:  # of pre-training
        stored = {name: stored[name] for name in OF_TEXT if name in stored}
    task = task_class(job.task_of(stored.get("task"), args, given.init_checkpoint))
    return open_checkpoint(given, stored, task, job.settings(task.name), args.task)


def _weights_of(folder):
    """The folder of the weights: of a model's directory, as conversions make one, its ``params/``."""
    return folder / PARAMS if (folder / PARAMS).is_dir() and not (folder / RECORD).is_file() else folder


def open_checkpoint(
    given: ModelArgs,
    stored: Mapping[str, Any],
    task: type[FinetuneTask],
    settings: Mapping[str, Any] | None = None,
    chosen: Mapping[str, Any] | None = None,
) -> Checkpoint:
    """A fine-tuned checkpoint with its spec, network and tokenizer.

    Args:
        given: flags; None where one was not given.
        stored: what the checkpoint says of itself.
        task: its task.
        settings: the task's settings where the checkpoint says none.
        chosen: the task's settings that were given.

    Raises:
        UserError: the record and the flags contradict each other; neither says network or vocabulary.
    """
    source = Path(given.init_checkpoint or "") / RECORD
    check_same(given, stored, source, task.read_config)
    config = _config(given, stored, source, task)
    label_map = load_label_map(given.label_map_config) if given.label_map_config else stored.get("label_map")
    settings = settings_of(task.flags, {**(settings or {}), **stored.get("flags", {})}, chosen)
    values = settle(given, stored, {**DEFAULTS, "metric": task.metric(settings)})
    values["max_seq_len"] = sequence_length(given.max_seq_len, values["max_seq_len"], config)
    spec = ModelSpec(
        task=task.name,
        label_map=label_map,
        num_labels=settled_labels(given, stored, task, label_map),
        settings=settings,
        label_map_source=given.label_map_config or str(source),
        label_origin=MODEL if "label_map" in stored else MAP,
        facts={PAIRS: stored[PAIRS]} if PAIRS in stored else {},
        **values,
    )
    vocab_path, sp_model = files_of(given.vocab_path, given.sp_model, source.parent, "--init_checkpoint")
    given = dataclasses.replace(given, vocab_path=vocab_path, sp_model=sp_model)
    spec = spec.replace(**text_settings(given, stored, spec, task))
    spec.check_limits(config)
    task.check(spec)
    tokenizer = spec.build_tokenizer(task, vocab_path, sp_model)
    check_vocab(max(tokenizer.vocab.values()) + 1, config, {})
    return Checkpoint(source.parent, task, task.with_vocabulary(spec, tokenizer), config, vocab_path, tokenizer)


def _config(given, stored, source, task):
    """The network: the file of --ernie_config_path, what the checkpoint says, or the file beside ``params/``."""
    if given.ernie_config_path:
        config = task.read_config(given.ernie_config_path, vocab_path=given.vocab_path)
    elif "ernie_config" in stored:
        config = task.read_config(stored["ernie_config"], source=str(source))
    elif source.parent.name == PARAMS and (source.parent.parent / CONFIG).is_file():
        config = task.read_config(source.parent.parent / CONFIG)
    else:
        raise UserError(f"{given.init_checkpoint}: has no checkpoint.json (a checkpoint of 2019?): give its "
                        "--ernie_config_path")  # fmt: skip
    config.print_config()
    return config


def open_model(folder: str | Path, args: PredictArgs, job: PredictionJob) -> InferenceModel:
    """The ``InferenceModel`` of a bundle, after the flags were checked against it.

    Raises:
        UserError: damaged, of another task, or a flag says otherwise than the bundle.
    """
    data, given = args.data, args.model
    model = InferenceModel.open(folder, precision=data.precision, use_cuda=data.use_cuda, engine=data.engine)
    where = model.bundle.folder / MANIFEST
    job.task_of(model.bundle.task, args, model.bundle.folder)
    stored = {**model.bundle.meta, "ernie_config": model.config.to_dict()}
    check_same(given, stored, where, model.task.read_config)
    if given.inference_model and given.vocab_path:
        ours = build_tokenizer(model.spec.tokenizer, given.vocab_path, model.tokenizer.do_lower_case,
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
    return model


def reading_spec(model: InferenceModel, args: PredictArgs) -> ModelSpec:
    """The spec with which the task's reader opens the file: the bundle's, with the flags that were given.

    Raises:
        UserError: a flag does not go with the model.
    """
    spec = model.spec
    if args.model.max_seq_len is not None:
        spec = spec.replace(max_seq_len=args.model.max_seq_len)
    if args.task:
        spec = spec.replace(settings=dataclasses.replace(spec.settings, **args.task))
    spec.check_limits(model.config)
    model.task.check(spec)
    return spec
