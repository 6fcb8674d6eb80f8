"""Whether tasks can be added to the folder of a build, and what its settings are then (build_data --add).

before, settings = grown("output/train", before, settings)      # of build.json, and of the command; tasks agree after
check_beside({"capitalization": Folder(...)}, {"news": facts})  # that the tasks there are of the same text

What a task's shards hold does not depend on the tasks beside it, so the folder is the one that a build of all of them
in one pass would make.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from propeller.errors import UserError

LISTS = ("connectives", "stop_words")  # settings that only some tasks have


def grown(path: Any, before: dict, settings: dict) -> tuple[dict, dict]:
    """Both settings with the tasks of both, and with the lists that tasks of one of them read.

    Args:
        path: the folder.
        before: what its build.json holds.
        settings: of the command.

    Raises:
        UserError: there is no build with tasks.
    """
    if not before:
        raise UserError(f"{path}: holds no build that a task could be added to; leave --add out")
    if "tasks" not in before:
        raise UserError(
            f"{path}: was built without --tasks, so its shards lie in the folder itself; build with --tasks into "
            "another --output, or with --overwrite"
        )
    both = {"tasks": list(dict.fromkeys([*before["tasks"], *settings["tasks"]]))}
    for name in LISTS:
        if None in (before[name], settings[name]):
            both[name] = before[name] or settings[name]
    return {**before, **both}, {**settings, **both}


def check_beside(parts: Mapping[str, Any], inputs: Mapping[str, dict]) -> None:
    """Whether the tasks of a folder were built of just these files.

    Args:
        parts: task -> its ``shard_folder.Folder``.
        inputs: name of an input file's shards -> facts of the file.

    Raises:
        UserError: a task was built of others, or its build is not finished.
    """
    for task, part in parts.items():
        names = {path.stem for path in part.shards.glob("*.json")}
        changed = [facts["path"] for name, facts in inputs.items() if part.record(name, facts) is None]
        more = sorted(names - set(inputs))
        if changed or more:
            found = f"{changed[0]} is not what {task} was built of" if changed else f"{task} was built of {more[0]} too"
            raise UserError(
                f"{part.path}: {found}; give --input the files of that build, unchanged since, after it is finished"
            )
