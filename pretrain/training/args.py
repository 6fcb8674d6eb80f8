"""The flags of train.py: one frozen dataclass a concern, and argparse made from them.

    args = parse("train.py", "Pre-train", sys.argv[1:])
    args.data.train_filelist, args.train.num_train_steps

Every flag of the 2019 train.py is taken, with its meaning and default; new ones say so in ``--help``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, NamedTuple

from pretrain.training.schedule import SCHEDULES
from propeller.errors import UserError
from propeller.flags import DEVICE, FlagParser, add_flags, add_ignored, flag, from_values, read_flags
from propeller.train.args import STRATEGIES, EngineArgs
from propeller.train.distribution import Ranks

# Taken because scripts of 2019 give them; there is nothing left for them to do.
IGNORED = {"use_fast_executor": "there is one executor", "is_distributed": "the launcher tells"}


@dataclass(frozen=True)
class ModelArgs:
    """model: the network, its vocabulary, the weights it starts from"""

    ernie_config_path: str = flag(None, "ernie_config.json of the model", required=True)
    vocab_path: str = flag(None, "vocab.txt that the shards were made with", required=True)
    init_checkpoint: str = flag(
        None,
        "go on from a checkpoint of train.py (step_N, best, last): weights, moments, step and so learning rate, but "
        "not its place in the data; of a params/ without training_state the weights alone",
    )
    init_pretraining_params: str = flag(None, "new: start at step 0 from the weights of a params/ or a checkpoint")
    weight_sharing: bool = flag(True, "the word embedding is the output layer of the masked words too")
    max_seq_len: int = flag(512, "longer instances are left out, and counted in the log")
    task_id: int = flag(0, "new: id for the task embedding, in models with use_task_id")
    tokenizer: str = flag(
        "FullTokenizer",
        "new: how the text of --predict_mask becomes tokens",
        choices=("FullTokenizer", "CharTokenizer", "SentencepieceTokenizer", "WordsegTokenizer", "WSSPTokenizer"),
    )
    sp_model: str = flag(None, "new: sentencepiece model of the last three (default: the *.model beside vocab.txt)")
    do_lower_case: bool = flag(True, "new: lower-case the text of --predict_mask, for uncased vocabularies")


@dataclass(frozen=True)
class DataArgs:
    """data: filelists with lines path<TAB>mask_word_prob, a gzip shard each; pretrain.build_data makes them"""

    train_filelist: str = flag("", "shards to train on")
    valid_filelist: str = flag(
        "", "shards to validate on, every --validation_steps; --best_metric picks the best checkpoint"
    )
    test_filelist: str = flag("", "shards of --do_test")
    generate_neg_sample: bool = flag(False, "add pairs of sentences that do not follow each other; shards have none")
    mask_units: str = flag(
        "entity",
        "new: what is masked whole: basic (pieces), word, phrase, entity, or by steps, as in "
        "basic:0,phrase:100000,entity:200000",
        metavar="UNITS",
    )
    mask_draw: str = flag(
        "piece", "new: [MASK], another or the same: for each piece (2019) or each unit", choices=("piece", "unit")
    )
    shuffle: bool = flag(True, "new: shards and instances in random order, anew each epoch")
    shuffle_buffer: int = flag(10000, "new: instances that are shuffled together")
    on_bad: str = flag("error", "new: a bad line or shard ends the run, or is counted", choices=("error", "skip"))
    queue_size: int = flag(50, "new: batches made ready ahead of the device")


@dataclass(frozen=True)
class TasksArgs:
    """tasks: several learnt together, as ERNIE 2.0 does; docs/pretraining.md shows it"""

    task_list: str = flag(
        None,
        "new: JSON list of tasks with their filelists and steps, in place of --train_filelist, --valid_filelist, "
        "--test_filelist, --task_id, --epoch and --num_train_steps",
        metavar="PATH",
    )
    task_data: str = flag(
        None, "new: folder that filelists of --task_list count from (default: the working folder)", metavar="FOLDER"
    )
    schedule: str = flag(
        "continual",
        "new: continual: tasks enter stage by stage; multitask: all from the start; sequential: one after another",
        choices=SCHEDULES,
    )
    scale_steps: float = flag(1.0, "new: what all steps of --task_list are multiplied by")
    warmup_restart: bool = flag(False, "new: warm up again where a task enters")


@dataclass(frozen=True)
class TrainArgs(EngineArgs):
    """training: hyper-parameters"""

    epoch: int = flag(100, "passes over the shards; --num_train_steps may end the run before")
    batch_size: int = flag(16, "instances a batch in one process; tokens with --in_tokens, padding too")
    in_tokens: bool = flag(False, "count a batch in tokens (2019 did, whatever this said)")
    num_train_steps: int = flag(1000000, "steps of the run, at which the linear decay reaches 0")
    warmup_steps: int = flag(5000, "steps the learning rate rises in; 0: it is constant")
    learning_rate: float = flag(1e-4, "peak learning rate")
    lr_scheduler: str = flag(
        "linear_warmup_decay", "how the rate changes", choices=("linear_warmup_decay", "noam_decay")
    )
    weight_decay: float = flag(0.01, "decoupled decay; not for biases and layer norms")
    beta2: float = flag(0.999, "new: decay of Adam's second moments; 0.98 in ERNIE 2.0")
    random_seed: int = flag(0, "new: seed of order, masks, new weights and dropout")


@dataclass(frozen=True)
class RunArgs:
    """run: what is done, where it goes, how often"""

    do_test: bool = flag(False, "do not train: score --init_checkpoint on --test_filelist")
    predict_mask: str = flag(
        None,
        "new: do not train: fill the [MASK]s of a sentence, or of each line of a file (-: standard input), "
        "with --init_checkpoint",
        metavar="TEXT|PATH",
    )
    top: int = flag(5, "new: fillings that --predict_mask prints")
    checkpoints: str = flag("checkpoints", "folder of this run; the same command again continues it")
    overwrite: bool = flag(False, "new: begin afresh in --checkpoints, whatever run it holds", bare=True)
    keep_checkpoints: int = flag(3, "new: last checkpoints to keep, besides the best; 0: all, as in 2019")
    verify_checkpoints: bool = flag(True, "compare a checkpoint's files with their sha256 before continuing from it")
    save_steps: int = flag(10000, "steps between checkpoints; 0: none but what --save_strategy says and the last")
    save_strategy: str = flag(
        "steps",
        "checkpoints every --save_steps, as in 2019, at the end of each pass over the shards, or both",
        choices=STRATEGIES,
    )
    validation_steps: int = flag(1000, "steps between validations; 0: none but what --eval_strategy says and the last")
    eval_strategy: str = flag(
        "steps",
        "validations every --validation_steps, as in 2019, at the end of each pass over the shards, or both",
        choices=STRATEGIES,
    )
    best_metric: str = flag(
        "loss",
        "the score of a validation that picks the best checkpoint: the lowest loss or ppl, the highest acc",
        metavar="NAME",
    )
    skip_steps: int = flag(10, "steps between lines of the log")
    verbose: bool = flag(False, "log both losses and how full the batches are, too")
    log_file: str = flag(None, "new: write the log to this file as well")
    use_cuda: str = flag("auto", "true, false, or auto: a GPU if there is one", **DEVICE)
    hang_timeout: float = flag(
        None,
        "new: end a run that had no batch for so many seconds, all stacks in the logs; 0: never (default: 1800 in "
        "several processes, 7200 in one)",
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


def parse(prog: str, description: str, argv: Sequence[str]) -> Args:
    """Flags from a command line.

    Raises:
        UserError: see ``read_flags``; flags that do not go together.
    """
    usage = f"{prog} --ernie_config_path PATH --vocab_path PATH [flags]"
    parser = FlagParser(prog=prog, usage=usage, description=description, allow_abbrev=False)
    for group in GROUPS.values():
        add_flags(parser, group)
    add_ignored(parser, IGNORED)
    values = read_flags(parser, argv)
    ignored = {name: why for name, why in IGNORED.items() if values[name] is not MISSING}
    args = Args(**{key: from_values(group, values) for key, group in GROUPS.items()}, ignored=ignored)
    _check(args)
    defaults = {entry.name: entry.default for group in GROUPS.values() for entry in fields(group)}
    _check_tasks(args, {name for name, value in args.values().items() if value != defaults[name]})
    return args


def _check(args):
    """What no single flag can tell."""
    run, data, model, train = args.run, args.data, args.model, args.train
    trains = args.train_mode
    if run.do_test and run.predict_mask is not None:
        raise UserError("--do_test true with --predict_mask: give one of them")
    if model.init_checkpoint and model.init_pretraining_params:
        raise UserError("--init_checkpoint with --init_pretraining_params: give one of them")
    if trains and not data.train_filelist and not args.tasks.task_list:
        raise UserError(
            "training needs --train_filelist: lines path<TAB>mask_word_prob, see data/README.md; or a --task_list"
        )
    if not trains and not model.init_checkpoint:
        what = "--do_test true" if run.do_test else "--predict_mask"
        raise UserError(f"{what} needs --init_checkpoint: the checkpoint of train.py to use")
    if run.do_test and not data.test_filelist and not args.tasks.task_list:
        raise UserError("--do_test true needs --test_filelist")
    if run.hang_timeout is not None and run.hang_timeout < 0:
        raise UserError(f"--hang_timeout must be 0 or more, not {run.hang_timeout:g}")
    least = {"epoch": 1, "batch_size": 1, "num_train_steps": 1, "gradient_accumulation_steps": 1, "warmup_steps": 0}
    bounds = [(train, least), (run, {"top": 1, "skip_steps": 1, "keep_checkpoints": 0, "save_steps": 0})]
    bounds += [(run, {"validation_steps": 0}), (data, {"queue_size": 1}), (train, {"random_seed": 0})]
    for group, names in bounds:
        for name, low in names.items():
            if getattr(group, name) < low:
                raise UserError(f"--{name} must be {low} or more, not {getattr(group, name)}")
    if train.weight_decay < 0:
        raise UserError(f"--weight_decay must be 0 or more, not {train.weight_decay}")
    if not 0 <= train.beta2 < 1:
        raise UserError(f"--beta2 must be from 0 to below 1, not {train.beta2:g}")


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
