"""Flags that would do nothing: an error where the user counts on them, a line of the log where recipes give them.

check_evaluations(args)                 # UserError: --early_stop 2 needs --dev_set: it counts evaluations; ...
without_effect(args)                    # {"validation_steps": "nothing is evaluated without --dev_set"}
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from propeller.errors import UserError

if TYPE_CHECKING:
    from finetune.training.args import Args


def evaluates(args: Args) -> bool:
    """Whether a run has dev sets to evaluate."""
    return bool(args.run.do_val and args.data.dev_set)


def missing(args: Args) -> str:
    """The flag without which a run evaluates nothing."""
    return "--do_val true" if args.data.dev_set else "--dev_set"


def check_best_metric(args: Args) -> None:
    """Raise UserError where evaluations are to select the best checkpoint, and there are none."""
    run = args.run
    if run.do_train and run.best_metric is not None and not evaluates(args):
        raise UserError(
            f"--best_metric {run.best_metric} needs {missing(args)}: evaluations select the best checkpoint; give that "
            "too, or leave it out"
        )


def check_evaluations(args: Args) -> None:
    """Raise UserError where a training is to end by evaluations, or to time them, and makes none.

    Args:
        args: of the run; of several tasks those of one, where none is evaluated.
    """
    run, stop = args.run, args.train.early_stop
    if not run.do_train or evaluates(args):
        return
    if stop:
        raise UserError(
            f"--early_stop {stop} needs {missing(args)}: it counts evaluations; give that too, or leave it out"
        )
    if run.eval_strategy in ("epoch", "both"):
        raise UserError(
            f"--eval_strategy {run.eval_strategy} needs {missing(args)}: nothing is evaluated; give that too, or "
            "leave it out"
        )


def without_effect(args: Args) -> dict[str, str]:
    """name -> why, of the flags that were given and that change nothing beside the others.

    Args:
        args: the flags as they were given.
    """
    run, data, train = args.run, args.data, args.train
    tests = run.do_test and data.test_set
    reasons = (
        ("validation_steps", run, not evaluates(args), f"nothing is evaluated without {missing(args)}"),
        ("validation_steps", run, run.eval_strategy == "epoch", "--eval_strategy is epoch"),
        ("save_steps", run, run.save_strategy == "epoch", "--save_strategy is epoch"),
        ("save_steps", run, not run.do_train, "nothing is trained"),
        ("test_save", data, not data.test_set, "there is no --test_set"),
        ("max_train_rows", data, not run.do_train, "nothing is trained"),
        ("predict_batch_size", train, not evaluates(args) and not tests, "nothing is evaluated or predicted"),
    )
    return {
        name: why
        for name, group, is_idle, why in reversed(reasons)
        if is_idle and getattr(group, name) != type(group).__dataclass_fields__[name].default
    }
