"""The weights that a run begins with, and whether they belong to its network.

check_checkpoint("run/last", record)                        # UserError: of another head or vocabulary
load_all(learner, "run/last")                               # to test, or to fill [MASK]s
state = load_initial(learner, args, config, tasks, plan)    # to train
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from ernie.checkpoint import load_params
from pretrain import DEFAULT_TASK
from pretrain.training.growth import check_growth, load_grown
from propeller.errors import UserError
from propeller.train.model import RunMode
from propeller.train.saver import read_json, read_training_state
from propeller.train.state import TrainState

if TYPE_CHECKING:
    from ernie.config import ErnieConfig
    from pretrain.training.args import Args
    from pretrain.training.schedule import StepPlan
    from pretrain.training.tasks_of_run import RunTask
    from propeller.train.trainer import Learner

log = logging.getLogger("ernie.pretrain")

REMEDIES = {
    "weight_sharing": "give its --weight_sharing",
    "tokenizer_fingerprint": "give its --vocab_path, --tokenizer and --do_lower_case",
}


def stored_record(folder: str | Path | None) -> dict[str, Any]:
    """What a checkpoint says of itself; empty where it says nothing."""
    path = Path(folder or "") / "checkpoint.json"
    return read_json(path) if folder and path.is_file() else {}


def check_checkpoint(folder: str | Path, ours: Mapping[str, Any]) -> None:
    """Raise UserError where ``checkpoint.json`` says that the checkpoint is of another head or vocabulary.

    Args:
        folder: the checkpoint.
        ours: what checkpoints of this run say.
    """
    stored = stored_record(folder)
    for key, remedy in REMEDIES.items():
        if stored.get("task") in (DEFAULT_TASK, "multi_task") and stored[key] != ours[key]:
            was, now = stored[key], ours[key]
            raise UserError(f"{folder}: the checkpoint's {key} is {was!r}, this run's {now!r}: {remedy}")


def load_all(learner: Learner, source: str) -> None:
    """Set all weights, the heads' too. Raises UserError: the checkpoint lacks one."""
    wanted, unused = learner.parameter_shapes(RunMode.PREDICT), learner.unused_parameters(RunMode.PREDICT)
    arrays, report = load_params(source, wanted, heads_optional=False, unused=unused)
    log.info("Load pretraining parameters from %s.", source)
    log.info("%s: %s", source, report.summary())
    learner.write(arrays)


def load_initial(
    learner: Learner,
    args: Args,
    config: ErnieConfig,
    tasks: Mapping[str, RunTask],
    plan: StepPlan | None,
    steps: int,
) -> TrainState | None:
    """Set the weights to start from, those of a checkpoint that was checked.

    ``--init_checkpoint`` with a training state brings moments, step powers and the step: the learning rate and the
    stages, of ``--mask_units`` or of the task list, go on. Its place in the data is left behind, since the data may
    be other. Heads and task embeddings that it lacks are new.

    Args:
        tasks: name -> task of the run.
        plan: of a task list, else None.
        steps: of the run.

    Returns:
        The state to begin from; None: step 0.
    """
    source = args.model.init_checkpoint or args.model.init_pretraining_params
    shapes = learner.parameter_shapes(RunMode.TRAIN)
    grown: Callable[[dict], dict] = dict
    unused = learner.unused_parameters(RunMode.TRAIN)
    if plan:
        arrays, report, grown = load_grown(source, shapes, config, args.train.random_seed, unused)
    else:
        arrays, report = load_params(source, shapes, unused=unused)
    log.info("%s: %s", source, report.summary())
    if any(name.startswith("mask_lm_trans") for name in report.missing):
        log.warning(
            "%s has no head for masked words: the new one begins at random. Compare what is fine-tuned from this run "
            "with what is fine-tuned from there",
            source,
        )
    learner.write(arrays)
    if not args.model.init_checkpoint or not (Path(source) / "training_state").is_dir():
        if args.model.init_checkpoint:
            log.info("%s has no training_state: a new run from its weights, from step 0", source)
        return None
    moments, stored = read_training_state(source)
    if stored["step"] >= steps:
        which = f"the steps of {args.tasks.task_list} sum to" if plan else "--num_train_steps is"
        raise UserError(
            f"--init_checkpoint {source} is at step {stored['step']}, {which} {steps}: raise that, or take "
            "the weights alone, to begin at step 0, with --init_pretraining_params"
        )
    if plan:
        ids = {name: task.entry.task_id for name, task in tasks.items()}
        known, before = stored_record(source).get("tasks", {}), plan.before(stored["step"])
        check_growth(source, known, ids, before, args.tasks.task_list)
    kept = set(learner.graphs.optimizer_variables())
    learner.write({name: array for name, array in grown(moments).items() if name in kept})
    log.info("go on from step %d of %s, at the beginning of the data", stored["step"], source)
    place = {"step": stored["step"]} if plan else {"steps": stored["position"]["steps"]}
    return TrainState(step=stored["step"], batches=stored["batches"], position=place)
