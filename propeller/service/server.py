"""A server over one bundle: workers, queue, routes and sockets put together.

    serve(Settings(bundle="saved/step_100_inference_model", port=8113, workers=2, threads=1))

    with InferenceServer("saved/step_100_inference_model").listen(8113, wait=False):     # in a program's own thread
        ...

``python -m propeller.tools.start_server --help`` has the same as flags.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
import uvloop

from propeller.bundle import ONNX, Bundle, read_bundle
from propeller.errors import UserError
from propeller.service import arrays
from propeller.service.app import Application
from propeller.service.batching import BATCH_PLACES, GPU_BATCH_PLACES, BatchQueue
from propeller.service.connections import REFUSING_S, ConnectionTable, bounded_protocol
from propeller.service.engines import AUTO, check_engine, choose_engine, describe, seems_on_gpu, uses_gpu
from propeller.service.errors import BadRequest, ServiceError, TooLarge
from propeller.service.handlers import open_handler
from propeller.service.limits import Limits
from propeller.service.metrics import Metrics
from propeller.service.origins import Origins
from propeller.service.padding import InputSpec
from propeller.service.requests import json_body
from propeller.service.sockets import allow_files, bind, port_errors
from propeller.service.worker import PREDICTOR
from propeller.service.workers import WorkerPool

log = logging.getLogger("propeller.service")

PARSERS = 4  # threads that parse requests and write answers
HUNG_S = 60.0  # at least so long a worker may be silent
FILES = 256  # file descriptors besides connections
BACKLOG = 4096  # connections the system holds until they are looked at
COLLECT_AFTER = 200_000  # new objects, before garbage is looked for
GRACE_S = 5.0  # after the last deadline, for answers to reach their clients


@dataclass(frozen=True)
class Settings:
    """What a server is started with.

    Attributes:
        bundle: folder, or a ``propeller.bundle.Bundle``.
        host, port: address; port 0 takes a free one.
        workers, threads: processes, and threads of each.
        precision, use_cuda: see ``propeller.service.worker.open_predictor``.
        engine: what the workers run the bundle with, one of ``propeller.service.engines.ENGINES``.
        handlers: module of the text side, ``none`` for arrays only; see ``propeller.service.handlers``.
        handler_options: further arguments of its ``open_handler``, by name.
        token: what clients must show, or None.
        allowed_hosts, cors: see ``propeller.service.origins.Origins``; ``host`` is known without.
        limits: ``Limits``.
        factory: ``module:function`` that makes a worker's predictor.
        options: its arguments; None: the bundle, engine, precision, threads and use_cuda.
    """

    bundle: str | Path | Bundle
    host: str = "127.0.0.1"
    port: int = 8113
    workers: int = 1
    threads: int = 1
    precision: str = "fp32"
    use_cuda: str = "auto"
    engine: str = AUTO
    handlers: str = "none"
    handler_options: dict = field(default_factory=dict)
    token: str | None = field(default=None, repr=False)
    allowed_hosts: tuple = ()
    cors: tuple = ()
    limits: Limits = field(default_factory=Limits)
    factory: str = PREDICTOR
    options: dict | None = None


class Service:
    """What serves requests once they are off the wire: handler, queue, workers, figures.

    Raises:
        UserError: the bundle, or its handler, cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings, self.limits, self.metrics = settings, settings.limits, Metrics()
        bundle = settings.bundle
        self.bundle = bundle if isinstance(bundle, Bundle) else read_bundle(bundle)
        self.handler = open_handler(settings.handlers, self.bundle.folder, settings.handler_options)
        if self.bundle.digest:  # the text side reads it by itself: both must have the same one
            self.bundle.check_unchanged()
        try:
            self.spec = InputSpec(
                self.bundle.inputs,
                getattr(self.handler, "pad", None),
                getattr(self.handler, "bounds", None),
                getattr(self.handler, "max_length", None),
            )
        except ValueError as error:
            raise UserError(f"{self.bundle.folder}: {error}") from error
        limits, self.choice = self.limits, self._choose()
        places = GPU_BATCH_PLACES if seems_on_gpu(settings.engine, settings.use_cuda) else BATCH_PLACES
        self.queue = BatchQueue(
            limits.queue_size, limits.max_batch_size, limits.max_wait_ms / 1000, batch_places=places
        )
        task = {"factory": settings.factory, "options": settings.options or self._options()}
        patience = max(HUNG_S, 2 * limits.deadline_s)
        self.pool = WorkerPool(
            settings.workers, settings.threads, task, self.spec, self.queue, self.metrics, patience_s=patience
        )
        self.threads = ThreadPoolExecutor(PARSERS, thread_name_prefix="parser")
        self.metrics.watch("queue_instances", "Rows waiting for a worker", lambda: len(self.queue))
        self.metrics.watch("workers_alive", "Worker processes that run", lambda: self.pool.alive)

    def _choose(self):
        """The engine of all workers; None where they run something else than a bundle."""
        settings, bundle = self.settings, self.bundle
        if settings.options is not None or settings.factory != PREDICTOR:
            return None
        check_engine(settings.engine, settings.precision)
        # Paddle, which knows of GPUs, is not imported where there is no choice.
        gpu = (settings.engine != AUTO or ONNX in bundle.files) and uses_gpu(settings.engine, settings.use_cuda)
        choice = choose_engine(bundle, settings.engine, settings.precision, gpu)
        log.info(describe(choice, settings.precision, settings.threads))
        return choice

    def _options(self):
        names = ("precision", "threads", "use_cuda")
        engine = self.choice.name if self.choice else self.settings.engine
        facts = {"bundle": str(self.bundle.folder), "digest": self.bundle.digest, "engine": engine}
        return {**facts, **{name: getattr(self.settings, name) for name in names}}

    def rows_of(
        self, payload: dict[str, Any]
    ) -> tuple[list[tuple[dict[str, np.ndarray], int]], frozenset[str] | None, bool]:
        """See ``arrays.rows_of``; the names of outputs are checked too."""
        instances, wanted, as_base64 = arrays.rows_of(payload, self.spec, self.limits.max_texts)
        unknown = (wanted or frozenset()) - set(self.bundle.outputs)
        if unknown:
            raise BadRequest(f"no output {min(unknown)[:100]!r}; the model gives {', '.join(self.bundle.outputs)}")
        return instances, wanted, as_base64

    def answer_size(
        self, instances: list[tuple[dict[str, np.ndarray], int]], wanted: frozenset[str] | None, as_base64: bool
    ) -> int:
        """About how many bytes the answer to POST /arrays will have.

        Raises:
            TooLarge: more than the server gives.
        """
        sizes = {name: size for name, size in self.pool.sizes.items() if wanted is None or name in wanted}
        of = {
            name: sum(arrays.json_size(size, length, as_base64) for _, length in instances)
            for name, size in sizes.items()
        }
        total, most = sum(of.values()), self.limits.max_answer_mb
        if total > most * 10**6:
            largest = max(of, key=of.__getitem__)
            raise TooLarge(
                f"the answer would be {total // 10**6} MB ({largest} {of[largest] // 10**6}), the server gives {most}: "
                "send fewer rows, name in outputs those you need, or send the inputs in base64, as the answer then is"
            )
        return total

    def encode(self, rows: list[dict[str, np.ndarray]], as_base64: bool) -> bytes:
        """The answer to POST /arrays from a dict a row, as bytes of JSON.

        Raises:
            ServiceError: a number in it is not finite.
        """
        parts: list[bytes] = []
        try:
            for name in (name for name in self.bundle.outputs if name in rows[0]):
                parts += [b"," if parts else b"", json_body(name), b":"]
                parts += arrays.to_json(np.stack([row[name] for row in rows]), as_base64)
        except ValueError as error:
            raise ServiceError("the model gave a number that is not finite") from error
        return b"".join([b'{"outputs":{', *parts, b"}}"])

    def describe(self) -> dict[str, Any]:
        """What GET /info says."""
        limits, bundle = self.limits, self.bundle
        bounds = {
            name: getattr(limits, name)
            for name in ("max_texts", "max_chars", "max_body_kb", "max_answer_mb", "deadline_s")
        }
        facts = self.handler.describe() if hasattr(self.handler, "describe") else {}
        return {
            "task": bundle.task,
            "inputs": bundle.inputs,
            "outputs": bundle.outputs,
            "main": [name for name in getattr(self.handler, "main", None) or bundle.outputs if name in bundle.outputs],
            "precision": self.settings.precision,
            "engine": self.choice.name if self.choice else None,
            "limits": bounds,
            "model": facts,
        }

    def close(self) -> None:
        """End the workers, after what they have been given is answered."""
        self.pool.close(self.limits.deadline_s + GRACE_S)
        self.threads.shutdown()


