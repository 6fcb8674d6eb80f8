"""A server over a toy: a predictor without Paddle, a text side of a few lines, and ways to run them.

    python -m tests.helpers.service_toys '{"workers": 2}'       serves until a signal; prints its address

The toy's rows are ``ids`` and ``mask``. Some ids make it misbehave: see below.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np

from propeller.bundle import Bundle
from propeller.errors import UserError
from propeller.service.errors import BadRequest, TooLarge
from tests.helpers.common import ROOT

FAILS, DIES, HANGS, NAN, SLOW = 901, 902, 903, 904, 905  # ids at which the toy raises, ends its process, …
INPUTS = [
    {"name": "ids", "shape": [None, None], "dtype": "int64"},
    {"name": "mask", "shape": [None, None], "dtype": "float32"},
]
OUTPUTS = ["total", "doubled", "seven"]


class Toy:
    """total: sum of the unmasked ids, float32 [rows, 1]; doubled: int64 [rows, seq]; seven: float32 [rows, 7]."""

    def __init__(self, delay=0.0, log=None):
        self.delay, self.log = delay, log

    def run(self, batch):
        ids, mask = batch["ids"], batch["mask"]
        if self.log:
            with open(self.log, "a") as file:
                file.write(json.dumps({"pid": os.getpid(), "shape": ids.shape}) + "\n")
        if (ids == DIES).any():
            os.kill(os.getpid(), signal.SIGKILL)
        if (ids == FAILS).any():
            raise RuntimeError("the toy fails on this")
        if (ids == HANGS).any():
            signal.pause()
        if (ids == SLOW).any():
            time.sleep(0.5)
        time.sleep(self.delay)
        total = (ids * mask).sum(axis=1, keepdims=True).astype("float32")
        total[(ids == NAN).any(axis=1)] = np.nan
        return {"total": total, "doubled": ids * 2, "seven": np.tile(np.arange(7, dtype="float32"), (len(ids), 1))}


def open_toy(delay=0.0, log=None, fails=None):
    """The factory that the worker calls."""
    if fails == "user":
        raise UserError("toy: this model cannot be loaded")
    if fails == "bug":
        raise RuntimeError("a bug in the toy")
    if fails == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    return Toy(delay, log)


class Handler:
    """{"texts": ["12 5", ...]}: the sum of the numbers of each."""

    pad = {"ids": 9}
    bounds = {"ids": (0, 1000)}
    max_length = 50

    def __init__(self, folder):
        self.page = folder

    def parse(self, payload, limits):
        texts = payload.get("texts")
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise BadRequest("texts: a list of texts, not empty")
        if len(texts) > limits.max_texts or any(len(text) > limits.max_chars for text in texts):
            raise TooLarge("too many texts, or too long")
        if texts == ["bug"]:
            raise KeyError("a bug in the handler")
        try:
            rows = [np.array([int(word) for word in text.split()]) for text in texts]
        except ValueError as error:
            raise UserError("a text holds something other than numbers") from error
        return SimpleNamespace(instances=[{"ids": row, "mask": np.ones(len(row))} for row in rows])

    def answer(self, job, outputs):
        return {
            "sums": [float(row["total"][0]) for row in outputs],
            "doubled": [row["doubled"].tolist() for row in outputs],
        }

    def describe(self):
        return {"kind": "toy"}


def open_handler(folder):
    """What ``--handlers tests.helpers.service_toys`` finds."""
    return Handler(folder)


def toy_bundle(folder):
    """A bundle that was never written: the toy needs no files."""
    return Bundle(Path(folder), "toy", INPUTS, OUTPUTS, {}, {})


def toy_settings(folder, options=None, limits=None, **fields):
    """``Settings`` of a toy server at a free port."""
    from propeller.service.limits import Limits
    from propeller.service.server import Settings

    made = {
        "port": 0,
        "handlers": "tests.helpers.service_toys",
        "factory": "tests.helpers.service_toys:open_toy",
        **fields,
    }
    return Settings(bundle=toy_bundle(folder), options=options or {"delay": 0.0}, limits=Limits(**limits or {}), **made)


@contextlib.contextmanager
def toy_server(folder, **options):
    """A toy server in a thread of this process."""
    from propeller.service.server import RunningServer, _in_thread

    server = RunningServer(toy_settings(folder, **options))
    with _in_thread(server):
        yield server


def write_page(folder):
    """Files as a server shows them; returns the folder."""
    (folder / "index.html").write_text("<title>a page</title>")
    (folder / "app.js").write_text("'use strict';")
    (folder / ".hidden").write_text("secret")
    (folder / "sub").mkdir()
    (folder / "sub" / "style.css").write_text("p {}")
    return folder


def limited_server(folder):
    """A toy server of small limits, which notes its batches in FOLDER/.batches."""
    limits = {"max_texts": 8, "max_chars": 100, "max_body_kb": 16}
    return toy_server(folder, limits=limits, options={"log": str(folder / ".batches")})


@contextlib.contextmanager
def toy_process(folder, **options):
    """A toy server in a process of its own: (process, address)."""
    command = [sys.executable, "-m", "tests.helpers.service_toys", json.dumps({"folder": str(folder), **options})]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("http"), line + process.stderr.read()
        yield process, line.strip()
    finally:
        process.kill()
        process.communicate()


def ask(url, method, path, body=None, **headers):
    """One request on a connection of its own: status, headers, body as bytes."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def ask_json(url, path, payload):
    """One request: status and parsed body."""
    status, _, body = ask(url, "POST", path, payload if isinstance(payload, bytes) else json.dumps(payload))
    return status, json.loads(body)


def connect(url):
    """A socket to the server, with a time limit."""
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=30)


def read_all(connection):
    """What comes on a socket until its end; a reset is an end."""
    parts = []
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def children_of(process):
    """The ids of the processes that a ``Popen`` has started."""
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def wait_until(condition, seconds=30):
    """Wait for something that another thread or process brings about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def main(options):
    """Serve until a signal."""
    from propeller import log
    from propeller.service.server import RunningServer

    log.setup()
    server = RunningServer(toy_settings(options.pop("folder"), **options))
    print(server.url, flush=True)
    server.run()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
