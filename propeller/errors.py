"""The one error type a user can cause, and how an entry script reports it.

from propeller.errors import UserError, exit_on_user_error
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any, Callable, NoReturn

from propeller.shown import shown
from propeller.signals import ended_by_signals


class UserError(ValueError):
    """Bad input, named with where it is and what to do about it.

    The message is one line: the file, the line or row in it, what is wrong, and the remedy. Temporary paths have the
    names of ``propeller.shown``. Entry scripts print it and exit with status 2; libraries let it pass.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(shown(each) if isinstance(each, str) else each for each in args))


# What the system refuses for a reason that lies outside of the program.
OF_THE_SYSTEM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE)


def exit_on_user_error(main: Callable[..., int | None], *args: Any) -> NoReturn:
    """Run ``main(*args)`` as a program: its status is returned; a UserError is one line on stderr and status 2.

    So is an error of the system that is not the program's: a full disk, a folder that cannot be written. Where what
    reads standard output (head, less) has enough, the status is 1. After SIGTERM or SIGHUP it is 128 and the signal's
    number, and what is temporary has been removed.

    Raises:
        SystemExit: always, with the status.
    """
    _open_streams()
    try:
        with ended_by_signals():
            status = main(*args)
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    except BrokenPipeError:
        leave_stdout()
        sys.exit(1)
    except OSError as error:
        if error.errno not in OF_THE_SYSTEM:
            raise
        where = f"{error.filename}: " if error.filename else ""
        remedy = "make room, or get the right to write there, or choose another place"
        print(f"error: {where}{error.strerror}: {remedy}", file=sys.stderr, flush=True)
        sys.exit(2)
    sys.exit(status or 0)


def _open_streams():
    """Give a program that was started without standard streams (``>&-``) ones that lead nowhere."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            found = os.open(os.devnull, os.O_RDWR)
            os.dup2(found, number, inheritable=True)
            if found != number:
                os.close(found)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf8", closefd=False))  # noqa: SIM115 - to the end


def leave_stdout() -> None:
    """After a BrokenPipeError, discard pending output; otherwise the interpreter reports the error again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
