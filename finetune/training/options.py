"""Flags of how a model is trained that the 2019 scripts did not have, in groups of their own.

    args.optimizer.layer_lr_decay, args.loss.label_smoothing, args.averaging.ema_decay

docs/training_options.md has a table of them, each with its paper. A flag that is not given changes nothing, so a run
from before there was such a flag is one that did not give it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from propeller.errors import UserError
from propeller.flags import flag

if TYPE_CHECKING:
    from finetune.training.args import Args

BALANCED = "balanced"
SEVERAL = {"several": True}  # facts of a flag with values separated by commas, for which Python may give a list


@dataclass(frozen=True)
class OptimizerArgs:
    """optimiser: length and shape of the schedule, Adam, frozen parts"""

    max_steps: int = flag(0, "end after this step, whatever --epoch says, and plan the schedule for it; 0: --epoch")
    lr_end: float = flag(0.0, "rate at the end of --lr_scheduler cosine or polynomial")
    lr_power: float = flag(1.0, "power of --lr_scheduler polynomial; 1: a straight line")
    beta1: float = flag(0.9, "decay of Adam's first moments")
    beta2: float = flag(0.999, "decay of Adam's second moments")
    adam_epsilon: float = flag(1e-8, "Adam's epsilon, outside of the bias correction, as in 2019")
    max_grad_norm: float = flag(1.0, "largest global norm of the gradients; 0: no limit")
    layer_lr_decay: float = flag(1.0, "multiply the rate by this for each layer below the head, embeddings last")
    freeze_layers: int = flag(0, "keep the embeddings and so many of the lowest layers as they are")
    freeze_embeddings: bool = flag(False, "keep the embeddings as they are")


@dataclass(frozen=True)
class LossArgs:
    """loss: what a training batch teaches; evaluations keep the plain loss"""

    class_weights: str | None = flag(
        None,
        "numbers, separated by commas, that multiply the loss of each class; balanced: from the labels of --train_set",
        metavar="NUMBERS",
        facts=SEVERAL,
    )
    label_smoothing: float = flag(0.0, "part of the target that all classes share")
    focal_gamma: float = flag(0.0, "focal loss: multiply the loss by (1 - probability of the label) to this power")
    rdrop_alpha: float = flag(0.0, "R-Drop: weight of the divergence between two passes with dropout of their own")
    fgm_epsilon: float = flag(0.0, "FGM: length of the adversarial step on each example's word embeddings")


@dataclass(frozen=True)
class AveragingArgs:
    """averaging: evaluations, predictions and checkpoints have the mean of the weights of many steps"""

    ema_decay: float = flag(0.0, "exponential moving average of the weights with this decay; 0: none")
    swa_start: float = flag(1.0, "stochastic weight averaging from this part of the steps on; 1: none")
    swa_every: int = flag(1, "steps from one set of weights of --swa_start to the next")


OPTIONS = (OptimizerArgs, LossArgs, AveragingArgs)
DEFAULTS: dict[str, Any] = {
    "early_stop_min_gain": 0.0,
    **{entry.name: entry.default for group in OPTIONS for entry in fields(group)},
}


def parse_weights(text: str) -> tuple[float, ...]:
    """The numbers of ``--class_weights``.

    Raises:
        UserError: something is no number above or at 0, or all are 0.
    """
    try:
        weights = tuple(float(word) for word in text.split(","))
    except ValueError:
        weights = ()
    if not weights or not all(0 <= weight < math.inf for weight in weights) or not any(weights):
        raise UserError(f"--class_weights {text}: give a number from 0 on for each class, as in 1,2.5, or {BALANCED}")
    return weights


def check_options(args: Args) -> None:
    """Raise UserError where an option is out of its range, or does not go with another flag."""
    train, optimizer, loss, averaging = args.train, args.optimizer, args.loss, args.averaging
    for name, value, good, needs in (
        ("max_steps", optimizer.max_steps, optimizer.max_steps >= 0, "0 or more"),
        ("lr_end", optimizer.lr_end, 0 <= optimizer.lr_end <= train.learning_rate, "from 0 to --learning_rate"),
        ("lr_power", optimizer.lr_power, 0 < optimizer.lr_power < math.inf, "above 0"),
        ("beta1", optimizer.beta1, 0 <= optimizer.beta1 < 1, "from 0 to below 1"),
        ("beta2", optimizer.beta2, 0 <= optimizer.beta2 < 1, "from 0 to below 1"),
        ("adam_epsilon", optimizer.adam_epsilon, 0 < optimizer.adam_epsilon < math.inf, "above 0"),
        ("max_grad_norm", optimizer.max_grad_norm, 0 <= optimizer.max_grad_norm < math.inf, "0 or more"),
        ("layer_lr_decay", optimizer.layer_lr_decay, 0 < optimizer.layer_lr_decay <= 1, "above 0, 1 at most"),
        ("freeze_layers", optimizer.freeze_layers, optimizer.freeze_layers >= 0, "0 or more"),
        ("label_smoothing", loss.label_smoothing, 0 <= loss.label_smoothing < 1, "from 0 to below 1"),
        ("focal_gamma", loss.focal_gamma, 0 <= loss.focal_gamma < math.inf, "0 or more"),
        ("rdrop_alpha", loss.rdrop_alpha, 0 <= loss.rdrop_alpha < math.inf, "0 or more"),
        ("fgm_epsilon", loss.fgm_epsilon, 0 <= loss.fgm_epsilon < math.inf, "0 or more"),
        ("ema_decay", averaging.ema_decay, 0 <= averaging.ema_decay < 1, "from 0 to below 1"),
        ("swa_start", averaging.swa_start, 0 <= averaging.swa_start <= 1, "from 0 to 1"),
        ("swa_every", averaging.swa_every, averaging.swa_every >= 1, "1 or more"),
        ("early_stop_min_gain", train.early_stop_min_gain, 0 <= train.early_stop_min_gain < math.inf, "0 or more"),
    ):
        if not good:
            raise UserError(f"--{name} must be {needs}, not {value:g}")
    if loss.class_weights and loss.class_weights != BALANCED:
        parse_weights(loss.class_weights)
    for name, needs, there in (
        ("lr_power", "--lr_scheduler polynomial", train.lr_scheduler == "polynomial"),
        ("lr_end", "--lr_scheduler cosine or polynomial", train.lr_scheduler in ("cosine", "polynomial")),
        ("swa_every", "--swa_start below 1", averaging.swa_start < 1),
        ("early_stop_min_gain", "--early_stop above 0", train.early_stop > 0),
    ):
        group = next(group for group in (train, optimizer, averaging) if hasattr(group, name))
        if getattr(group, name) != DEFAULTS[name] and not there:
            raise UserError(f"--{name} needs {needs}: give that too, or leave it out")
    if averaging.ema_decay and averaging.swa_start < 1:
        raise UserError("--ema_decay with --swa_start: give one of them, both are means of the weights")
    if loss.fgm_epsilon and train.use_recompute:
        raise UserError(
            "--fgm_epsilon with --use_recompute: leave one of them out, FGM runs the layers twice by itself"
        )
