"""The prediction scripts: flags first, then Paddle and the model.

main("infer_classifyer.py", ("classify", "regression"), sys.argv[1:])
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ernie.foreign_folder import is_foreign, place_of, ready
from ernie.model_folder import look_into
from finetune import TASKS, TaskFlags, flags_of
from finetune.columns import check_columns
from finetune.prediction.args import PredictArgs, TableArgs, given_in, parse, source_of
from finetune.spec import stored_task
from propeller import log as log_setup
from propeller import runtime
from propeller.errors import UserError
from reader.tables.form import COPY, SKIP


def main(prog: str, tasks: Sequence[str], argv: Sequence[str]) -> int:
    """Run a prediction script; --help and a wrong flag end it before Paddle is loaded. Returns its exit status.

    Args:
        prog: its name.
        tasks: names of the tasks that it predicts, the first one that of a checkpoint which does not say; (): the
            task of the model that the flags name.
        argv: the command line.
    """
    given = given_in(argv, "--task")
    if tasks and given is not None:
        raise UserError(f"--task {given}: {prog} is for {' and '.join(tasks)}: use python -m finetune.prediction")
    with contextlib.ExitStack() as stack:
        return _predict(prog, tuple(tasks) or _task_of_model(argv, given, stack), argv)


def _predict(prog, tasks, argv):
    flags = flags_of(tasks[0]) if tasks else TaskFlags("rows of text", None, TableArgs)
    kind = flags.about.partition(":")[0]
    args = parse(
        prog, f"Predict new data: {kind}.", argv, flags.prediction or TableArgs, flags.task, flags.prediction_example
    )
    check_named_columns(tasks, args)
    runtime.prepare()
    from finetune.prediction.run import start

    return start(tasks, args)


def _task_of_model(argv, given, stack):
    """The task of the model that a command line names; () without one: its flags are then those of every task.

    Weights of pre-training name none of ``TASKS``: theirs is the one of --task. A Hugging Face model is converted until
    the stack closes.
    """
    source = source_of(argv)
    if source is None:
        return ()
    foreign = source == given_in(argv, "--model") and is_foreign(source)
    if foreign:
        log_setup.setup()  # it tells the task and the labels
        stack.enter_context(ready(source, pooler=False))
    name = stored_task(place_of(source, pooler=False) if foreign else source)
    if given is not None and name not in (*TASKS, given):
        if given not in TASKS:
            raise UserError(f"--task {given!r} is unknown: give one of {', '.join(TASKS)}")
        return (given,)
    if given is not None and name != given:
        raise UserError(f"--task {given}: but {source} is of the task {name!r}: leave the flag out")
    if name is None and source == given_in(argv, "--model"):
        look_into(source)  # that it is the directory of a run is said rather than that it names no task
    if name is None and not foreign and is_foreign(source):
        raise UserError(f"{source}: a Hugging Face model: give it with --model")
    if name is None:
        raise UserError(
            f"{source}: does not say its task: fine-tune it first (python -m finetune TASK --model {source}); if it "
            "has a head, as a checkpoint of 2019, predict with the script of its task (infer_classifyer.py, "
            "infer_sequence_labeling.py, infer_mrc.py), or name it with --task"
        )
    if name not in TASKS:
        raise UserError(f"{source}: its task {name!r} is unknown here, known: {', '.join(TASKS)}")
    return (name,)


def check_named_columns(tasks: Sequence[str], args: PredictArgs) -> None:
    """Raise UserError where a file of rows lacks a column: before Paddle and a model are loaded.

    Args:
        tasks: see ``main``.
        args: the flags.
    """
    form = args.tables.form()
    files = [(args.data.predict_set, COPY)] if args.data.do_prediction else []
    for path, others in (*files, (args.export.calibration_set, SKIP)):
        if path and Path(path).is_file():
            check_columns(path, replace(form, others=others), tasks[0] if tasks else None)
