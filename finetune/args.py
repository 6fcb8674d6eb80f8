"""The flags of the fine-tuning scripts: one frozen dataclass a concern, and argparse made from them.

    args = parse("run_classifier.py", "Fine-tune a classifier", sys.argv[1:])
    args.model.vocab_path, args.train.learning_rate

Every flag of the 2019 scripts is taken, with its meaning and default; new ones say so in ``--help``.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import NamedTuple

from finetune.metrics import METRICS, RANKING, REGRESSION
from propeller.errors import UserError
from propeller.flags import FlagParser, add_flags, add_ignored, flag, made, read_flags
from propeller.train.distribution import Ranks

# Taken because scripts of 2019 give them; there is nothing left for them to do.
IGNORED = {
    "use_fast_executor": "there is one executor",
    "num_iteration_per_drop_scope": "scopes are not dropped",
    "is_distributed": "the launcher tells",
    "use_multi_gpu_test": "evaluation runs where training runs",
    "enable_ce": "metrics.jsonl holds the figures",
    "metrics": "they are always computed",
    "chunk_scheme": "for sequence labelling only",
    "doc_stride": "for reading comprehension only",
    "max_query_length": "for reading comprehension only",
    "max_answer_length": "for reading comprehension only",
    "n_best_size": "for reading comprehension only",
}


@dataclass(frozen=True)
class ModelArgs:
    """model: the network, its vocabulary, the weights it starts from"""

    ernie_config_path: str = flag(None, "ernie_config.json of the model", required=True)
    vocab_path: str = flag(None, "vocab.txt of the model, with or without <TAB>id", required=True)
    init_pretraining_params: str = flag(None, "params/ of a pre-trained model: its encoder is taken, its heads are not")
    init_checkpoint: str = flag(None, "a fine-tuned checkpoint (step_N, best, last): encoder and head are taken")
    tokenizer: str = flag(
        "FullTokenizer",
        "how text becomes tokens",
        choices=("FullTokenizer", "CharTokenizer", "SentencepieceTokenizer", "WordsegTokenizer"),
    )
    sp_model: str = flag(None, "new: sentencepiece model of the last two (default: the *.model beside vocab.txt)")
    do_lower_case: bool = flag(True, "lower-case the text and strip accents, for uncased vocabularies")
    for_cn: bool = flag(True, "drop the blanks of the text, for Chinese; false for English")
    max_seq_len: int = flag(512, "longest example in tokens; what is longer is cut, and counted in the log")
    task_id: int = flag(0, "id for the task embedding, in models with use_task_id")
    num_labels: int = flag(2, "number of classes; 1 for regression")
    label_map_config: str = flag(None, "JSON file {label word: class}; without it labels are integers")
    metric: str = flag("simple_accuracy", "score of an evaluation", choices=tuple(METRICS))
    is_classify: bool = flag(True, "classification, unless --is_regression is true")
    is_regression: bool = flag(False, "regression: the label is a number; with pearson_and_spearman")


@dataclass(frozen=True)
class DataArgs:
    """data: TSV files with a header naming text_a, text_b, label, qid in any order"""

    train_set: str = flag(None, "rows to train on")
    dev_set: str = flag(None, "rows to evaluate on, several files with commas between; the first one picks the best")
    test_set: str = flag(None, "rows to predict, several files with commas between; scored too where labelled")
    test_save: str = flag("./checkpoints/test_result", "prediction file of each test set; .epoch.step is added")
    diagnostic: str = flag(None, "GLUE diagnostics file to predict")
    diagnostic_save: str = flag(None, "its prediction file; .epoch.step is added")
    shuffle: bool = flag(True, "shuffle the training rows anew each epoch")
    bucket_window: int = flag(0, "new: put rows of like length together within so many rows; 0: off, as in 2019")
    num_workers: int = flag(0, "new: processes that tokenise; 0: a thread of this one")
    queue_size: int = flag(50, "new: batches made ready ahead of the device")
    token_cache_dir: str = flag(
        "auto", "new: where ids are kept for later epochs; auto: in --checkpoints; off: nowhere"
    )


@dataclass(frozen=True)
class TrainArgs:
    """training: hyper-parameters"""

    epoch: int = flag(3, "passes over the training rows")
    batch_size: int = flag(32, "examples a batch on one device; tokens with --in_tokens")
    in_tokens: bool = flag(False, "count a batch in tokens, padding too")
    gradient_accumulation_steps: int = flag(1, "new: batches whose gradients make one step")
    predict_batch_size: int = flag(None, "batch of evaluation and prediction (default: --batch_size)")
    learning_rate: float = flag(5e-5, "peak learning rate")
    lr_scheduler: str = flag(
        "linear_warmup_decay", "how the rate changes", choices=("linear_warmup_decay", "noam_decay")
    )
    warmup_proportion: float = flag(0.1, "part of the steps the rate rises in; 0: the rate is constant")
    weight_decay: float = flag(0.01, "decoupled decay; not for biases and layer norms")
    use_fp16: bool = flag(False, "matrix products in fp16, on a GPU, with a loss scale; weights stay fp32")
    use_bf16: bool = flag(False, "new: matrix products in bf16, on a GPU or a CPU; needs no loss scale")
    init_loss_scaling: float = flag(102400.0, "fp16: loss scale of the first step")
    use_dynamic_loss_scaling: bool = flag(True, "fp16: let the loss scale follow the gradients; false: it stays")
    incr_every_n_steps: int = flag(100, "fp16: good steps in a row after which the loss scale is raised")
    decr_every_n_nan_or_inf: int = flag(2, "fp16: skipped steps in a row after which it is lowered, to 1 at least")
    incr_ratio: float = flag(2.0, "fp16: what the loss scale is multiplied by when raised")
    decr_ratio: float = flag(0.8, "fp16: what the loss scale is multiplied by when lowered")
    use_recompute: bool = flag(False, "new: compute each layer twice and keep little of it: less memory, a slower step")
    random_seed: int = flag(0, "seed of row order, new weights and dropout")
    fuse_grad_size_mb: float = flag(
        None, "new: megabytes of gradients sent at once to other processes (default: 32 on GPUs, 1 on CPUs)"
    )
    early_stop: int = flag(0, "new: stop after so many evaluations without a better score; 0: never")


@dataclass(frozen=True)
class RunArgs:
    """run: what is done, where it goes, how often"""

    do_train: bool = flag(True, "train")
    do_val: bool = flag(True, "evaluate --dev_set")
    do_test: bool = flag(True, "predict --test_set, with the last and with the best checkpoint")
    checkpoints: str = flag("checkpoints", "folder of this run; the same command again continues it")
    overwrite: bool = flag(False, "new: begin afresh in --checkpoints, whatever run it holds", bare=True)
    keep_checkpoints: int = flag(3, "new: last checkpoints to keep, besides the best; 0: all, as in 2019")
    save_steps: int = flag(10000, "steps between checkpoints; 0: at the end only")
    validation_steps: int = flag(1000, "steps between evaluations; 0: at the end only")
    skip_steps: int = flag(10, "steps between lines of the log")
    verbose: bool = flag(False, "log the reader's queue and the learning rate too")
    log_file: str = flag(None, "new: write the log to this file as well")
    use_cuda: str = flag("auto", "true, false, or auto: a GPU if there is one", choices=("auto", "true", "false"))
    hang_timeout: float = flag(
        None,
        "new: end a run that had no batch for so many seconds, all stacks in the logs; 0: never (default: 1800 in "
        "several processes, 0 in one)",
    )


class Args(NamedTuple):
    """All flags of a run."""

    model: ModelArgs
    data: DataArgs
    train: TrainArgs
    run: RunArgs
    task: object
    ignored: list
    ranks: Ranks = Ranks()  # the processes that share the work; no flag, the launcher's environment says


GROUPS = {"model": ModelArgs, "data": DataArgs, "train": TrainArgs, "run": RunArgs}


def _ignored(task_flags):
    """The flags without effect: a task's own are not among them."""
    own = {entry.name for entry in fields(task_flags)} if task_flags else set()
    return {name: why for name, why in IGNORED.items() if name not in own}


