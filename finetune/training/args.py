"""The flags of the fine-tuning scripts: one frozen dataclass per concern, and argparse made from them.

    args = parse("run_classifier.py", "Fine-tune a classifier", sys.argv[1:])
    args.model.vocab_path, args.train.learning_rate

Every flag of the 2019 scripts is taken, with its meaning and default.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, NamedTuple

from ernie.model_folder import ModelFolder, look_into
from finetune import EXAMPLE, legacy_flags
from finetune.checks import CheckArgs
from finetune.tables import LabelledTableFlags
from finetune.training.arg_checks import check_args
from finetune.training.effects import check_evaluations
from finetune.training.keywords import keyword_value
from finetune.training.options import SEVERAL, AveragingArgs, LossArgs, OptimizerArgs
from propeller.errors import UserError
from propeller.flag_names import meant
from propeller.flags import DEVICE, Derived, FlagParser, add_flags, add_ignored, flag, from_values, read_flags, split
from propeller.train.args import HANG_HELP, LOG_HELP, STRATEGIES, EngineArgs
from propeller.train.distribution import Ranks
from reader.tokenizer import TOKENIZERS

# Taken because scripts of 2019 give them; there is nothing left for them to do.
IGNORED = {
    "use_fast_executor": "there is one executor",
    "num_iteration_per_drop_scope": "scopes are not dropped",
    "is_distributed": "the launcher sets it",
    "use_multi_gpu_test": "evaluation runs where training runs",
    "enable_ce": "metrics.jsonl holds the figures",
    "metrics": "they are always computed",
}


@dataclass(frozen=True)
class ModelArgs(ModelFolder):
    """model: the network, its vocabulary, the weights it starts from; --model DIR for all three"""

    ernie_config_path: str = flag(None, "ernie_config.json of the model, or checkpoint.json of a checkpoint")
    vocab_path: str = flag(None, "vocab.txt of the model, with or without <TAB>id")
    init_pretraining_params: str | None = flag(
        None, "params/ of a pre-trained model: its encoder is taken, its heads are not"
    )
    init_checkpoint: str | None = flag(
        None,
        "a fine-tuned checkpoint (step_N, best, last), or params/ of a converted classifier: encoder and head",
    )
    tokenizer: str | None = flag(
        None,
        "the tokenizer [the model's, else FullTokenizer]",
        choices=TOKENIZERS,
    )
    sp_model: str | None = flag(None, "sentencepiece model for the last three (default: the *.model next to vocab.txt)")
    do_lower_case: bool | None = flag(
        None, "lower-case the text and strip accents, for uncased vocabularies [as the model, else true]"
    )
    for_cn: bool | None = flag(
        None, "remove spaces from the text, for Chinese; false for English [as the model, else true]"
    )
    max_seq_len: int | None = flag(
        None,
        "longest example in tokens; longer ones are cut and counted in the log [512, or the positions if fewer]",
    )
    task_id: int = flag(0, "id of the task embedding, for models with use_task_id")
    num_labels: int | None = flag(
        None, "number of classes [as many as the label map or the model has, else the task's]"
    )
    label_map_config: str | None = flag(
        None,
        "JSON file {label word: class}; without it the labels are those of the training file",
        aliases=("label_map",),
    )


@dataclass(frozen=True)
class DataArgs:
    """data: files of rows with the columns text_a, text_b, label, qid in any order"""

    train_set: str = flag(None, "rows to train on")
    max_train_rows: int | None = flag(None, "train on so many rows of it, drawn by --random_seed [all]")
    dev_set: str | None = flag(
        None, "rows to evaluate on; comma-separated files, the first selects the best checkpoint", facts=SEVERAL
    )
    test_set: str | None = flag(None, "rows to predict; comma-separated files, scored too if labelled", facts=SEVERAL)
    test_save: str | None = flag(
        None,
        "prediction file of each test set; .epoch.step is added [test_result, test_result_2 in --checkpoints]",
        facts=SEVERAL,
    )
    shuffle: bool = flag(True, "shuffle the training rows anew each epoch")
    bucket_window: int = flag(0, "sort rows by length within windows of N rows; 0: off")
    num_workers: int = flag(0, "processes that tokenise; 0: a thread of this process")
    queue_size: int = flag(50, "batches prepared in advance")
    token_cache_dir: str = flag(
        "auto", "directory for token ids, kept for later epochs; auto: in --checkpoints; off: nowhere"
    )


@dataclass(frozen=True)
class TrainArgs(EngineArgs):
    """training: hyper-parameters"""

    epoch: int = flag(3, "passes over the training rows")
    batch_size: int = flag(32, "examples per batch and device; tokens with --in_tokens")
    in_tokens: bool = flag(False, "measure --batch_size in tokens, including padding")
    predict_batch_size: int | None = flag(None, "batch of evaluation and prediction (default: --batch_size)")
    learning_rate: float = flag(5e-5, "peak learning rate")
    lr_scheduler: str = flag(
        "linear_warmup_decay",
        "how the rate changes; the first two as in 2019, the others from the end of the warm-up on",
        choices=("linear_warmup_decay", "noam_decay", "cosine", "polynomial", "constant"),
    )
    warmup_proportion: float = flag(
        0.1, "part of the steps the rate rises in; 0: the schedules of 2019 have a constant rate"
    )
    weight_decay: float = flag(0.01, "decoupled decay; not for biases and layer norms")
    head_dropout: float | None = flag(
        None, "dropout between the encoder's output and the head, as in 2019 [0.1, or what the run to continue has]"
    )
    early_stop: int = flag(0, "stop after N evaluations without improvement (0: never)")
    early_stop_min_gain: float = flag(0.0, "--early_stop counts only improvements greater than this")


@dataclass(frozen=True)
class RunArgs:
    """run: what is done, where it goes, how often"""

    do_train: bool = flag(True, "train")
    do_val: bool = flag(True, "evaluate --dev_set")
    do_test: bool = flag(True, "predict --test_set, with the last and with the best checkpoint")
    checkpoints: str = flag("checkpoints", "directory of this run; the same command continues it")
    overwrite: bool = flag(False, "start afresh in --checkpoints, deleting the run in it", bare=True)
    keep_checkpoints: int = flag(3, "number of newest checkpoints to keep, besides the best; 0: all")
    verify_checkpoints: bool = flag(
        True, "compare the files of a checkpoint with their sha256 before continuing from it"
    )
    save_steps: int = flag(10000, "steps between checkpoints; 0: only those of --save_strategy and the last")
    save_strategy: str = flag("steps", "save every --save_steps, at the end of each epoch, or both", choices=STRATEGIES)
    validation_steps: int = flag(1000, "steps between evaluations; 0: only those of --eval_strategy and the last")
    eval_strategy: str | None = flag(
        None,
        "evaluate every --validation_steps, at the end of each epoch, or both [both, or the setting of the run to "
        "continue]",
        choices=STRATEGIES,
    )
    best_metric: str | None = flag(
        None,
        "the score of the first --dev_set that selects the best checkpoint: the highest, or the lowest loss [the "
        "task's own, for classification that of --metric]",
        metavar="NAME",
    )
    skip_steps: int = flag(10, "steps between lines of the log")
    verbose: bool = flag(False, "also log every flag, the reader's queue and the learning rate")
    log_file: str = flag("auto", LOG_HELP)
    use_cuda: str = flag("auto", "true, false, or auto: a GPU if there is one", **DEVICE)
    hang_timeout: float | None = flag(
        None,
        HANG_HELP,
    )


class Args(NamedTuple):
    """All flags of a run."""

    model: ModelArgs
    data: DataArgs
    train: TrainArgs
    run: RunArgs
    task: object
    ignored: list[str]
    checks: CheckArgs = CheckArgs()
    optimizer: OptimizerArgs = OptimizerArgs()
    loss: LossArgs = LossArgs()
    averaging: AveragingArgs = AveragingArgs()
    tables: LabelledTableFlags = LabelledTableFlags()
    ranks: Ranks = Ranks()  # the processes that share the work; no flag, the launcher's environment says


GROUPS = {
    "model": ModelArgs, "data": DataArgs, "tables": LabelledTableFlags, "checks": CheckArgs, "train": TrainArgs,
    "optimizer": OptimizerArgs, "loss": LossArgs, "averaging": AveragingArgs, "run": RunArgs,
}  # fmt: skip


NEEDED = (("ernie_config_path", "ernie_config.json of the model"), ("vocab_path", "vocab.txt of the model"))


def ignored_flags(task_flags: type | None) -> dict[str, str]:
    """name -> why, of the flags without effect: those of 2019 that have nothing left to do, and other tasks'."""
    known = {entry.name for entry in fields(task_flags)} if task_flags else set()
    others = {entry.name: f"for {title} only" for title, entry in legacy_flags() if entry.name not in known}
    return {**IGNORED, **others}


