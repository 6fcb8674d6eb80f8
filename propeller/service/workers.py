"""Worker processes and the threads that feed them.

    pool = WorkerPool(count=2, threads=1, task={"factory": "module:function", "options": {...}}, spec=spec, queue=queue)
    pool.start()            # waits until every process has loaded its model
    pool.close()            # after the queue was closed: what it held is answered first

A thread a process: it takes a batch, sends it, waits for the outputs. Processes share no lock, so one that is killed
takes nothing along; its thread starts another and puts the batch back into the queue.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from propeller.errors import UserError
from propeller.service.errors import ServiceError
from propeller.service.padding import split

if TYPE_CHECKING:
    from propeller.service.batching import BatchQueue
    from propeller.service.metrics import Metrics
    from propeller.service.padding import InputSpec, OutputSize


log = logging.getLogger("propeller.service")

IDLE_S = 0.2  # how often an idle thread looks whether its process lives
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0  # before a process that did not come up is tried again
NO_WORKER = "no worker process runs, and none could be started: try again later"
END_S = 5.0  # that a process has to end by itself


class ModelFailed(ServiceError):
    """The model raised an error on a row."""

    status, code = 500, "model_failed"


class WorkerProcess:
    """One process and the socket to it.

    Args:
        task: what ``propeller.service.worker.serve`` wants first.
        threads: OMP_NUM_THREADS of the process, which Paddle reads when it is imported.
        patience_s: seconds of silence after which it is taken for hung.
    """

    def __init__(self, task: dict[str, Any], threads: int, patience_s: float) -> None:
        ours, theirs = socket.socketpair()
        path = os.pathsep.join([part or str(Path.cwd()) for part in sys.path])
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": path}
        command = [sys.executable, "-m", "propeller.service.worker", str(theirs.fileno())]
        try:
            with theirs:
                self.process = subprocess.Popen(
                    command,
                    pass_fds=[theirs.fileno()],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C is for the front alone
                )
        except BaseException:
            ours.close()
            raise
        self._patience = struct.pack("ll", int(patience_s), 0)
        self._socket, self.loaded = ours, False
        self.sizes: dict[str, OutputSize] = {}
        self.sequence: set[str] = set()
        self.pipe = Connection(os.dup(ours.fileno()))
        self.pipe.send(task)

    def ready(self) -> None:
        """Wait until it has loaded the model.

        Raises:
            UserError: the model cannot be loaded, and what to do. EOFError, OSError: the process died.
            RuntimeError: any other failure, with the process' traceback.
        """
        kind, value = self.pipe.recv()
        if kind == "user":
            raise UserError(value)
        if kind == "bug":
            raise RuntimeError(f"a worker could not start:\n{value}")
        self.sizes, self.sequence, self.loaded = value, {name for name in value if value[name].per_token}, True
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, self._patience)

    def send(self, batch: dict[str, np.ndarray], wanted: frozenset[str] | None) -> None:
        """Give it a batch. Raises OSError: it was dead, or is hung, before it had the batch."""
        self.pipe.send((batch, wanted))

    def receive(self) -> dict[str, np.ndarray]:
        """Outputs of the batch.

        Raises:
            ModelFailed: the model raised. EOFError, OSError: the process died, or was too long silent.
        """
        kind, value = self.pipe.recv()
        if kind == "bug":
            raise ModelFailed(value)
        return value

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def end(self, at_once: bool = False) -> str:
        """Close the socket, which ends the process, and wait for it; returns how it ended, in words."""
        if at_once:
            self.process.kill()
        else:
            self._close()
        try:
            status = self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self._close()
        return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"

    def _close(self):
        self.pipe.close()
        self._socket.close()


class WorkerPool:
    """``count`` processes, each with the thread that feeds it.

    Args:
        count: number of processes.
        threads: threads of each.
        task: dict ``factory``, ``options``, see ``propeller.service.worker.serve``.
        spec: ``InputSpec`` of the model.
        queue: ``BatchQueue``.
        observer: object with ``batch(size, seconds)`` and ``restarted()``, or None.
        patience_s: seconds after which a process that does not answer is taken for hung.
    """

    def __init__(
        self,
        count: int,
        threads: int,
        task: dict[str, Any],
        spec: InputSpec,
        queue: BatchQueue,
        observer: Metrics | None = None,
        patience_s: float = 120.0,
    ) -> None:
        self.count, self.threads, self.spec, self.queue = count, threads, spec, queue
        self.task = {**task, "inputs": spec.inputs, "pad": spec.values, "max_length": spec.max_length}
        self.observer, self.patience_s = observer, patience_s
        self.workers: list[Any] = [None] * count  # WorkerProcess, once started
        self.sizes: dict[str, OutputSize] = {}  # of each output, once a worker has loaded the model
        self._failing = [False] * count  # of each: it is gone, and the last attempt to start another failed
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()

    @property
    def alive(self) -> int:
        """Number of processes that are loaded and running."""
        return sum(worker is not None and worker.loaded and worker.alive for worker in self.workers)

    @property
    def dead(self) -> bool:
        """Whether no process runs, and none could be started."""
        return all(self._failing)

    @property
    def pids(self) -> list[int]:
        """Process ids of those."""
        return [worker.process.pid for worker in self.workers if worker is not None and worker.loaded]

    def start(self) -> None:
        """Start all processes and wait until they have loaded the model.

        Raises:
            UserError, RuntimeError: see ``WorkerProcess.ready``; RuntimeError too if a process died. None is left.
        """
        started = []
        try:
            for _ in range(self.count):
                started.append(WorkerProcess(self.task, self.threads, self.patience_s))
            for worker in started:
                worker.ready()
        except (EOFError, OSError) as error:
            how = [worker.end(at_once=worker.alive) for worker in started]
            raise RuntimeError(f"a worker died while it loaded the model: {', '.join(how)}") from error
        except BaseException:
            for worker in started:
                worker.end(at_once=True)
            raise
        self.sizes = started[0].sizes
        for number, worker in enumerate(started):
            self.workers[number] = worker
            thread = threading.Thread(target=self._feed, args=(number,), name=f"worker-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self, patience_s: float | None = None) -> None:
        """Wait until the queue, closed before, is empty; then end the processes. What waits too long is abandoned."""
        self.queue.close()
        end = time.monotonic() + (self.patience_s if patience_s is None else patience_s)
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        self._stopping.set()
        self.queue.abandon()
        late = any(thread.is_alive() for thread in self._threads)
        for worker in self.workers:
            if worker is not None:
                worker.end(at_once=late)
        for thread in self._threads:
            thread.join()

    def _feed(self, number):
        """A thread's life: batches to its process, a new process for one that died."""
        while not self._stopping.is_set():
            if not self.workers[number].alive and not self._replace(number, self.workers[number]):
                return
            worker = self.workers[number]
            batch = self.queue.take(IDLE_S)
            if batch:
                self._run(worker, batch)
            elif self.queue.closed:
                return

    def _run(self, worker, batch):
        begun = time.monotonic()
        try:
            arrays = self.spec.pad([instance.arrays for instance in batch])
            try:
                worker.send(arrays, _union(instance.wanted for instance in batch))
            except OSError:  # not the batch's doing: it goes to the next worker as it is
                worker.end(at_once=worker.alive)
                return self.queue.put_back(batch)
            rows = split(worker.receive(), [instance.length for instance in batch], worker.sequence)
        except ModelFailed as error:
            if len(batch) > 1:  # one row's fault is not the others'
                self.queue.put_back(batch, alone=True)
            else:
                log.error("the model failed on a row of %d tokens:\n%s", batch[0].length, error.message)
                self.queue.fail(batch, ModelFailed("the model failed on this input"))
        except (EOFError, OSError) as error:
            if isinstance(error, BlockingIOError):
                log.warning("worker process %d: no answer in %g s: ending it", worker.process.pid, self.patience_s)
            worker.end(at_once=worker.alive)
            self.queue.put_back(batch, alone=True, died=True)
        except Exception:
            log.exception("a batch of %d rows failed", len(batch))
            self.queue.fail(batch, ServiceError("the server failed on this input"))
        else:
            self.queue.finish(batch, rows)
            if self.observer:
                self.observer.batch(len(batch), time.monotonic() - begun)
        return None

    def _replace(self, number, dead):
        """Put a new process in place of a dead one, as often as it takes; False when the pool stops."""
        log.warning("worker process %d %s: starting another", dead.process.pid, dead.end())
        pause = FIRST_PAUSE_S
        while not (self._stopping.is_set() or (self.queue.closed and not len(self.queue))):
            if self.observer:
                self.observer.restarted()
            try:
                worker = self.workers[number] = WorkerProcess(self.task, self.threads, self.patience_s)
                worker.ready()
            except (UserError, RuntimeError, EOFError, OSError) as error:
                if self.workers[number] is not dead:
                    self.workers[number].end(at_once=True)
                log.error("no new worker yet: %s; trying again in %g s", error or "it died while loading", pause)
                self._failing[number] = True
                if self.dead:
                    self.queue.abandon(NO_WORKER)
                self._stopping.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                self._failing[number] = False
                log.info("worker process %d is ready", worker.process.pid)
                return True
        return False


def _union(wanted):
    wanted = list(wanted)
    return None if None in wanted else frozenset().union(*wanted)