def build_parser(prog, description, task_flags=None):
    """The argparse parser, flags in groups; ``task_flags`` is the dataclass of a task's own, or None."""
    usage = f"{prog} --ernie_config_path PATH --vocab_path PATH [flags]"
    parser = FlagParser(prog=prog, usage=usage, description=description, allow_abbrev=False)
    for group in [*GROUPS.values(), *([task_flags] if task_flags else [])]:
        add_flags(parser, group)
    add_ignored(parser, _ignored(task_flags))
    return parser


def parse(prog, description, argv, task_flags=None):
    """Flags from a command line.

    Raises:
        UserError: see ``read_flags``; flags that do not go together.
    """
    values = read_flags(build_parser(prog, description, task_flags), argv)
    groups = {**GROUPS, "task": task_flags}.items()
    args = Args(
        **{key: made(group, values) if group else None for key, group in groups},
        ignored=[name for name in _ignored(task_flags) if values[name] is not MISSING],
    )
    _check(args)
    return args


def _check(args):
    """What no single flag can tell."""
    run, data, model, train = args.run, args.data, args.model, args.train
    _check_kind(model)
    needs = [("do_train", "train_set"), ("do_val", "dev_set"), ("do_test", "test_set")]
    for switch, name in needs[:1] if run.do_train else []:
        if not getattr(data, name):
            raise UserError(f"--{switch} true needs --{name}")
    if not run.do_train:
        if not any(getattr(run, switch) and getattr(data, name) for switch, name in needs[1:]):
            raise UserError("nothing to do: give --do_train true, or --do_val true with --dev_set, or --test_set")
        if not model.init_checkpoint:
            raise UserError("--do_train false needs --init_checkpoint: the fine-tuned checkpoint to evaluate")
    if run.do_test and data.test_set and len(split(data.test_set)) != len(split(data.test_save)):
        raise UserError(
            f"--test_save names {len(split(data.test_save))} files, --test_set {len(split(data.test_set))}: "
            "give one prediction file for each test set, with commas between"
        )
    if data.diagnostic and not data.diagnostic_save:
        raise UserError("--diagnostic needs --diagnostic_save: where its predictions go")
    for group, names in ((train, ("epoch", "batch_size", "gradient_accumulation_steps")), (run, ("skip_steps",))):
        for name in names:
            if getattr(group, name) < 1:
                raise UserError(f"--{name} must be at least 1, not {getattr(group, name)}")
    for name in ("save_steps", "validation_steps", "keep_checkpoints"):
        if getattr(run, name) < 0:
            raise UserError(f"--{name} must be 0 or more, not {getattr(run, name)}")
    if not 0 <= train.warmup_proportion <= 1:
        raise UserError(f"--warmup_proportion must be between 0 and 1, not {train.warmup_proportion}")
    if train.fuse_grad_size_mb is not None and train.fuse_grad_size_mb <= 0:
        raise UserError(f"--fuse_grad_size_mb must be above 0, not {train.fuse_grad_size_mb:g}")
    if train.weight_decay < 0:
        raise UserError(f"--weight_decay must be 0 or more, not {train.weight_decay}")
    if run.hang_timeout is not None and run.hang_timeout < 0:
        raise UserError(f"--hang_timeout must be 0 or more, not {run.hang_timeout:g}")
    if data.queue_size < 1:
        raise UserError(f"--queue_size must be at least 1, not {data.queue_size}")


def _check_kind(model):
    """Regression, ranking or classification: flags that go together."""
    if model.is_regression:
        if model.metric not in REGRESSION:
            raise UserError(f"--is_regression true needs --metric {REGRESSION[0]}, not {model.metric}")
        if model.num_labels != 1:
            raise UserError(f"--is_regression true needs --num_labels 1, not {model.num_labels}")
        if model.label_map_config:
            raise UserError("--is_regression true with --label_map_config: leave it out, the label is a number")
        return
    if not model.is_classify:
        raise UserError("--is_classify false needs --is_regression true")
    if model.metric in REGRESSION:
        raise UserError(f"--metric {model.metric} is for numbers: give --is_regression true --num_labels 1")
    if model.num_labels < 2:
        raise UserError(f"--num_labels must be at least 2 for classification, not {model.num_labels}")
    if model.metric in RANKING and model.num_labels != 2:
        raise UserError(f"--metric {model.metric} ranks by class 1 of 2: give --num_labels 2, not {model.num_labels}")


def split(paths):
    """A comma-separated flag as a list; nothing for None."""
    return [path for path in (paths or "").split(",") if path]
