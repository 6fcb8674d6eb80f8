"""Who does the work: this process, processes of this machine, or a Ray cluster.

with Processes(4) as run: results = run(function, items)         # like map, in order
for path, records, problems in over_ray(tasks, address=None, num_workers=2): ...
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import socket
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Callable

from pretrain.corpus.builder import build_file
from propeller.errors import UserError

CONNECT_SECONDS = 5  # in which a Ray cluster answers; Ray itself would try for minutes


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

    Raises UserError: no ray, no such cluster, or as build_file does.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError("--engine ray: needs ray; python -m pip install -r requirements-pretrain.txt") from error
    if address:
        _check_listening(address)
    root = str(Path(__file__).resolve().parents[2])
    started = {"address": address} if address else {"num_cpus": max(num_workers, 1), "include_dashboard": False}
    try:
        ray.init(
            runtime_env={"env_vars": {"PYTHONPATH": root}},
            log_to_driver=False,
            logging_level=logging.WARNING,
            **started,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _no_cluster(address, error) from error
    try:
        remote = ray.remote(max_retries=2)(_built)
        waiting = {remote.remote(path, name, plan, folder, most): path for path, name, plan, folder in tasks}
        while waiting:
            done, _ = ray.wait(list(waiting), num_returns=1)
            for each in done:
                yield (waiting.pop(each), *_result(ray, each))
    finally:
        ray.shutdown()


def _built(path, name, plan, folder, most):
    """(records, the first `most` problems) of build_file."""
    problems = []

    def tell(_, more):
        problems.extend(more[: most - len(problems)])

    return build_file(path, name, plan, folder, tell=tell), problems


def _no_cluster(address, why):
    return UserError(f"--ray_address {address}: no cluster there ({why}); start one with `ray start --head`")


def _check_listening(address):
    """Raises UserError where nothing takes a connection at [ray://]HOST:PORT."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if address in ("auto", "local"):
        return
    if not host or not (port.isdecimal() and int(port) < 1 << 16):
        raise UserError(f"--ray_address {address}: no address of a cluster; give HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise _no_cluster(address, error) from error


def _result(ray, reference):
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise UserError(str(error.cause)) from error
        raise
