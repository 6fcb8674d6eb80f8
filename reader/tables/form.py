"""The form of a file of rows, and which of its columns count.

form = TableForm(text_a="review", label="stars")
form.format_of("reviews.csv")                       # "csv", by its ending
form.choose("reviews.csv, line 1", ["id", "review", "stars"], ("text_a", "label"))
# [("text_a", 1), ("label", 2)]
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from propeller.errors import UserError
from reader.row_file import COPIED, shorten
from reader.tables.usual_names import FLAGS, proposal

log = logging.getLogger("ernie.reader")

REFUSE, SKIP, COPY = "refuse", "skip", "copy"  # what becomes of columns that nobody knows
KNOWN_COLUMNS = ("text_a", "text_b", "label", "qid")
AUTO, LINES = "auto", "txt"
FORMATS = ("tsv", "csv", "jsonl", "json", "parquet", LINES)
ENDINGS = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
}
TEXTS = ("text_a", "text_b")


@dataclass(frozen=True)
class TableForm:
    """How rows are stored, and which columns count.

    Attributes:
        format: one of ``FORMATS``; auto: as the file's name ends, TSV where the ending says nothing.
        text_a, text_b, label: the column of the file that is meant, or None: the one of this name.
        others: what becomes of other columns: ``refuse``; ``skip``, they are left out; ``copy``, their values are read
            as JSON under the name ``+NAME``. Unless they are refused, a file ``.txt`` may be lines of text without a
            header.
        or_ours: whether a text column of our name stands for one that was chosen and is not there, as in a file that a
            command of this project wrote from the rows.
    """

    format: str = AUTO
    text_a: str | None = None
    text_b: str | None = None
    label: str | None = None
    others: str = REFUSE
    or_ours: bool = False

    def format_of(self, path: str | Path) -> str:
        """The format of a file."""
        return ENDINGS.get(Path(path).suffix.lower(), "tsv") if self.format == AUTO else self.format

    @property
    def chosen(self) -> dict[str, str]:
        """Our name -> the file's, of the columns that were chosen."""
        named = {"text_a": self.text_a, "text_b": self.text_b, "label": self.label}
        return {ours: theirs for ours, theirs in named.items() if theirs is not None}

    @property
    def is_default(self) -> bool:
        """Whether no form and no column was asked for."""
        return self == TableForm(others=self.others, or_ours=self.or_ours)

    def copying(self) -> TableForm:
        """This form, where the values of other columns are copied."""
        return replace(self, others=COPY)

    def beside(self) -> TableForm:
        """This form for rows beside those that it describes: what a command wrote from them has ``text_a``."""
        return replace(self, or_ours=True)

    def choose(
        self,
        place: str,
        names: Sequence[str],
        required: Iterable[str] = ("text_a",),
        known: Collection[str] = KNOWN_COLUMNS,
        hint: Callable[[], str | None] | None = None,
    ) -> list[tuple[str, int]]:
        """(our name, place among the file's columns) of the columns that count, in the file's order.

        Columns of another name become what ``others`` says; where columns were chosen, they are never refused.

        Args:
            place: how messages begin.
            names: of the file's columns.
            required: those that have to be there.
            known: those that may be.
            hint: called for what the file looks like whose columns are not known; None: nothing certain.

        Raises:
            UserError: a column is missing, unknown, or there twice.
        """
        shown = ", ".join(name or "(no name)" for name in names)
        chosen = self._chosen_of(place, names, required, known, shown)
        ours_of: dict[str, str] = {theirs: ours for ours, theirs in chosen.items()}
        found: list[tuple[str, int]] = []
        for number, name in enumerate(names):
            own = name if name in known and name not in chosen else None
            named = ours_of.get(name, own)
            if named is None and self.others == COPY:
                found.append((self._copied(name or f"column_{number + 1}", {ours for ours, _ in found}), number))
                continue
            if named is None and not chosen and self.others == REFUSE:
                flags = proposal(names, required, known)
                said = (hint() if hint else None) or (
                    f"known are {', '.join(known)}: rename or remove it, or name the columns that count"
                    + (f": {flags}" if flags else " (--text_column, --label_column)")
                )
                raise UserError(f"{place}: unknown column {shorten(name)}; {said}")
            if named is None:
                continue
            if names.count(name) > 1:
                raise UserError(f"{place}: column {name!r} appears more than once; keep one")
            found.append((named, number))
        if self.others == SKIP and len(found) < len(names):
            left = [name for number, name in enumerate(names) if number not in {place for _, place in found}]
            log.info("%s: columns that are not read: %s", place, ", ".join(name or "(no name)" for name in left))
        there = [ours for ours, _ in found]
        for needed in required:
            if needed not in there:
                flags = proposal(names, required, known, chosen) or FLAGS.get(needed)
                flag = f", or name it with {flags}" if flags and needed in FLAGS else ""
                strange = hint and not chosen and all(map(is_copied, there))  # the first line is no header, it seems
                said = (hint() if hint and strange else None) or f"add it{flag}"
                raise UserError(f"{place}: column {needed!r} is missing (there: {shown}); {said}")
        return found

    def _chosen_of(self, place, names, required, known, shown):
        """Our name -> the file's, of the columns that are chosen in a file. Raises UserError: twice, or not there."""
        # A reader that never has a second text, or reads no labels, passes the flag over.
        chosen = {ours: theirs for ours, theirs in self.chosen.items() if ours in known}
        if self.or_ours:
            absent = [ours for ours, theirs in chosen.items() if theirs not in names and ours in names]
            chosen.update((ours, ours) for ours in absent if ours in TEXTS)
        columns = list(chosen.values())
        if len(set(columns)) < len(columns):
            twice = next(name for name in columns if columns.count(name) > 1)
            raise UserError(f"{place}: column {twice!r} was chosen twice; give each of the flags a column of its own")
        for ours, theirs in chosen.items():
            if theirs not in names and (ours in required or ours != "label" or self.others == COPY):
                raise UserError(f"{place}: no column {theirs!r} ({FLAGS[ours]}; there: {shown}); correct the name")
        return chosen

    @staticmethod
    def _copied(name, taken):
        """The name under which a column is copied: its own, made different from those before it."""
        ways = (COPIED + name, *(f"{COPIED}{name}_{count}" for count in range(2, len(taken) + 3)))
        return next(way for way in ways if way not in taken)

    def facts(self, names: Sequence[str], found: Sequence[tuple[str, int]]) -> dict[str, object]:
        """What a choice of columns adds to the identity of the rows; {} where their own names say the same."""
        picked = {ours: names[number] for ours, number in found if not is_copied(ours)}
        return {"columns": picked} if any(ours != theirs for ours, theirs in picked.items()) else {}


def is_copied(column: str) -> bool:
    """Whether a column is only copied; its fields are JSON."""
    return column.startswith(COPIED)


def bare_name(column: str) -> str:
    """The file's own name of a column that is only copied."""
    return column[len(COPIED) :]


PLAIN = TableForm()
