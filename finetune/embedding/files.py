"""Embeddings on disk: `.npy` files that grow row by row and appear whole or not at all.

    with EmbeddingFolder("embeddings", rows=1000, hidden=768) as folder:
        folder.write(item, vectors, states)             # item: reader.ordered.OrderedBatch
        folder.tokens.write("[CLS]\\tgood\\t[SEP]\\n")    # in the file's order
        folder.finish({"pooling": "cls"})
    numpy.load("embeddings/top_layer_emb.npy", mmap_mode="r")

Rows are written with `pwrite` where they belong. Memory does not grow with their number, and a full disk is an error;
a store into a memory-mapped array would kill the process. All files are written to a hidden folder inside the output
folder and renamed at the end; if a run is killed, the next one clears that folder. `embeddings.json` is renamed last
and describes the other files; without it they may come from two runs.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from propeller.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from reader.ordered import OrderedBatch


PARTIAL = ".embeddings.partial"
MANIFEST, VECTORS, STATES = "embeddings.json", "cls_emb.npy", "top_layer_emb.npy"
COUNTS, TOKENS = "token_counts.npy", "tokens.tsv"
HEADER_BYTES = 128  # what numpy.save makes of such a shape; kept free until the number of rows is known


class NpyFile:
    """A `.npy` file of rows written in any order.

    Args:
        path: it must not be there.
        dtype, row_shape: of the array [rows, *row_shape].
        rows: how many there will be, whose room is taken on the disk at once, or None.
    """

    def __init__(
        self, path: str | Path, dtype: DTypeLike, row_shape: Sequence[int] = (), rows: int | None = None
    ) -> None:
        self.path, self.dtype, self.row_shape = Path(path), np.dtype(dtype), tuple(row_shape)
        self.row_bytes = self.dtype.itemsize * int(np.prod(row_shape, dtype=np.int64))
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if rows and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(self._file, 0, HEADER_BYTES + rows * self.row_bytes)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # the file system knows no such thing
                    self.close()
                    raise

    def write(self, first: int, array: np.ndarray) -> None:
        """Put array [n, *row_shape] at rows first..first + n - 1; it must be contiguous to go without a copy."""
        data = np.ascontiguousarray(array, self.dtype).data.cast("B")
        at = HEADER_BYTES + first * self.row_bytes
        while data:
            written = os.pwrite(self._file, data, at)
            data, at = data[written:], at + written

    def finish(self, rows: int) -> None:
        """Write the header of an array of ``rows`` rows, and sync the file. Without it the file is no valid `.npy`."""
        os.pwrite(self._file, self._header(rows), 0)
        if os.fstat(self._file).st_size != HEADER_BYTES + rows * self.row_bytes:
            raise ValueError(f"{self.path}: {os.fstat(self._file).st_size} bytes for {rows} rows")
        os.fsync(self._file)
        self.close()

    def _header(self, rows):
        """Version 1.0 of the format: magic, length, a Python literal padded with blanks (numpy.lib.format)."""
        facts = {"descr": self.dtype.str, "fortran_order": False, "shape": (rows, *self.row_shape)}
        text = "{" + "".join(f"'{key}': {value!r}, " for key, value in facts.items()) + "}"
        start = np.lib.format.magic(1, 0) + (HEADER_BYTES - 10).to_bytes(2, "little")
        return start + text.ljust(HEADER_BYTES - 11).encode("latin1") + b"\n"

    def close(self) -> None:
        """Close the file; safe to call again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class EmbeddingFolder:
    """The files of one run in ``folder``; as a context manager, which clears up what was not finished.

    Args:
        folder: where they go; made if it is not there. What an earlier run left under the same names is replaced.
        rows: of the data.
        hidden: length of a token's state.
        states: whether the states of every token are kept, too.
        vector_size: length of a row's vector; None: ``hidden``.

    Attributes:
        tokens: text file with one line per row: its tokens, separated by tabs.
        scratch: a temporary folder for the run, removed at its end.

    Raises:
        UserError: the folder cannot be written, is full, or another run writes there. An ``OSError`` in the ``with``
            block becomes one as well.
    """

    def __init__(
        self, folder: str | Path, rows: int, hidden: int, states: bool = True, vector_size: int | None = None
    ) -> None:
        self.folder, self.rows, self.hidden, self.keeps_states = Path(folder), rows, hidden, states
        self.vector_size = vector_size or hidden
        self.num_tokens = 0
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> EmbeddingFolder:
        with self._closing:
            try:
                self._open()
            except OSError as error:
                raise self._cannot(error) from error
            self._closing = self._closing.pop_all()
        return self

    def _open(self):
        partial = self.folder / PARTIAL
        if not self.folder.exists():
            self._closing.callback(_remove_empty, self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        partial.mkdir(exist_ok=True)
        self._lock(partial)
        for left in partial.iterdir():  # of a run that was killed
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        self.scratch = partial / "scratch"
        self.scratch.mkdir()
        self.vectors = self._add(NpyFile(partial / VECTORS, "<f4", [self.vector_size], self.rows))
        self.counts = self._add(NpyFile(partial / COUNTS, "<i4", rows=self.rows))
        self.states = self._add(NpyFile(partial / STATES, "<f4", [self.hidden])) if self.keeps_states else None
        tokens = open(partial / TOKENS, "w", encoding="utf-8", newline="\n")  # noqa: SIM115 (closed with the others)
        self.tokens = self._add(tokens)

    def _lock(self, partial):
        """Keep other runs out until this one ends, however it ends; then the folder goes."""
        lock = os.open(partial, os.O_RDONLY)
        self._closing.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{self.folder}: another run writes there: wait for it or choose another folder") from None
        self._closing.callback(shutil.rmtree, partial, ignore_errors=True)

    def _add(self, file):
        self._closing.callback(file.close)
        return file

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()
        if isinstance(error, OSError):
            raise self._cannot(error) from error

    def _cannot(self, error):
        what = error.strerror or error
        return UserError(f"{self.folder}: cannot be written ({what}): make room there or choose another --output_dir")

    def write(self, item: OrderedBatch, vectors: np.ndarray, states: np.ndarray | None = None) -> None:
        """Put the rows of a batch where they belong.

        Args:
            item: ``reader.ordered.OrderedBatch``.
            vectors: float32 [batch, vector_size].
            states: float32 [batch, seq, hidden], or None where they are not kept.
        """
        places = zip(item.rows.tolist(), item.lengths.tolist(), item.starts.tolist())
        for i, (row, length, start) in enumerate(places):
            self.vectors.write(row, vectors[i])
            self.counts.write(row, item.lengths[i : i + 1])
            if self.states and states is not None:
                self.states.write(start, states[i, :length])
        self.num_tokens += int(item.lengths.sum())

    def finish(self, facts: Mapping[str, Any]) -> None:
        """All rows were written: give the files their names. ``facts``: JSON-able dict for ``embeddings.json``."""
        self.vectors.finish(self.rows)
        self.counts.finish(self.rows)
        if self.states:
            self.states.finish(self.num_tokens)
        self.tokens.flush()
        os.fsync(self.tokens.fileno())
        names = [VECTORS, COUNTS, TOKENS] + ([STATES] if self.states else [])
        sizes = {} if self.vector_size == self.hidden else {"vector_size": self.vector_size}
        counts = {"rows": self.rows, "tokens": self.num_tokens, "hidden_size": self.hidden}
        facts = {**counts, **sizes, **facts, "files": names}
        partial = self.folder / PARTIAL
        with open(partial / MANIFEST, "w", encoding="utf-8") as file:
            file.write(json.dumps(facts, ensure_ascii=False, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        for name in {MANIFEST, STATES} - set(names):  # an earlier run's: not of these rows
            (self.folder / name).unlink(missing_ok=True)
        for name in [*names, MANIFEST]:
            (partial / name).replace(self.folder / name)
        self._sync()

    def _sync(self):
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def vectors_of(outputs: Mapping[str, np.ndarray], pooling: str, normalize: bool = False) -> np.ndarray:
    """The rows' vectors, float32 [batch, hidden], among the outputs of a bundle for embeddings.

    Args:
        outputs: name -> array, see ``finetune.embedding.task.Embed.forward``.
        pooling: the name of the output.
        normalize: whether they are made of length 1 (L2), so that their product is the cosine.
    """
    vectors = outputs[pooling]
    if not normalize:
        return vectors
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _remove_empty(folder):
    """Remove a folder that was made for what was not written."""
    with contextlib.suppress(OSError):
        folder.rmdir()