class _Server(uvicorn.Server):
    """uvicorn's server; signals are ours to handle, so that a stopped server ends with status 0.

    Args:
        config: uvicorn's.
        table: ``ConnectionTable``.
    """

    def __init__(self, config: uvicorn.Config, table: ConnectionTable) -> None:
        super().__init__(config)
        self._table = table

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse what begins from now on; then accept no more, and end once what was taken is answered."""
        self._table.closing = True
        end = time.monotonic() + REFUSING_S
        while time.monotonic() < end and not self.force_exit:
            await asyncio.sleep(0.05)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self):
        yield


class RunningServer:
    """A service behind a socket.

    Args:
        settings: ``Settings``.

    Attributes:
        url: where it is, ``http://host:port``.

    Raises:
        UserError: the port is taken, the bundle is damaged, the limits do not fit the machine, …
    """

    def __init__(self, settings: Settings) -> None:
        self.settings, limits = settings, settings.limits
        Origins(settings.allowed_hosts, settings.cors)  # a mistake in them is told first
        allow_files(limits.max_connections + FILES + 256)
        self.socket = bind(settings.host, settings.port)
        own = (settings.host,) if settings.host else ()
        origins = Origins((*own, *settings.allowed_hosts), settings.cors)
        try:
            self.service = Service(settings)
            self.table = ConnectionTable(limits, self.service.metrics)
            self.service.metrics.watch("connections", "Open connections", lambda: len(self.table))
            self.service.pool.start()
            with port_errors(settings.host, settings.port, self.socket):
                self.socket.listen(BACKLOG)
        except BaseException:
            self._give_up()
            raise
        host, port = self.socket.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        config = uvicorn.Config(
            Application(self.service, settings.token, origins),
            http=bounded_protocol(self.table),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=limits.keep_alive_s,  # type: ignore[arg-type]  # seconds; uvicorn takes fractions too
            timeout_graceful_shutdown=limits.deadline_s + GRACE_S,  # type: ignore[arg-type]
        )
        self._server = _Server(config, self.table)

    def _give_up(self):
        self.socket.close()
        if hasattr(self, "service"):
            self.service.close()

    def run(self, signals: bool = True) -> None:
        """Serve until ``stop`` or, with ``signals``, SIGTERM, SIGHUP or SIGINT; a second one ends at once."""
        logging.getLogger("uvicorn").setLevel(logging.ERROR)  # anybody on the net can cause its warnings
        try:
            with _seldom_collected():
                uvloop.run(self._serve(signals))
        finally:
            self.service.close()
            self.socket.close()

    def stop(self, *_: Any) -> None:
        """Accept no more, answer what was taken, end; from any thread or signal handler."""
        if self._server.should_exit:
            self._server.force_exit = True
        self._server.should_exit = True

    async def _serve(self, signals):
        if signals:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                if signal.getsignal(number) is signal.SIG_IGN:  # as nohup has it
                    continue
                asyncio.get_running_loop().add_signal_handler(number, self.stop)
        log.info("serving %s at %s", self.service.bundle.folder, self.url)
        await self._server.serve(sockets=[self.socket])
        log.info("stopped")


class InferenceServer:
    """propeller's face of the server: ``InferenceServer(bundle, workers=2).listen(8113)``.

    Args:
        bundle: folder of a bundle.
        options: further fields of ``Settings``.
    """

    def __init__(self, bundle: str | Path | Bundle, **options: Any) -> None:
        self.settings = {"bundle": bundle, **options}

    def listen(self, port: int = 8113, wait: bool = True) -> AbstractContextManager[RunningServer] | None:
        """Serve at that port until SIGTERM or SIGINT; with ``wait=False`` in a thread, until the context it is ends."""
        server = RunningServer(Settings(port=port, **self.settings))
        if not wait:
            return _in_thread(server)
        server.run()
        return None


@contextlib.contextmanager
def _seldom_collected():
    """Look for garbage seldom meanwhile.

    JSON with hundreds of thousands of lists is none, and to look through it again and again while it is parsed takes
    several times as long as to parse it, in which nobody else is answered.
    """
    before = gc.get_threshold()
    gc.set_threshold(COLLECT_AFTER, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextlib.contextmanager
def _in_thread(server):
    thread = threading.Thread(target=server.run, args=(False,), name="server")
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()


def serve(settings: Settings) -> None:
    """Start a server and run it to its end; what the entry script does."""
    server = RunningServer(settings)
    if settings.host not in ("127.0.0.1", "localhost", "::1") and not settings.token:
        log.warning("%s accepts unauthenticated requests from any host: give --token, or --host 127.0.0.1", server.url)
    server.run()
