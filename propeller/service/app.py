"""The routes of the server, as an ASGI application.

    app = Application(service, token=None)
    uvicorn.Config(app, ...)

POST /predict, POST /arrays, GET /info, /healthz, /metrics, / and /page/*. One request at a time on a connection; its
work is reading (here), parsing and answering (threads), and the model (workers, through the queue).
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import mimetypes
import time
from pathlib import Path

from propeller.errors import UserError
from propeller.service.batching import too_late
from propeller.service.errors import (
    BadRequest,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    ServiceError,
    Unauthorized,
)
from propeller.service.metrics import CONTENT_TYPE
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
)

log = logging.getLogger("propeller.service")

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
    """

    def __init__(self, service, token=None):
        self.service, self.limits, self.metrics = service, service.limits, service.metrics
        self._token = token.encode() if token else None
        self._budget = BodyBudget(self.limits.max_bodies_kb << 10)
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

    async def __call__(self, scope, receive, send):
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
        ]
        if not request.read and has_body(scope["headers"]) and (b"connection", b"close") not in headers:
            headers.append((b"connection", b"close"))
        self.metrics.answered(route, answer.status, time.monotonic() - begun)
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def _route_name(self, path):
        if path in self._routes:
            return path
        if path == "/" or path.startswith("/page/"):
            return "/" if path == "/" else "/page/"
        return "other"

    def _find(self, route, scope):
        """The coroutine function of a request, or the error it gets before its body is read."""
        if self._token and route not in OPEN:
            given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            kind, _, word = given.partition(b" ")
            if kind.lower() != b"bearer" or not hmac.compare_digest(word.strip(), self._token):
                raise Unauthorized("give the server's token: Authorization: Bearer ...")
        known = self._routes.get(route)
        if known is None:
            if route == "other" or scope["path"] not in self._files:
                raise NotFound("nothing is here; known: POST /predict, /arrays, GET /info, /healthz, /metrics, /")
            known = {"GET": self._page}
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if method not in known:
            raise MethodNotAllowed(f"this path takes {', '.join(known)}", tuple(known))
        return known[method]

    async def _predict(self, request):
        service = self.service

        def parse(body):
            job = service.handler.parse(parse_json(body), self.limits)
            return job, [service.spec.check(instance) for instance in job.instances]

        job, instances = await self._parse(request, parse)
        wanted = getattr(service.handler, "outputs", None)
        outputs = await self._run(request, instances, frozenset(wanted) if wanted is not None else None)
        return Answer(200, await self._thread(lambda: _finite(service.handler.answer(job, outputs))))

    async def _arrays(self, request):
        service = self.service
        instances, wanted, as_base64 = await self._parse(request, lambda body: service.rows_of(parse_json(body)))
        outputs = await self._run(request, instances, wanted)
        return Answer(200, await self._thread(lambda: _finite(service.encode(outputs, as_base64))))

    async def _parse(self, request, parse):
        """Read the body and parse it in a thread; so many at a time as the queue has room, and no more."""
        self._check_room()
        body = await read_body(request.receive, request.scope["headers"], self.limits, self._budget)
        request.read = True
        self._parsing += 1
        try:
            self._check_room()
            return await self._thread(lambda: parse(body))
        except UserError as error:
            raise BadRequest(str(error)) from error
        finally:
            self._parsing -= 1
            self._budget.give_back(len(body))

    def _check_room(self):
        if self._parsing + len(self.service.queue) > self.limits.queue_size:
            raise Overloaded("the server has more to do than its queue holds: try again later")

    async def _run(self, request, instances, wanted):
        """Outputs of instances, from the workers; given up at the deadline or when the client leaves."""
        ticket = self.service.queue.submit(instances, request.deadline, wanted)
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
            self.service.queue.cancel(ticket)

    def _thread(self, work):
        return asyncio.get_running_loop().run_in_executor(self.service.threads, work)

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

    def __init__(self, scope, receive, deadline):
        self.scope, self.receive, self.deadline, self.read = scope, receive, deadline, False


def _finite(value):
    try:
        return json_body(value)
    except ValueError as error:
        raise ServiceError("the model gave a number that is not finite") from error


def static_files(folder):
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
