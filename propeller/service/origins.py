"""Which requests come from where they may: the Host, Origin and Content-Type of a request.

    origins = Origins(hosts=("ernie.example",), cors=("https://app.example",))
    origins.check(scope)        # raises Forbidden, UnsupportedType
    origins.headers(scope)      # of the answer

A page of any site can have its reader's browser send requests to a server on the reader's own machine. The browser says
so in Origin, and where the site has its name point to that machine, in Host.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import Any

from propeller.errors import UserError
from propeller.service.errors import Forbidden, UnsupportedType

LOOPBACK = ("localhost", "127.0.0.1", "::1")
HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(?::(\d{1,5}))?")
ORIGIN = re.compile(r"https?://([^/?#@\s]+)")
METHODS, HEADERS = b"GET, POST", b"authorization, content-type, x-request-id"
PREFLIGHT_S = b"600"  # that a browser remembers the answer to a preflight request


class Origins:
    """The names that a server goes by, and the pages elsewhere that may use it.

    Args:
        hosts: names or addresses that clients use for it, besides those of the loopback interface and the address
            that their connection ends at; ``*``: any.
        cors: origins, ``https://app.example``, whose pages may use it; ``*``: any.

    Raises:
        UserError: one of them is neither.
    """

    def __init__(self, hosts: Collection[str] = (), cors: Collection[str] = ()) -> None:
        for name in hosts:
            if name != "*" and not HOST.fullmatch(name) and _address(name) is None:
                raise UserError(f"--allowed_hosts {name}: give names or addresses, as in ernie.example,10.0.0.7, or *")
        for origin in cors:
            match = ORIGIN.fullmatch(origin)
            if origin != "*" and not (match and HOST.fullmatch(match.group(1))):
                raise UserError(f"--cors {origin}: give origins, as in https://app.example, or *")
        self._hosts = {*LOOPBACK, *(_name(host) for host in hosts if host != "*")}
        self._any_host, self._any_origin = "*" in hosts, "*" in cors
        self._cors = {origin.lower().encode() for origin in cors}

    def check(self, scope: dict[str, Any]) -> None:
        """Raises Forbidden: its Host or Origin is another's. UnsupportedType: its body is not said to be JSON."""
        host = _header(scope, b"host")
        if host is not None and not self._knows(host, scope.get("server")):
            shown = host[:100].decode("latin-1")
            raise Forbidden(f"the server does not answer to the name {shown!r}: start it with --allowed_hosts for it")
        origin = _header(scope, b"origin")
        if origin is not None and not self._allows(origin) and not _same(origin, host):
            shown = origin[:100].decode("latin-1")
            raise Forbidden(f"pages of {shown!r} may not use this server: start it with --cors to allow them")
        kind = _header(scope, b"content-type")
        if scope["method"] == "POST" and kind is not None and not _is_json(kind):
            raise UnsupportedType("send JSON, and say so: Content-Type: application/json")

    def headers(self, scope: dict[str, Any]) -> list[tuple[bytes, bytes]]:
        """The headers that let a page of an allowed origin read the answer."""
        origin = _header(scope, b"origin")
        if origin is None or not self._allows(origin):
            return []
        return [(b"access-control-allow-origin", origin), (b"vary", b"origin")]

    def is_preflight(self, scope: dict[str, Any]) -> bool:
        """Whether a browser asks if a page may send what it is about to send, and it may."""
        origin = _header(scope, b"origin")
        asks = scope["method"] == "OPTIONS" and _header(scope, b"access-control-request-method") is not None
        return asks and origin is not None and self._allows(origin)

    @staticmethod
    def preflight_headers() -> list[tuple[bytes, bytes]]:
        """What is answered then, with ``headers``."""
        return [
            (b"access-control-allow-methods", METHODS),
            (b"access-control-allow-headers", HEADERS),
            (b"access-control-max-age", PREFLIGHT_S),
        ]

    def _knows(self, host, server):
        match = HOST.fullmatch(host.decode("latin-1"))
        if match is None:
            return False
        name = _name(match.group(1))
        return self._any_host or name in self._hosts or _is_loopback(name) or bool(server and name == _name(server[0]))

    def _allows(self, origin):
        return self._any_origin or origin.lower() in self._cors


def _header(scope, name):
    return next((value for key, value in scope["headers"] if key == name), None)


def _name(host):
    """A host without brackets, port, capitals, and the dot at its end."""
    match = HOST.fullmatch(host)
    host = match.group(1) if match else host
    return host.strip("[]").lower().rstrip(".")


def _address(name):
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _is_loopback(name):
    address = _address(name)
    return address is not None and address.is_loopback


def _same(origin, host):
    """Whether a page came from the server itself: a proxy may speak TLS for it, so the scheme says nothing."""
    match = ORIGIN.fullmatch(origin.decode("latin-1").lower())
    return bool(match and host) and match.group(1) == host.decode("latin-1").lower()


def _is_json(kind):
    kind, _, parameters = kind.decode("latin-1").lower().partition(";")
    charset = parameters.partition("charset=")[2].strip(' "') or "utf-8"
    return kind.strip() == "application/json" and charset in ("utf-8", "utf8")
