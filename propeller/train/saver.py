"""Checkpoints that are whole or not there, resumable, and the record of the run they belong to.

checkpoints/
  run.json              what run this is (flags, data, initial weights), and whether it finished
  step_100/             one file a parameter, as released models have; checkpoint.json says what they are for
  step_100/training_state/   optimiser state, step, reader position
  last, best            links to such directories
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import shutil
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from propeller.errors import UserError
from propeller.files import atomic_directory, is_full, write_file

log = logging.getLogger("propeller.train")

OWN_FILES = ("run.json", "metrics.jsonl", "curves.png", "best", "last", "events")
FORMAT = 1


class DiskFull(UserError):
    """There was no room for a checkpoint; those before are as they were."""


def write_json(path, value):
    """Write a JSON file atomically, readable by people; UserError where there is no room or no right to."""
    try:
        write_file(path, (json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode())
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}): make room, or choose another place") from error


def read_json(path):
    """Read a JSON file; UserError when it is damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf8"))
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}): remove the directory or give --overwrite") from error


class Saver:
    """Writes and finds the checkpoints of one run.

    Args:
        folder: the run's directory; made when missing.
        write_variable, read_variable: ``(path, array)`` and ``(path) -> array``, the format of a parameter file.
        keep: how many of the last checkpoints stay; the best one stays besides. 0: all.
        meta: JSON-able dict stored in every ``checkpoint.json``: what the parameters are for.
        also: glob patterns of what else a run writes into the folder.

    Raises:
        UserError: another process trains into the folder.
    """

    def __init__(self, folder, write_variable, read_variable, keep=3, meta=None, also=()):
        self.folder = Path(folder)
        self.write_variable, self.read_variable = write_variable, read_variable
        self.keep, self.meta, self.also = keep, meta or {}, tuple(also)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.folder / ".lock", "w")  # noqa: SIM115 held until close()
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise UserError(
                f"{self.folder}: another process trains into it: wait, or choose another --checkpoints"
            ) from None
        for left in [*self.folder.glob(".step_*.new-*"), *self.folder.glob(".step_*.old-*")]:
            shutil.rmtree(left, ignore_errors=True)  # of a run that was killed while it wrote

    def close(self):
        """Let other processes train into the folder."""
        self._lock.close()

    def claim(self, fingerprint, overwrite=False, explain=str, remedy=""):
        """Begin or continue the run with this fingerprint: ``new``, ``resume`` or ``finished``.

        ``explain`` may put the words for a difference better; ``remedy`` is one more thing to do about it.

        A run that has no checkpoint yet has nothing to lose: another one may take its folder.

        Raises:
            UserError: the folder holds another run, and ``overwrite`` is false.
        """
        path = self.folder / "run.json"
        fingerprint = json.loads(json.dumps(fingerprint))
        if overwrite:
            self.clear()
        elif path.exists() and (self.steps() or read_json(path).get("finished")):
            stored = read_json(path)
            difference = first_difference(stored.get("fingerprint", {}), fingerprint)
            if difference:
                raise UserError(
                    f"{self.folder} holds another run: {explain(difference)}; "
                    f"choose another --checkpoints{remedy}, or give --overwrite to begin afresh"
                )
            return "finished" if stored.get("finished") else "resume"
        elif self.steps():
            raise UserError(
                f"{self.folder} holds checkpoints of a run that is not known: "
                "choose another --checkpoints, or give --overwrite to begin afresh"
            )
        write_json(path, {"fingerprint": fingerprint, "finished": False})
        return "new"

    def finish(self, **facts):
        """Note that the run is complete."""
        path = self.folder / "run.json"
        write_json(path, {**read_json(path), "finished": True, **facts})

    def clear(self):
        """Remove what an earlier run left here: its checkpoints, record and curves, nothing else."""
        found = (entry for pattern in ("step_*", *self.also) for entry in self.folder.glob(pattern))
        for entry in [*found, *(self.folder / name for name in OWN_FILES)]:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif os.path.lexists(entry):
                entry.unlink()

    def steps(self):
        """Steps that have a checkpoint, ascending."""
        found = (re.fullmatch(r"step_(\d+)", entry.name) for entry in self.folder.glob("step_*"))
        return sorted(int(match.group(1)) for match in found if match)

    def path(self, step):
        """The directory of a step's checkpoint."""
        return self.folder / f"step_{step}"

    def save(self, step, parameters, optimizer_state, state):
        """Write a checkpoint and make it ``last``.

        Args:
            parameters, optimizer_state: name -> array.
            state: JSON-able dict, what else it takes to continue.

        Raises:
            DiskFull: nothing was written.
        """
        try:
            self._save(step, parameters, optimizer_state, state)
        except (OSError, UserError) as error:
            if not is_full(error):
                raise
            why = os.strerror((error.__cause__ or error).errno)
            there = f"the last one is {self.path(self.steps()[-1])}" if self.steps() else "there is none before it"
            raise DiskFull(
                f"{self.path(step)}: no checkpoint written ({why}), {there}: "
                "make room, or give a smaller --keep_checkpoints"
            ) from error
        log.info("saved checkpoint %s", self.path(step))

    def _save(self, step, parameters, optimizer_state, state):
        with atomic_directory(self.path(step), overwrite=True) as folder:
            for name, array in parameters.items():
                self.write_variable(folder / name, array)
            training = folder / "training_state"
            training.mkdir()
            _save_arrays(training / "optimizer.safetensors", optimizer_state)
            write_json(training / "state.json", state)
            files = [path for path in folder.rglob("*") if path.is_file()]
            sizes = {str(path.relative_to(folder)): path.stat().st_size for path in sorted(files)}
            write_json(folder / "checkpoint.json", {**self.meta, "format": FORMAT, "step": step, "files": sizes})
        self.link("last", step)

    def link(self, name, step):
        """Make ``name`` point to the step's checkpoint, in one move; on a full disk it stays as it is."""
        fresh = self.folder / f".{name}.new"
        fresh.unlink(missing_ok=True)
        try:
            fresh.symlink_to(f"step_{step}")
            fresh.replace(self.folder / name)
        except OSError as error:
            if not is_full(error):
                raise
            log.warning("%s: the link stays as it was (%s): make room", self.folder / name, error.strerror)

    def prune(self, best=None):
        """Remove all but the last ``keep`` checkpoints and the best one."""
        steps = self.steps()
        for step in steps[: -self.keep] if self.keep else []:
            if step != best:
                shutil.rmtree(self.path(step))
                log.info("removed checkpoint %s", self.path(step))

    def restore(self):
        """The newest checkpoint that is whole: (parameters, optimiser state, state), or None.

        A damaged one is passed over, said in one line, and put aside as ``step_N.damaged``: it must not count among
        the last ones that are kept.
        """
        damaged = []
        for step in reversed(self.steps()):
            try:
                found = self._read(step)
            except UserError as error:
                log.warning("checkpoint passed over: %s", error)
                damaged.append(step)
                continue
            self._put_aside(damaged, step, found[-1].get("best_step"))
            return found
        self._put_aside(damaged)
        return None

    def _put_aside(self, damaged, step=None, best=None):
        for name in damaged:
            aside = self.folder / f"step_{name}.damaged"
            shutil.rmtree(aside, ignore_errors=True)
            self.path(name).rename(aside)
        for name, target in (("last", step), ("best", best)) if damaged else ():
            if target is not None and self.path(target).is_dir():
                self.link(name, target)
            else:
                (self.folder / name).unlink(missing_ok=True)

    def parameters(self, step):
        """name -> array of a step's parameters."""
        folder = self.path(step)
        return {name: self.read_variable(folder / name) for name in self._files(folder) if "/" not in name}

    def _files(self, folder):
        described = folder / "checkpoint.json"
        if not described.is_file():
            raise UserError(f"{folder}: checkpoint.json is missing: not a checkpoint of this program")
        files = read_json(described).get("files")
        if not isinstance(files, dict):
            raise UserError(f"{described}: names no files: the checkpoint is damaged")
        for name, size in files.items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != size:
                raise UserError(f"{path}: missing or not of {size} bytes: the checkpoint is damaged")
        return files

    def _read(self, step):
        parameters = self.parameters(step)
        return parameters, *read_training_state(self.path(step))


def read_training_state(folder):
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


def _save_arrays(path, arrays):
    try:
        save_file(arrays, path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))  # all it says of what the system said
        if number is None:
            raise
        raise OSError(int(number.group(1)), os.strerror(int(number.group(1))), str(path)) from None


def first_difference(stored, given, prefix=""):
    """The first entry in which two nested dicts differ, as words, or None."""
    for key in sorted(set(stored) | set(given)):
        name = f"{prefix}{key}"
        was, now = stored.get(key), given.get(key)
        if isinstance(was, dict) and isinstance(now, dict):
            inner = first_difference(was, now, f"{name}.")
            if inner:
                return inner
        elif was != now:
            return f"{name} was {was!r}, now {now!r}"
    return None


def contiguous(arrays):
    """The arrays as safetensors takes them: C-contiguous, scalars kept."""
    return {name: np.ascontiguousarray(array).reshape(np.shape(array)) for name, array in arrays.items()}
