"""What a run trains or evaluates: the model that flags, label map and stored records together ask for.

    model = settle_run(Classifier, args)
    model.task, model.spec, model.config, model.tokenizer

A flag wins over what a pre-trained model or a checkpoint says of itself; what neither says has the default of 2019.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ernie import packed
from ernie.checkpoint import check_vocab
from ernie.config import sequence_length
from ernie.facts import is_chinese
from finetune.labels import FoundLabels, find_labels, log_labels
from finetune.spec import DEFAULTS, RECORD, ModelSpec, read_record, settle, settled_labels
from finetune.task import FinetuneTask
from finetune.training.args import Args
from finetune.training.fingerprint import SETTLED, former_flags
from finetune.training.train_model import check_model_options, loss_options
from finetune.training.tuned import check_tuning
from propeller import runtime
from propeller.errors import UserError
from propeller.train.checkpoints import recorded_run
from reader.row_encoder import MAP, MODEL, ROWS, load_label_map
from tokenization import ADDED_TOKENS, load_vocab

if TYPE_CHECKING:
    from tokenization_base import BaseTokenizer

log = logging.getLogger("ernie.finetune")

TEXT = ("tokenizer", "do_lower_case", "for_cn")  # of the encoder, whatever head comes on it
HEAD = ("num_labels", "label_map")
MAX_SEQ_LEN = 512  # without the flag, as in 2019; a model of fewer positions has these
# Flags of how a run goes that it may have begun without: what they are in a new one.
RUN = {"eval_strategy": "both", "head_dropout": 0.1}
# What a checkpoint has to share with a run, and what to do where it does not.
REMEDIES = {
    "task": "run the script of that task, with its flag (--multi_label, --crf) if it has one",
    "label_map": "give its --label_map_config",
    "num_labels": "give its --num_labels",
    "tokenizer": "give its --tokenizer",
    "tokenizer_fingerprint": "give its --vocab_path, --do_lower_case and --for_cn",
}


class RunModel(NamedTuple):
    """The model of a run.

    Attributes:
        task: its class.
        spec: its record.
        config: the network, see ``FinetuneTask.read_config``.
        vocab_path: the file of its vocabulary.
        run: name -> value of the flags of how the run goes, as they were settled.
    """

    task: type[FinetuneTask]
    spec: ModelSpec
    config: Any
    tokenizer: BaseTokenizer
    vocab_path: str
    run: Mapping[str, Any]


def settle_run(task: type[FinetuneTask], args: Args, found: FoundLabels | None = None) -> RunModel:
    """The model that the flags ask for.

    Args:
        task: the class of the task.
        args: the flags.
        found: the labels of the training file, where they were looked for before.

    Raises:
        UserError: a file cannot be read; settings do not go together, with the labels, or with the network.
    """
    given = args.model
    settings = _model_settings(args.task, given)
    task = task.variant(settings)
    config = task.read_config(given.ernie_config_path, vocab_path=given.vocab_path)
    run = args.run
    begun = recorded_run(run.checkpoints) if run.do_train and not run.overwrite else None
    # The defaults of 2019 where the run began with them, before weights could say otherwise.
    kept = {name: DEFAULTS[name] for name in TEXT if begun and begun.flags.get(f"--{name}") == DEFAULTS[name]}
    if given.init_checkpoint:  # before its labels are taken for this task's
        _check_same(given.init_checkpoint, "task", _record_of(given.init_checkpoint), task.name)
    stored = {**_stored(given), **kept}
    values = settle(given, stored, DEFAULTS)
    values["max_seq_len"] = sequence_length(given.max_seq_len, MAX_SEQ_LEN, config)
    spec = ModelSpec(
        task=task.name,
        metric=task.metric(settings),
        num_labels=task.num_labels,
        settings=settings,
        network=config.to_dict(),
        **values,
    )
    # What is wrong with the settings is said before the training file is opened, which may be long, or missing.
    task.check_settings(spec)
    check_tuning(settings, bool(run.do_val and args.data.dev_set))
    spec.check_limits(config)
    settled = _run_flags(args, task, spec, begun, config)
    spec = _with_labels(spec, task, args, stored, found)
    task.check(spec)
    check_model_options(args, task, spec, config)
    spec = spec.replace(dropout=settled["head_dropout"], loss=loss_options(args.loss))
    tokenizer = spec.build_tokenizer(task, given.vocab_path, given.sp_model)
    check_vocab(max(tokenizer.vocab.values()) + 1, config, {})
    spec = task.with_vocabulary(spec.replace(tokenizer_fingerprint=tokenizer.fingerprint), tokenizer)
    return RunModel(task, spec, config, tokenizer, given.vocab_path, settled)


def _with_labels(
    spec: ModelSpec, task: type[FinetuneTask], args: Args, stored: Mapping[str, Any], found: FoundLabels | None
) -> ModelSpec:
    """The record with its labels: of the flags, else of the weights, else of the training file.

    Args:
        stored: what the weights say.
        found: the labels of the training file, where they were looked for before.
    """
    given = args.model
    label_map, source = stored.get("label_map"), given.label_map_config or "label map"
    origin = MODEL if stored.keys() & HEAD and not given.label_map_config else MAP
    if given.label_map_config:  # a number has none, whatever is in the file: ``check`` says so
        label_map = {} if task.label_kind == "float" else load_label_map(given.label_map_config)
    elif args.run.do_train and "num_labels" not in stored:
        if found is None:
            found = find_labels(task, args.data.train_set, args.tables.form(), given.num_labels, spec.settings)
        log_labels(args.data.train_set, found)
        label_map, source, origin = found.label_map, args.data.train_set, ROWS
        stored = {**stored, **({} if found.num_labels is None else {"num_labels": found.num_labels})}
    number = settled_labels(given, stored, task, label_map)
    return spec.replace(label_map=label_map, num_labels=number, label_map_source=source, label_origin=origin)


def _stored(given) -> dict[str, Any]:
    """What the weights say: a fine-tuned checkpoint of text and labels, a pre-trained model of text."""
    source = given.init_checkpoint or given.init_pretraining_params
    if not source:
        return {}
    names = (*TEXT, *HEAD) if given.init_checkpoint else TEXT
    record = read_record(source)
    if "tasks" in record and given.vocab_path and is_chinese(load_vocab(given.vocab_path, strict=True)):
        record.pop("for_cn", None)  # of pre-training, which cuts no blanks away itself: what the language needs holds
    return {name: record[name] for name in names if record.get(name) is not None}


def _model_settings(settings, given):
    """The task's flags, where those with the fact ``model_default`` that were not given are as --init_checkpoint has
    them, else as the fact says."""
    defaults = {
        entry.name: entry.metadata["facts"]["model_default"]
        for entry in (dataclasses.fields(settings) if settings is not None else ())
        if "model_default" in entry.metadata.get("facts", {}) and getattr(settings, entry.name) is None
    }
    if not defaults:
        return settings
    stored = read_record(given.init_checkpoint).get("flags", {}) if given.init_checkpoint else {}
    return dataclasses.replace(settings, **{name: stored.get(name) or value for name, value in defaults.items()})


def _run_flags(args, task, spec, begun, config):
    """name -> value of the flags of how the run goes: as given; as it began, before there was such a flag; by default.

    A run whose record has the flag gets the default, too: that it was another is for the saver to say.
    """
    former = former_flags(task, spec)
    values = {"best_metric": args.run.best_metric or task.best_by(spec)}
    for name, default in RUN.items():
        given = getattr(args.run, name, getattr(args.train, name, None))
        if given is None:
            given = former[name] if begun is not None and f"--{name}" not in begun.flags else default
        values[name] = given
    values["fused_encoder"] = "false"
    if args.run.do_train:
        train, on_gpu = args.train, "gpu" in str(runtime.place(args.run.use_cuda)).lower()
        half = train.use_fp16 or train.use_bf16
        fused = packed.wanted(train.fused_encoder, config, on_gpu, half, train.use_recompute, begun)
        values["fused_encoder"] = str(fused).lower()
    names = task.score_names(spec)
    if names and values["best_metric"] not in names:
        raise UserError(
            f"--best_metric {values['best_metric']}: this task's evaluations have no such score: give one of "
            f"{', '.join(names)}"
        )
    return values


def with_settled_flags(args: Args, model: RunModel) -> Args:
    """The flags as the model and the run settled them: what the log shows and a run's record holds."""
    settled = {name: getattr(model.spec, name) for name in SETTLED}
    task: Any = model.spec.settings
    metric = getattr(task, "metric", None)
    if metric is not None and model.spec.metric not in (None, metric):
        task = dataclasses.replace(task, metric=model.spec.metric)

    def filled(group):
        return dataclasses.replace(group, **{flag: value for flag, value in model.run.items() if hasattr(group, flag)})

    return args._replace(
        model=dataclasses.replace(args.model, **settled), train=filled(args.train), run=filled(args.run), task=task
    )


