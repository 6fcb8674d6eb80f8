"""What a teacher says of every row of a TSV: a folder beside it, memory-mapped, with checksums.

    unlabelled.tsv.teacher/
      labels.json     columns, rows, sha256 of the TSV, the teacher; sha256 of the logits once all rows are there
      logits.npy      float32 [rows, columns]; NaN where the teacher has not been asked

A teacher of tags says something of each token: the rows are then the tokens of the TSV, in its order, and a row of -inf
is a token that the teacher has no word piece for.

    with SoftLabels.open_or_make("unlabelled.tsv.teacher", tsv_sha256, rows, teacher) as labels:
        labels.missing()                            # int64: numbers of the rows without logits
        labels.put(numbers, logits)
    SoftLabels.read(folder, tsv_sha256).take(numbers)   # float32 [n, columns]

Rows are written where they belong, by ``pwrite``: a kill leaves whole rows and rows of NaN, and another run goes on.
The file has its full size from the start, so a full disk is an error then and not a signal later.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from propeller.errors import UserError
from propeller.files import file_digest, write_file

LABELS, LOGITS = "labels.json", "logits.npy"
TAGGING = ("sequence_label", "student_sequence_label")  # tasks whose rows are tokens
FORMAT = 1
BLOCK = 1 << 16  # rows written or looked at together


def folder_of(path: str | Path) -> str:
    """Where the labels of a TSV are, unless a flag says otherwise."""
    return f"{path}.teacher"


class SoftLabels:
    """The logits of the rows of one TSV by one teacher.

    Args:
        folder: where they are.
        facts: the content of ``labels.json``.
        writable: whether rows may be put.

    Attributes:
        rows, columns: the shape of the logits.
        facts: see above.
    """

    def __init__(self, folder: str | Path, facts: Mapping[str, Any], writable: bool = False) -> None:
        self.folder, self.facts = Path(folder), dict(facts)
        self.rows, self.columns = int(facts["rows"]), int(facts["columns"])
        self.path = self.folder / LOGITS
        self._file: int | None = None
        try:
            self.logits = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.path}: cannot be read ({error}): remove {folder} and label the rows again"
            ) from None
        if self.logits.shape != (self.rows, self.columns) or self.logits.dtype != np.float32:
            raise UserError(
                f"{self.path}: holds {self.logits.dtype} {list(self.logits.shape)}, {LABELS} says float32 "
                f"{[self.rows, self.columns]}: remove {folder} and label the rows again"
            )
        if writable:
            self._file = os.open(self.path, os.O_WRONLY)
            self._begin = self.path.stat().st_size - self.rows * self.columns * 4

    @classmethod
    def read(cls, folder: str | Path, sha256: str, source: str | Path) -> SoftLabels:
        """Complete labels of a TSV.

        Args:
            folder: where they are.
            sha256: of the TSV as it is now.
            source: the TSV, for messages.

        Raises:
            UserError: there are none, not of all rows, of another file, or damaged.
        """
        facts = _read_facts(Path(folder))
        if facts is None:
            raise UserError(f"{folder}: no labels of a teacher there: python -m distill.label TEACHER {source}")
        _check_source(folder, facts, sha256, source)
        if not facts.get("sha256"):
            raise UserError(
                f"{folder}: the teacher has not labelled all rows: run python -m distill.label TEACHER {source} again, "
                "it goes on where it was"
            )
        labels = cls(folder, facts)
        if file_digest(labels.path) != facts["sha256"]:
            raise UserError(f"{labels.path}: damaged, its sha256 is another: remove {folder} and label the rows again")
        return labels

    @classmethod
    def open_or_make(
        cls, folder: str | Path, sha256: str, rows: int, teacher: Mapping[str, Any], source: str | Path
    ) -> SoftLabels:
        """The labels of a TSV by a teacher, to be completed.

        Args:
            folder: where they are, or will be.
            sha256: of the TSV.
            rows: how many logits it has: its rows, or its tokens.
            teacher: ``columns``, the number of logits, and what tells it from others, JSON-able.
            source: the TSV, for messages.

        Raises:
            UserError: what is there is of another file or another teacher, or damaged; it cannot be written.
        """
        folder = Path(folder)
        with _alone(folder):  # processes that train together come here at one time
            facts = _read_facts(folder)
            if facts is None:
                facts = {"format": FORMAT, "rows": rows, "columns": teacher["columns"], "source": sha256,
                         "teacher": dict(teacher), "sha256": None}  # fmt: skip
                _make(folder, facts)
        _check_source(folder, facts, sha256, source)
        if facts["teacher"] != dict(teacher):
            raise UserError(f"{folder}: holds the labels of another teacher: remove it, or name another folder")
        labels = cls(folder, facts, writable=True)
        labels.check_rows(rows)
        return labels

    def check_rows(self, rows: int) -> None:
        """Raise UserError where the labels are not of so many rows."""
        if self.rows != rows:
            raise UserError(f"{self.folder}: has {self.rows} rows, not {rows}: remove it and label the rows again")

    def missing(self) -> np.ndarray:
        """int64: the numbers of the rows that have no logits yet."""
        found = [np.flatnonzero(np.isnan(self.logits[begin : begin + BLOCK]).any(axis=1)) + begin
                 for begin in range(0, self.rows, BLOCK)]  # fmt: skip
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """float32 [n, columns] of rows; NaN where there is nothing yet."""
        return np.array(self.logits[np.asarray(numbers)], np.float32)

    def put(self, numbers: np.ndarray, logits: np.ndarray) -> None:
        """Write rows.

        Args:
            numbers: int [n].
            logits: float32 [n, columns].

        Raises:
            UserError: a number is not finite, or the file cannot be written.
        """
        logits = np.ascontiguousarray(logits, np.float32)
        if logits.shape != (len(numbers), self.columns):
            raise UserError(f"{self.folder}: the teacher gave {list(logits.shape)} for {[len(numbers), self.columns]}")
        known = np.isfinite(logits).all(axis=1)
        if self.facts["teacher"].get("task") in TAGGING:
            known |= (logits == -np.inf).all(axis=1)
        if not known.all():
            raise UserError(f"{self.folder}: the teacher gave a number that is not finite: see its weights")
        numbers = np.asarray(numbers)
        cuts = np.flatnonzero(np.diff(numbers) != 1) + 1  # runs of neighbours are one write
        try:
            for part in np.split(np.arange(len(numbers)), cuts):
                if len(part):
                    place = self._begin + int(numbers[part[0]]) * self.columns * 4
                    os.pwrite(self._descriptor(), logits[part[0] : part[-1] + 1].tobytes(), place)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror}); make room and run it again") from None

    def _descriptor(self):
        if self._file is None:
            raise ValueError("opened for reading")
        return self._file

    def finish(self) -> None:
        """Note the checksum, where no row is missing any more."""
        if self.facts.get("sha256") or len(self.missing()):
            return
        os.fsync(self._descriptor())
        self.facts["sha256"] = file_digest(self.path)
        _write_facts(self.folder, self.facts)

    def fingerprint(self) -> str:
        """sha256 (hex) of the logits that are there and of what they belong to."""
        named = [self.facts["source"], self.facts["teacher"], self.facts.get("sha256")]
        return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()

    def close(self) -> None:
        """End writing."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> SoftLabels:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _read_facts(folder):
    path = folder / LABELS
    try:
        facts = json.loads(path.read_text(encoding="utf8"))
        _ = facts["format"], facts["rows"], facts["columns"], facts["source"], facts["teacher"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path}: damaged: remove {folder} and label the rows again") from None
    if facts["format"] != FORMAT:
        raise UserError(f"{path}: of format {facts['format']}, this version reads {FORMAT}: label the rows again")
    return facts


def _write_facts(folder, facts):
    write_file(folder / LABELS, (json.dumps(facts, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode("utf8"))


def _check_source(folder, facts, sha256, source):
    if facts["source"] != sha256:
        raise UserError(
            f"{folder}: its labels are of another file than {source} is now: remove it and label the rows again"
        )


@contextlib.contextmanager
def _alone(folder):
    """While no other process makes a folder beside this one, where the file system has locks."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder.parent, os.O_RDONLY)
    except OSError:  # told when the folder is made
        yield
        return
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _make(folder, facts):
    """The file of logits, all NaN, then ``labels.json``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        header = np.lib.format.header_data_from_array_1_0(np.zeros((0, 0), np.float32))
        header["shape"] = (facts["rows"], facts["columns"])
        with open(folder / LOGITS, "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for block in _nothing(facts["rows"], facts["columns"]):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        _write_facts(folder, facts)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}): make room, or name another folder") from None


def _nothing(rows, columns) -> Iterator[bytes]:
    for begin in range(0, rows, BLOCK):
        yield np.full((min(BLOCK, rows - begin), columns), np.nan, np.float32).tobytes()
