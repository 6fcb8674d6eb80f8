"""Processes that are gone, without a word, before a certain one of their file operations."""

import contextlib
import gc
import os
import sys
from pathlib import Path

WRITES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "os.truncate", "os.chmod",
          "shutil.rmtree")  # fmt: skip
KILLED = 9


def die_before(number, calls=(), within=None):
    """Have this process end before its file operation of that number, counted from 0, as if it were killed.

    Args:
        number: None: it lives, and the operations are counted.
        calls: (module, name) of functions that count besides: those that Python's audit events do not tell of.
        within: operations on absolute paths elsewhere do not count; None: all do.

    Returns:
        a function that gives the number of operations so far.
    """
    count = 0

    def operation():
        nonlocal count
        if count == number:
            os._exit(KILLED)
        count += 1

    def hook(event, args):
        if event == "open":
            counts = isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR) and _is_within(args[0], within)
        else:
            counts = event in WRITES and _is_within(args[0], within)
        if counts:
            operation()

    sys.addaudithook(hook)
    for module, name in calls:
        setattr(module, name, _after(operation, getattr(module, name)))
    return lambda: count


def _is_within(path, folder):
    if folder is None:
        return True
    if isinstance(path, int):  # a descriptor: of what was opened before
        return True
    path = Path(os.fsdecode(path))
    return not path.is_absolute() or Path(folder) in path.parents


def _after(first, function):
    def called(*args, **named):
        first()
        return function(*args, **named)

    return called


def fork():
    """``os.fork``, with the garbage collector off in the child.

    What the collector would free there may be Paddle's executors, which wait for threads that a fork does not copy.
    """
    collecting = gc.isenabled()
    gc.disable()
    child = os.fork()
    if child and collecting:
        gc.enable()
    return child


def killed_before(number, run):
    """Run in a child that is gone before its file operation of that number; whether it was."""
    child = fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            die_before(number)
            run()
            os._exit(0)
        os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, KILLED)
    return status == KILLED
