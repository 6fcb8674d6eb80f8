"""The one error type a user can cause, and how an entry script reports it.

from propeller.errors import UserError, exit_on_user_error
"""

import sys


class UserError(ValueError):
    """Bad input, named with where it is and what to do about it.

    The message is one line: the file, the line or row in it, what is wrong, and the remedy.
    Entry scripts print it and exit with status 2; libraries let it pass.
    """


def exit_on_user_error(main, *args):
    """Run ``main(*args)`` as a program: its status is returned; a UserError is one line on stderr and status 2.

    Raises:
        SystemExit: always, with the status.
    """
    try:
        status = main(*args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    sys.exit(status or 0)
