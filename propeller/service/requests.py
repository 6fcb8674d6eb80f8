"""From the bytes of a request to its JSON object, and from an answer to bytes.

    body = await read_body(receive, headers, limits, budget)
    payload = parse_json(body)

Every way in which it can be wrong is a ``ServiceError`` that says so.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import uuid
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable

from propeller.service.errors import BadRequest, BodyTooLarge, Overloaded, SlowRequest

if TYPE_CHECKING:
    from propeller.service.errors import ServiceError
    from propeller.service.limits import Limits


Receive = Callable[[], Awaitable[Any]]  # of an ASGI server: the next message
Send = Callable[[Any], Awaitable[None]]
PART = 1 << 18  # bytes of an answer that are sent at once
LONGEST_NUMBER = 40  # characters; Python takes quadratic time for long ones
REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class ClientGone(Exception):
    """The client has left: nobody waits for an answer."""


class BodyBudget:
    """Bytes of all bodies in memory, bounded."""

    def __init__(self, size: int) -> None:
        self.size, self.used = size, 0

    def take(self, count: int) -> None:
        """Raises ``Overloaded`` if there is no room for so many more bytes."""
        if self.used + count > self.size:
            error = Overloaded("the server holds all the requests and answers it can: try again later")
            error.close = True
            raise error
        self.used += count

    def give_back(self, count: int) -> None:
        """So many bytes are gone."""
        self.used -= count


@dataclass
class Answer:
    """A whole HTTP answer; ``sent`` is called when it has been sent, or its client has left."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: list = field(default_factory=list)
    sent: Callable = lambda: None


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The client's X-Request-Id, if it is printable and short; else a new one."""
    for name, value in headers:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            return value.decode("ascii")
    return uuid.uuid4().hex


def has_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether the headers announce a body."""
    return any(name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in headers)


async def read_body(
    receive: Receive, headers: Iterable[tuple[bytes, bytes]], limits: Limits, budget: BodyBudget
) -> bytes:
    """The body of a request, bytes. What it takes of ``budget`` is its length; the caller gives it back.

    Raises:
        BodyTooLarge: as soon as it is known. SlowRequest: it did not come in time. Overloaded: no room for it.
        ClientGone: the client left.
    """
    longest = limits.max_body_kb << 10
    announced = next((value for name, value in headers if name == b"content-length"), b"0")
    if not announced.isdigit() or len(announced) > 18 or int(announced) > longest:
        raise BodyTooLarge(f"a body of over {limits.max_body_kb} KiB")
    end, parts, size = asyncio.get_running_loop().time() + limits.body_s, [], 0
    try:
        while True:
            left = end - asyncio.get_running_loop().time()
            message = await asyncio.wait_for(receive(), max(left, 0))
            if message["type"] == "http.disconnect":
                raise ClientGone
            count = len(message.get("body", b""))
            if size + count > longest:
                raise BodyTooLarge(f"a body of over {limits.max_body_kb} KiB")
            budget.take(count)
            size += count
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                return b"".join(parts)
    except BaseException as error:
        budget.give_back(size)
        if isinstance(error, asyncio.TimeoutError):
            raise SlowRequest(f"the body did not come within {limits.body_s:g} s") from error
        raise


def parse_json(body: bytes) -> dict[str, Any]:
    """A body's JSON object.

    Raises:
        BadRequest: it is not UTF-8, not JSON, nested too deep, holds a number that JSON has not or text that UTF-8 has
            not, or is no object.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8 (byte {error.start})") from error
    try:
        payload = json.loads(text, parse_constant=_no_constant, parse_int=_integer, parse_float=_number)
    except RecursionError as error:
        raise BadRequest("the JSON is nested too deep") from error
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    if not isinstance(payload, dict):
        raise BadRequest("the body must be a JSON object")
    if SURROGATE.search(body):
        try:
            json.dumps(payload, ensure_ascii=False).encode("utf-8")
        except (UnicodeEncodeError, RecursionError) as error:
            raise BadRequest("a text holds half of a surrogate pair, which no character is") from error
    return payload


def _no_constant(word):
    raise ValueError(f"{word} is no number")


def _integer(digits):
    if len(digits) > LONGEST_NUMBER:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _number(digits):
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:LONGEST_NUMBER]} is too large")
    return value


async def send_body(send: Send, body: bytes, patience_s: float) -> None:
    """Send an answer's body; a large one in parts, each when the client has taken most of those before.

    Raises:
        ClientGone: a part was not taken in ``patience_s`` seconds.
    """
    for start in range(0, max(len(body), 1), PART):
        more = start + PART < len(body)
        message = {"type": "http.response.body", "body": body[start : start + PART], "more_body": more}
        try:
            await asyncio.wait_for(send(message), patience_s if start else None)
        except asyncio.TimeoutError as error:
            raise ClientGone from error


def json_body(value: Any) -> bytes:
    """Compact JSON in UTF-8.

    Raises:
        ValueError: it holds a number that JSON has not.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")


def error_answer(error: ServiceError, number: str) -> Answer:
    """The JSON body of a ``ServiceError``; ``number`` is the request's id."""
    headers = []
    if error.retry_after is not None:
        headers.append((b"retry-after", str(error.retry_after).encode()))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if error.status == 405:
        headers.append((b"allow", ", ".join(getattr(error, "allowed", ())).encode()))
    if error.close:
        headers.append((b"connection", b"close"))
    body = {"error": {"code": error.code, "message": error.message, "request_id": number}}
    text = json.dumps(body, ensure_ascii=True, separators=(",", ":")).encode("ascii")  # whatever it quotes
    return Answer(error.status, text, headers=headers)
