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
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from propeller.errors import UserError
from propeller.files import atomic_directory, clear_leftovers, is_full, remove_directory, remove_unused
from propeller.tensors import save_arrays
from propeller.train.checkpoints import (
    DIGESTS,
    RECORD,
    Checkpoints,
    digests,
    read_json,
    read_training_state,
    step_in,
    verify_checkpoint,
    write_json,
)
from propeller.train.differences import Difference, completed, differences
from propeller.train.names import DEFAULT_NAMES

if TYPE_CHECKING:
    from propeller.train.names import SettingNames


log = logging.getLogger("propeller.train")

OWN_FILES = ("run.json", "metrics.jsonl", "curves.png", "best", "last", "events")
FORMAT = 1
STATE = "training_state/state.json"


class DiskFull(UserError):
    """There was no room for a checkpoint; those before are as they were."""


class FolderBusy(UserError):
    """Another process trains into the folder."""


class Saver(Checkpoints):
    """Writes and finds the checkpoints of one run.

    Args:
        folder: the run's directory; made when missing.
        write_variable, read_variable: ``(path, array)`` and ``(path) -> array``, the format of a parameter file.
        keep: how many of the last checkpoints stay; the best one stays besides. 0: all.
        meta: JSON-able dict stored in every ``checkpoint.json``: what the parameters are for.
        also: glob patterns of what else a run writes into the folder.
        links: names of links to checkpoints that the owner sets, besides ``last`` and ``best``.
        names: what errors call the settings.
        files: name -> path of files to copy into every checkpoint.
        verify: whether the content of a checkpoint's files is compared with what was written, before it is loaded.

    Raises:
        FolderBusy: another process trains into the folder.
    """

    def __init__(
        self,
        folder: str | Path,
        write_variable: Callable[[Path, np.ndarray], None],
        read_variable: Callable[[Path], np.ndarray],
        keep: int = 3,
        meta: dict[str, Any] | None = None,
        also: Iterable[str] = (),
        links: Iterable[str] = (),
        names: SettingNames = DEFAULT_NAMES,
        files: Mapping[str, str] | None = None,
        verify: bool = True,
    ) -> None:
        super().__init__(folder, read_variable)
        self.write_variable = write_variable
        self.keep, self.meta, self.also, self.names = keep, meta or {}, tuple(also), names
        self.links = ("last", "best", *links)
        self.files = dict(files or {})
        self.verify = verify
        self._made = [each for each in (self.folder, *self.folder.parents) if not each.exists()]
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.folder / ".lock", "w")  # noqa: SIM115 held until close()
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise FolderBusy(
                f"{self.folder}: another process trains into it: wait, or choose another {names.folder}"
            ) from None
        clear_leftovers(self.folder)  # of a run that was killed while it wrote
        for left in self.folder.glob(".*.new"):
            if left.is_symlink():
                left.unlink()

    def close(self) -> None:
        """Let other processes train into the folder. One that was made for a run that did not begin is removed."""
        if not self._lock.closed:
            remove_unused(self._made, self.folder / ".lock")
        self._lock.close()

    def claim(
        self,
        fingerprint: dict[str, Any],
        overwrite: bool = False,
        explain: Callable[[Difference], str] = str,
        remedy: str = "",
        former: Mapping[str, Any] | None = None,
        told: Callable[[Difference], bool] | None = None,
    ) -> str:
        """Begin or continue the run with this fingerprint: ``new``, ``resume`` or ``finished``.

        A run that has no checkpoint yet has nothing to lose: another one may take its folder.

        Args:
            fingerprint: what makes the run this run, a nested dict of plain values.
            overwrite: whether another run in the folder is removed.
            explain: may put a ``Difference`` into better words.
            remedy: one more thing to do about it.
            former: entries of fingerprints that came later than some runs, nested likewise, with what a run does whose
                record lacks them.
            told: whether a run that continues may differ so; ``explain`` says it in a line of the log.

        Raises:
            UserError: the folder holds another run, or a directory in the place of a link, and ``overwrite`` is false.
        """
        path, names = self.folder / "run.json", self.names
        or_overwrite = f" or give {names.overwrite}"
        fingerprint = json.loads(json.dumps(fingerprint))
        if overwrite:
            self.clear()
        else:
            self._settle_copies()
        if path.exists() and (self.steps() or read_json(path, or_overwrite).get("finished")):
            stored = read_json(path, or_overwrite)
            found = list(differences(completed(stored.get("fingerprint", {}), former or {}), fingerprint))
            free = [each for each in found if told and told(each)]
            for difference in found:
                if difference in free:
                    continue
                raise UserError(
                    f"{self.folder} holds another run: {explain(difference)}; "
                    f"choose another {names.folder}{remedy}, or give {names.overwrite} to begin afresh"
                )
            if free:
                log.info("%s: %s", self.folder, "; ".join(map(explain, free)))
            if not stored.get("finished"):
                if free:
                    write_json(path, {**stored, "fingerprint": fingerprint})
                return "resume"
            if self.steps():
                self._mend_links(self.steps()[-1], stored.get("best_step"))
            return "finished"
        if self.steps():
            raise UserError(
                f"{self.folder} holds checkpoints of a run that is not known: "
                f"choose another {names.folder}, or give {names.overwrite} to begin afresh"
            )
        write_json(path, {"fingerprint": fingerprint, "finished": False})
        return "new"

    def _settle_copies(self):
        """Clear the places of the links, where a copy of the folder with links followed (``cp -rL``) has directories.

        One that is a copy of a checkpoint beside it goes; it takes the place of one that is missing or half there.
        """
        for name in self.links:
            place = self.folder / name
            if place.is_symlink() or not place.is_dir():
                continue
            step = step_in(place)
            original = self.path(step or 0)
            if step is not None and not (original / RECORD).is_file():
                if original.exists():
                    self._put_aside(step)
                place.rename(original)
            elif step is not None and read_json(place / RECORD) == read_json(original / RECORD):
                remove_directory(place)
            else:
                raise UserError(
                    f"{place}: a directory where a link to a checkpoint belongs, and not a copy of one beside it: "
                    f"move it away, or choose another {self.names.folder}"
                )

    def finish(self, **facts: Any) -> None:
        """Note that the run is complete."""
        path = self.folder / "run.json"
        write_json(path, {**read_json(path), "finished": True, **facts})

    def clear(self) -> None:
        """Remove what an earlier run left here: its checkpoints, record and curves, nothing else."""
        entries = (entry for pattern in ("step_*", *self.also) for entry in self.folder.glob(pattern))
        for entry in [*entries, *(self.folder / name for name in OWN_FILES)]:
            if entry.is_dir() and not entry.is_symlink():
                remove_directory(entry)
            elif os.path.lexists(entry):
                entry.unlink()

    def save(
        self,
        step: int,
        parameters: dict[str, np.ndarray],
        optimizer_state: dict[str, np.ndarray],
        state: dict[str, Any],
        level: int = logging.INFO,
    ) -> None:
        """Write a checkpoint and make it ``last``.

        Args:
            parameters, optimizer_state: name -> array.
            state: JSON-able dict, what else it takes to continue.
            level: of the line in the log.

        Raises:
            DiskFull: nothing was written.
        """
        try:
            self._save(step, parameters, optimizer_state, state)
        except (OSError, UserError) as error:
            if not is_full(error):
                raise
            why = os.strerror(getattr(error.__cause__ or error, "errno", 0))
            there = f"the last one is {self.path(self.steps()[-1])}" if self.steps() else "there is none before it"
            raise DiskFull(
                f"{self.path(step)}: no checkpoint written ({why}), {there}: "
                f"make room, or give a smaller {self.names.keep}"
            ) from error
        log.log(level, "saved checkpoint %s", self.path(step))

    def restate(self, step: int, state: dict[str, Any]) -> None:
        """Give the checkpoint of a step another state; its arrays are not written again.

        Args:
            state: as in ``save``.
        """
        old = self.path(step)
        facts = read_json(old / "checkpoint.json")
        with atomic_directory(old, overwrite=True) as folder:
            for name in facts["files"]:
                if name != STATE:
                    (folder / name).parent.mkdir(exist_ok=True)
                    _link_or_copy(old / name, folder / name)
            write_json(folder / STATE, state)
            facts["files"][STATE] = (folder / STATE).stat().st_size
            facts[DIGESTS] = {**facts[DIGESTS], **digests(folder, {STATE: facts["files"][STATE]})}
            write_json(folder / "checkpoint.json", facts)
        log.info("saved checkpoint %s", old)

    def note(self, step: int, facts: Mapping[str, Any]) -> None:
        """Add facts to what the checkpoint of a step says of itself; nothing where there is none.

        Args:
            step: its step.
            facts: JSON-able; they replace entries of ``meta`` of the same name, nested dicts key by key.
        """
        path = self.path(step) / RECORD
        if path.is_file():
            write_json(path, completed(facts, read_json(path)))

    def withdraw(self, step: int) -> None:
        """Remove the checkpoint of a step, and let ``last`` be the one before it."""
        before = [other for other in self.steps() if other < step]
        if before:
            self.link("last", before[-1])
        else:
            (self.folder / "last").unlink(missing_ok=True)
        remove_directory(self.path(step))

    def _save(self, step, parameters, optimizer_state, state):
        with atomic_directory(self.path(step), overwrite=True) as folder:
            for name, array in parameters.items():
                self.write_variable(folder / name, array)
            for name, source in self.files.items():
                shutil.copyfile(source, folder / name)
            training = folder / "training_state"
            training.mkdir()
            save_arrays(training / "optimizer.safetensors", optimizer_state)
            write_json(folder / STATE, state)
            files = [path for path in folder.rglob("*") if path.is_file()]
            sizes = {str(path.relative_to(folder)): path.stat().st_size for path in sorted(files)}
            facts = {"format": FORMAT, "step": step, "files": sizes, "copied": sorted(self.files)}
            facts[DIGESTS] = digests(folder, sizes)
            write_json(folder / RECORD, {**self.meta, **facts})
        self.link("last", step)

    def link(self, name: str, step: int) -> None:
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

    def prune(self, best: int | None = None) -> None:
        """Remove all but the last ``keep`` checkpoints and the best one."""
        steps = self.steps()
        for step in steps[: -self.keep] if self.keep else []:
            if step != best:
                remove_directory(self.path(step))
                log.info("removed checkpoint %s", self.path(step))

    def restore(
        self, ckpt: int | str | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, Any]] | None:
        """The newest checkpoint that is whole: (parameters, optimiser state, state), or None; or a certain one.

        Args:
            ckpt: see ``step_of``; such a checkpoint must be whole.

        A damaged one is passed over, said in one line, and put aside as ``step_N.damaged``: it must not count among
        the last ones that are kept. The links ``last`` and ``best`` are set as that checkpoint says, and what is more
        than is kept is removed: whatever the run before was killed at.
        """
        if ckpt is not None:
            return self._read(self.step_of(ckpt))
        found, newest = None, None
        for step in reversed(self.steps()):
            try:
                if found is None:
                    found, newest = self._read(step), step
                else:
                    self._files(self.path(step))  # it must be whole to be worth a place among those that are kept
            except UserError as error:
                log.warning("checkpoint passed over: %s", error)
                self._put_aside(step)
        best = found[-1].get("best_step") if found else None
        self._mend_links(newest, best)
        self.prune(best)
        return found

    def _put_aside(self, step):
        aside = self.folder / f"step_{step}.damaged"
        shutil.rmtree(aside, ignore_errors=True)
        self.path(step).rename(aside)

    def _mend_links(self, last, best):
        """Have the links point to these steps; one that cannot is removed, and what is right is left alone."""
        for name, step in (("last", last), ("best", best)):
            link = self.folder / name
            if step is None or not self.path(step).is_dir():
                if link.is_symlink():
                    link.unlink()
            elif not link.is_symlink() or link.readlink() != Path(f"step_{step}"):
                self.link(name, step)

    def _read(self, step):
        if self.verify:
            verify_checkpoint(self.path(step))
        parameters = self.parameters(step)
        return parameters, *read_training_state(self.path(step))


def _link_or_copy(source, target):
    """A second name for a file; a copy where the file system has none."""
    try:
        os.link(source, target)
    except OSError as error:
        if is_full(error):
            raise
        shutil.copyfile(source, target)
