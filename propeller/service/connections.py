"""uvicorn's HTTP protocol with a bound on everything that a client can make wait or grow.

    table = ConnectionTable(limits, metrics)
    uvicorn.Config(app, http=bounded_protocol(table), ws="none")

uvicorn bounds the time between requests only. Here, too: how many connections there are, how long and large the headers
are, how many requests a client sends ahead, how much follows a body, how long an answer may lie untaken. When the table
is full, whoever has been without a whole request longest goes, so that idle or slow connections shut nobody out.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    from propeller.service.limits import Limits
    from propeller.service.metrics import Metrics


PIPELINED = 16  # requests a client may send ahead of the answers
LINGER_S = 2.0  # that a client has to read an answer given before its body was read
REFUSING_S = 0.3  # that a server which ends still refuses requests, instead of cutting connections off
LINGERING = 256  # connections over the limit for which there is that moment
FRAMING = 8  # bytes on the wire for each of a body's, as with chunks of one byte
STATUS = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}
STATUS[503] = b"Service Unavailable"


def plain_answer(status: int, code: str, message: str) -> bytes:
    """A whole HTTP answer with the JSON error body, as bytes, for what never becomes a request."""
    body = json.dumps({"error": {"code": code, "message": message, "request_id": None}}).encode()
    retry = b"retry-after: 1\r\n" if status == 503 else b""
    return (
        b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%sconnection: close\r\n\r\n%s"
        % (status, STATUS[status], len(body), retry, body)
    )


class ConnectionTable:
    """The open connections of a server, those that may be ended in the order of their patience.

    Args:
        limits: ``Limits``.
        metrics: object with ``refused()`` and ``evicted()``.
    """

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self.limits, self.metrics = limits, metrics
        self.closing = False  # whether requests that begin now are refused, since the server ends
        self.open: set[BoundedProtocol] = set()
        self._waiting: dict[BoundedProtocol, bool] = {}  # without a whole request, oldest first

    def __len__(self) -> int:
        return len(self.open)

    def enter(self, connection: BoundedProtocol) -> bool:
        """Add a connection; another one goes if there is no room. False if none could."""
        if len(self.open) >= self.limits.max_connections:
            if not self._waiting:
                self.metrics.refused()
                return False
            oldest = next(iter(self._waiting))
            self.metrics.evicted()
            self.leave(oldest)
            oldest.cut()
        self.open.add(connection)
        self._waiting[connection] = True
        return True

    def leave(self, connection: BoundedProtocol) -> None:
        """Forget a connection."""
        self.open.discard(connection)
        self._waiting.pop(connection, None)

    def waits(self, connection: BoundedProtocol) -> None:
        """It has no request in work from now on."""
        if connection in self.open:
            self._waiting[connection] = True

    def works(self, connection: BoundedProtocol) -> None:
        """It has sent a whole request."""
        self._waiting.pop(connection, None)


class _Transport:
    """A transport whose ``close`` comes to an end: an answer that is not taken is dropped after a while.

    Where a body was not read, closing at once would reset the connection, and the client might never see why. So only
    the sending side is closed, and what still comes is thrown away for a moment.
    """

    def __init__(self, transport, protocol) -> None:
        self._transport, self._protocol, self._closing = transport, protocol, False

    def __getattr__(self, name):
        return getattr(self._transport, name)

    def is_closing(self):
        return self._closing or self._transport.is_closing()

    def close(self):
        if self._closing:
            return
        self._closing = True
        if self._protocol.unread and not self._transport.is_closing() and self._transport.can_write_eof():
            with contextlib.suppress(OSError, RuntimeError):
                self._transport.resume_reading()
            with contextlib.suppress(OSError, RuntimeError):
                self._transport.write_eof()
            self._protocol.cut_after(LINGER_S)
        else:
            self._transport.close()
            self._protocol.cut_after(self._protocol.table.limits.write_s)


class BoundedProtocol(HttpToolsProtocol):
    """One connection; ``table`` is set by ``bounded_protocol``."""

    table: ConnectionTable  # of the server
    _timer: asyncio.TimerHandle | None
    _cutter: asyncio.TimerHandle | None

    def connection_made(self, transport: Any) -> None:
        self._timer = self._cutter = None
        self._in_headers, self._in_request, self._taken = False, False, 0
        self._stopping = self._refused = self._late = False
        super().connection_made(cast(asyncio.Transport, _Transport(transport, self)))
        if self.table.enter(self):
            self._expect_headers()
        else:
            self._refuse(503, "too_many_connections", "the server has all the connections it takes: try again later")

    def connection_lost(self, exc: Exception | None) -> None:
        self.table.leave(self)
        super().connection_lost(exc)  # closes the transport, which sets a timer
        self._stop_timer()
        if self._cutter:
            self._cutter.cancel()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._taken += len(data)
        super().data_received(data)
        limits = self.table.limits
        if self._in_headers and self._taken > limits.max_header_kb << 10:
            self._refuse_headers()
        elif self._in_request and self._taken > (limits.max_header_kb << 10) + FRAMING * (limits.max_body_kb << 10):
            self.cut()  # endless trailers, or chunks that are nearly all framing
        elif not self._in_request and self._timer is None and self._idle:
            self._expect_headers()  # blank lines before a request are no sign of life

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers = self._in_request = True
        self._late = self.table.closing
        self._taken = self._header_bytes = 0
        if self._timer is None:
            self._expect_headers()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._header_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._header_bytes += len(name) + len(value) + len(b": \r\n")

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._stop_timer()
        if self._header_bytes > self.table.limits.max_header_kb << 10:  # all of them came at once
            self._refuse_headers()
            raise ValueError("headers too large")
        if self._late and self._idle:
            self._refuse(503, "shutting_down", "the server is being stopped: ask another, or this one later")
            raise ValueError("the server ends")
        super().on_headers_complete()
        cast("dict[str, Any]", self.scope)["give_up"] = functools.partial(self._give_up, self.cycle)
        if self._stopping:
            self.cycle.keep_alive = False
        if len(self.pipeline) > PIPELINED:
            raise ValueError("too many requests sent ahead")

    def on_message_complete(self) -> None:
        self._in_request = False
        super().on_message_complete()
        self.table.works(self)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_request:  # answered before its body had come: what follows is thrown away
            self.transport.close()
        elif not self.pipeline:
            self.table.waits(self)

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "bad_request", "this is not HTTP")

    def shutdown(self) -> None:
        """Answer what was taken, a request still coming included; end what is idle."""
        self._stopping = True
        if not self._idle:
            self.cycle.keep_alive = False
        elif not self._in_request:
            self.loop.call_later(REFUSING_S, self._close_idle)  # a request may be on its way

    def _close_idle(self):
        if self._idle and not self._in_request:
            self.transport.close()

    def cut(self) -> None:
        """End the connection now."""
        self.transport.abort()

    def _give_up(self, cycle):
        """End the connection in the middle of an answer; its request counts as one whose client has left."""
        cycle.disconnected = True
        self.cut()

    def cut_after(self, seconds: float) -> None:
        """End it so much later, whatever is still to be sent or read."""
        self._stop_timer()
        if self._cutter is None:
            self._cutter = self.loop.call_later(seconds, self.cut)

    @property
    def unread(self) -> bool:
        """Whether the client is still sending, or will be, what nobody reads."""
        few = len(self.connections) < self.table.limits.max_connections + LINGERING
        return few and (self._in_request or self._refused)

    @property
    def _idle(self):
        return self.cycle is None or self.cycle.response_complete

    def _refuse(self, status, code, message):
        silent = self._idle or not (self.cycle.response_started or self.pipeline)
        if silent and not self.transport.is_closing():
            self.transport.write(plain_answer(status, code, message))
            if self.cycle is not None:
                self.cycle.disconnected = True
                self.cycle.message_event.set()
        self._refused = True
        self.transport.close()

    def _refuse_headers(self):
        self._refuse(431, "headers_too_large", f"headers of over {self.table.limits.max_header_kb} KiB")

    def _expect_headers(self):
        self._timer = self.loop.call_later(self.table.limits.header_s, self._headers_late)

    def _headers_late(self):
        self._timer = None
        if not self._idle:
            self.cycle.keep_alive = False  # an earlier request is in work: its answer is the last
        elif not self.transport.is_closing():
            self._refuse(408, "request_timeout", "the headers of the request did not come in time")

    def _stop_timer(self):
        if self._timer:
            self._timer.cancel()
            self._timer = None


def bounded_protocol(table: ConnectionTable) -> type[BoundedProtocol]:
    """The protocol class of a server, for ``uvicorn.Config(http=...)``."""
    return type("Connection", (BoundedProtocol,), {"table": table})
