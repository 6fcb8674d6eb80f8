"""Clients of a server: arrays in, arrays out; and the HTTP under it, for those who send JSON.

    with InferenceClient("http://127.0.0.1:8113") as client:
        outputs = client(src_ids, sent_ids, pos_ids, input_mask)      # in the order of the bundle's inputs
        outputs[0], outputs["logits"]             # the main output, as in 2019: probabilities; any output by its name

Connections are kept, one a thread. Only numpy and the standard library are needed.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np

from propeller.service import arrays
from propeller.service.errors import BadRequest

STALE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, ConnectionAbortedError)
LONGEST_WAIT_S = 30.0


class ServerError(RuntimeError):
    """The server answered with an error, or not at all.

    Attributes:
        status: HTTP status; None if there was no answer.
        code, request_id: as in the error body, or None.
        retry_after: seconds after which the same request may go well, or None.
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.request_id, self.retry_after = status, code, request_id, retry_after


Client = TypeVar("Client", bound="ServiceClient")


class ServiceClient:
    """JSON to a server and back, from any number of threads.

    Args:
        host: ``http://127.0.0.1:8113``; ``host:port`` and the ``tcp://host:port`` of 2019 are taken too.
        token: the server's bearer token, or None.
        timeout: seconds to wait for a connection, and for an answer.
        retries: how often a request is sent again that was answered "busy, try again" (503).

    Raises:
        ValueError: ``host`` is no such address.
    """

    def __init__(
        self, host: str = "http://127.0.0.1:8113", token: str | None = None, timeout: float = 60.0, retries: int = 3
    ) -> None:
        parts = urlsplit(host if "://" in host else f"http://{host}")
        if parts.scheme not in ("http", "https", "tcp") or not parts.hostname:
            raise ValueError(f"{host}: not an address like http://127.0.0.1:8113")
        self.host = host
        self._class = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._address, self._prefix = (parts.hostname, parts.port), parts.path.rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self.timeout, self.retries = timeout, retries
        self._local, self._lock = threading.local(), threading.Lock()
        self._open: set[http.client.HTTPConnection] = set()

    def __enter__(self: Client) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connections of all threads."""
        with self._lock:
            for connection in self._open:
                connection.close()
            self._open.clear()

    def get(self, path: str | Path) -> Any:
        """The JSON at a path.

        Raises:
            ServerError: see there.
        """
        return self._ask("GET", path, None)

    def post(self, path: str | Path, payload: Any) -> Any:
        """The JSON answer to a JSON request.

        Raises:
            ServerError: see there.
        """
        return self._ask("POST", path, json.dumps(payload, ensure_ascii=False, allow_nan=False).encode("utf-8"))

    def _ask(self, method, path, body):
        for left in range(self.retries, -1, -1):
            status, headers, content = self._exchange(method, self._prefix + path, body)
            if status == 200:
                return self._parse(content)
            error = self._error(status, headers, content)
            if status != 503 or error.retry_after is None or left == 0:
                raise error
            time.sleep(min(error.retry_after, LONGEST_WAIT_S))
        return None

    def _exchange(self, method, path, body):
        """One request and its answer; again on a new connection where the kept one had been ended meanwhile."""
        connection = getattr(self._local, "connection", None)
        reused = connection is not None and connection.sock is not None
        if connection is None:
            connection = self._local.connection = self._class(*self._address, timeout=self.timeout)
        with self._lock:
            self._open.add(connection)
        try:
            try:
                return self._send(connection, method, path, body)
            except STALE:
                if not reused:
                    raise
                connection.close()
                return self._send(connection, method, path, body)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            late = isinstance(error, (TimeoutError, socket.timeout))  # two classes before Python 3.10
            why = f"no answer in {self.timeout:g} s" if late else str(error) or repr(error)
            raise ServerError(f"{self.host}: {why}") from error

    def _send(self, connection, method, path, body):
        connection.request(method, path, body, self._headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def _parse(self, content):
        try:
            return json.loads(content)
        except ValueError as error:
            raise ServerError(f"{self.host}: the answer is not JSON: {content[:100]!r}", 200) from error

    def _error(self, status, headers, content):
        try:
            error = json.loads(content)["error"]
            message, code, number = error["message"], error["code"], error["request_id"]
        except (ValueError, KeyError, TypeError):
            message, code, number = repr(content[:100]), None, None
        after = headers.get("Retry-After", "")
        return ServerError(
            f"{self.host}: {status} {message}" + (f" (request {number})" if number else ""),
            status, code, number, int(after) if after.isdigit() else None,
        )  # fmt: skip


class Outputs(list):
    """What a model gave for a batch: its main outputs by position, all outputs by name.

    Args:
        named: output name -> array, first axis the rows.
        main: the names of the main outputs, in the order of their positions.
    """

    def __init__(self, named: Mapping[str, np.ndarray], main: Sequence[str]) -> None:
        super().__init__(named[name] for name in main)
        self.named = dict(named)

    def __getitem__(self, key: Any) -> Any:
        """The main output at a position, or any output by its name.

        Raises:
            IndexError: there is no such position. KeyError: there is no output of that name.
        """
        return self.named[key] if isinstance(key, str) else super().__getitem__(key)


class InferenceClient(ServiceClient):
    """Arrays to a server and back, called as in 2019.

    Args:
        host: see ``ServiceClient``.
        token: see ``ServiceClient``.
        timeout: see ``ServiceClient``.
        retries: see ``ServiceClient``.
        batch_size: rows of one request; larger arrays are sent in parts.
        num_coroutine: requests under way at a time.
    """

    def __init__(
        self,
        host: str = "http://127.0.0.1:8113",
        batch_size: int = 128,
        num_coroutine: int = 10,
        timeout: float = 60.0,
        token: str | None = None,
        retries: int = 3,
    ) -> None:
        super().__init__(host, token, timeout, retries)
        if batch_size < 1 or num_coroutine < 1:
            raise ValueError("batch_size and num_coroutine must be at least 1")
        self.batch_size, self.num_coroutine = batch_size, num_coroutine
        self._facts: dict[str, Any] | None = None
        self._threads: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """End all connections."""
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None
        super().close()

    @property
    def info(self) -> dict[str, Any]:
        """What the server says of its model: ``inputs``, ``outputs``, ``limits``, …"""
        if self._facts is None:
            self._facts = self.get("/info")
        return self._facts

    def __call__(self, *values: Any) -> Outputs:
        """Outputs of a batch.

        Args:
            values: arrays [rows, numbers], or as in 2019 [rows, numbers, 1], in the order of the bundle's inputs.

        Returns:
            The arrays of the main outputs, first axis the rows: one of a classifier, its probabilities, as in 2019.
            Where the server names no main outputs they are all outputs, in the order of the bundle. Every output is
            there by its name too: ``outputs["logits"]``.

        Raises:
            ValueError: another number of arrays than the model has inputs, or rows differ. ServerError: see there.
        """
        names = [entry["name"] for entry in self.info["inputs"]]
        columns = [np.asarray(value) for value in values]
        columns = [value[..., 0] if value.ndim == 3 and value.shape[-1] == 1 else value for value in columns]
        if len(columns) != len(names):
            raise ValueError(f"{len(columns)} arrays given, the model takes {len(names)}: {', '.join(names)}")
        if any(value.ndim != 2 for value in columns) or len({len(value) for value in columns}) != 1:
            raise ValueError(
                f"arrays must be [rows, numbers] with equal rows, not {[value.shape for value in columns]}"
            )
        rows = len(columns[0])
        if rows == 0:
            raise ValueError("arrays have no rows")
        parts = [
            {name: value[start : start + self.batch_size] for name, value in zip(names, columns)}
            for start in range(0, rows, self.batch_size)
        ]
        if len(parts) == 1:
            answers = [self._outputs(parts[0])]
        else:
            self._threads = self._threads or ThreadPoolExecutor(self.num_coroutine, thread_name_prefix="client")
            answers = list(self._threads.map(self._outputs, parts))
        named = {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}
        return Outputs(named, self.info.get("main", self.info["outputs"]))

    def _outputs(self, part):
        inputs = {name: arrays.encode(arrays.compact(value), as_base64=True) for name, value in part.items()}
        try:
            outputs = self.post("/arrays", {"inputs": inputs})["outputs"]
        except ServerError as error:
            rows = len(next(iter(part.values())))
            if error.status != 413 or rows == 1:
                raise
            halves = (slice(0, rows // 2), slice(rows // 2, None))  # the request or its answer was too large
            answers = [self._outputs({name: value[half] for name, value in part.items()}) for half in halves]
            return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}
        try:
            return {name: arrays.decode(name, outputs[name]) for name in self.info["outputs"]}
        except (KeyError, BadRequest) as error:
            raise ServerError(f"{self.host}: the answer does not hold the outputs it should: {error}", 200) from error
