"""What the examples share: their options, and models and text from the Python package registry."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the repository, if it is not installed


def options(doc: str, name: str, epoch: int = 1, **numbers: int) -> argparse.Namespace:
    """The flags of an example: ``model``, ``data``, ``out``, ``epoch``, and numbers of its own with their defaults."""
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--model", type=Path, help="a model directory [one from the package registry]")
    parser.add_argument("--data", type=Path, help="a directory with train and dev files [text from the registry]")
    parser.add_argument("--out", type=Path, default=ROOT / "output/examples" / name, help="where results go")
    parser.add_argument("--epoch", type=int, default=epoch, help=f"passes over the training rows [{epoch}]")
    for own, default in numbers.items():
        parser.add_argument(f"--{own}", type=int, default=default, help=f"number of {own} [{default}]")
    args = parser.parse_args()
    from propeller import log

    log.setup()  # training takes minutes: its log goes to standard error
    return args


def resource(what: str, rows: int | None = None) -> Path:
    """A directory made by ``script/demo/demo_data.py``: an encoder or text. A second call finds it there."""
    folder = ROOT / "output/examples/registry" / what
    command = ["script/demo/demo_data.py", what, "--out", str(folder)]
    python(*command, *(["--rows", str(rows)] if rows else []))
    return folder


def python(*words: object) -> None:
    """Run a command of the project; its messages go to standard error."""
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False)
    if done.returncode:
        sys.exit(done.returncode)  # the command has said why
