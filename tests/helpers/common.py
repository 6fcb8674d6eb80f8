"""What several tests share: the recorded 2019 cases, and what may lie beside the repository."""

import os
from pathlib import Path

from tests.helpers import recorded

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"  # published data sets, where somebody has laid them
FIXTURES = ROOT / "tests" / "fixtures"


def __getattr__(name):
    """``GOLDEN``: the folder of the recorded 2019 cases, unpacked when it is first asked for."""
    if name == "GOLDEN":
        return recorded.folder()
    raise AttributeError(name)


def files_that_others_cannot_read(folder):
    """Files below a folder, but for locks, that have fewer permissions than the umask gives to a new file."""
    mask = os.umask(0)
    os.umask(mask)
    files = [path for path in Path(folder).rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert files
    return [str(path) for path in files if path.stat().st_mode & 0o777 != 0o666 & ~mask]
