"""2019's description of a group of processes, ``PROPELLER_DISCONFIG``, and who this process is in it; no Paddle needed.

    PROPELLER_DISCONFIG='{"cluster": {"chief": ["10.0.0.1:6170"], "worker": ["10.0.0.2:6170"]},
                          "task": {"type": "worker", "index": 0}}' python train.py

    from propeller.disconfig import status
    dataset.shard(status.num_replica, status.replica_id)

The chief is rank 0 and the workers follow. Under this project's launcher ``status`` says what the launcher says.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, MutableMapping
from typing import Any, Callable

from propeller.errors import UserError

VARIABLE = "PROPELLER_DISCONFIG"
LOCAL, DISTRIBUTED = "local", "distributed"


def read(text: str) -> tuple[list, int]:
    """(addresses, chief first; rank) of a ``PROPELLER_DISCONFIG``.

    Raises:
        UserError: it is not such a description.
    """
    try:
        found = json.loads(text)
        cluster, task = found["cluster"], found["task"]
        chiefs, workers = list(cluster["chief"]), list(cluster.get("worker", []))
        index = int(task["index"])
        own = {"chief": chiefs, "worker": workers}[task["type"]]
        if not 0 <= index < len(own) or not all(":" in address for address in chiefs + workers):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{VARIABLE}: {text!r} names no process of a cluster: give "
            '{"cluster": {"chief": ["HOST:PORT"], "worker": ["HOST:PORT"]}, "task": {"type": "worker", "index": 0}}'
        ) from error
    return chiefs + workers, index if task["type"] == "chief" else len(chiefs) + index


def apply(environment: MutableMapping[str, str] | None = None) -> None:
    """Say in Paddle's variables what ``PROPELLER_DISCONFIG`` says, where no launcher has set them.

    Args:
        environment: changed; None: that of this process.

    Raises:
        UserError: see ``read``.
    """
    environment = os.environ if environment is None else environment
    if not environment.get(VARIABLE) or environment.get("PADDLE_TRAINERS_NUM"):
        return
    addresses, rank = read(environment[VARIABLE])
    if len(addresses) == 1:
        return
    environment.update(
        PADDLE_TRAINERS_NUM=str(len(addresses)),
        PADDLE_TRAINER_ID=str(rank),
        PADDLE_TRAINER_ENDPOINTS=",".join(addresses),
        PADDLE_CURRENT_ENDPOINT=addresses[rank],
        PADDLE_MASTER=addresses[0],
    )


class Status:
    """Who this process is, by its environment; read when asked for."""

    def _of(self) -> tuple[int, int]:
        environment: Mapping[str, str] = os.environ
        if environment.get("PADDLE_TRAINERS_NUM"):
            return int(environment["PADDLE_TRAINERS_NUM"]), int(environment.get("PADDLE_TRAINER_ID") or 0)
        if environment.get(VARIABLE):
            addresses, rank = read(environment[VARIABLE])
            return len(addresses), rank
        return 1, 0

    @property
    def num_replica(self) -> int:
        """The number of processes that train together."""
        return self._of()[0]

    @property
    def replica_id(self) -> int:
        """This process's number, from 0."""
        return self._of()[1]

    @property
    def is_master(self) -> bool:
        """Whether this process writes files for all."""
        return self.replica_id == 0

    @property
    def mode(self) -> str:
        """``local`` for one process, else ``distributed``."""
        return LOCAL if self.num_replica == 1 else DISTRIBUTED


status = Status()


def run_on_master(function: Callable) -> Callable:
    """A function that does something on the master only; elsewhere it returns None."""

    def call(*args: Any, **options: Any) -> Any:
        return function(*args, **options) if status.is_master else None

    return call
