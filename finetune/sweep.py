"""Search for the flags that give the best score: many short runs of a task, chosen and cut short by optuna.

    python -m finetune.sweep classify --sweep_space space.json --sweep_trials 20 --checkpoints output/sweep \
        --ernie_config_path ... --train_set train.tsv --dev_set dev.tsv ...

The other flags are those of ``python -m finetune TASK`` and hold for all trials. Trial N is a run in ``trial_N`` of
--checkpoints, which also has ``sweep.tsv``. The same command again goes on where it was stopped, in the middle of a
trial too. With ``--sweep_engine ray`` trials run on a Ray cluster. It needs ``requirements-sweep.txt`` (Akiba et al.
2019, arXiv 1907.10902).
"""

from __future__ import annotations

import functools
import importlib
import json
import logging
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from finetune import TASKS, flags_of, task_class
from finetune.search_space import Choice, Range, plain_space, read_space
from finetune.sweep_ray import RayArgs, check, trials_over_ray
from finetune.sweep_trial import Outcome, run_trial
from finetune.training.args import GROUPS, build_parser, from_keywords
from propeller import runtime
from propeller.errors import UserError, exit_on_user_error
from propeller.files import atomic_text, file_digest
from propeller.flags import add_flags, check_least, flag, from_values, read_flags, shell_lines, split

log = logging.getLogger("ernie.finetune")

STUDY = "study.journal"
FORMER = {"max_seq_len": 512}  # defaults that were recorded with the flags that were given
SPACE = "--sweep_space space.json --sweep_trials 20"


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
        example = shell_lines(f"python -m finetune.sweep classify {SPACE} {flags_of('classify').example}")
        print(f"usage: python -m finetune.sweep TASK --sweep_space FILE [flags]\n\nexample:\n{example}\n")
        print(f"TASK is one of {', '.join(TASKS)}")
        return 0 if argv else 2
    task_flags, example = flags_of(argv[0]).task, f"{SPACE} {flags_of(argv[0]).example}"
    prog, about = f"python -m finetune.sweep {argv[0]}", "Search for the best flags of a task."
    parser = build_parser(prog, about, task_flags, example)
    add_flags(parser, SweepArgs)
    add_flags(parser, RayArgs)
    values = read_flags(parser, argv[1:])
    groups = [*GROUPS.values(), *([task_flags] if task_flags else [])]
    names = {entry.name for group in groups for entry in fields(group)}
    given = {name: value for name, value in values.items() if name in names and value is not None}
    sweep = Sweep(argv[0], from_values(SweepArgs, values), given, from_values(RayArgs, values))
    runtime.prepare()
    from propeller import log as log_setup
    from propeller.train.args import log_path

    file = log_path(given.get("log_file"), given["checkpoints"])
    log_setup.setup(file, bar=False, everything=bool(given.get("verbose")))
    print(sweep.run())
    return 0


def _that_count(flags):
    """Flags without those of what is printed and, as no test set is predicted, where to; and without old defaults."""
    return {
        name: value
        for name, value in flags.items()
        if name not in ("verbose", "log_file", "test_save") and (name, value) not in FORMER.items()
    }


class Sweep:
    """A sweep over one task.

    Args:
        task: name in ``finetune.TASKS``.
        args: its own flags.
        given: name -> value of the flags that hold for all trials.
        ray: where trials run; None: here.

    Raises:
        UserError: flags that do not go together; optuna is not installed; see ``read_space``.
    """

    def __init__(self, task: str, args: SweepArgs, given: Mapping[str, Any], ray: RayArgs | None = None) -> None:
        self.task, self.args, self.ray = task, args, ray or RayArgs()
        self._unsettled: list[tuple[Any, str]] = []  # (trial that failed, why) before any came to its end
        check(self.ray)
        self.given = {**given, "do_test": False}
        self.folder = Path(given["checkpoints"])
        task_flags = flags_of(task).task
        self.space: dict[str, Choice | Range] = read_space(args.sweep_space, task_flags)
        check_least(args, sweep_trials=1)
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
        if self.ray.sweep_engine == "ray":
            trials_over_ray(self, study, self.ray, str(self.given.get("use_cuda", "auto")))
        else:
            self._one_by_one(study)
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
        study.sampler = self._sampler(seed)
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

    def _sampler(self, seed):
        samplers = self.optuna.samplers
        if self.args.sweep_sampler == "random":
            return samplers.RandomSampler(seed=seed)
        if self.ray.sweep_engine != "ray":
            return samplers.TPESampler(seed=seed)
        with warnings.catch_warnings():  # trials at a time keep away from each other; optuna 4 calls that experimental
            warnings.simplefilter("ignore")
            return samplers.TPESampler(seed=seed, constant_liar=True)

    def _one_by_one(self, study):
        while self.goes_on(study):
            trial, flags = self.begin(study)
            try:
                outcome = run_trial(self.task, flags, functools.partial(self.told, trial))
            except Exception:
                self.broke(study, trial)
                raise
            self.ended(study, trial, outcome)

    def goes_on(self, study: Any, running: int = 0) -> bool:
        """Whether to begin one more trial beside those that run."""
        return not self._unsettled and len(self._done(study)) + running < self.args.sweep_trials

    def begin(self, study: Any) -> tuple[Any, dict[str, Any]]:
        """(optuna's trial, name -> value of its flags) of the next run."""
        trial = study.ask()
        values = {name: entry.suggest(trial) for name, entry in self.space.items()}
        for epoch, score in trial.user_attrs.get("epochs", {}).items():
            trial.report(score, int(epoch))
        log.info("trial %d: %s", trial.number, ", ".join(f"--{name} {value}" for name, value in values.items()))
        flags = {**self.given, **values, "checkpoints": str(self._folder_of(trial))}
        if self.given.get("token_cache_dir") == "auto":  # one for all trials
            flags["token_cache_dir"] = str(self.folder / "token_cache")
        return trial, flags

    def told(self, trial: Any, epoch: int | None, score: float) -> bool:
        """Note an evaluation; whether the trial is to end. epoch: that it ended, or None."""
        best = _best(trial)
        trial.set_user_attr("best", score if best is None else max(score, best))
        if epoch is None:
            return False
        trial.report(score, epoch)
        return trial.should_prune()

    def broke(self, study: Any, trial: Any) -> None:
        """Note a trial that ended with a fault of the program; it does not count."""
        study.tell(trial, state=self.optuna.trial.TrialState.FAIL)

    def ended(self, study: Any, trial: Any, outcome: Outcome, running: int = 0) -> None:
        """Note how a trial ended.

        Args:
            study, trial: optuna's.
            outcome: the trial's.
            running: how many others run.

        Raises:
            UserError: this one failed and none before it got through: what is wrong is wrong with all.
        """
        states = self.optuna.trial.TrialState
        error = outcome.error or (None if _best(trial) is not None else "it ended without an evaluation")
        if error:
            self._unsettled.append((trial, error))
            if running or self._done(study):
                log.warning("trial %d failed: %s", trial.number, error)
        elif outcome.pruned:
            study.tell(trial, state=states.PRUNED)
        else:
            study.tell(trial, _best(trial))
        if self._done(study):
            for failed, why in self._unsettled:
                failed.set_user_attr("error", why)
                study.tell(failed, state=states.PRUNED)
            self._unsettled = []
        elif not running:
            for failed, _ in self._unsettled:
                self.broke(study, failed)
            raise UserError(self._unsettled[0][1])
        self._write(study)

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


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
