"""label_map.json beside converted files: the labels that are there keep their numbers, new ones come after them.

mapping = with_those_there(folder / "label_map.json", {"bad": 0, "good": 1})
write(folder / "label_map.json", mapping)
"""

from __future__ import annotations

import json

from propeller.errors import UserError
from propeller.files import atomic_text
from reader.row_encoder import load_label_map


def with_those_there(path, mapping):
    """The labels of a file and those of ``mapping``; what the file has stays as it is.

    Args:
        path: of the file; it need not be there.
        mapping: dict of label -> class.

    Raises:
        UserError: the file is no label map.
    """
    if not path.exists():
        return mapping
    try:
        before = load_label_map(path)
    except UserError as error:
        raise UserError(f"{error}; or move it away: the converter writes one there") from None
    new = [label for label in mapping if label not in before]
    first = max(before.values()) + 1
    return {**before, **{label: first + number for number, label in enumerate(new)}}


def write(path, mapping, what="labels"):
    """Write a label map, and say what of it was there."""
    before = load_label_map(path) if path.exists() else {}
    if before != mapping:
        with atomic_text(path) as file:
            json.dump(mapping, file, ensure_ascii=False, indent=0)
            file.write("\n")
    kept = f" ({len(before)} of them as they were)" if before else ""
    print(f"{path}: {len(mapping)} {what}{kept}")
