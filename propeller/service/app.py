"""The routes of the server, as an ASGI application.

    app = Application(service, token=None)
    uvicorn.Config(app, ...)

POST /predict, POST /arrays, GET /info, /healthz, /metrics, / and /page/*. One request at a time on a connection; its
work is reading (here), parsing and answering (threads; here what is small), and the model (workers, through the queue).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import mimetypes
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from propeller.errors import UserError
from propeller.service.batching import too_late
from propeller.service.errors import (
    BadRequest,
    DeadlineExceeded,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    ServiceError,
    Unauthorized,
    WorkerLost,
)
from propeller.service.metrics import CONTENT_TYPE
from propeller.service.origins import Origins
from propeller.service.requests import (
    Answer,
    BodyBudget,
    ClientGone,
    error_answer,
    has_body,
    json_body,
    parse_json,
    read_body,
    request_id,
    send_body,
)
from propeller.service.workers import NO_WORKER

if TYPE_CHECKING:
    from propeller.service.requests import Receive, Send
    from propeller.service.server import Service


log = logging.getLogger("propeller.service")

ANSWERS = 4  # of the largest ones that may be in work, or on their way, at a time
# Bytes of a body, and numbers of an answer, that take less time than to hand them to a thread and back (0.2 ms).
SMALL = 2048
OPEN = ("/healthz", "/", "/page/")  # routes that need no token: what a probe or a browser asks first
SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'self'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"),
]


class Application:
    """The ASGI application of one server.

    Args:
        service: ``propeller.service.server.Service``: handler, queue, pool, metrics, limits, threads.
        token: what ``Authorization: Bearer`` must say, or None.
        origins: ``propeller.service.origins.Origins``; None: the server's own names and pages.
    """

    def __init__(self, service: Service, token: str | None = None, origins: Origins | None = None) -> None:
        self.service, self.limits, self.metrics = service, service.limits, service.metrics
        self._token = _digest(token.encode()) if token else None
        self._origins = origins or Origins()
        self._budget = BodyBudget(self.limits.max_bodies_kb << 10)
        self._answers = BodyBudget(ANSWERS * self.limits.max_answer_mb * 10**6)
        self._parsing = 0  # requests between their body and the queue
        self._files = static_files(getattr(service.handler, "page", None))
        self._routes = {
            "/predict": {"POST": self._predict},
            "/arrays": {"POST": self._arrays},
            "/info": {"GET": self._info},
            "/healthz": {"GET": self._health},
            "/metrics": {"GET": self._figures},
        }
        self.metrics.watch("requests_in_parsing", "Requests being parsed", lambda: self._parsing)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        begun, number = time.monotonic(), request_id(scope["headers"])
        request = Request(scope, receive, begun + self.limits.deadline_s)
        route = self._route_name(scope["path"])
        try:
            answer = await self._find(route, scope)(request)
        except ServiceError as error:
            answer = error_answer(error, number)
        except ClientGone:
            self.metrics.answered(route, 499, time.monotonic() - begun)  # as proxies number it
            return
        except Exception:
            log.exception("request %s to %s failed", number, route)
            answer = error_answer(ServiceError("the server failed on this request"), number)
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", str(len(answer.body)).encode()),
            (b"x-request-id", number.encode()),
            *answer.headers,
            *self._origins.headers(scope),
        ]
        if not request.read and has_body(scope["headers"]) and (b"connection", b"close") not in headers:
            headers.append((b"connection", b"close"))
        seconds = time.monotonic() - begun
        self.metrics.answered(route, answer.status, seconds)
        log.debug("%s %s: %d in %.1f ms (request %s)", scope["method"], route, answer.status, 1000 * seconds, number)
        try:
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            await send_body(send, answer.body, self.limits.write_s)
        except ClientGone:  # nobody takes it
            scope["give_up"]()
        finally:
            answer.sent()

    def _route_name(self, path):
        if path in self._routes:
            return path
        if path == "/" or path.startswith("/page/"):
            return "/" if path == "/" else "/page/"
        return "other"

    def _find(self, route, scope):
        """The coroutine function of a request, or the error it gets before its body is read."""
        if route != "/healthz":  # which a probe asks by any name, and which says nothing
            self._origins.check(scope)
        if self._origins.is_preflight(scope):
            return self._preflight
        if self._token and route not in OPEN:
            authorization = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            kind, _, word = authorization.partition(b" ")
            if kind.lower() != b"bearer" or not hmac.compare_digest(_digest(word.strip()), self._token):
                raise Unauthorized("give the server's token: Authorization: Bearer ...")
        methods = self._routes.get(route)
        if methods is None:
            if route == "other" or scope["path"] not in self._files:
                raise NotFound("nothing is here; known: POST /predict, /arrays, GET /info, /healthz, /metrics, /")
            methods = {"GET": self._page}
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if method not in methods:
            raise MethodNotAllowed(f"this path takes {', '.join(methods)}", tuple(methods))
        return methods[method]

    async def _predict(self, request):
        service = self.service

        def parse(body):
            job = service.handler.parse(parse_json(body), self.limits)
            return job, [service.spec.check(instance) for instance in job.instances]

        quick = getattr(service.handler, "quick", False)
        job, instances = await self._parse(request, parse, quick)
        wanted = getattr(job, "outputs", None) or getattr(service.handler, "outputs", None)
        names, unpadded = frozenset(wanted) if wanted is not None else None, getattr(job, "unpadded", False)
        outputs = await self._run(request, instances, names, unpadded)
        if quick and sum(array.size for row in outputs for array in row.values()) <= SMALL:
            return Answer(200, _finite(service.handler.answer(job, outputs)))
        return Answer(200, await self._thread(lambda: _finite(service.handler.answer(job, outputs))))

    async def _arrays(self, request):
        service = self.service
        instances, wanted, as_base64 = await self._parse(request, lambda body: service.rows_of(parse_json(body)))
        size = service.answer_size(instances, wanted, as_base64)
        self._answers.take(size)
        try:
            outputs = await self._run(request, instances, wanted)
            body = await self._thread(lambda: service.encode(outputs, as_base64))
        except BaseException:
            self._answers.give_back(size)
            raise
        return Answer(200, body, sent=lambda: self._answers.give_back(size))

    async def _parse(self, request, parse, quick=False):
        """Read the body and parse it in a thread; so many at a time as the queue has room, and no more.

        With ``quick`` a small body is parsed at once.
        """
        self._check_room()
        body = await read_body(request.receive, request.scope["headers"], self.limits, self._budget)
        request.read = True
        self._parsing, work = self._parsing + 1, None
        try:
            self._check_room()
            if quick and len(body) <= SMALL:
                return parse(body)
            work = self._thread(lambda: parse(body))
            await asyncio.wait((work,), timeout=max(0.0, request.deadline - time.monotonic()))
            if not work.done():
                raise DeadlineExceeded("the request was not read within the server's deadline")
            return work.result()
        except UserError as error:
            raise BadRequest(str(error)) from error
        finally:
            if work is None or work.done():
                self._parsed(len(body))
            else:  # a thread is not to be stopped: its request counts until it ends
                work.add_done_callback(lambda work: self._parsed(len(body), work))

    def _parsed(self, size, work=None):
        if work is not None and not work.cancelled():
            work.exception()  # nobody waits for it
        self._parsing -= 1
        self._budget.give_back(size)

    def _check_room(self):
        if self.service.pool.dead:
            raise WorkerLost(NO_WORKER)
        if self._parsing + len(self.service.queue) > self.limits.queue_size:
            raise Overloaded("the server has more to do than its queue holds: try again later")

    async def _run(self, request, instances, wanted, unpadded=False):
        """Outputs of instances, from the workers; given up at the deadline or when the client leaves."""
        ticket = self.service.queue.submit(instances, request.deadline, wanted, unpadded)
        future = asyncio.wrap_future(ticket.future)
        gone = asyncio.ensure_future(request.receive())
        try:
            left = max(0.0, request.deadline - time.monotonic())
            await asyncio.wait((future, gone), timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if future.done():
                return future.result()
            if gone.done():
                raise ClientGone
            raise too_late(ticket)
        finally:
            gone.cancel()
            if not future.done():
                self.service.queue.cancel(ticket)

    def _thread(self, work):
        return asyncio.get_running_loop().run_in_executor(self.service.threads, work)

    async def _preflight(self, request):
        return Answer(204, b"", headers=self._origins.preflight_headers())

    async def _info(self, request):
        return Answer(200, json_body(self.service.describe()))

    async def _health(self, request):
        alive, count = self.service.pool.alive, self.service.pool.count
        status = "ok" if alive else "no worker is alive"
        headers = [] if alive else [(b"retry-after", b"1")]
        return Answer(
            200 if alive else 503, json_body({"status": status, "workers": alive, "of": count}), headers=headers
        )

    async def _figures(self, request):
        return Answer(200, self.metrics.text(), CONTENT_TYPE)

    async def _page(self, request):
        content, kind = self._files[request.scope["path"]]
        return Answer(200, content, kind, list(SECURITY))


class Request:
    """What the routes need of a request: scope, ``receive``, its deadline, whether its body was read."""

    def __init__(self, scope: dict[str, Any], receive: Receive, deadline: float) -> None:
        self.scope, self.receive, self.deadline, self.read = scope, receive, deadline, False


def _digest(word):
    """Of one length whatever the word's, so that comparing takes the same time."""
    return hashlib.sha256(word).digest()


def _finite(value):
    try:
        return json_body(value)
    except ValueError as error:
        raise ServiceError("the model gave a number that is not finite") from error


def static_files(folder: str | Path | None) -> dict[str, tuple[bytes, str]]:
    """Path -> (content, type) of the files of a page's folder, read once: what is not in it does not exist."""
    if folder is None:
        return {}
    files = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and not any(part.startswith((".", "__")) for part in path.relative_to(folder).parts):
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            kind += "; charset=utf-8" if kind.startswith("text/") or kind.endswith("javascript") else ""
            files[f"/page/{path.relative_to(folder).as_posix()}"] = (path.read_bytes(), kind)
    if "/page/index.html" in files:
        files["/"] = files["/page/index.html"]
    return files
