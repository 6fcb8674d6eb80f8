"""Search for the flags that give the best score: many short runs of a task, chosen and cut short by optuna.

    python -m finetune.sweep classify --sweep_space space.json --sweep_trials 20 --checkpoints output/sweep \
        --ernie_config_path ... --train_set train.tsv --dev_set dev.tsv ...

The other flags are those of ``python -m finetune TASK`` and hold for all trials. Trial N is a run in ``trial_N`` of
--checkpoints, which also has ``sweep.tsv``. The same command again goes on where it was stopped, in the middle of a
trial too. It needs ``requirements-sweep.txt`` (Akiba et al. 2019, arXiv 1907.10902).
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from finetune import TASKS, flags_of, task_class
from finetune.search_space import Choice, Range, plain_space, read_space
from finetune.training.args import GROUPS, Args, build_parser, from_keywords
from propeller import runtime
from propeller.errors import UserError, exit_on_user_error
from propeller.files import atomic_text, file_digest
from propeller.flags import add_flags, flag, from_values, read_flags, split

log = logging.getLogger("ernie.finetune")

STUDY = "study.journal"


@dataclass(frozen=True)
class SweepArgs:
    """sweep: what is tried"""

    sweep_space: str = flag(None, "JSON file of the flags to try and their values or ranges", required=True)
    sweep_trials: int = flag(20, "trials in all, those of earlier calls too")
    sweep_sampler: str = flag(
        "tpe", "tpe: where earlier trials were good (Bergstra et al. 2011); random", choices=("tpe", "random")
    )
    sweep_prune: bool = flag(True, "end a trial after an epoch whose score is below the median of earlier trials")
    sweep_seed: int = flag(0, "seed of the sampler")


def main(argv: Sequence[str]) -> int:
    """Run or continue a sweep; returns the exit status."""
    if not argv or argv[0] in ("-h", "--help") or argv[0] not in TASKS:
        if argv and argv[0] not in ("-h", "--help"):
            raise UserError(f"task {argv[0]!r} is unknown: give one of {', '.join(TASKS)}")
        print(f"usage: python -m finetune.sweep TASK --sweep_space FILE [flags]\n\nTASK is one of {', '.join(TASKS)}")
        return 0 if argv else 2
    task_flags = flags_of(argv[0]).task
    parser = build_parser(f"python -m finetune.sweep {argv[0]}", "Search for the best flags of a task.", task_flags)
    add_flags(parser, SweepArgs)
    values = read_flags(parser, argv[1:])
    groups = [*GROUPS.values(), *([task_flags] if task_flags else [])]
    names = {entry.name for group in groups for entry in fields(group)}
    given = {name: value for name, value in values.items() if name in names and value is not None}
    sweep = Sweep(argv[0], from_values(SweepArgs, values), given)
    runtime.prepare()
    from propeller import log as log_setup
    from propeller.train.args import log_path

    file = log_path(given.get("log_file"), given["checkpoints"])
    log_setup.setup(file, bar=False, everything=bool(given.get("verbose")))
    print(sweep.run())
    return 0


def _that_count(flags):
    """Flags without those of what is printed and, as no test set is predicted, where to."""
    return {name: value for name, value in flags.items() if name not in ("verbose", "log_file", "test_save")}


class Sweep:
    """A sweep over one task.

    Args:
        task: name in ``finetune.TASKS``.
        args: its own flags.
        given: name -> value of the flags that hold for all trials.

    Raises:
        UserError: flags that do not go together; optuna is not installed; see ``read_space``.
    """

    def __init__(self, task: str, args: SweepArgs, given: Mapping[str, Any]) -> None:
        self.task, self.args = task, args
        self.given = {**given, "do_test": False}
        self.folder = Path(given["checkpoints"])
        task_flags = flags_of(task).task
        self.space: dict[str, Choice | Range] = read_space(args.sweep_space, task_flags)
        if args.sweep_trials < 1:
            raise UserError(f"--sweep_trials must be at least 1, not {args.sweep_trials}")
        if not (given.get("do_train") and given.get("do_val") and given.get("dev_set")):
            raise UserError("a sweep compares trials by their first --dev_set: give one, and --do_train, --do_val true")
        if given.get("overwrite"):
            raise UserError("--overwrite: a sweep overwrites nothing: give another folder with --checkpoints")
        from_keywords(self.given, task_flags)  # what is wrong without any trial is said first
        try:
            self.optuna = importlib.import_module("optuna")
        except ImportError:
            raise UserError("a sweep needs optuna: python -m pip install -r requirements-sweep.txt") from None

    def run(self) -> str:
        """Run the trials that are left; returns the best one in words."""
        optuna = self.optuna
        if not task_class(self.task).trains:
            raise UserError(f"the task {self.task!r} has nothing to train")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder.mkdir(parents=True, exist_ok=True)
        study = self._open()
        self._take_up(study)
        while len(self._done(study)) < self.args.sweep_trials:
            study.optimize(self._trial, n_trials=1, catch=())
            self._write(study)
        self._write(study)
        if not study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)):
            raise UserError(f"{self.folder}: no trial came to its end: narrow {self.args.sweep_space}")
        best = study.best_trial
        flags = " ".join(f"--{name} {value}" for name, value in best.params.items())
        return f"best: {best.value:.6f} in {self._folder_of(best)}: {flags}"

    def _open(self):
        """The study of the folder, which must be of this sweep."""
        optuna, args = self.optuna, self.args
        backend = optuna.storages.journal.JournalFileBackend(str(self.folder / STUDY))
        storage = optuna.storages.JournalStorage(backend)
        study = optuna.create_study(storage=storage, study_name=self.task, direction="maximize", load_if_exists=True)
        files = [self.given["train_set"], *split(self.given["dev_set"])]
        digests = [file_digest(path) for path in files]
        record = {"space": plain_space(self.space), "flags": _that_count(self.given), "data": digests}
        record = json.loads(json.dumps(record))
        from propeller.train.differences import first_difference

        before = study.user_attrs.get("record", record)
        difference = first_difference({**before, "flags": _that_count(before["flags"])}, record)
        if difference:
            raise UserError(f"{self.folder}: holds another sweep: {difference}; give another --checkpoints")
        study.set_user_attr("record", record)
        # Not the seed alone: a sampler that begins anew would propose again what was tried.
        seed = args.sweep_seed + len(study.trials)
        random = args.sweep_sampler == "random"
        study.sampler = (optuna.samplers.RandomSampler if random else optuna.samplers.TPESampler)(seed=seed)
        study.pruner = optuna.pruners.MedianPruner() if args.sweep_prune else optuna.pruners.NopPruner()
        return study

    def _take_up(self, study):
        """What was stopped in the middle is tried first, in the folder it has."""
        for trial in study.get_trials(states=(self.optuna.trial.TrialState.RUNNING,)):
            begun = int(trial.user_attrs.get("goes_on", trial.number))
            study.tell(trial.number, state=self.optuna.trial.TrialState.FAIL)
            epochs = {str(epoch): value for epoch, value in trial.intermediate_values.items()}
            known = {"goes_on": begun, "epochs": epochs, "best": trial.user_attrs.get("best")}
            study.enqueue_trial(trial.params, user_attrs=known)

    def _done(self, study):
        """The trials that came to an end: a score, a cut, or an error of their own."""
        states = self.optuna.trial.TrialState
        ended = study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED, states.FAIL))
        return [trial for trial in ended if trial.state != states.FAIL or "error" in trial.user_attrs]

    def _trial(self, trial):
        """One run; its best score, the higher the better."""
        from finetune.training.runner import run

        values = {name: entry.suggest(trial) for name, entry in self.space.items()}
        args = self._args(trial, values)
        hook = _hook(trial)
        log.info("trial %d: %s", trial.number, ", ".join(f"--{name} {value}" for name, value in values.items()))
        try:
            run(task_class(self.task), args, hooks=[hook])
        except UserError as error:
            if not self._done(trial.study):  # the first trial: it is the flags of all
                raise
            trial.set_user_attr("error", str(error))
            log.warning("trial %d failed: %s", trial.number, error)
            raise self.optuna.TrialPruned from None
        if hook.pruned:
            raise self.optuna.TrialPruned
        return hook.best

    def _args(self, trial, values) -> Args:
        folder = self._folder_of(trial)
        own = {**values, "checkpoints": str(folder)}
        if self.given.get("token_cache_dir") == "auto":  # one for all trials
            own["token_cache_dir"] = str(self.folder / "token_cache")
        return from_keywords({**self.given, **own}, flags_of(self.task).task)

    def _folder_of(self, trial):
        return self.folder / f"trial_{trial.user_attrs.get('goes_on', trial.number)}"

    def _write(self, study):
        """``sweep.tsv``: a line for each trial that came to an end, the best one first."""
        done = sorted(self._done(study), key=lambda trial: -(_best(trial) if _best(trial) is not None else -1e308))
        with atomic_text(self.folder / "sweep.tsv") as file:
            file.write("\t".join(["folder", "state", "score", *self.space]) + "\n")
            for trial in done:
                state = "failed" if "error" in trial.user_attrs else trial.state.name.lower()
                score = "" if _best(trial) is None else f"{_best(trial):.6f}"
                row = [self._folder_of(trial).name, state, score, *(trial.params[name] for name in self.space)]
                file.write("\t".join(map(str, row)) + "\n")


def _best(trial):
    return trial.user_attrs.get("best")


def _hook(trial):
    """What tells optuna of evaluations and ends the run where it says so."""
    from propeller.train.hooks import RunHook

    class Report(RunHook):
        def __init__(self):
            self.best, self.pruned = _best(trial), False
            for epoch, score in trial.user_attrs.get("epochs", {}).items():
                trial.report(score, int(epoch))

        def after_evaluation(self, learner, state, score, improved):
            self.best = score if self.best is None else max(score, self.best)
            trial.set_user_attr("best", self.best)
            if state.ended_epoch:  # steps do not compare where batches differ in size
                trial.report(score, state.epoch + 1)
                if trial.should_prune():
                    self.pruned, state.stop = True, "below the median of earlier trials"

    return Report()


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
