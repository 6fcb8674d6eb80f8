"""Keeps the place where the processes of one machine meet from being reached by other machines.

with loopback.only("127.0.0.1:6170"):          # around what opens it
    paddle.distributed.init_parallel_env()

Paddle's store listens at every address of the machine, takes any client, and cannot be told another address. So its
socket is bound to the loopback device once it is there, by which Linux (5.7 or newer, or with the right to) refuses
connections from elsewhere. The other processes of this machine come over loopback anyway.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger("propeller.train")

LOOK_S = 0.01


@contextlib.contextmanager
def only(address: str) -> Iterator[None]:
    """Bind the socket that this process listens with at a port to loopback, as soon as there is one.

    Args:
        address: ``host:port``; nothing is done where the host is another than 127.0.0.1, or not on Linux.
    """
    host, _, port = address.rpartition(":")
    if host != "127.0.0.1" or sys.platform != "linux":
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=_wait_and_bind, args=(int(port), ended), name="loopback", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _wait_and_bind(port, ended):
    while True:
        last = ended.is_set()
        try:
            if bind(port):
                return
        except OSError as error:
            log.warning("port %d, where the processes meet, can be reached from other machines (%s)", port, error)
            return
        if last:
            return
        ended.wait(LOOK_S)


def bind(port: int) -> bool:
    """Bind the sockets of this process that listen at the port to loopback; whether there was one.

    Raises:
        OSError: the kernel does not let it.
    """
    found = False
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
            if not os.readlink(entry).startswith("socket:"):  # noqa: PTH115 Path.readlink would make a path of it
                continue
            try:
                copy = socket.socket(fileno=os.dup(int(entry.name)))
            except OSError:
                continue
            with copy:
                if _listens(copy, port):
                    copy.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
                    found = True
    return found


def _listens(some, port):
    with contextlib.suppress(OSError):
        if some.family in (socket.AF_INET, socket.AF_INET6) and some.getsockopt(
            socket.SOL_SOCKET, socket.SO_ACCEPTCONN
        ):
            return some.getsockname()[1] == port
    return False
