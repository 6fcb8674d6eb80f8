"""The requests of benchmark/attack.py, and what becomes of them. All are addressed to our own server."""

from __future__ import annotations

import base64
import contextlib
import json
import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from benchmark.parts.process_memory import memory

PARTS = ("idle", "worst", "together", "flood", "slow", "malformed", "long", "killed", "stopped")
BODY = 2 << 20  # bytes, the most the server takes unless told otherwise
PATIENCE_S = 60.0
CLIENTS, REQUESTS = 64, 2000
SLOW_CLIENTS, SLOW_S = 100, 12.0
LONG_REQUESTS = 20000
GET_HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def post(path, body, keep=False):
    """A whole request, as bytes."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n"
    return (head + ("" if keep else "Connection: close\r\n") + "\r\n").encode() + body


def send(port, request):
    """The status of one request on a connection of its own, read to its end; 0: no answer, or not HTTP.

    Raises:
        OSError: no connection, or it was reset.
    """
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # refused before all was sent: read why
            connection.sendall(request)
        head = connection.recv(1 << 16)
        while head and connection.recv(1 << 20):
            pass
    return int(head[9:12]) if head.startswith(b"HTTP/1.1 ") else 0


def _numbers(row, rows):
    return json.dumps({"inputs": {name: [row] * rows for name in ("src_ids", "sent_ids", "input_mask")}}).encode()


def worst():
    """name -> (path, body): what takes most memory or time within the limits, or before it is refused."""
    size = BODY - 1024
    texts = {"texts": [("word " * (size // 256 // 5 - 1)).strip()] * 256}
    marks = {"texts": ["e" + "\u0301\u0323" * 9999] * (size // 40000)}
    encoded = {"dtype": "int8", "shape": [256, 4000], "base64": base64.b64encode(bytes(256 * 4000)).decode()}
    return {
        "256 texts, 2 MiB": ("/predict", json.dumps(texts).encode()),
        "runs of combining marks, 2 MiB": ("/predict", json.dumps(marks, ensure_ascii=False).encode()[:BODY]),
        "long words": ("/predict", json.dumps({"texts": ["x" * 20000] * 100}).encode()),
        "Chinese, 20,000 characters a text": (
            "/predict",
            json.dumps({"texts": ["\u4e2d\u6587" * 10000] * 34}, ensure_ascii=False).encode(),
        ),
        "more texts than are taken": ("/predict", json.dumps({"texts": ["x"] * (size // 5)}).encode()),
        "numbers in one row": ("/arrays", _numbers([1] * (size // 9), 1)),
        "numbers in many rows": ("/arrays", _numbers([1] * 16, size // 3 // 50)),
        "empty rows": ("/arrays", _numbers([], size // 3 // 4)),
        "texts for numbers": ("/arrays", _numbers(["x" * 1000, *["y"] * 30000], 4)),
        "numbers with fractions": ("/arrays", _numbers([0.123456789012345] * (size // 57), 1)),
        "a small type in base64": ("/arrays", json.dumps({"inputs": {"src_ids": encoded}}).encode()),
        "empty objects": ("/predict", b'{"texts": [' + b"{}," * (size // 3) + b"{}]}"),
        "nested lists": ("/predict", b'{"texts": ' + b"[" * 10000 + b"]" * 10000 + b"}"),
        "many keys": ("/predict", json.dumps({f"k{n:06}": 1 for n in range(size // 14)}).encode()),
        "the largest answer": ("/predict", json.dumps({"texts": ["a good film " * 20] * 256}).encode()),
        "the largest answer of arrays": ("/arrays", _rows(256, 24)),
    }


def _rows(rows, length):
    """As many rows as are taken, of as many tokens as the tiny model has positions for."""
    inputs = {
        "src_ids": [[1] * length] * rows,
        "sent_ids": [[0] * length] * rows,
        "pos_ids": [[*range(length)]] * rows,
        "task_ids": [[1] * length] * rows,
        "input_mask": [[1.0] * length] * rows,
    }
    return json.dumps({"inputs": inputs}).encode()


def idle(load):
    """Nothing, for as long as a request takes: what the machine itself adds."""
    time.sleep(10)
    return {}


def one(load, path, body):
    """One request."""
    begin = time.monotonic()
    status = send(load.port, post(path, body))
    return {"KiB": len(body) >> 10, "status": status, "seconds": round(time.monotonic() - begin, 2)}


def _many(requests, clients):
    """Statuses of requests, each a function of no arguments; ``lost`` where there was no answer."""
    counts: Counter = Counter()

    def ask(request):
        try:
            return str(request() or "lost")
        except OSError:
            return "lost"

    with ThreadPoolExecutor(clients) as threads:
        counts.update(threads.map(ask, requests))
    return {name: counts[name] for name in sorted(counts)} | {"lost": counts["lost"]}


def together(load):
    """As many of the largest bodies at once as all bodies together may take: 32 of 2 MiB."""
    path, body = worst()["256 texts, 2 MiB"]
    return _many([lambda: send(load.port, post(path, body))] * 32, 32)


def flood(load):
    """Many clients, a connection a request."""
    return _many([lambda: send(load.port, post("/predict", b'{"texts": ["a good film"]}'))] * REQUESTS, CLIENTS)


def killed(load):
    """The same while workers die, one after the other."""
    ended, kills = threading.Event(), []

    def kill():
        while not ended.wait(0.5):
            with contextlib.suppress(OSError, ValueError):
                if _healthy(load.port):  # a worker needs seconds to load: the next one dies when all are there again
                    load.kill_worker()
                    kills.append(time.monotonic())

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        counts = _many([lambda: _patient(load.port)] * REQUESTS, CLIENTS)
        return {**counts, "killed": len(kills)}
    finally:
        ended.set()
        thread.join()


def _healthy(port):
    """Whether both workers of the server have loaded the model."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
        connection.sendall(GET_HEALTH)
        return b'"workers":2' in b"".join(iter(lambda: connection.recv(1 << 16), b"")).replace(b" ", b"")


