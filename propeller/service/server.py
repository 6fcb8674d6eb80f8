"""A server over one bundle: workers, queue, routes and sockets put together.

    serve(Settings(bundle="saved/step_100_inference_model", port=8113, workers=2, threads=1))

    with InferenceServer("saved/step_100_inference_model").listen(8113, wait=False):     # in a program's own thread
        ...

``python -m propeller.tools.start_server --help`` has the same as flags.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import resource
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import uvicorn
import uvloop

from propeller.bundle import Bundle, read_bundle
from propeller.errors import UserError
from propeller.service import arrays
from propeller.service.app import Application
from propeller.service.batching import BatchQueue
from propeller.service.connections import ConnectionTable, bounded_protocol
from propeller.service.errors import BadRequest
from propeller.service.jobs import open_handler
from propeller.service.limits import Limits
from propeller.service.metrics import Metrics
from propeller.service.padding import InputSpec
from propeller.service.worker import PREDICTOR
from propeller.service.workers import WorkerPool

log = logging.getLogger("propeller.service")

PARSERS = 4  # threads that parse requests and write answers
HUNG_S = 60.0  # at least so long a worker may be silent
FILES = 256  # file descriptors besides connections
BACKLOG = 4096  # connections the system holds until they are looked at
GRACE_S = 5.0  # after the last deadline, for answers to reach their clients


@dataclass(frozen=True)
class Settings:
    """What a server is started with.

    Attributes:
        bundle: folder, or a ``propeller.bundle.Bundle``.
        host, port: address; port 0 takes a free one.
        workers, threads: processes, and threads of each.
        precision, use_cuda: see ``propeller.service.worker.open_predictor``.
        handlers: module of the text side, ``none`` for arrays only; see ``propeller.service.jobs``.
        token: what clients must show, or None.
        limits: ``Limits``.
        factory: ``module:function`` that makes a worker's predictor.
        options: its arguments; None: the bundle, precision, threads and use_cuda.
    """

    bundle: object
    host: str = "127.0.0.1"
    port: int = 8113
    workers: int = 1
    threads: int = 1
    precision: str = "fp32"
    use_cuda: str = "auto"
    handlers: str = "none"
    token: str | None = None
    limits: Limits = field(default_factory=Limits)
    factory: str = PREDICTOR
    options: dict | None = None


class Service:
    """What serves requests once they are off the wire: handler, queue, workers, figures.

    Raises:
        UserError: the bundle, or its handler, cannot be used.
    """

    def __init__(self, settings):
        self.settings, self.limits, self.metrics = settings, settings.limits, Metrics()
        bundle = settings.bundle
        self.bundle = bundle if isinstance(bundle, Bundle) else read_bundle(bundle)
        self.handler = open_handler(settings.handlers, self.bundle.folder)
        try:
            self.spec = InputSpec(
                self.bundle.inputs,
                getattr(self.handler, "pad", None),
                getattr(self.handler, "bounds", None),
                getattr(self.handler, "max_length", None),
            )
        except ValueError as error:
            raise UserError(f"{self.bundle.folder}: {error}") from error
        limits = self.limits
        self.queue = BatchQueue(limits.queue_size, limits.max_batch_size, limits.max_wait_ms / 1000)
        task = {"factory": settings.factory, "options": settings.options or self._options()}
        patience = max(HUNG_S, 2 * limits.deadline_s)
        self.pool = WorkerPool(
            settings.workers, settings.threads, task, self.spec, self.queue, self.metrics, patience_s=patience
        )
        self.threads = ThreadPoolExecutor(PARSERS, thread_name_prefix="parser")
        self.metrics.watch("queue_instances", "Rows waiting for a worker", lambda: len(self.queue))
        self.metrics.watch("workers_alive", "Worker processes that run", lambda: self.pool.alive)

    def _options(self):
        names = ("precision", "threads", "use_cuda")
        return {"bundle": str(self.bundle.folder), **{name: getattr(self.settings, name) for name in names}}

    def rows_of(self, payload):
        """See ``arrays.rows_of``; the names of outputs are checked too."""
        instances, wanted, as_base64 = arrays.rows_of(payload, self.spec, self.limits.max_texts)
        unknown = (wanted or set()) - set(self.bundle.outputs)
        if unknown:
            raise BadRequest(f"no output {min(unknown)[:100]!r}; the model gives {', '.join(self.bundle.outputs)}")
        return instances, wanted, as_base64

    def encode(self, rows, as_base64):
        """The answer to POST /arrays from a dict a row."""
        names = [name for name in self.bundle.outputs if name in rows[0]]
        return {"outputs": {name: arrays.encode(np.stack([row[name] for row in rows]), as_base64) for name in names}}

    def describe(self):
        """What GET /info says."""
        limits, bundle = self.limits, self.bundle
        said = {name: getattr(limits, name) for name in ("max_texts", "max_chars", "max_body_kb", "deadline_s")}
        facts = self.handler.describe() if hasattr(self.handler, "describe") else {}
        return {
            "task": bundle.task,
            "inputs": bundle.inputs,
            "outputs": bundle.outputs,
            "precision": self.settings.precision,
            "limits": said,
            "model": facts,
        }

    def close(self):
        """End the workers, after what they have been given is answered."""
        self.pool.close(self.limits.deadline_s + GRACE_S)
        self.threads.shutdown()


class _Server(uvicorn.Server):
    """uvicorn's server; signals are ours to handle, so that a stopped server ends with status 0."""

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

    def __init__(self, settings):
        self.settings, limits = settings, settings.limits
        _allow_files(limits.max_connections + FILES + 256)
        self.socket = _bind(settings.host, settings.port)
        try:
            self.service = Service(settings)
            self.table = ConnectionTable(limits, self.service.metrics)
            self.service.metrics.watch("connections", "Open connections", lambda: len(self.table))
            self.service.pool.start()
            with _port_errors(settings.host, settings.port, self.socket):
                self.socket.listen(BACKLOG)
        except BaseException:
            self._give_up()
            raise
        host, port = self.socket.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        config = uvicorn.Config(
            Application(self.service, settings.token),
            http=bounded_protocol(self.table),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=limits.keep_alive_s,
            timeout_graceful_shutdown=limits.deadline_s + GRACE_S,
        )
        self._server = _Server(config)

    def _give_up(self):
        self.socket.close()
        if hasattr(self, "service"):
            self.service.close()

    def run(self, signals=True):
        """Serve until ``stop`` or, with ``signals``, SIGTERM or SIGINT; a second one ends at once."""
        logging.getLogger("uvicorn").setLevel(logging.ERROR)  # anybody on the net can cause its warnings
        try:
            uvloop.run(self._serve(signals))
        finally:
            self.service.close()
            self.socket.close()

    def stop(self, *_):
        """Accept no more, answer what was taken, end; from any thread or signal handler."""
        if self._server.should_exit:
            self._server.force_exit = True
        self._server.should_exit = True

    async def _serve(self, signals):
        if signals:
            for number in (signal.SIGTERM, signal.SIGINT):
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

    def __init__(self, bundle, **options):
        self.settings = {"bundle": bundle, **options}

    def listen(self, port=8113, wait=True):
        """Serve at that port until SIGTERM or SIGINT; with ``wait=False`` in a thread, until the context it is ends."""
        server = RunningServer(Settings(port=port, **self.settings))
        return server.run() if wait else _in_thread(server)


