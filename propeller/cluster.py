"""A Ray cluster to compute on: one that runs, or one of this machine alone.

with cluster("--ray_address", None, cores=2, install="pip install ray") as ray: ...
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from propeller.errors import UserError
from propeller.signals import kept_handlers

CONNECT_SECONDS = 5  # in which a cluster answers; Ray itself would try for minutes
START_SECONDS = "600"  # in which a process of a cluster that is started here is ready; Ray gives a busy machine 60


@contextlib.contextmanager
def cluster(flag: str, address: str | None, cores: int, install: str, engine: str = "--engine ray") -> Iterator[Any]:
    """Connects to Ray and gives its module; disconnects at the end. Its processes import this project from where it is.

    Args:
        flag: what errors call the address.
        address: of a running cluster, ``HOST:PORT``, ``ray://HOST:PORT`` or ``auto``; None starts one here.
        cores: of the one that is started here.
        install: the command that installs Ray.
        engine: what errors call the wish to use Ray.

    Raises:
        UserError: Ray is not installed, or does not start; no cluster is at the address.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError(f"{engine}: needs ray; {install}") from error
    if address:
        _check_listening(flag, address)
    root = str(Path(__file__).resolve().parents[1])
    # Without an address Ray would join whatever cluster runs here, and refuse to be told the number of cores then.
    own: dict[str, Any] = {"address": "local", "num_cpus": cores, "include_dashboard": False}
    started: dict[str, Any] = {"address": address} if address else own
    os.environ.setdefault("RAY_worker_register_timeout_seconds", START_SECONDS)
    try:
        with kept_handlers():  # Ray's own would end the program with the status 15
            ray.init(
                runtime_env={"env_vars": {"PYTHONPATH": root}},
                log_to_driver=False,
                logging_level=logging.WARNING,
                **started,
            )
    except Exception as error:  # Ray raises one of no class of its own where it cannot start
        if not address:
            raise UserError(
                f"{engine}: Ray did not start here ({error}); run the command again, or start it with "
                f"`ray start --head` and give {flag} auto"
            ) from error
        if not isinstance(error, (ConnectionError, RuntimeError, ValueError)):
            raise
        raise _no_cluster(flag, address, error) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _no_cluster(flag, address, why):
    return UserError(f"{flag} {address}: no cluster there ({why}); start one with `ray start --head`")


def _check_listening(flag, address):
    """Raises UserError where nothing takes a connection at [ray://]HOST:PORT."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if address in ("auto", "local"):
        return
    if not host or not (port.isdecimal() and int(port) < 1 << 16):
        raise UserError(f"{flag} {address}: no address of a cluster; give HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise _no_cluster(flag, address, error) from error
