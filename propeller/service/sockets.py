"""The address a server listens at, and the files it may open; what goes wrong is one line with a remedy.

bound = bind("127.0.0.1", 8113)         # before the model is loaded
with port_errors("127.0.0.1", 8113, bound):
    bound.listen()
"""

from __future__ import annotations

import contextlib
import errno
import resource
import socket
from collections.abc import Iterator

from propeller.errors import UserError


def bind(host: str, port: int) -> socket.socket:
    """A socket that has the address, before the model is loaded; it listens after.

    Raises:
        UserError: no address of this machine, or in use.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError, OverflowError) as error:
        raise UserError(f"--host {host}, port {port}: not an address of this machine ({error})") from error
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with port_errors(host, port, bound):
        bound.bind(address)
    return bound


@contextlib.contextmanager
def port_errors(host: str, port: int, bound: socket.socket) -> Iterator[None]:
    """An address that cannot be had as a UserError."""
    try:
        yield
    except (OSError, OverflowError) as error:
        bound.close()
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise UserError(f"port {port} of {host} is in use: stop what uses it, or give another -p") from error
        raise UserError(f"port {port} of {host} cannot be had ({error}): give another -p or --host") from error


def allow_files(count: int) -> None:
    """Raise the limit of open files where it is lower. Raises UserError: the shell allows fewer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= count:
        return
    if hard != resource.RLIM_INFINITY and hard < count:
        raise UserError(f"--max_connections needs {count} open files, this shell allows {hard}: lower it, or ulimit -n")
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