def with_model(values: Mapping[str, Any]) -> dict[str, Any]:
    """Flags with those that ``--model`` stands for, where they were not given.

    To train, weights are a checkpoint's with its head where they are those of a fine-tuned checkpoint, else the encoder
    alone; without training they are the checkpoint to evaluate.

    Raises:
        UserError: the directory lacks a part, or is an inference model.
    """
    if not values.get("model"):
        return dict(values)
    found = look_into(values["model"], pooler=values["do_train"])
    with_head = found.is_fine_tuned or not values["do_train"]
    return {**values, **found.filled(values, "init_checkpoint" if with_head else "init_pretraining_params")}


def with_test_save(values: Mapping[str, Any]) -> dict[str, Any]:
    """Flags with a prediction file for each test set in the directory of the run, where none was given."""
    if values.get("test_save"):
        return dict(values)
    count = len(split(values.get("test_set")))
    names = ["test_result", *(f"test_result_{number}" for number in range(2, count + 1))][:count]
    folder = values.get("checkpoints", RunArgs.checkpoints)
    paths = ",".join(os.path.join(folder, name) for name in names)  # noqa: PTH118
    return {**values, "test_save": Derived(paths) if paths else None}


def build_parser(prog: str, description: str, task_flags: type | None = None, example: str = EXAMPLE) -> FlagParser:
    """The argparse parser, flags in groups; ``task_flags`` is the dataclass of a task's own, or None."""
    usage = f"{prog} (--model DIR | --ernie_config_path PATH --vocab_path PATH) [flags]"
    parser = FlagParser(prog=prog, usage=usage, description=description, example=example, allow_abbrev=False)
    for group in [*GROUPS.values(), *([task_flags] if task_flags else [])]:
        add_flags(parser, group)
    add_ignored(parser, ignored_flags(task_flags))
    return parser


