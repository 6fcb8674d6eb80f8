"""What the converters of data share: rows from files as they are, a TSV of the readers out, and a count of both.

    report = Report()
    report.convert(raw / "train.tsv", out / "train.tsv", ("label", "text_a"), rows)
    sys.exit(report.finish())

``rows`` yields (line, values) or (line, ``Refused``): nothing is dropped without its reason being counted. What was
written is read back with the project's own reader; a file that cannot be converted does not stop those after it.
"""

from __future__ import annotations

import contextlib
import csv
import math
from collections import Counter
from functools import lru_cache

from propeller.encoding import HEAD, guess, remedy
from propeller.errors import UserError
from propeller.files import atomic_text
from reader.row_encoder import LabelRule, read_int
from script.conversion_check import check_table

MOST_REFUSED = 0.5  # of the rows of a file: with more of them gone it is hardly that file any more
ALLOW_REFUSED = "--allow_refused"
MARK = b"\xef\xbb\xbf"  # the byte-order mark; in the middle of a file where several were joined


class Refused(str):
    """Why a row is left out; the same words for rows left out for the same reason."""


def text_lines(path):
    """(line number, text or Refused) of every line; split at line feeds alone, as the readers do.

    Raises UserError: the file as a whole is in another encoding.
    """
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            line = line.removeprefix(MARK)
            line = line[:-1] if line.endswith(b"\n") else line
            line = line[:-1] if line.endswith(b"\r") else line
            try:
                yield number, line.decode("utf-8")
            except UnicodeDecodeError as error:
                if encoded_otherwise(str(path)):
                    raise UserError(f"{path}, line {number}: not UTF-8; {remedy(path, error.object)}") from None
                yield number, Refused("not UTF-8")


@lru_cache(4)
def encoded_otherwise(path):
    """Whether a file is in an encoding of more than one byte a character, rather than damaged in some places."""
    with open(path, "rb") as file:
        return guess(file.read(HEAD)) not in ("UTF-8", "WINDOWS-1252", "LATIN1", None)


def tab_rows(path, width=None):
    """(line, list of fields or Refused); quotes are text like any other. width: the number of fields, or None."""
    for number, line in text_lines(path):
        if not isinstance(line, Refused):
            line = line.split("\t")
            if width is not None and len(line) != width:
                line = Refused(f"{len(line)} fields where there should be {width}")
        yield number, line


def named_rows(path, names, rows=None):
    """(line, the fields of these names or Refused), by the names in the first line.

    rows: (line, fields) pairs; those of the file, parted by tabs, if None. Raises UserError: a name is not there.
    """
    rows = tab_rows(path) if rows is None else rows
    _, header = next(rows, (1, []))
    header = [] if isinstance(header, Refused) else header
    for name in names:
        if name not in header:
            raise UserError(
                f"{path}, line 1: no column {name!r} (there: {', '.join(header)}); is it the original file?"
            )
    places = [header.index(name) for name in names]
    for number, fields in rows:
        if not isinstance(fields, Refused):
            if len(fields) != len(header):
                fields = Refused(f"{len(fields)} fields where the header has {len(header)}")
            else:
                fields = [fields[place] for place in places]
        yield number, fields


