"""Processes that read and tokenise chunks of rows.

    with WorkerPool(2, encoder, table) as pool:
        for places, rows in pool.encode(chunks_of_places, order): ...      # in the order of the chunks

A pipe a worker, chunks dealt in turn: order is kept without sorting, and no lock is shared that a killed worker could
take along. A worker that dies is seen at its sentinel.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import numpy as np

from propeller.errors import UserError
from reader.row_file import open_unchanged

if TYPE_CHECKING:
    from reader.batching import EncodedRows
    from reader.row_encoder import RowEncoder
    from reader.row_file import RowFile


log = logging.getLogger("ernie.reader")

AHEAD = 2  # chunks a worker has: one in hand, one waiting. A task is sent when the one before was answered, so that
# two processes never wait for each other to read: a single task fits the smallest pipe buffer.


class ReaderWorkerError(RuntimeError):
    """A worker process died or failed for a reason that is not in the data."""


class WorkerPool:
    """num_workers spawned processes with a copy of `encoder` (RowEncoder) each, reading the file of `table` (RowFile).

    Raises, from `encode`: UserError as the encoder does; ReaderWorkerError if a worker died or its code failed.
    """

    def __init__(self, num_workers: int, encoder: RowEncoder, table: RowFile) -> None:
        self.num_workers, self.encoder, self.table = num_workers, encoder, table
        self.processes: list[Any] = []
        self.pipes: list[Connection] = []
        self.pending: deque[tuple[int, np.ndarray]] = deque()  # (worker, places) sent and not received

    def __enter__(self) -> WorkerPool:
        context = multiprocessing.get_context("spawn")
        args = (self.encoder, self.table.data_path, self.table.data_size, self.table.data_mtime_ns)
        try:
            for number in range(self.num_workers):
                ours, theirs = context.Pipe()
                self.pipes.append(ours)
                process = context.Process(target=work, args=(theirs, *args), name=f"reader-{number}", daemon=True)
                with _main_module_hidden():
                    process.start()
                self.processes.append(process)
                theirs.close()  # so that a worker's death ends the pipe
        except BaseException:
            self.close()
            raise
        log.debug("%d reader workers: %s", self.num_workers, [process.pid for process in self.processes])
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def encode(self, chunks: Iterable[np.ndarray], order: np.ndarray) -> Iterator[tuple[np.ndarray, EncodedRows]]:
        """(places, EncodedRows of rows order[places]) for each int array `places` of `chunks`, in order."""
        while self.pending:  # what an earlier call left behind
            self._receive(*self.pending.popleft())
        dealt = zip(itertools.cycle(range(self.num_workers)), chunks)
        while True:
            for worker, places in itertools.islice(dealt, AHEAD * self.num_workers - len(self.pending)):
                self._send(worker, order[places])
                self.pending.append((worker, places))
            if not self.pending:
                return
            worker, places = self.pending.popleft()
            yield places, self._receive(worker, places)

    def _send(self, worker, rows):
        try:
            begin, end = self.table.bounds(rows)
            self.pipes[worker].send((rows, begin.astype(self.table.starts.dtype), (end - begin).astype(np.uint32)))
        except OSError:
            self._died(worker)

    def _receive(self, worker, places):
        pipe = self.pipes[worker]
        ready = multiprocessing.connection.wait([pipe, self.processes[worker].sentinel])
        if pipe not in ready:
            self._died(worker)
        try:
            kind, value = pipe.recv()
        except (EOFError, OSError):
            self._died(worker)
        if kind == "user":
            raise UserError(value)
        if kind == "bug":
            raise ReaderWorkerError(f"reader worker {worker} failed on {self.table.path}:\n{value}")
        return value

    def _died(self, worker):
        process = self.processes[worker]
        process.join(5)
        code = process.exitcode
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with status {code}"
        hint = "; out of memory? use fewer reader workers" if code == -signal.SIGKILL else ""
        raise ReaderWorkerError(
            f"{self.table.path}: reader worker {worker} (process {process.pid}) {how}{hint}; run again to continue"
        ) from None

    def close(self) -> None:
        """Ends the processes; safe to call again."""
        for pipe in self.pipes:
            pipe.close()
        for process in self.processes:
            process.kill()  # it holds nothing that could be lost
        for process in self.processes:
            process.join()
            process.close()
        self.processes, self.pipes = [], []
        self.pending.clear()


@contextlib.contextmanager
def _main_module_hidden():
    """Keeps a spawned process from importing the entry script again: that would load Paddle into every worker."""
    main = sys.modules["__main__"]
    hidden = {name: getattr(main, name) for name in ("__file__", "__spec__") if hasattr(main, name)}
    try:
        for name in hidden:
            setattr(main, name, None)
        yield
    finally:
        for name, value in hidden.items():
            setattr(main, name, value)


def work(pipe: Connection, encoder: RowEncoder, path: str, size: int, mtime_ns: int) -> None:
    """The worker process: (rows, begin, size) in, ("rows", EncodedRows) out; ("user" | "bug", message) at an error."""
    # Ctrl-C, and a scheduler's SIGTERM to all, are the parent's to handle: it wants batches to its last step.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the processes are the parallelism
    try:
        with open_unchanged(path, size, mtime_ns) as fd:
            while True:
                rows, begin, size = pipe.recv()
                begin = begin.astype(np.int64)
                pipe.send(("rows", encoder.encode(encoder.layout.read(fd, begin, begin + size), rows)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is done, or dead
    except UserError as error:
        message = ("user", str(error))
    except Exception:
        message = ("bug", traceback.format_exc())
    with contextlib.suppress(OSError):
        pipe.send(message)
