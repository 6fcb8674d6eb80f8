"""The flags of train.py: one frozen dataclass a concern, and argparse made from them.

    args = parse("train.py", "Pre-train", sys.argv[1:])
    args.data.train_filelist, args.train.num_train_steps

Every flag of the 2019 train.py is taken, with its meaning and default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, NamedTuple

from ernie.config import ErnieConfig, sequence_length
from ernie.model_folder import ModelFolder, look_into
from pretrain.training.schedule import SCHEDULES
from propeller.errors import UserError
from propeller.flags import DEVICE, FlagParser, add_flags, add_ignored, flag, from_values, read_flags
from propeller.train.args import HANG_HELP, LOG_HELP, STRATEGIES, EngineArgs
from propeller.train.distribution import Ranks
from reader.tokenizer import OF_ENCODERS

MAX_SEQ_LEN = 512  # without the flag, as in 2019; a model of fewer positions has these
# Taken because scripts of 2019 give them; there is nothing left for them to do.
IGNORED = {"use_fast_executor": "there is one executor", "is_distributed": "the launcher sets it"}


@dataclass(frozen=True)
class ModelArgs(ModelFolder):
    """model: the network, its vocabulary, the weights it starts from; --model DIR for all three, to begin at step 0"""

    ernie_config_path: str = flag(None, "ernie_config.json of the model, or checkpoint.json of a checkpoint")
    vocab_path: str = flag(None, "vocab.txt that the shards were made with")
    init_checkpoint: str = flag(
        None,
        "continue from a checkpoint of train.py (step_N, best, last): weights, moments, step and learning rate, but "
        "from the beginning of the data; a params/ without training_state gives the weights only",
    )
    init_pretraining_params: str = flag(None, "start at step 0 with the weights of a params/ or a checkpoint")
    weight_sharing: bool = flag(True, "use the word embedding as the output layer for masked words")
    max_seq_len: int | None = flag(
        None, "longer instances are left out, and counted in the log [512, or the positions if fewer]"
    )
    task_id: int = flag(0, "id of the task embedding, for models with use_task_id")
    tokenizer: str = flag(
        "FullTokenizer",
        "tokenizer for the text of --predict_mask",
        choices=OF_ENCODERS,
    )
    sp_model: str = flag(None, "sentencepiece model for the last three (default: the *.model next to vocab.txt)")
    do_lower_case: bool = flag(True, "lower-case the text of --predict_mask, for uncased vocabularies")

    def longest(self, config: ErnieConfig) -> int:
        """``max_seq_len``, or what it is by default for a network."""
        return sequence_length(self.max_seq_len, MAX_SEQ_LEN, config)


@dataclass(frozen=True)
class DataArgs:
    """data: filelists, one gzip shard per line as path<TAB>mask_word_prob; pretrain.build_data writes them"""

    train_filelist: str = flag("", "shards to train on")
    valid_filelist: str = flag(
        "", "shards to validate on every --validation_steps; --best_metric selects the best checkpoint"
    )
    test_filelist: str = flag("", "shards for --do_test")
    generate_neg_sample: bool = flag(
        False, "add pairs of sentences that do not follow each other, for shards that have none"
    )
    mask_units: str = flag(
        "entity",
        "the largest unit masked as a whole: basic (pieces), word, phrase, entity; or by step, as in "
        "basic:0,phrase:100000,entity:200000",
        metavar="UNITS",
    )
    mask_draw: str = flag(
        "piece",
        "draw [MASK], another piece or the same one for each piece, or once for each unit",
        choices=("piece", "unit"),
    )
    shuffle: bool = flag(True, "shuffle shards and instances in every epoch")
    shuffle_buffer: int = flag(10000, "number of instances shuffled together")
    on_bad: str = flag("error", "stop at a bad line or shard, or skip and count it", choices=("error", "skip"))
    queue_size: int = flag(50, "batches prepared in advance")


@dataclass(frozen=True)
class TasksArgs:
    """tasks: several learnt together, as in ERNIE 2.0; see docs/pretraining.md"""

    task_list: str = flag(
        None,
        "JSON list of tasks with their filelists and steps, in place of --train_filelist, --valid_filelist, "
        "--test_filelist, --task_id, --epoch and --num_train_steps",
        metavar="PATH",
    )
    task_data: str = flag(
        None,
        "directory that the filelists in --task_list are relative to (default: the working directory)",
        metavar="FOLDER",
    )
    schedule: str = flag(
        "continual",
        "continual: tasks enter stage by stage; multitask: all from the start; sequential: one after another",
        choices=SCHEDULES,
    )
    scale_steps: float = flag(1.0, "factor for all steps in --task_list")
    warmup_restart: bool = flag(False, "warm up again when a task enters")


@dataclass(frozen=True)
class TrainArgs(EngineArgs):
    """training: hyper-parameters"""

    epoch: int = flag(100, "passes over the shards; --num_train_steps may end the run earlier")
    batch_size: int = flag(16, "instances per batch and process; with --in_tokens, tokens including padding")
    in_tokens: bool = flag(False, "measure --batch_size in tokens")
    num_train_steps: int = flag(1000000, "number of steps; the linear decay reaches 0 there")
    warmup_steps: int = flag(5000, "steps over which the learning rate rises; 0: constant rate")
    learning_rate: float = flag(1e-4, "peak learning rate")
    lr_scheduler: str = flag(
        "linear_warmup_decay", "schedule of the learning rate", choices=("linear_warmup_decay", "noam_decay")
    )
    weight_decay: float = flag(0.01, "decoupled weight decay; not applied to biases and layer norms")
    beta2: float = flag(0.999, "decay of Adam's second moments; 0.98 in ERNIE 2.0")
    dropout: float = flag(
        None,
        "dropout of the encoder in this run, in place of the configuration's, which the model keeps; 0 for a small "
        "model or little text",
        metavar="X",
    )
    random_seed: int = flag(0, "seed for order, masks, new weights and dropout")


@dataclass(frozen=True)
class RunArgs:
    """run: what is done, where it goes, how often"""

    do_test: bool = flag(False, "do not train: score --init_checkpoint on --test_filelist")
    predict_mask: str = flag(
        None,
        "do not train: fill the [MASK]s in a sentence, or in each line of a file (-: standard input), "
        "with --init_checkpoint",
        metavar="TEXT|PATH",
    )
    top: int = flag(5, "number of fillings that --predict_mask prints")
    checkpoints: str = flag("checkpoints", "directory of this run; the same command continues it")
    overwrite: bool = flag(False, "start afresh in --checkpoints, deleting the run in it", bare=True)
    keep_checkpoints: int = flag(3, "number of newest checkpoints to keep, besides the best; 0: all")
    verify_checkpoints: bool = flag(
        True, "compare the files of a checkpoint with their sha256 before continuing from it"
    )
    save_steps: int = flag(10000, "steps between checkpoints; 0: only those of --save_strategy and the last")
    save_strategy: str = flag(
        "steps",
        "save every --save_steps, at the end of each pass over the shards, or both",
        choices=STRATEGIES,
    )
    validation_steps: int = flag(1000, "steps between validations; 0: only those of --eval_strategy and the last")
    eval_strategy: str = flag(
        "steps",
        "validate every --validation_steps, at the end of each pass over the shards, or both",
        choices=STRATEGIES,
    )
    best_metric: str = flag(
        "loss",
        "the score that selects the best checkpoint: the lowest loss or ppl, the highest acc",
        metavar="NAME",
    )
    skip_steps: int = flag(10, "steps between lines of the log")
    verbose: bool = flag(False, "also log every flag, both losses and how full the batches are")
    log_file: str = flag("auto", LOG_HELP)
    use_cuda: str = flag("auto", "true, false, or auto: a GPU if there is one", **DEVICE)
    hang_timeout: float = flag(
        None,
        HANG_HELP,
    )


class Args(NamedTuple):
    """All flags of a run."""

    model: ModelArgs
    data: DataArgs
    tasks: TasksArgs
    train: TrainArgs
    run: RunArgs
    ignored: dict
    ranks: Ranks = Ranks()  # the processes that share the work; no flag, the launcher's environment says

    @property
    def train_mode(self) -> bool:
        """Whether the run trains, and does nothing else."""
        return not self.run.do_test and self.run.predict_mask is None

    def values(self) -> dict[str, Any]:
        """name -> value of every flag."""
        return {name: value for group in self[:5] for name, value in asdict(group).items()}


DESCRIPTION = "Pre-train ERNIE 1.0, score a checkpoint, or let it fill [MASK]s."
GROUPS = {"model": ModelArgs, "data": DataArgs, "tasks": TasksArgs, "train": TrainArgs, "run": RunArgs}


def build_parser(prog: str, description: str) -> FlagParser:
    """The argparse parser, flags in groups."""
    usage = f"{prog} (--model DIR | --ernie_config_path PATH --vocab_path PATH) [flags]"
    parser = FlagParser(prog=prog, usage=usage, description=description, allow_abbrev=False)
    for group in GROUPS.values():
        add_flags(parser, group)
    add_ignored(parser, IGNORED)
    return parser


def parse(prog: str, description: str, argv: Sequence[str]) -> Args:
    """Flags from a command line.

    Raises:
        UserError: see ``read_flags``; flags that do not go together.
    """
    values = with_model(read_flags(build_parser(prog, description), argv))
    for name in ("ernie_config_path", "vocab_path"):
        if not values[name]:
            raise UserError(f"--{name} is missing: give it, or --model, a directory that holds it; see {prog} --help")
    ignored = {name: why for name, why in IGNORED.items() if values[name] is not MISSING}
    args = Args(**{key: from_values(group, values) for key, group in GROUPS.items()}, ignored=ignored)
    _check(args)
    defaults = {entry.name: entry.default for group in GROUPS.values() for entry in fields(group)}
    _check_tasks(args, {name for name, value in args.values().items() if value != defaults[name]})
    _check_files(args)  # last: what is wrong with a setting is said before a missing file
    return args


def with_model(values: Mapping[str, Any]) -> dict[str, Any]:
    """Flags with those that ``--model`` stands for, where they were not given: weights to begin with at step 0.

    Raises:
        UserError: the directory lacks a part, or is an inference model.
    """
    if not values["model"]:
        return dict(values)
    uses = values["do_test"] or values["predict_mask"] is not None
    found = look_into(values["model"])
    return {**values, **found.filled(values, "init_checkpoint" if uses else "init_pretraining_params")}


def _check(args):
    """What no single flag can tell."""
    run, data, model, train = args.run, args.data, args.model, args.train
    if run.do_test and run.predict_mask is not None:
        raise UserError("--do_test true with --predict_mask: give one of them")
    if model.init_checkpoint and model.init_pretraining_params:
        raise UserError("--init_checkpoint with --init_pretraining_params: give one of them")
    if run.hang_timeout is not None and run.hang_timeout < 0:
        raise UserError(f"--hang_timeout must be 0 or more, not {run.hang_timeout:g}")
    least = {"epoch": 1, "batch_size": 1, "num_train_steps": 1, "gradient_accumulation_steps": 1, "warmup_steps": 0}
    bounds = [(train, least), (run, {"top": 1, "skip_steps": 1, "keep_checkpoints": 0, "save_steps": 0})]
    bounds += [(run, {"validation_steps": 0}), (data, {"queue_size": 1}), (train, {"random_seed": 0})]
    for group, names in bounds:
        for name, low in names.items():
            if getattr(group, name) < low:
                raise UserError(f"--{name} must be {low} or more, not {getattr(group, name)}")
    if train.random_seed >= 2**32:
        raise UserError(f"--random_seed must be below 2**32, not {train.random_seed}")
    if train.weight_decay < 0:
        raise UserError(f"--weight_decay must be 0 or more, not {train.weight_decay}")
    if train.dropout is not None and not 0 <= train.dropout < 1:
        raise UserError(f"--dropout must be from 0 to below 1, not {train.dropout:g}")
    if not 0 <= train.beta2 < 1:
        raise UserError(f"--beta2 must be from 0 to below 1, not {train.beta2:g}")


def _check_files(args):
    """Whether the files that the work needs are named."""
    run, data, model, trains = args.run, args.data, args.model, args.train_mode
    if trains and not data.train_filelist and not args.tasks.task_list:
        raise UserError(
            "training needs --train_filelist: lines path<TAB>mask_word_prob, see data/README.md; or a --task_list"
        )
    if trains and not data.valid_filelist and not args.tasks.task_list:
        check_validated(run, "--valid_filelist")
    if not trains and not model.init_checkpoint:
        what = "--do_test true" if run.do_test else "--predict_mask"
        raise UserError(f"{what} needs --init_checkpoint: the checkpoint of train.py to use")
    if run.do_test and not data.test_filelist and not args.tasks.task_list:
        raise UserError("--do_test true needs --test_filelist")


def check_validated(run: RunArgs, needs: str) -> None:
    """Raise UserError for flags that choose or time the validations of a run that has none.

    A run that began with them, when they were taken, goes on.

    Args:
        run: the flags.
        needs: what would make validations.
    """
    from propeller.train.checkpoints import recorded_run

    given = {name: getattr(run, name) for name in ("eval_strategy", "best_metric")}
    idle = {name: value for name, value in given.items() if value != getattr(RunArgs, name)}
    begun = recorded_run(run.checkpoints) if idle and not run.overwrite else None
    for name, value in idle.items():
        if begun is None or begun.flags.get(f"--{name}") != value:
            raise UserError(f"--{name} {value} needs {needs}: give that too, or leave it out")


def _check_tasks(args, given):
    """What goes with a task list, and what only with one. given: names of the flags that are not at their default."""
    tasks = args.tasks
    if not tasks.task_list:
        alone = sorted(given & {"task_data", "schedule", "scale_steps", "warmup_restart"})
        if alone:
            raise UserError(f"--{alone[0]} is about the tasks of a --task_list: give one, or leave it out")
        return
    for name in ("train_filelist", "valid_filelist", "test_filelist", "task_id", "epoch", "num_train_steps"):
        if name in given:
            raise UserError(f"--{name} with --task_list, which says that for each task: leave the flag out")
    for name in ("eval_strategy", "save_strategy"):
        if getattr(args.run, name) != "steps":
            raise UserError(
                f"--{name} {getattr(args.run, name)} with --task_list, whose tasks have no common end of a pass: give "
                "steps, or leave it out"
            )
    if args.run.predict_mask is not None:
        raise UserError("--predict_mask with --task_list: leave the list out, the checkpoint knows its tasks")
    if not 0 < tasks.scale_steps < float("inf"):
        raise UserError(f"--scale_steps must be above 0, not {tasks.scale_steps:g}")
