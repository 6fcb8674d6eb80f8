"""How the records of two runs differ: nested dicts of plain values, entry by entry.

for difference in differences(stored, new):
    print(difference)                         # data.train.tsv was 3, now 4
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Difference(NamedTuple):
    """One entry in which the records of two runs differ.

    Attributes:
        name: its keys, joined by dots.
        was, now: its value in the one and in the other record; None where it lacks the entry.
    """

    name: str
    was: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.name} was {self.was!r}, now {self.now!r}"


def completed(stored: Mapping[str, Any], former: Mapping[str, Any]) -> dict[str, Any]:
    """A nested dict with the entries of another that it lacks."""
    inner = {
        key: completed(stored[key], value)
        for key, value in former.items()
        if isinstance(value, Mapping) and isinstance(stored.get(key), Mapping)
    }
    return {**former, **stored, **inner}


def differences(stored: dict[str, Any], new: dict[str, Any], prefix: str = "") -> Iterator[Difference]:
    """Every ``Difference`` of two nested dicts, sorted by name."""
    for key in sorted(set(stored) | set(new)):
        name = f"{prefix}{key}"
        was, now = stored.get(key), new.get(key)
        if isinstance(was, dict) and isinstance(now, dict):
            yield from differences(was, now, f"{name}.")
        elif was != now:
            yield Difference(name, was, now)


def first_difference(stored: dict[str, Any], new: dict[str, Any]) -> Difference | None:
    """The first ``Difference`` of two nested dicts, or None."""
    return next(differences(stored, new), None)
