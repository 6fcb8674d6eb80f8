"""A teacher's vectors of the rows of a training file: from a file, or made by a model.

    vectors = TeacherVectors("output/teacher/best", table, columns=384)     # or stored_vectors("vectors.npy", 384)
    vectors.make()                          # once: reads every text, which may take long
    vectors[np.array([3, 8])]               # float32 [2, 384]

What a model makes is kept in the folder of the token cache, so a run that goes on has the same vectors to the last bit.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from finetune.embedding.vector_files import open_vectors, vectors_file
from finetune.spec import CONFIG, RECORD
from propeller.bundle import holds_bundle
from propeller.errors import UserError
from propeller.files import Scratch, atomic_bytes, file_digest
from reader.row_file import RowFile

log = logging.getLogger("ernie.finetune")

CHUNK = 1024  # texts whose vectors are made together
TELL_EVERY = 30.0  # seconds between lines of the log
MODEL_FILES = (RECORD, CONFIG, "config.json")
NOT_OF_MODEL = "training_state"


def is_model(path: str | Path) -> bool:
    """Whether a path is that of a model, which makes vectors, and not of vectors."""
    with contextlib.suppress(UserError):
        vectors_file(path)
        return False
    return holds_bundle(Path(path)) or any((Path(path) / name).is_file() for name in MODEL_FILES)


def teacher_digest(path: str | Path) -> str:
    """The sha256 of what vectors come from: a file of them, or all files of a model.

    Raises:
        UserError: there is neither.
    """
    if not is_model(path):
        return file_digest(vectors_file(path, ", or a model"))
    total, folder = hashlib.sha256(), Path(path)
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        if file.is_file() and NOT_OF_MODEL not in name.parts and not name.name.startswith("."):
            total.update(f"{name.as_posix()} {file_digest(file)}\n".encode())
    return total.hexdigest()


def stored_vectors(path: str | Path, columns: int | None) -> np.ndarray:
    """The vectors of a file, see ``finetune.embedding.vector_files.open_vectors``.

    Raises:
        UserError: there are none, or of another length.
    """
    vectors_file(path, ", or a model")
    return open_vectors(path, columns)


class TeacherVectors:
    """The vectors that a model gives the texts of a file.

    Args:
        model: a checkpoint, a model directory or an inference model of embeddings.
        table: the file; its column text_a is read.
        columns: numbers that a vector has to have; None: any.
        rows: int64, rising: the rows that are needed; None: all.
        folder: where the vectors are kept; None: nowhere, they are made in every run.
    """

    def __init__(
        self,
        model: str | Path,
        table: RowFile,
        columns: int | None,
        rows: np.ndarray | None = None,
        folder: str | Path | None = None,
    ) -> None:
        self.model, self.table, self.columns, self.rows = Path(model), table, columns, rows
        self.folder = None if folder is None else Path(folder)
        self._found: Any = None
        self._scratch: Scratch | None = None

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        """float32 [n, columns] of rows."""
        self.make()
        return self._found[numbers if self.rows is None else np.searchsorted(self.rows, numbers)]

    def make(self) -> None:
        """Make the vectors, unless an earlier run has.

        Raises:
            UserError: the model gives no vectors, or of another length.
        """
        if self._found is not None:
            return
        folder = self.folder
        if folder is None:
            self._scratch = Scratch("ernie-teacher-")  # as long as this object, at the latest until the program ends
            folder = self._scratch.path
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"teacher_vectors_{self._key()}.npy"
        with open(path.with_suffix(".lock"), "w") as lock:  # processes that train together come here at one time
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.is_file():
                self._write(path)
        self._found = open_vectors(path, self.columns)

    def _key(self):
        drawn = "" if self.rows is None else hashlib.sha256(self.rows.tobytes()).hexdigest()
        facts = [teacher_digest(self.model), self.table.sha256, repr(self.table.columns), drawn]
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:32]

    def _write(self, path):
        from finetune.api import load

        count = len(self) if self.rows is None else len(self.rows)
        begun = told = time.monotonic()
        log.info("%s: makes the vectors of %d texts", self.model, count)
        with load(self.model, task="embed") as teacher:
            if "poolings" not in teacher.describe():
                raise UserError(
                    f"--teacher_vectors {self.model}: an inference model of the task {teacher.spec.task!r} gives no "
                    "vectors: give the checkpoint it was made from, or an inference model of embeddings"
                )
            size = teacher.embed(["."]).shape[1]
            if self.columns not in (None, size):
                raise UserError(
                    f"--teacher_vectors {self.model}: vectors of {size} numbers, and the encoder has {self.columns}: "
                    "store them with ernie_encoder.py and make them as long with python -m finetune.embedding.resize"
                )
            with atomic_bytes(path) as file:
                header = {"descr": "<f4", "fortran_order": False, "shape": (count, size)}
                np.lib.format.write_array_header_1_0(file, header)
                done = 0
                for texts in self._chunks():
                    file.write(_vectors(teacher, texts, size).astype("<f4").tobytes())
                    done += len(texts)
                    if time.monotonic() - told > TELL_EVERY:
                        told = time.monotonic()
                        log.info("%d of %d texts", done, count)
        place = self.model if self._scratch else path
        log.info("%s: vectors of %d texts in %.1f s", place, count, time.monotonic() - begun)

    def _chunks(self) -> Iterator[list[str]]:
        """The texts of the rows; "" for one that cannot be read, which the run leaves out."""
        place, wanted = self.table.columns.index("text_a"), None if self.rows is None else set(self.rows.tolist())
        chunk: list[str] = []
        for row, (_, record) in enumerate(self.table.records()):
            if wanted is not None and row not in wanted:
                continue
            try:
                chunk.append(self.table.layout.fields(record)[place])
            except ValueError:
                chunk.append("")
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
        if chunk:
            yield chunk


def _vectors(teacher, texts, size):
    """float32 [texts, size]; NaN for a text without a word."""
    found = np.full((len(texts), size), np.nan, np.float32)
    there = [number for number, text in enumerate(texts) if text.strip()]
    if there:
        found[there] = teacher.embed([texts[number] for number in there], on_bad="skip")
    return found