def comma_rows(path):
    """(line, list of fields) of a CSV file, quoted as usual. Raises UserError: it is not UTF-8."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        try:
            for fields in rows:
                yield rows.line_num, fields
        except UnicodeDecodeError as error:
            raise UserError(f"{path}, line {rows.line_num + 1}: not UTF-8; {remedy(path, error.object)}") from None
        except csv.Error as error:
            raise UserError(f"{path}, line {rows.line_num + 1}: {error}; correct its quotes") from None


def changed(rows, change):
    """The same pairs, their fields put through ``change``, which returns values or Refused."""
    for number, fields in rows:
        yield number, fields if isinstance(fields, Refused) else change(fields)


def number_label(text):
    """The label of regression, as it stands, or Refused."""
    try:
        good = math.isfinite(float(text))
    except ValueError:
        good = False
    return text if good else Refused("the label is no number")


def class_label(classes):
    """A function: label word -> its class as text, or Refused. classes: dict of word -> class."""

    def change(word):
        return str(classes[word]) if word in classes else Refused(f"unknown label {word[:20]!r}")

    return change


def _problem(header, values):
    """Why the readers would not take these values under this header, or None."""
    for name, value in zip(header, values):
        if isinstance(value, Refused):
            return value
        if any(sign in value for sign in "\t\r\n"):
            return Refused(f"a tab or a line end within {name}")
        if name == "qid":
            try:
                read_int(value)
            except ValueError:
                return Refused("the qid is no integer")
    if "label" in header and not values[header.index("text_a")].strip():
        return Refused("text_a is empty")  # a row of a test set wants its prediction all the same
    return None


class Report:
    """Counts, a line a file on stdout, and the exit status. unit: what a row is called."""

    def __init__(self, allow_refused=False, unit="row"):
        self.files, self.broken, self.allow_refused, self.unit = 0, [], allow_refused, unit

    @contextlib.contextmanager
    def file(self, source):
        """Around the conversion of a file: what stops it is kept for the end, and the next file is converted."""
        try:
            yield
        except UserError as error:
            self.files += 1
            text = str(error)
            self.broken.append(text if text.startswith(str(source)) else f"{source}: {text}")
            print(f"{source}: not converted")

    def convert(self, source, target, header, rows, complete=False, labels=None, check=None):
        """Write a TSV.

        Args:
            complete: a file of which no row may be missing (a test set) is not written without it.
            labels: the ``LabelRule`` that its label column is read back by; by default integers.
            check: a function path -> number of rows that reads the file back, in place of that of a TSV.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        read, kept, refused = 0, 0, {}
        lines = ["\t".join(header) + "\n"]
        for number, values in rows:
            read += 1
            problem = values if isinstance(values, Refused) else _problem(header, values)
            if problem:
                refused.setdefault(problem, []).append(number)
            else:
                kept += 1
                lines.append("\t".join(values) + "\n")
        whole = kept and not (complete and refused) and not self.is_lost(read, kept)
        if whole:
            with atomic_text(target) as file:
                file.writelines(lines)
            rule = labels or LabelRule("class" if "label" in header else None)
            self.read_back(target, kept, check or (lambda path: check_table(path, rule)))
        self.count(source, target, read, kept, refused, "line", whole)

    def of(self, number):
        """A number of rows in words: "1 row", "2 rows"."""
        return f"{number} {self.unit}{'' if number == 1 else 's'}"

    def is_lost(self, read, kept):
        """Whether more of a file is refused than may be."""
        return read - kept > MOST_REFUSED * read and not self.allow_refused

    @staticmethod
    def read_back(target, kept, check):
        """Raise UserError, and remove the file, where the reader finds other than ``kept`` rows in it."""
        try:
            found = check(target)
            if found != kept:
                raise UserError(f"{target}: {kept} rows were written, the reader finds {found}")
        except UserError as error:
            target.unlink()
            raise UserError(f"the converted file could not be read back, so it was removed: {error}") from None

    def count(self, source, target, read, kept, refused, unit="line", written=True, changes=()):
        """Say what became of a file.

        Args:
            refused: dict of reason -> where (line numbers or ids).
            changes: what was changed in what is kept, a text each.
        """
        self.files += 1
        left = sum(map(len, refused.values()))
        goes_to = target if written else "not written"
        print(f"{source}: {self.of(read)} in, {self.of(kept)} out, {left} refused -> {goes_to}")
        for reason, places in Counter({reason: len(places) for reason, places in refused.items()}).most_common():
            first = refused[reason][0]
            print(f"    refused: {places} x {reason} (first: {unit} {first})")
        for text in changes:
            print(f"    changed: {text}")
        if not written:
            why = (
                f"{self.of(left)} refused, and a test set needs all" if kept else f"there is no good {self.unit} in it"
            )
            if kept and self.is_lost(read, kept):
                reason = max(refused, key=lambda words: len(refused[words]))
                why = (
                    f"{left} of {self.of(read)} refused, most of them: {reason} (first: {unit} {refused[reason][0]}); "
                    f"is it the file that was meant? {ALLOW_REFUSED} converts the rest"
                )
            self.broken.append(f"{source}: {why}")

    def missing(self, what):
        """Say that a file is not there."""
        print(f"{what}: not there, left out")

    def finish(self, raw):
        """The exit status. Raises UserError: nothing was found, or a file could not be written."""
        if self.broken:
            raise UserError("; ".join(self.broken))
        if not self.files:
            raise UserError(f"{raw}: none of the files is there; name the folder that holds the tasks' folders")
        return 0
