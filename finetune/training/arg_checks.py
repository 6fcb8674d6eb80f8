"""Whether the flags of a run are possible, and go together; no file is opened.

check_args(args)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetune.training.effects import check_best_metric
from finetune.training.options import check_options
from propeller.errors import UserError
from propeller.flags import check_least, split

if TYPE_CHECKING:
    from finetune.training.args import Args


def check_args(args: Args) -> None:
    """Check the values of flags, then which of them go together, then the files that they need.

    Raises:
        UserError: a flag is wrong; it names the flag and what to give.
    """
    run, data, train = args.run, args.data, args.train
    check_least(train, epoch=1, batch_size=1, gradient_accumulation_steps=1)
    check_least(run, skip_steps=1)
    for name in ("save_steps", "validation_steps", "keep_checkpoints"):
        if getattr(run, name) < 0:
            raise UserError(f"--{name} must be 0 or more, not {getattr(run, name)}")
    if not 0 <= train.warmup_proportion <= 1:
        raise UserError(f"--warmup_proportion must be between 0 and 1, not {train.warmup_proportion}")
    if train.head_dropout is not None and not 0 <= train.head_dropout < 1:
        raise UserError(f"--head_dropout must be from 0 to below 1, not {train.head_dropout:g}")
    if train.fuse_grad_size_mb is not None and train.fuse_grad_size_mb <= 0:
        raise UserError(f"--fuse_grad_size_mb must be above 0, not {train.fuse_grad_size_mb:g}")
    if not 0 <= train.random_seed < 2**32:
        raise UserError(f"--random_seed must be from 0 to below 2**32, not {train.random_seed}")
    if train.weight_decay < 0:
        raise UserError(f"--weight_decay must be 0 or more, not {train.weight_decay}")
    if run.hang_timeout is not None and run.hang_timeout < 0:
        raise UserError(f"--hang_timeout must be 0 or more, not {run.hang_timeout:g}")
    check_least(data, max_train_rows=1, queue_size=1)
    check_options(args)
    _check_files(args)
    check_best_metric(args)


def _check_files(args: Args) -> None:
    """Raise UserError where there is nothing to do, or a file for it is missing."""
    run, data, model = args.run, args.data, args.model
    needs = [("do_train", "train_set"), ("do_val", "dev_set"), ("do_test", "test_set")]
    for switch, name in needs[:1] if run.do_train else []:
        if not getattr(data, name):
            raise UserError(f"training needs --{name}; --{switch} false evaluates and predicts only")
    if not run.do_train:
        if not any(getattr(run, switch) and getattr(data, name) for switch, name in needs[1:]):
            raise UserError("nothing to do: give --do_train true, or --do_val true with --dev_set, or --test_set")
        if not model.init_checkpoint:
            raise UserError(
                "--do_train false needs --init_checkpoint (or --model): the fine-tuned checkpoint to evaluate"
            )
    if run.do_test and data.test_set and len(split(data.test_set)) != len(split(data.test_save)):
        raise UserError(
            f"--test_save names {len(split(data.test_save))} files, --test_set {len(split(data.test_set))}: "
            "give one prediction file for each test set, separated by commas"
        )