@contextlib.contextmanager
def _in_thread(server):
    thread = threading.Thread(target=server.run, args=(False,), name="server")
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()


def serve(settings):
    """Start a server and run it to its end; what the entry script does."""
    server = RunningServer(settings)
    if settings.host not in ("127.0.0.1", "localhost", "::1") and not settings.token:
        log.warning("%s takes requests of anybody who reaches it: give --token, or --host 127.0.0.1", server.url)
    server.run()


def _bind(host, port):
    """A socket that has the address, before the model is loaded; it listens after."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError, OverflowError) as error:
        raise UserError(f"--host {host}, port {port}: not an address of this machine ({error})") from error
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with _port_errors(host, port, bound):
        bound.bind(address)
    return bound


@contextlib.contextmanager
def _port_errors(host, port, bound):
    """An address that cannot be had as a UserError."""
    try:
        yield
    except (OSError, OverflowError) as error:
        bound.close()
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise UserError(f"port {port} of {host} is in use: stop what uses it, or give another -p") from error
        raise UserError(f"port {port} of {host} cannot be had ({error}): give another -p or --host") from error


def _allow_files(count):
    """Raise the limit of open files where it is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= count:
        return
    if hard != resource.RLIM_INFINITY and hard < count:
        raise UserError(f"--max_connections needs {count} open files, this shell allows {hard}: lower it, or ulimit -n")
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
