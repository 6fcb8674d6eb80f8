"""Trials of a sweep on a Ray cluster, several at a time; the study stays with the caller.

    trials_over_ray(sweep, study, RayArgs(...), use_cuda="auto")

Every machine needs this project's packages and must see the directories of the sweep. A trial whose process or machine
is lost goes on elsewhere from its newest checkpoint.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.sweep_trial import Desk, Outcome, remote_trial
from propeller import runtime
from propeller.cluster import cluster
from propeller.errors import UserError
from propeller.flags import flag

if TYPE_CHECKING:
    from finetune.sweep import Sweep

log = logging.getLogger("ernie.finetune")

INSTALL = "python -m pip install -r requirements-sweep.txt"
MOST_LOST = 2  # times that Ray may give a trial up, after its own attempts


@dataclass(frozen=True)
class RayArgs:
    """sweep over Ray: trials on several machines, or several at a time"""

    sweep_engine: str = flag(
        "local", "local: one trial after the other, here; ray: on a Ray cluster", choices=("local", "ray")
    )
    ray_address: str | None = flag(
        None, "address of a running Ray cluster, or auto [one is started here]", metavar="HOST:PORT"
    )
    sweep_workers: int | None = flag(None, "trials at a time [as many as the cluster has room for]")
    sweep_cores: int | None = flag(None, "processor cores of each trial [1]")


def check(args: RayArgs) -> None:
    """Raises UserError: flags that do not go together."""
    for name in ("ray_address", "sweep_workers", "sweep_cores"):
        value = getattr(args, name)
        if value is not None and args.sweep_engine != "ray":
            raise UserError(f"--{name} is for trials over Ray: give --sweep_engine ray too")
        if isinstance(value, int) and value < 1:
            raise UserError(f"--{name} must be at least 1, not {value}")


def trials_over_ray(sweep: Sweep, study: Any, args: RayArgs, use_cuda: str) -> None:
    """Run the trials that are left.

    Args:
        sweep: that makes trials and judges them.
        study: optuna's.
        args: how many at a time, and where.
        use_cuda: of the trials; unless ``false``, each has a GPU where the cluster has any.

    Raises:
        UserError: Ray is not installed, no cluster is at the address, it has no room for one trial, or see
            ``Sweep.ended``.
    """
    cores = args.sweep_cores or 1
    workers = args.sweep_workers or max(runtime.cores() // cores, 1)
    with cluster("--ray_address", args.ray_address, workers * cores, INSTALL, "--sweep_engine ray") as ray:
        gpus = int(use_cuda != "false" and ray.cluster_resources().get("GPU", 0) >= 1)
        room = _room(ray.nodes(), cores, gpus)
        if not room:
            raise UserError(f"--sweep_cores {cores}: no machine of the cluster has as many: give fewer")
        workers = args.sweep_workers or room
        log.info("%d trials at a time, each with %d core%s%s", workers, cores, "s"[cores == 1 :], " and a GPU" * gpus)
        _Trials(ray, sweep, study, workers, {"num_cpus": cores, "num_gpus": gpus}).run()


def _room(nodes, cores, gpus):
    """How many trials the machines have room for."""
    found = 0
    for node in nodes:
        has = node["Resources"] if node["Alive"] else {}
        room = int(has.get("CPU", 0) // cores)
        found += min(room, int(has.get("GPU", 0))) if gpus else room
    return found


class _Trials:
    """The trials that run, and what they say."""

    def __init__(self, ray, sweep, study, workers, takes):
        self.ray, self.sweep, self.study, self.workers = ray, sweep, study, workers
        # A process per trial: what one leaves in memory, of a GPU too, is not in the way of the next.
        self.remote = ray.remote(max_retries=2, max_calls=1, **takes)(remote_trial)
        self.desk = ray.remote(num_cpus=0)(Desk).remote()
        self.listening = self.desk.heard.remote()
        self.running: dict[Any, Any] = {}  # reference -> (optuna's trial, its flags)
        self.lost: Counter[int] = Counter()  # number of a trial -> how often Ray gave it up

    def run(self):
        """Until none is left."""
        while True:
            self._start()
            if not self.running:
                return
            (ready, *_), _ = self.ray.wait([self.listening, *self.running], num_returns=1)
            if ready == self.listening:
                self._answer(*self.ray.get(ready))
            else:
                trial, flags = self.running.pop(ready)
                outcome = self._outcome(ready, trial)
                if outcome is None:
                    self._send(trial, flags)
                else:
                    self.sweep.ended(self.study, trial, outcome, len(self.running))

    def _start(self):
        while len(self.running) < self.workers and self.sweep.goes_on(self.study, len(self.running)):
            self._send(*self.sweep.begin(self.study))

    def _send(self, trial, flags):
        given = (self.sweep.task, trial.number, flags, str(Path.cwd()), self.desk)
        self.running[self.remote.remote(*given)] = (trial, flags)

    def _answer(self, number, epoch, score):
        self.listening = self.desk.heard.remote()
        for trial, _ in self.running.values():
            if trial.number == number:
                self.desk.answer.remote(number, self.sweep.told(trial, epoch, score))

    def _outcome(self, reference, trial):
        """How a trial ended; None where its process did not and it is to go on in another."""
        errors = self.ray.exceptions
        try:
            return self.ray.get(reference)
        except errors.RayTaskError:
            self.sweep.broke(self.study, trial)
            raise
        except errors.RayError as error:
            self.lost[trial.number] += 1
            why = f"its process was lost ({type(error).__name__})"
            if self.lost[trial.number] > MOST_LOST:
                return Outcome(error=f"{why} again and again, perhaps for want of memory: give fewer --sweep_workers")
            log.warning("trial %d: %s: it goes on in another", trial.number, why)
            return None
