"""Files and directories that appear whole or not at all.

from propeller.files import atomic_directory, atomic_text, write_file
with atomic_directory("output/step_100") as temporary:
    write_file(temporary / "checkpoint.json", b"{}")
"""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from propeller.errors import UserError

# No space, no quota, no larger file allowed: what goes away again when somebody makes room.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def atomic_directory(path, overwrite=False):
    """Give a new directory to write into; on a clean exit it is fsynced and renamed to ``path``, else removed.

    With ``overwrite``, what was at ``path`` is moved aside first and removed last: a kill between the two renames
    leaves it whole, under ``.NAME.old-…`` beside.

    Raises:
        UserError: ``path`` exists and ``overwrite`` is false, or its parent cannot be written.
    """
    path = Path(path).resolve()
    if not overwrite and os.path.lexists(path):
        raise UserError(f"{path}: exists already: remove it or choose another name")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.new-", dir=path.parent))
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
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old-", dir=path.parent))
            path.rename(old / path.name)
            temporary.rename(path)
            shutil.rmtree(old)
        else:
            temporary.rename(path)
        _fsync(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def write_file(path, content):
    """Write bytes to ``path`` so that it holds the old content or the new, never a part."""
    with _atomic_file(Path(path).resolve(), "wb") as file:
        file.write(content)


@contextlib.contextmanager
def atomic_text(path):
    """Give a UTF-8 text file to write line by line; on a clean exit it is fsynced and named ``path``, else removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _atomic_file(path, "w", encoding="utf8") as file:
        yield file


@contextlib.contextmanager
def _atomic_file(path, mode, **options):
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.new-", dir=path.parent)
    temporary = Path(temporary)
    try:
        with open(descriptor, mode, **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        _fsync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def is_full(error):
    """Whether an OSError, or a UserError made from one, says that there is no room on the disk."""
    return getattr(error, "errno", None) in FULL or getattr(error.__cause__, "errno", None) in FULL


def file_digest(path):
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


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