def parse(
    prog: str, description: str, argv: Sequence[str], task_flags: type | None = None, example: str = EXAMPLE
) -> Args:
    """Flags from a command line; ``example`` is for its help.

    Raises:
        UserError: see ``read_flags``; flags that do not go together.
    """
    values = with_test_save(with_model(read_flags(build_parser(prog, description, task_flags, example), argv)))
    if not any(values[name] for name, _ in NEEDED):
        raise UserError(f"no model: give --model, the directory of a model or a checkpoint; see {prog} --help")
    for name, _ in NEEDED:
        if not values[name]:
            raise UserError(f"--{name} is missing: give it, or --model, a directory that holds it; see {prog} --help")
    groups: dict[str, type | None] = {**GROUPS, "task": task_flags}
    made: dict[str, Any] = {key: from_values(group, values) if group else None for key, group in groups.items()}
    args = Args(**made, ignored=[name for name in ignored_flags(task_flags) if values[name] is not MISSING])
    check_args(args)
    check_evaluations(args)
    return args


def from_keywords(values: Mapping[str, Any], task_flags: type | None = None, alone: bool = True) -> Args:
    """Flags from keyword arguments, ``--learning_rate 1e-5`` as ``learning_rate=1e-5``.

    Args:
        values: name -> value.
        task_flags: the dataclass of a task's own flags, or None.
        alone: whether they are of a whole run; false: of one of several tasks, where others may be evaluated.

    Raises:
        UserError: an unknown name (the nearest known one is named), a value of the wrong type, a missing one; flags
            that do not go together.
    """
    groups = {**GROUPS, "task": task_flags}
    entries = {entry.name: entry for group in groups.values() if group for entry in fields(group)}
    for name in values:
        if name not in entries:
            near = meant(name, entries)
            raise UserError(f"unknown argument {name}: {f'did you mean {near}?' if near else 'no such flag'}")
    checked = {name: keyword_value(entries[name], value) for name, value in values.items() if value is not None}
    checked = with_test_save(with_model({"do_train": True, **checked}))
    for name, what in NEEDED:
        if not checked.get(name):
            raise UserError(f"{name} is missing: {what}; or give model, a directory that holds it")
    made: dict[str, Any] = {
        key: group(**{entry.name: checked[entry.name] for entry in fields(group) if entry.name in checked})
        if group
        else None
        for key, group in groups.items()
    }
    args = Args(**made, ignored=[])
    check_args(args)
    if alone:
        check_evaluations(args)
    return args
