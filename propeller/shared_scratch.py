"""A temporary directory that programs of one user share by its name, as the processes of one run do.

scratch = SharedScratch("ernie-model-", "1f0c", lambda path: path.mkdir())
scratch.path                                # filled by the first of them, while the others wait
scratch.cleanup()                           # the last of them removes it

Who uses it holds a shared lock (flock) on it, and who fills it an exclusive one. After a kill -9 the next program with
the same prefix removes what nobody holds.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import random
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from propeller.errors import UserError
from propeller.files import clear_dead

CONTENT = "content"
WAIT = 0.1  # seconds at most between two attempts to be the one who fills it


def place_of(prefix: str, key: str) -> Path:
    """The path that ``SharedScratch`` gives, known before it is there."""
    return _directory(prefix, key) / CONTENT


class SharedScratch:
    """What is made once for all programs of this user that ask for it at the same time.

    Args:
        prefix: of the name of its directory, in the system's folder for temporary files.
        key: the rest of the name: the same for those that share it.
        fill: called with ``path``, which is not there; it makes a file or directory of it, whole or not at all.

    Attributes:
        path: what ``fill`` made.

    Raises:
        UserError: the directory belongs to another user, or cannot be made or locked.
    """

    def __init__(self, prefix: str, key: str, fill: Callable[[Path], object]) -> None:
        folder = _directory(prefix, key)
        for left in folder.parent.glob(f"{glob.escape(folder.name.removesuffix(key))}*"):
            if left != folder:
                clear_dead(left)
        self.path = folder / CONTENT
        try:
            lock = _entered(folder, fill)
        except OSError as error:
            raise UserError(f"{folder}: {error.strerror}: set TMPDIR to a local directory that is yours") from error
        self._finalizer = weakref.finalize(self, _leave, folder, lock)

    def cleanup(self) -> None:
        """Leave it now; at the latest that happens at the end of the program."""
        self._finalizer()


def _directory(prefix, key):
    return Path(tempfile.gettempdir()) / f"{prefix}{os.geteuid()}-{key}"


def _entered(folder, fill):
    """The descriptor of a shared lock on the directory, which is filled then. Raises OSError."""
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:  # the last one has just left
            continue
        try:
            if os.fstat(lock).st_uid != os.geteuid():
                raise PermissionError(errno.EPERM, "belongs to another user")
            fcntl.flock(lock, fcntl.LOCK_SH)  # waits while another fills it
            if _is_there(folder, lock) and ((folder / CONTENT).exists() or _filled(folder, lock, fill)):
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)
        time.sleep(random.uniform(0, WAIT))


def _filled(folder, lock, fill):
    """Whether it is filled and our lock a shared one again; False: another program was faster, or waits as we do."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    if not _is_there(folder, lock):  # the lock was nobody's for a moment, and so it is below
        return False
    if not (folder / CONTENT).exists():
        try:
            fill(folder / CONTENT)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    fcntl.flock(lock, fcntl.LOCK_SH)
    return _is_there(folder, lock)


def _is_there(folder, lock):
    """Whether the directory is the one that was opened."""
    try:
        found, ours = folder.lstat(), os.fstat(lock)
    except FileNotFoundError:
        return False
    return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)


def _leave(folder, lock):
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_there(folder, lock):
            shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:  # others use it: the last of them removes it
        pass
    finally:
        os.close(lock)
