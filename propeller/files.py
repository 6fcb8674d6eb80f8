"""Files and directories that appear whole or not at all.

from propeller.files import atomic_directory, atomic_text, temporary_directory, write_file
with atomic_directory("output/step_100") as temporary:
    write_file(temporary / "checkpoint.json", b"{}")
with temporary_directory("ernie-inference-") as scratch:
    ...

What is unfinished lies beside its place as ``.NAME.new-…``, locked (flock) by the process that writes it. If that
process is killed, the lock goes with it, and the next one that writes the same name, or calls ``clear_leftovers``,
removes what it left.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TextIO

from propeller.errors import UserError

# No space, no quota, no larger file allowed: what goes away again when somebody makes room.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
KINDS = ("new", "old", "gone")  # unfinished; put aside until the new one is there; being removed
UNFINISHED = re.compile(rf"\.(.+)\.({'|'.join(KINDS)})-[a-z0-9_]{{8}}")  # as this module and tempfile name them
SCRATCH = "tmp-"


@contextlib.contextmanager
def atomic_directory(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Give a new directory to write into; on a clean exit it is fsynced and renamed to ``path``, else removed.

    With ``overwrite``, what was at ``path`` is moved aside first and removed last: a kill between the two renames
    leaves it whole, under ``.NAME.old-…`` beside, and the next call or ``clear_leftovers`` puts it back.

    Raises:
        UserError: ``path`` exists and ``overwrite`` is false, or its parent cannot be written.
    """
    path = Path(path).resolve()
    clear_leftovers(path.parent, path.name)
    if not overwrite and os.path.lexists(path):
        raise UserError(f"{path}: exists already: remove it or choose another name")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, lock = locked_directory(f".{path.name}.new-", path.parent)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}): choose another place") from error
    try:
        temporary.chmod(0o777 & ~_umask())  # mkdtemp makes it private
        yield temporary
        for folder, _, files in os.walk(temporary):
            for name in files:
                _fsync(Path(folder) / name)
            _fsync(folder)
        if os.path.lexists(path):
            if not overwrite:
                raise UserError(f"{path}: appeared meanwhile: remove it or choose another name")
            with _moved_aside(path, "old"):
                temporary.rename(path)
        else:
            temporary.rename(path)
        _fsync(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        os.close(lock)


def remove_directory(path: str | Path) -> None:
    """Remove a directory so that it is there whole or not at all: it is renamed first."""
    with _moved_aside(Path(path), "gone"):
        pass


def remove_unused(folders: Sequence[Path], own: Path) -> None:
    """Remove directories that were made for files that nobody wrote, the innermost first.

    Args:
        folders: they; none, where they were there before.
        own: the file that its maker has put into the first of them.
    """
    with contextlib.suppress(OSError):  # where another process has put something there
        if folders and [*folders[0].iterdir()] == [own]:
            own.unlink()
            for folder in folders:
                folder.rmdir()


@contextlib.contextmanager
def _moved_aside(path, kind):
    """``path`` under another name beside, which is removed at the end."""
    old, lock = locked_directory(f".{path.name}.{kind}-", path.parent)
    try:
        path.rename(old / path.name)
        yield
        shutil.rmtree(old)
    finally:
        os.close(lock)


def write_file(path: str | Path, content: bytes) -> None:
    """Write bytes to ``path`` so that it holds the old content or the new, never a part."""
    with _atomic_file(Path(path).resolve(), "wb") as file:
        file.write(content)


@contextlib.contextmanager
def atomic_text(path: str | Path) -> Iterator[TextIO]:
    """Give a UTF-8 text file to write line by line; on a clean exit it is fsynced and named ``path``, else removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _atomic_file(path, "w", encoding="utf8") as file:
        yield file


@contextlib.contextmanager
def atomic_bytes(path: str | Path) -> Iterator[IO[bytes]]:
    """Give a file of bytes to write; on a clean exit it is fsynced and named ``path``, else removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _atomic_file(path, "wb") as file:
        yield file


@contextlib.contextmanager
def _atomic_file(path, mode, **options):
    clear_leftovers(path.parent, path.name)
    temporary, lock = _locked(lambda: _make_file(f".{path.name}.new-", path.parent))
    try:
        with open(temporary, mode, **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        give_usual_mode(temporary)
        temporary.replace(path)
        _fsync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(lock)


@contextlib.contextmanager
def temporary_directory(prefix: str) -> Iterator[Path]:
    """Give a private directory in the system's folder for temporary files; it is removed at the end.

    At SIGTERM and SIGHUP too, in a program run by ``propeller.errors.exit_on_user_error``. After a kill -9 the next
    process that asks for one with the same prefix removes it.
    """
    folder = Path(tempfile.gettempdir())
    for left in folder.glob(f"{glob.escape(prefix + SCRATCH)}????????"):
        clear_dead(left)
    path, lock = locked_directory(prefix + SCRATCH, folder)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


class Scratch:
    """A temporary directory, ``path``, that goes with this object, at the latest at the end of the program.

    Args:
        prefix: see ``temporary_directory``.
    """

    def __init__(self, prefix: str) -> None:
        stack = contextlib.ExitStack()
        self.path = stack.enter_context(temporary_directory(prefix))
        self._finalizer = weakref.finalize(self, stack.close)

    def cleanup(self) -> None:
        """Remove it now."""
        self._finalizer()


def clear_leftovers(folder: str | Path, name: str = "*") -> None:
    """Remove what dead processes left unfinished in a folder; an old directory that nothing has replaced is put back.

    Args:
        folder: where; one that is not there has none.
        name: of the file or directory that was being written; ``*``: any.
    """
    pattern = name if name == "*" else glob.escape(name)
    for kind in KINDS:
        for left in Path(folder).glob(f".{pattern}.{kind}-????????"):
            if UNFINISHED.fullmatch(left.name):
                clear_dead(left)


def clear_dead(left: Path) -> None:
    """Remove a file or directory, unless the process that made it lives (it holds a lock on it), or that is unknown."""
    with contextlib.suppress(OSError):
        lock = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if os.fstat(lock).st_uid != os.geteuid():
                return
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            match = UNFINISHED.fullmatch(left.name)
            if match and match.group(2) == "old":
                place = left.parent / match.group(1)
                if not os.path.lexists(place) and (left / place.name).is_dir():
                    (left / place.name).rename(place)
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()
        finally:
            os.close(lock)


def locked_directory(prefix: str, folder: Path) -> tuple[Path, int]:
    """A new private directory, and the descriptor of its lock: until that is closed, ``clear_dead`` leaves it alone."""
    return _locked(lambda: Path(tempfile.mkdtemp(prefix=prefix, dir=folder)))


def _make_file(prefix, folder):
    descriptor, path = tempfile.mkstemp(prefix=prefix, dir=folder)
    os.close(descriptor)
    return Path(path)


def _locked(make):
    """A new file or directory, and the descriptor that holds its lock; without one where the file system has none."""
    while True:
        path = make()
        try:
            lock = os.open(path, os.O_RDONLY)
        except FileNotFoundError:  # taken for a leftover in the moment before it is locked
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # about to be
            os.close(lock)
            continue
        except OSError:
            return path, lock
        if path.exists():
            return path, lock
        os.close(lock)


def is_full(error: BaseException) -> bool:
    """Whether an OSError, or a UserError made from one, says that there is no room on the disk."""
    return getattr(error, "errno", None) in FULL or getattr(error.__cause__, "errno", None) in FULL


def file_digest(path: str | Path) -> str:
    """sha256 of a file's content, as hex."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            total.update(block)
    return total.hexdigest()


def _fsync(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def give_usual_mode(path: Path) -> None:
    """The permissions of a new file, as the umask says, for one that was made private."""
    path.chmod(0o666 & ~_umask())


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
