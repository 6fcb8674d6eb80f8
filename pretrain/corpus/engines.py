"""Who does the work: this process, processes of this machine, or a Ray cluster.

with Processes(4) as run: results = run(function, items)         # like map, in order
for path, records, problems in over_ray(tasks, address=None, num_workers=2): ...
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Callable

from pretrain.corpus.input_file import build_file
from propeller.cluster import cluster
from propeller.errors import UserError

INSTALL_RAY = "python -m pip install -r requirements-pretrain.txt"


def _end_with_parent():
    """A process of a pool lives on when its parent is killed; this one does not."""
    parent = multiprocessing.parent_process()

    def wait():
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


class Processes:
    """`count` processes; 0: the work is done here. run(function, items) is like map, with two items ahead a process."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Callable[..., Any]:
        if self.count:
            context = multiprocessing.get_context("spawn")
            self.pool = ProcessPoolExecutor(self.count, mp_context=context, initializer=_end_with_parent)
        return self.run

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.pool:
            self.pool.shutdown(wait=True, cancel_futures=True)

    def run(self, function: Callable, items: Iterable) -> Iterator:
        """Results in order."""
        if not self.pool:
            yield from map(function, items)
            return
        ahead: deque = deque()
        try:
            for item in items:
                ahead.append(self.pool.submit(function, item))
                if len(ahead) > 2 * self.count:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process was killed, perhaps for want of memory; run again to go on, with fewer --num_workers"
            ) from error
        finally:
            for future in ahead:
                future.cancel()


def over_ray(
    tasks: Iterable[tuple], address: str | None, num_workers: int, most: int = 5
) -> Iterator[tuple[str, dict, list]]:
    """(path, records of build_file, its first `most` problems) of every task (path, name, plan, folder), an input file
    each, as they are done on a Ray cluster.

    All machines must see the paths. address: of a running cluster; None starts one here, of num_workers processes.

    Raises:
        UserError: no ray, no such cluster, or as build_file does.
    """
    with cluster("--ray_address", address, max(num_workers, 1), INSTALL_RAY) as ray:
        remote = ray.remote(max_retries=2)(_built)
        waiting = {remote.remote(path, name, plan, folder, most): path for path, name, plan, folder in tasks}
        while waiting:
            done, _ = ray.wait(list(waiting), num_returns=1)
            for each in done:
                yield (waiting.pop(each), *_result(ray, each))


def _built(path, name, plan, folder, most):
    """(records, the first `most` problems) of build_file."""
    problems = []

    def tell(_, more):
        problems.extend(more[: most - len(problems)])

    return build_file(path, name, plan, folder, tell=tell), problems


def _result(ray, reference):
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise UserError(str(error.cause)) from error
        raise
