"""The form of a file of rows, and which of its columns count.

form = TableForm(text_a="review", label="stars")
form.format_of("reviews.csv")                       # "csv", by its ending
form.choose("reviews.csv, line 1", ["id", "review", "stars"], ("text_a", "label"))
# [("text_a", 1), ("label", 2)]
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from propeller.errors import UserError
from reader.row_file import shorten

KNOWN_COLUMNS = ("text_a", "text_b", "label", "qid")
AUTO = "auto"
FORMATS = ("tsv", "csv", "jsonl", "json", "parquet")
ENDINGS = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
}
FLAGS = {"text_a": "--text_column", "text_b": "--text_pair_column", "label": "--label_column"}


@dataclass(frozen=True)
class TableForm:
    """How rows are stored, and which columns count.

    Attributes:
        format: one of ``FORMATS``; auto: as the file's name ends, TSV where the ending says nothing.
        text_a, text_b, label: the column of the file that is meant, or None: the one of this name.
    """

    format: str = AUTO
    text_a: str | None = None
    text_b: str | None = None
    label: str | None = None

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
        """Whether nothing was asked for."""
        return self == TableForm()

    def choose(
        self,
        place: str,
        names: Sequence[str],
        required: Iterable[str] = ("text_a",),
        known: Collection[str] = KNOWN_COLUMNS,
        hint: Callable[[], str | None] | None = None,
    ) -> list[tuple[str, int]]:
        """(our name, place among the file's columns) of the columns that count, in the file's order.

        Where columns were chosen the others are left out; else one of another name is an error.

        Args:
            place: how messages begin.
            names: of the file's columns.
            required: those that have to be there.
            known: those that may be.
            hint: called for what the file looks like whose columns are not known; None: nothing certain.

        Raises:
            UserError: a column is missing, unknown, or there twice.
        """
        # A reader that never has a second text, or reads no labels, passes the flag over.
        chosen = {ours: theirs for ours, theirs in self.chosen.items() if ours in known}
        shown = ", ".join(name or "(no name)" for name in names)
        ours_of: dict[str, str] = {theirs: ours for ours, theirs in chosen.items()}
        if len(ours_of) < len(chosen):
            twice = next(name for name in ours_of if list(chosen.values()).count(name) > 1)
            raise UserError(f"{place}: column {twice!r} was chosen twice; give each of the flags a column of its own")
        for ours, theirs in chosen.items():
            if theirs not in names and (ours in required or ours != "label"):
                raise UserError(f"{place}: no column {theirs!r} ({FLAGS[ours]}; there: {shown}); correct the name")
        found = []
        for number, name in enumerate(names):
            own = name if name in known and name not in chosen else None
            named = ours_of.get(name, own)
            if named is None and not chosen:
                said = (hint() if hint else None) or (
                    f"known are {', '.join(known)}: rename or remove it, or name the columns that count "
                    "(--text_column, --label_column)"
                )
                raise UserError(f"{place}: unknown column {shorten(name)}; {said}")
            if named is None:
                continue
            if names.count(name) > 1:
                raise UserError(f"{place}: column {name!r} appears more than once; keep one")
            found.append((named, number))
        there = [ours for ours, _ in found]
        for needed in required:
            if needed not in there:
                flag = f", or name it with {FLAGS[needed]}" if needed in FLAGS else ""
                raise UserError(f"{place}: column {needed!r} is missing (there: {shown}); add it{flag}")
        return found

    def facts(self, names: Sequence[str], found: Sequence[tuple[str, int]]) -> dict[str, object]:
        """What a choice of columns adds to the identity of the rows; {} where their own names say the same."""
        picked = {ours: names[number] for ours, number in found}
        return {"columns": picked} if any(ours != theirs for ours, theirs in picked.items()) else {}


PLAIN = TableForm()