def text_files(vocab_path: str, tokenizer: BaseTokenizer) -> dict[str, str]:
    """name -> path of the files that a checkpoint keeps, so that text can be read with it alone."""
    files = {"vocab.txt": str(vocab_path)}
    sp_model = getattr(tokenizer, "sp_model", None)
    if sp_model:
        files["sentencepiece.model"] = str(sp_model)
    word_dict = getattr(tokenizer, "word_dict", None)
    if word_dict:
        files["word_dict.txt"] = str(word_dict)
    if tokenizer.added_tokens.source:
        files[ADDED_TOKENS] = tokenizer.added_tokens.source
    return files


def _record_of(folder):
    """What ``checkpoint.json`` says, {} where there is none (2019).

    One of pre-training is of no task of ours, and nobody chose the ``for_cn`` that is in its fingerprint.
    """
    stored = read_record(folder) if (Path(folder) / RECORD).is_file() else {}
    left_out = ("task", "tokenizer_fingerprint") if "tasks" in stored else ()
    return {name: value for name, value in stored.items() if name not in left_out}


def _check_same(folder, key, stored, ours):
    if key in stored and stored[key] != ours:
        raise UserError(
            f"{folder}: the checkpoint's {key} is {stored[key]!r}, this run's {ours!r}: {REMEDIES[key]}, or take the "
            "encoder alone with --init_pretraining_params"
        )


def check_checkpoint(folder: str | Path, spec: ModelSpec) -> dict[str, Any]:
    """What ``checkpoint.json`` says, {} where there is none (2019); it must be of this task, labels and vocabulary.

    Raises:
        UserError: it is of another; both sides are named.
    """
    stored, ours = _record_of(folder), spec.record()
    for key in REMEDIES:
        _check_same(folder, key, stored, ours[key])
    before, now = stored.get("flags", {}), ours.get("flags", {})
    for name in sorted(before.keys() & now.keys()):
        if before[name] != now[name]:
            log.info("%s was made with --%s %s, now %s", folder, name, before[name], now[name])
    if stored.get("max_seq_len", spec.max_seq_len) != spec.max_seq_len:
        log.info("%s was trained with --max_seq_len %d, now %d", folder, stored["max_seq_len"], spec.max_seq_len)
    return stored
