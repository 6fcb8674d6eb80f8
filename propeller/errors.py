"""The one error type a user can cause, and how an entry script reports it.

from propeller.errors import UserError, exit_on_user_error
"""

import os
import sys


class UserError(ValueError):
    """Bad input, named with where it is and what to do about it.

    The message is one line: the file, the line or row in it, what is wrong, and the remedy.
    Entry scripts print it and exit with status 2; libraries let it pass.
    """


def exit_on_user_error(main, *args):
    """Run ``main(*args)`` as a program: its status is returned; a UserError is one line on stderr and status 2.

    Where what reads standard output (head, less) has enough, the status is 1.

    Raises:
        SystemExit: always, with the status.
    """
    try:
        status = main(*args)
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    except BrokenPipeError:
        leave_stdout()
        sys.exit(1)
    sys.exit(status or 0)


def leave_stdout():
    """Behind a BrokenPipeError: what is still to be printed goes nowhere; else Python tells of it again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
