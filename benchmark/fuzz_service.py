"""Requests that nobody would write, to a server over a toy model: it answers each with one of a few statuses.

    python benchmark/fuzz_service.py --seconds 60 --seed 1

Hypothesis makes JSON that is nearly right, arrays with one thing wrong, bodies with bytes changed, and whole requests
with bytes changed, sent as they are. An answer must be HTTP with a JSON body that is a result or names the error; 500
is a failure, and so is a server that is unwell afterwards, has connections left, or a worker that died. The failing
request is shown, as small as Hypothesis can make it.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import socket
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.helpers.service_toys import ask, connect, read_all, toy_server, wait_until  # noqa: E402

ROUND = 50  # requests between two looks at the clock
LIMITS = {"max_texts": 8, "max_chars": 100, "max_body_kb": 8, "header_s": 1.0, "body_s": 1.0, "keep_alive_s": 1.0}
GOOD = {200, 400, 401, 404, 405, 408, 413, 431}

numbers = st.one_of(st.integers(-5, 60), st.integers(), st.floats(), st.booleans())
scalars = st.one_of(st.none(), numbers, st.text(max_size=20))
words = st.lists(st.integers(-3, 60).map(str), max_size=12).map(" ".join)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
rows = st.lists(st.lists(st.integers(-1, 60), max_size=6), max_size=4)


@st.composite
def encoded(draw):
    """An array in base64, perhaps with a wrong dtype, shape or content."""
    content = draw(st.binary(max_size=64))
    shape = draw(st.lists(st.integers(-2, 9) | st.just(10**20), max_size=3))
    dtype = draw(st.sampled_from(["int64", "float32", "uint8", "bool", "float16", "object", "O", "|V8", 5, None]))
    value = {"dtype": dtype, "shape": shape, "base64": base64.b64encode(content).decode() + draw(st.text(max_size=2))}
    for name in draw(st.sets(st.sampled_from(sorted(value)), max_size=1)):
        value[name] = draw(anything)
    return value


arrays = st.one_of(rows, encoded(), anything)
payloads = st.one_of(
    anything,
    st.fixed_dictionaries({"texts": st.one_of(st.lists(words | st.text(max_size=120), max_size=10), anything)}),
    st.fixed_dictionaries(
        {"inputs": st.one_of(st.fixed_dictionaries({"ids": arrays, "mask": arrays}), anything)},
        optional={"outputs": st.lists(st.sampled_from(["total", "doubled", "x"])) | anything, "y": scalars},
    ),
)


@st.composite
def changed(draw, content):
    """Bytes with a few of them changed, put in, left out or repeated."""
    content = bytearray(draw(content))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(content)))
        piece = draw(st.binary(max_size=4) | st.sampled_from([b"\r\n", b"\x00", b": ", b" ", b"[" * 3000, b"\\ud800"]))
        content[place : place + draw(st.integers(0, 6))] = piece
    return bytes(content)


bodies = changed(payloads.map(lambda value: json.dumps(value).encode()))
wire = changed(
    st.builds(
        lambda method, path, headers, body: (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n".encode("utf-8", "replace")
            + b"".join(b"%s: %s\r\n" % header for header in headers)
            + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        ),
        st.sampled_from(["GET", "POST", "HEAD", "PUT", "CONNECT", "OPTIONS"]),
        st.sampled_from(["/predict", "/arrays", "/info", "/", "*", "/page/..", "http://x/info", "/healthz?a=b"]),
        st.lists(
            st.sampled_from(
                [
                    (b"Connection", b"close"),
                    (b"Transfer-Encoding", b"chunked"),
                    (b"Expect", b"100-continue"),
                    (b"Upgrade", b"h2c"),
                    (b"Connection", b"upgrade"),
                    (b"X-Request-Id", b"\xff" * 3),
                    (b"Content-Length", b"-1"),
                ]
            ),
            max_size=3,
        ),
        st.binary(max_size=20) | st.just(b'{"texts": ["1 2"]}'),
    )
)


class Fuzz:
    """Sends requests to one server and counts the statuses of the answers."""

    def __init__(self, url):
        self.url, self.seen = url, Counter()
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)

    def body(self, path, body):
        """A body of any bytes gets an answer of JSON."""
        try:
            self._connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = self._connection.getresponse()
        except (ConnectionError, http.client.RemoteDisconnected):  # it had been idle too long
            self._connection.close()
            self._connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = self._connection.getresponse()
        value = json.loads(answer.read())
        self.seen[answer.status] += 1
        assert answer.status in GOOD, value
        assert answer.status == 200 or set(value["error"]) == {"code", "message", "request_id"}

    def raw(self, request):
        """Bytes of any kind get an HTTP answer, or an end."""
        with connect(self.url) as connection:
            try:
                connection.sendall(request)
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                return
            answer = read_all(connection)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
        for part in answer.split(b"HTTP/1.1 ")[1:]:
            if part[:3].isdigit():
                self.seen[int(part[:3])] += 1
                assert int(part[:3]) in GOOD | {100, 403, 415, 503}, answer


def _one(check):
    """A new function each time: Hypothesis marks those that it has run."""
    return lambda values: check(*values)


def run(seconds, number=0):
    """Fuzz a new server for so long; the statuses seen, a Counter.

    Raises:
        AssertionError: an answer was none, or the server is unwell.
    """
    quiet = settings(max_examples=ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    with tempfile.TemporaryDirectory() as folder, toy_server(folder, limits=LIMITS) as server:
        fuzz, end = Fuzz(server.url), time.monotonic() + seconds
        before = server.service.pool.pids
        paths = st.sampled_from(["/predict", "/arrays"])
        parts = [(st.tuples(paths, bodies), fuzz.body), (st.tuples(wire), fuzz.raw)]
        while time.monotonic() < end:
            for made, check in parts:
                seed(number)(quiet(given(made)(_one(check))))()
            number += 1
        assert server.service.pool.pids == before, "a worker died"
        assert ask(server.url, "POST", "/predict", b'{"texts": ["1 2"]}')[0] == 200
        fuzz._connection.close()
        wait_until(lambda: len(server.table) == 0)
    return fuzz.seen


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long [60]")
    parser.add_argument("--seed", type=int, default=0, help="of the requests made [0]")
    found = parser.parse_args()
    seen = run(found.seconds, found.seed)
    print(f"{sum(seen.values())} answers in {found.seconds:g} s, none bad: {dict(sorted(seen.items()))}")


if __name__ == "__main__":
    main()
