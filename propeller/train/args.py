"""The flags of training that fine-tuning and pre-training share, and what they are called in the engine's errors.

    @dataclass(frozen=True)
    class TrainArgs(EngineArgs):
        '''training: hyper-parameters'''

        epoch: int = flag(3, "passes over the training rows")

    args.precision(place), flag_names(warmup="--warmup_proportion")

The engine knows no flag: it takes a ``RunConfig`` and calls settings what a ``SettingNames`` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from propeller import log
from propeller.flags import flag
from propeller.train.names import SettingNames

if TYPE_CHECKING:  # parsing flags needs no Paddle
    from propeller.train.amp import Precision
    from propeller.train.differences import Difference
    from propeller.train.distribution import Ranks
    from propeller.train.shared import SharedSaver
    from propeller.train.state import RunConfig

LOG = "train.log"  # in the directory of a run
LOG_HELP = "also write the log to this file, with every flag; auto: train.log in --checkpoints; off: nowhere"
HANG_HELP = (
    "stop after N seconds without a batch, with all stacks in the logs; 0: never (default: 1800 with several "
    "processes, 7200 with one)"
)
STRATEGIES = ("steps", "epoch", "both")  # when something is done: every so many steps, at the end of each epoch
FLAG = "flag."  # begins the names of flags in a run's record
BATCHES = f"{FLAG}--gradient_accumulation_steps"  # the entry of a run's record that counts the batches of a step


@dataclass(frozen=True)
class EngineArgs:
    """training: precision, recomputation, seed and the batches of a step"""

    gradient_accumulation_steps: int = flag(1, "batches whose gradients are added up for one step")
    use_fp16: bool = flag(False, "matrix products in fp16, on a GPU, with a loss scale; weights stay fp32")
    use_bf16: bool = flag(False, "matrix products in bf16, on a GPU or a CPU; needs no loss scale")
    init_loss_scaling: float = flag(102400.0, "fp16: loss scale of the first step")
    use_dynamic_loss_scaling: bool = flag(True, "fp16: adapt the loss scale to the gradients")
    incr_every_n_steps: int = flag(100, "fp16: raise the loss scale after N good steps in a row")
    decr_every_n_nan_or_inf: int = flag(2, "fp16: lower the loss scale after N skipped steps in a row, to 1 at least")
    incr_ratio: float = flag(2.0, "fp16: factor when the loss scale is raised")
    decr_ratio: float = flag(0.8, "fp16: factor when the loss scale is lowered")
    use_recompute: bool = flag(False, "recompute each layer instead of storing it: less memory, slower steps")
    fused_encoder: str | None = flag(
        None,
        "on a CPU, use layers and an optimiser compiled for this machine, without padding; auto: if there is a "
        "compiler [auto, or the setting of the run to continue]",
        choices=("auto", "true", "false"),
    )
    random_seed: int = flag(0, "seed for row order, new weights and dropout")
    fuse_grad_size_mb: float | None = flag(
        None, "megabytes of gradients sent to other processes at once (default: 32 on GPUs, 1 on CPUs)"
    )

    def precision(self, place: object) -> Precision:
        """What training computes in on a Paddle place.

        Raises:
            UserError: see ``propeller.train.precision.precision``; the loss-scale settings are invalid.
        """
        from propeller.train.amp import LossScaling
        from propeller.train.precision import precision

        names, scaling = flag_names(), None
        if self.use_fp16 and not self.use_bf16:
            scaling = LossScaling(
                initial=self.init_loss_scaling,
                dynamic=self.use_dynamic_loss_scaling,
                incr_every_n_steps=self.incr_every_n_steps,
                decr_every_n_nan_or_inf=self.decr_every_n_nan_or_inf,
                incr_ratio=self.incr_ratio,
                decr_ratio=self.decr_ratio,
                names=names,
            )
        return precision(place, self.use_fp16, self.use_bf16, scaling, names)


def by_strategy(strategy: str, steps: int) -> tuple[int, bool]:
    """What a strategy and a number of steps come to: (steps between two times, 0: none; whether each epoch's end)."""
    return (steps if strategy != "epoch" else 0), strategy != "steps"


def times_of(run: Any) -> dict[str, Any]:
    """``eval_steps, eval_epochs, save_steps, save_epochs`` of a ``RunConfig``.

    Args:
        run: a script's flags ``eval_strategy, validation_steps, save_strategy, save_steps``.
    """
    eval_steps, eval_epochs = by_strategy(run.eval_strategy, run.validation_steps)
    save_steps, save_epochs = by_strategy(run.save_strategy, run.save_steps)
    return {"eval_steps": eval_steps, "eval_epochs": eval_epochs, "save_steps": save_steps, "save_epochs": save_epochs}


def run_config(train: EngineArgs, run: Any, **more: Any) -> RunConfig:
    """The settings of a run that flags say alike in every program.

    Args:
        train: the flags of training.
        run: a script's flags ``skip_steps`` and those of ``times_of``.
        more: the other settings.
    """
    from propeller.train.state import RunConfig

    return RunConfig(
        seed=train.random_seed,
        accumulate=train.gradient_accumulation_steps,
        log_steps=run.skip_steps,
        recompute=train.use_recompute,
        bucket_mb=train.fuse_grad_size_mb,
        **times_of(run),
        **more,
    )


def log_path(log_file: str | None, folder: str | None) -> Path | None:
    """The file that ``--log_file`` asks for.

    Args:
        log_file: a path, ``auto`` or ``off``.
        folder: the directory of the run, or None where it leaves none: ``auto`` is then no file.
    """
    if log_file == "auto":
        return Path(folder) / LOG if folder else None
    return None if log_file in (None, "off") else Path(str(log_file))


def set_up_log(run: Any, ranks: Ranks, folder: str | None, bar: bool) -> None:
    """Begin the log of a program; what it writes to the file of ``--log_file auto`` waits for ``log.write_held``.

    Args:
        run: a script's flags ``log_file`` and ``verbose``.
        ranks: the processes that train together; the first one alone writes a file.
        folder: see ``log_path``.
        bar: whether a progress bar is shown.
    """
    file = log_path(run.log_file, folder) if ranks.first else None
    log.setup(file, bar=bar, everything=run.verbose, hold=run.log_file == "auto")


def open_saver(ranks: Ranks, run: Any, **settings: Any) -> SharedSaver:
    """The saver of a run's folder.

    Args:
        ranks: the processes that train together.
        run: a script's flags ``checkpoints, keep_checkpoints, verify_checkpoints``.
        settings: the other arguments of ``Saver``.

    Raises:
        FolderBusy: another process trains into the folder.
    """
    from propeller.train.saver import Saver
    from propeller.train.shared import SharedSaver
    from propeller.variables import read_variable, write_variable

    def make() -> Saver:
        verify = run.verify_checkpoints
        return Saver(run.checkpoints, write_variable, read_variable, run.keep_checkpoints, verify=verify, **settings)

    return SharedSaver(ranks, make)


def flag_names(warmup: str = "the warm-up") -> SettingNames:
    """The flags that errors name; ``warmup``: the flag of the warm-up, which differs between the programs."""
    return SettingNames(
        learning_rate="--learning_rate",
        warmup=warmup,
        fp16="--use_fp16 true",
        bf16="--use_bf16 true",
        initial_loss_scale="--init_loss_scaling",
        dynamic_loss_scale="--use_dynamic_loss_scaling true",
        incr_every_n_steps="--incr_every_n_steps",
        decr_every_n_nan_or_inf="--decr_every_n_nan_or_inf",
        incr_ratio="--incr_ratio",
        decr_ratio="--decr_ratio",
        weights="--init_checkpoint",
        folder="--checkpoints",
        overwrite="--overwrite",
        keep="--keep_checkpoints",
        best_by="--best_metric",
        hang_timeout="--hang_timeout",
    )


# Entries of a run's record that are checksums, at its end where a run has several tasks, and what a difference means.
CHECKSUMS = {
    "tokenizer": "its tokenizer is another one: the vocabulary has changed, or a flag such as --do_lower_case",
    "initial_weights.sha256": "it began with other weights, or with none",
}


def explain_difference(difference: Difference, processes: int) -> str:
    """A difference between a run and the one that its folder holds, in words.

    Of a step made of more or fewer batches it says how that comes about and what keeps it as it was, of a checksum what
    has changed.

    Args:
        difference: between what ``run.json`` holds and what this run is given.
        processes: how many train together now.
    """
    for name, words in CHECKSUMS.items():
        if f".{difference.name}".endswith(f".{name}"):
            return words
    if difference.name != BATCHES or difference.was is None or difference.now is None:
        return str(difference).removeprefix(FLAG)
    was, now = difference.was, difference.now
    remedy = (
        f"in {processes} process(es) give --gradient_accumulation_steps {was // processes}"
        if was % processes == 0
        else f"run it in a number of processes that divides {was}"
    )
    return (
        f"its step has {was} batches (processes x --gradient_accumulation_steps), this one's {now} "
        f"({processes} x {now // processes}): to continue it {remedy}"
    )
