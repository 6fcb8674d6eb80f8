"""The line of the log where a run has few steps: a new head over a pre-trained encoder then hardly learns.

log_few_steps(args, task, steps=57, num_examples=581)
# 57 steps are few: ... give --batch_size 8 (219 steps)
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finetune.task import FinetuneTask
    from finetune.training.args import Args

log = logging.getLogger("ernie.finetune")

ENOUGH = 200  # steps; docs/finetuning.md says how that was found
SMALLER = (16, 8, 4)  # rows of a batch that are proposed, the largest first


def log_few_steps(args: Args, task: type[FinetuneTask], steps: int, num_examples: int) -> None:
    """Say that the steps are few, and what makes more of them.

    Nothing is said of a run whose head is trained already, that starts from random weights or was given its steps.

    Args:
        args: the flags.
        task: the class of the task.
        steps: of the whole run.
        num_examples: rows of the training file.
    """
    model = args.model
    if steps >= ENOUGH or args.optimizer.max_steps or task.needs_head:
        return
    if model.init_checkpoint or not model.init_pretraining_params:
        return
    said = f"{steps} steps are few: a new head over a pre-trained encoder needs {ENOUGH} or more"
    log.info("%s: give %s", said, more_steps(args, num_examples))


def more_steps(args: Args, num_examples: int) -> str:
    """The flags that make enough steps: a smaller batch where that does, else more epochs too."""
    train = args.train
    if train.in_tokens:
        return "a smaller --batch_size or a larger --epoch"
    if train.gradient_accumulation_steps > 1:
        return "fewer --gradient_accumulation_steps, a smaller --batch_size or a larger --epoch"

    def in_one_epoch(size):
        return -(-num_examples // (size * args.ranks.size))

    sizes = [size for size in SMALLER if size < train.batch_size] or [train.batch_size]
    size = next((size for size in sizes if train.epoch * in_one_epoch(size) >= ENOUGH), sizes[-1])
    epochs = max(train.epoch, -(-ENOUGH // in_one_epoch(size)))
    flags = [f"--batch_size {size}"] if size != train.batch_size else []
    flags += [f"--epoch {epochs}"] if epochs != train.epoch else []
    return f"{' '.join(flags)} ({epochs * in_one_epoch(size)} steps)"
