"""The checkpoints of a run, to be read: what is in their folders, and whether it is what was written.

checkpoints = Checkpoints("output/run", read_variable)
checkpoints.parameters(checkpoints.step_of("best"))     # name -> array
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from propeller.errors import UserError
from propeller.files import file_digest, write_file

RECORD = "checkpoint.json"
DIGESTS = "sha256"  # the entry of checkpoint.json
HASHING = 4  # files at a time


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file atomically, readable by people; UserError where there is no room or no right to."""
    try:
        write_file(path, (json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode())
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}): make room, or choose another place") from error


def read_json(path: str | Path, or_else: str = "") -> Any:
    """Read a JSON file; UserError when it is damaged, with one more remedy, ``or_else``."""
    try:
        return json.loads(Path(path).read_text(encoding="utf8"))
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}): remove the directory{or_else}") from error


class RecordedRun(NamedTuple):
    """The content of ``run.json``. flags: name -> value, with dashes; finished: whether the run has ended; fingerprint:
    what the run is made from, flags among it."""

    flags: dict[str, Any]
    finished: bool
    fingerprint: dict[str, Any]


def recorded_run(folder: str | Path) -> RecordedRun | None:
    """The run that a folder holds; None without a checkpoint, where there is none to continue."""
    path = Path(folder) / "run.json"
    if not path.is_file() or not any(Path(folder).glob("step_*")):
        return None
    record = read_json(path)
    fingerprint = record.get("fingerprint", {})
    return RecordedRun(fingerprint.get("flag", {}), bool(record.get("finished")), fingerprint)


class Checkpoints:
    """The checkpoints in a folder, to be read; whoever writes there is not disturbed.

    Args:
        folder: the run's directory.
        read_variable: ``(path) -> array``, the format of a parameter file.
    """

    def __init__(self, folder: str | Path, read_variable: Callable[[Path], np.ndarray]) -> None:
        self.folder, self.read_variable = Path(folder), read_variable

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, ascending."""
        found = (re.fullmatch(r"step_(\d+)", entry.name) for entry in self.folder.glob("step_*"))
        return sorted(int(match.group(1)) for match in found if match)

    def path(self, step: int) -> Path:
        """The directory of a step's checkpoint."""
        return self.folder / f"step_{step}"

    def step_of(self, ckpt: int | str = -1) -> int:
        """The step of a checkpoint, given by an index from the end (-1: the newest), a step, or a name.

        Args:
            ckpt: an int, or ``best``, ``last``, ``step_300``, 2019's ``model_300``.

        Raises:
            UserError: there is no such checkpoint.
        """
        steps, step = self.steps(), None
        text = re.fullmatch(r"(?:step_|model_)?(\d+)", str(ckpt))
        if isinstance(ckpt, int) and ckpt < 0:
            step = steps[ckpt] if len(steps) >= -ckpt else None
        elif text:
            step = int(text.group(1))
        elif ckpt in ("best", "last"):
            target = re.fullmatch(r"step_(\d+)", (self.folder / ckpt).resolve().name)
            step = int(target.group(1)) if target else step_in(self.folder / ckpt)
        if step not in steps:
            there = ", ".join(map(str, steps)) or "none"
            raise UserError(f"{self.folder}: no checkpoint {ckpt!r}: the steps that have one: {there}")
        return step

    def parameters(self, step: int) -> dict[str, np.ndarray]:
        """name -> array of a step's parameters."""
        folder = self.path(step)
        files = self._files(folder)
        copied = read_json(folder / RECORD).get("copied", [])
        names = [name for name in files if "/" not in name and name not in copied]
        return {name: self.read_variable(folder / name) for name in names}

    def _files(self, folder):
        described = folder / RECORD
        if not described.is_file():
            raise UserError(f"{folder}: {RECORD} is missing: not a checkpoint of this program")
        files = read_json(described).get("files")
        if not isinstance(files, dict):
            raise UserError(f"{described}: names no files: the checkpoint is damaged")
        for name, size in files.items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != size:
                raise UserError(f"{path}: missing or not of {size} bytes: the checkpoint is damaged")
        return files


def step_in(folder: str | Path) -> int | None:
    """The step that a directory says it is the checkpoint of; None: it says none."""
    path = Path(folder) / RECORD
    described = read_json(path) if path.is_file() else None
    step = described.get("step") if isinstance(described, dict) else None
    return step if isinstance(step, int) else None


def instead_of(path: str | Path) -> str:
    """What to give in place of a folder that is that of a run, or is no checkpoint of the run around it; "": neither.

    Args:
        path: such as ``run``, or ``run/best`` of a run without an evaluation.
    """
    path = Path(path)
    run = path if path.is_dir() else path.parent
    if not (run / "run.json").is_file():
        return ""
    links = [run / name for name in ("best", "last") if (run / name).is_dir()]
    if not links:
        return f"{run} has no checkpoint yet: train it first, or give another directory"
    return f"name a checkpoint of the run, such as {links[0]}"


def verify_checkpoint(folder: str | Path, parameters_only: bool = False) -> None:
    """Compare the files of a checkpoint with the sha256 that was taken when they were written.

    Args:
        folder: the checkpoint; one that says nothing of its files, as those of other programs, is taken as it is.
        parameters_only: leave the training state out.

    Raises:
        UserError: a file differs, or ``checkpoint.json`` is damaged.
    """
    described = Path(folder) / RECORD
    said = read_json(described) if described.is_file() else {}
    stored = said.get(DIGESTS) if isinstance(said, dict) else None
    if not isinstance(stored, dict):
        return
    names = [name for name in stored if not (parameters_only and "/" in name) and (Path(folder) / name).is_file()]
    for name, found in digests(Path(folder), names).items():
        if found != stored[name]:
            raise UserError(
                f"{Path(folder) / name}: the checkpoint is damaged, its sha256 is not the one written: take another "
                f"checkpoint, or a copy of this one; if the file was changed on purpose, remove {DIGESTS} from "
                f"{described}"
            )


def digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """name -> sha256 of files, several at a time."""
    names = list(names)
    with ThreadPoolExecutor(HASHING) as threads:
        return dict(zip(names, threads.map(lambda name: file_digest(folder / name), names)))


def read_training_state(folder: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(optimiser state, name -> array; the loop's state, a dict) of a checkpoint.

    Raises:
        UserError: it has none.
    """
    training = Path(folder) / "training_state"
    if not training.is_dir():
        raise UserError(f"{folder}: no training_state: training cannot continue from it")
    try:
        return load_file(training / "optimizer.safetensors"), read_json(training / "state.json")
    except (OSError, SafetensorError) as error:
        raise UserError(f"{training}: cannot be read ({error}): the checkpoint is damaged") from error
