"""label_map.json beside converted files: the labels that are there keep their numbers, new ones come after them.

mapping = with_those_there(folder / "label_map.json", {"bad": 0, "good": 1})
write(folder / "label_map.json", mapping)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from propeller.errors import UserError
from propeller.files import atomic_text
from reader.row_encoder import load_label_map

SHOWN = 5  # labels that a line names


def with_those_there(path: Path, mapping: Mapping[str, int]) -> dict[str, int]:
    """The labels of a file and those of ``mapping``; what the file has stays as it is.

    Args:
        path: of the file; it need not be there.
        mapping: label -> class.

    Raises:
        UserError: the file is no label map.
    """
    before = _there(path)
    if not before:
        return dict(mapping)
    new = [label for label in mapping if label not in before]
    first = max(before.values()) + 1
    return {**before, **{label: first + number for number, label in enumerate(new)}}


def of_one_set(path: Path, mapping: Mapping[str, int], kind_of: Callable[[str], str | None]) -> dict[str, int]:
    """``with_those_there`` where the map that is there is for the same types, or for more or fewer of them.

    Args:
        path: of the file; it need not be there.
        mapping: label -> class, of the files that are converted.
        kind_of: label -> its type, "" where it is of none; None: it cannot be a label of these files.

    Raises:
        UserError: it is for other types, or no label map.
    """
    before = _there(path)
    own = {"", *map(kind_of, mapping)}
    other = [label for label in before if kind_of(label) is None]
    if not other and not own <= {"", *map(kind_of, before)}:
        other = [label for label in before if kind_of(label) not in own]
    if other:
        raise UserError(
            f"{path}: was made of other tags ({_some(other)}) than those of these files ({_some(list(mapping))}); "
            "delete it if its files are no longer needed, or convert into another folder. Files that belong together "
            "are converted by one command"
        )
    return with_those_there(path, mapping)


def write(
    path: Path, mapping: Mapping[str, int], what: str = "label", own: Collection[str] | None = None, end: str = ""
) -> None:
    """Write a label map, and say in a line what of it was there, and what of it these files do not have.

    Args:
        path: of the file.
        mapping: label -> class.
        what: one label, in a word.
        own: the labels of the files that were converted; None: all.
        end: the rest of the line.
    """
    before = load_label_map(path) if path.exists() else {}
    if before != mapping:
        with atomic_text(path) as file:
            json.dump(dict(mapping), file, ensure_ascii=False, indent=0)
            file.write("\n")
    new = [label for label in mapping if label not in before]
    without = [label for label in mapping if own is not None and label not in own]
    said = f"{path}: {len(mapping)} {what}{'' if len(mapping) == 1 else 's'}"
    if before:
        said += f"; added to those that were there: {_some(new)}" if new else "; all of them were there"
    if without:
        said += f"; not in the files converted now: {_some(without)}"
    print(said + end)


def _there(path):
    if not path.exists():
        return {}
    try:
        return load_label_map(path)
    except UserError as error:
        raise UserError(f"{error}; or move it away: the converter writes one there") from None


def _some(labels):
    return ", ".join(labels[:SHOWN]) + (", ..." if len(labels) > SHOWN else "")
