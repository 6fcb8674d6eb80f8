"""The weights of a Program in numbered folders, in 2019's form: one file per variable, no optimiser state.

    saver = Saver("best", executor, program, max_ckpt_to_keep=1)
    saver.save(state)                   # best/model_300/, meta and one file per variable
    saver.restore("model_300")          # by name, by step, or by an index from the end

Variables are those of ``paddle.static.global_scope()``. Training itself is continued from the checkpoints of
``propeller.Saver``, which hold the optimiser's state and the place in the data too.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import paddle

from propeller.errors import UserError
from propeller.files import atomic_directory, remove_directory, write_file
from propeller.train import program as programs
from propeller.train.run_hooks import RunState
from propeller.variables import read_variable, write_variable

log = logging.getLogger("propeller.train")

META = "meta"


class Saver:
    """Saves and restores the parameters of a Program.

    Args:
        save_dir: the folder; made when something is saved.
        exe: the Executor, whose place restored variables are put on.
        program: the Program.
        save_prefix: of the folders' names.
        max_ckpt_to_keep: how many stay.
    """

    def __init__(
        self, save_dir: str | Path, exe: Any, program: Any, save_prefix: str = "model", max_ckpt_to_keep: int = 10
    ) -> None:
        self.save_dir, self.exe, self.program = Path(save_dir), exe, program
        self.save_prefix, self.max_ckpt_to_keep = save_prefix, max_ckpt_to_keep

    def checkpoints(self) -> list:
        """The names of the folders, the oldest first."""
        found = []
        for path in self.save_dir.glob(f"{self.save_prefix}_*"):
            number = path.name[len(self.save_prefix) + 1 :]
            if number.isdigit() and (path / META).is_file():
                found.append((int(number), path.name))
        return [name for _, name in sorted(found)]

    @property
    def last_ckpt(self) -> str | None:
        """The newest folder's name."""
        return (self.checkpoints() or [None])[-1]

    def save(self, state: RunState) -> Path:
        """Write a folder, whole or not at all, and remove those that are too many; returns the folder."""
        folder = self.save_dir / f"{self.save_prefix}_{state.gstep}"
        scope = paddle.static.global_scope()
        with atomic_directory(folder, overwrite=True) as temporary:
            for name in programs.parameters(self.program):
                write_variable(temporary / name, programs.read(scope, name))
            write_file(temporary / META, state.to_json().encode())
        for name in self.checkpoints()[: -self.max_ckpt_to_keep]:
            remove_directory(self.save_dir / name)
        return folder

    def restore(self, ckpt: int | str = -1) -> RunState:
        """Set the Program's parameters; one that is missing in the folder is left as it is, with a warning.

        Args:
            ckpt: an index in ``checkpoints()``, -1 the newest; or a name.

        Raises:
            UserError: there is no such folder, or a variable has another shape.
        """
        names = self.checkpoints()
        try:
            name = names[ckpt] if isinstance(ckpt, int) else names[names.index(ckpt)]
        except (IndexError, ValueError):
            there = ", ".join(names) or "none"
            raise UserError(f"{self.save_dir}: no checkpoint {ckpt!r}: those that are there: {there}") from None
        folder, arrays = self.save_dir / name, {}
        for variable, shape in programs.parameters(self.program).items():
            if not (folder / variable).is_file():
                log.warning("%s: missing, left as it is", folder / variable)
                continue
            arrays[variable] = read_variable(folder / variable)
            if arrays[variable].shape != tuple(shape):
                found = list(arrays[variable].shape)
                raise UserError(f"{folder / variable}: of shape {found}, {list(shape)} is needed: give another folder")
        programs.write(paddle.static.global_scope(), self.exe.place, arrays)
        return RunState.from_json((folder / META).read_text())
