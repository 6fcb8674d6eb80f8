"""How many steps a run has, and the optimiser's settings that follow from it.

steps = num_steps(args, spec, num_examples)                     # by the formula of 2019
optimizer = make_optimizer(args, steps, config)                 # ernie.optimization.AdamW, or what averages over it
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ernie.optimization import AdamW, OptimizationConfig
from finetune.training.few_steps import log_few_steps
from propeller.train.averaging import Averaged, ema_rate, swa_rate

if TYPE_CHECKING:
    from finetune.spec import ModelSpec
    from finetune.task import FinetuneTask
    from finetune.training.args import Args

log = logging.getLogger("ernie.finetune")


def num_steps(args: Args, spec: ModelSpec, num_examples: int, whole: bool = False) -> int:
    """Steps of the run by the 2019 formula, which the schedule uses; with ``whole``, as many as there will be."""
    train = args.train
    if args.optimizer.max_steps:
        return args.optimizer.max_steps
    group = train.gradient_accumulation_steps * args.ranks.size
    if train.in_tokens:
        return max(train.epoch * num_examples // (train.batch_size // spec.max_seq_len) // group, 1)
    if whole:
        return train.epoch * -(-num_examples // (train.batch_size * group))
    return max(train.epoch * num_examples // train.batch_size // group, 1)


def optimization(args: Args, steps: int, config: Any) -> OptimizationConfig:
    """What the optimiser needs to know.

    Args:
        args: the flags.
        steps: see ``num_steps``.
        config: the network.
    """
    train, given = args.train, args.optimizer
    return OptimizationConfig(
        learning_rate=train.learning_rate,
        num_train_steps=steps,
        warmup_steps=int(steps * train.warmup_proportion),
        weight_decay=train.weight_decay,
        scheduler=train.lr_scheduler,
        end_rate=given.lr_end,
        power=given.lr_power,
        clip_norm=given.max_grad_norm,
        beta1=given.beta1,
        beta2=given.beta2,
        epsilon=given.adam_epsilon,
        layer_decay=given.layer_lr_decay,
        layers=config.num_hidden_layers,
    )


def make_optimizer(args: Args, steps: int, config: Any) -> AdamW | Averaged:
    """The optimiser of a train Program, see ``optimization`` for the arguments."""
    adamw = AdamW(optimization(args, steps, config), fused=args.train.fused_encoder == "true")
    averaging = args.averaging
    if averaging.ema_decay:
        return Averaged(adamw, ema_rate(averaging.ema_decay))
    if averaging.swa_start < 1:
        return Averaged(adamw, swa_rate(round(averaging.swa_start * steps), averaging.swa_every))
    return adamw


def log_plan(args: Args, task: type[FinetuneTask], spec: ModelSpec, config: Any, place: Any, num_examples: int) -> None:
    """The log lines of 2019 on the length of a run, and the one on its memory.

    The steps are those that the run will make. Of batches counted in tokens they are an estimate by the 2019 formula.
    """
    train, steps = args.train, num_steps(args, spec, num_examples)
    made = num_steps(args, spec, num_examples, whole=True)
    log.info("Device count: %d (%s)", args.ranks.size, place)
    log.info("Num train examples: %d", num_examples)
    log.info("Max train steps: %d", made)
    log.info("Num warmup steps: %d", int(steps * train.warmup_proportion))
    if made != steps:
        log.info("Num schedule steps: %d (rounded down, as in 2019: the learning rate reaches its end there)", steps)
    if train.gradient_accumulation_steps > 1:
        log.info("Batches a step: %d", train.gradient_accumulation_steps)
    log_few_steps(args, task, made, num_examples)
    line = task.memory_line(
        config,
        spec,
        batch_size=train.batch_size * (2 if args.loss.rdrop_alpha else 1),
        max_seq_len=spec.max_seq_len,
        in_tokens=train.in_tokens,
        half=train.use_fp16 or train.use_bf16,
        on_gpu="gpu" in str(place).lower(),
        accumulate=train.gradient_accumulation_steps > 1,
        recompute=train.use_recompute,
        fused=train.fused_encoder == "true",
    )
    if line:
        log.info(line)