def _patient(port):
    """A request that is tried again where the server says so."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        status = send(port, post("/predict", b'{"texts": ["a good film"]}'))
        if status != 503:
            break
        time.sleep(0.2)
    return status


def stopped(load):
    """SIGTERM in the middle of a flood: what was taken is answered, the rest refused, nothing reset."""
    counts, ended = Counter(), threading.Event()

    def client():
        while not ended.is_set():
            try:
                counts[str(send(load.port, post("/predict", b'{"texts": ["a good film"]}')))] += 1
            except ConnectionRefusedError:
                return
            except OSError:
                counts["reset"] += 1

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    time.sleep(3)
    load.server.send_signal(signal.SIGTERM)
    begin = time.monotonic()
    status = load.server.wait(PATIENCE_S)
    ended.set()
    for thread in threads:
        thread.join()
    return {**{name: counts[name] for name in sorted(counts)}, "reset": counts["reset"], "exit status": status,
            "seconds to the end": round(time.monotonic() - begin, 1)}  # fmt: skip


def slow(load):
    """Connections that send a byte now and then, in headers or bodies: each is ended, others are served."""
    request = post("/predict", b'{"texts": ["a good film"]}')
    body = request.index(b"\r\n\r\n") + 4
    connections = [socket.create_connection(("127.0.0.1", load.port), PATIENCE_S) for _ in range(SLOW_CLIENTS)]
    for number, connection in enumerate(connections):
        connection.sendall(request[: body if number % 2 else 10])
    end = time.monotonic() + SLOW_S
    while time.monotonic() < end:
        time.sleep(1)
        for number, connection in enumerate(connections):
            with contextlib.suppress(OSError):
                connection.sendall(b" " if number % 2 else b"a")
    served = send(load.port, request)
    ended = 0
    for connection in connections[::2]:
        connection.settimeout(5)
        with contextlib.suppress(OSError), connection:
            ended += connection.recv(100).startswith((b"HTTP/1.1 408", b"HTTP/1.1 400"))
    for connection in connections[1::2]:
        connection.close()
    return {"headers ended": f"{ended} of {len(connections[::2])}", "another client": served}


def malformed(load):
    """What is not HTTP, not JSON, or not the form of a request: each is told so, and nothing else happens."""
    texts = b'{"texts": ["a"]}'
    bodies = [b"", b"{", b"[]", b"null", b"NaN", b"1e999", b'{"x": 1}', b'{"texts": 5}', b'{"texts": [5]}',
              b'{"texts": []}', b'{"texts": [""]}', b'{"texts": ["\xff"]}', b'{"texts": ["\\ud800"]}',
              b'{"texts": ["a"], "texts": 5}', b'{"texts": [' + b"1" * 5000 + b"]}"]  # fmt: skip
    heads = [b"GET\r\n\r\n", b"\0\0\0\0\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST /predict HTTP/1.1\r\n\r\n",
             post("/predict", texts).replace(b"Content-Length: 16", b"Content-Length: -1"),
             post("/predict", texts).replace(b"Content-Length: 16", b"Content-Length: 99999999999"),
             post("/predict", texts).replace(b"application/json", b"text/plain"),
             post("/predict", texts).replace(b"localhost", b"elsewhere.example"),
             post("/nowhere", texts), post("/healthz", texts),
             b"GET /page/../../etc/hostname HTTP/1.1\r\nHost: localhost\r\n\r\n",
             b"GET /info HTTP/1.1\r\nHost: localhost\r\n" + b"X-A: b\r\n" * 8000 + b"\r\n"]  # fmt: skip
    requests = [*heads, *(post("/predict", body) for body in bodies)]
    counts = _many([lambda request=request: send(load.port, request) for request in requests], 4)
    return {"tried": len(requests), **counts, "afterwards": send(load.port, post("/predict", texts))}


def long(load):
    """Many requests one after the other, from a few clients: whether memory grows."""
    request = post("/predict", b'{"texts": ["a good film"]}', keep=True)
    before = memory(load.server.pid, "VmRSS")

    def client(count):
        done = 0
        with socket.create_connection(("127.0.0.1", load.port), PATIENCE_S) as connection:
            for _ in range(count):
                connection.sendall(request)
                done += _whole(connection)
        return done

    with ThreadPoolExecutor(8) as threads:
        answered = sum(threads.map(client, [LONG_REQUESTS // 8] * 8))
    return {"answered": answered, "growth in MB": round(memory(load.server.pid, "VmRSS") - before, 1)}


def _whole(connection):
    """Read one answer; whether it is 200."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(1 << 16)
    head, _, rest = data.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length"))
    while len(rest) < length:
        rest += connection.recv(1 << 16)
    return head.startswith(b"HTTP/1.1 200")
