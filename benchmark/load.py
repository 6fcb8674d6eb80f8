"""Load on a server of its own: clients on loopback that ask, wait for the answer and ask again.

    python benchmark/load.py BUNDLE FILE --clients 8 --seconds 10      # FILE: one text a line; prints JSON

A request is lost when its connection ends or its answer is anything but 200 or 503; 503 with Retry-After means to try
again, which the client does after that many seconds: the request counts once it is answered, and its latency from its
first try.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 120


class ServiceLoad:
    """A server over a bundle, and clients for it.

    Args: bundle: its directory; texts: what is asked, one text a request, in turn; more: further flags of the server.
    """

    def __init__(self, bundle, texts, more=()):
        self.bodies = [json.dumps({"texts": [text]}).encode() for text in texts]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "propeller.tools.start_server", "-m", str(bundle), "-p", str(self.port), *more]
        self.server = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        end = time.monotonic() + START_SECONDS
        while not self._healthy():
            if self.server.poll() is not None or time.monotonic() > end:
                self.close()
                raise RuntimeError(f"{' '.join(command)}: did not start")
            time.sleep(0.2)

    def _healthy(self):
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5).status == 200
        return False

    def close(self):
        """End the server."""
        self.server.send_signal(signal.SIGTERM)
        self.server.wait(60)

    def _children(self):
        return [int(pid) for path in Path(f"/proc/{self.server.pid}/task").glob("*/children")
                for pid in path.read_text().split()]  # fmt: skip

    def cpu(self):
        """Seconds of the processor that the front, and all its living workers together, have used: a pair."""

        def seconds(pid):
            ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
            return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

        return seconds(self.server.pid), sum(map(seconds, self._children()))

    def kill_worker(self):
        """kill -9 of one process that holds a model: the child with the most memory."""
        children = self._children()
        pages = {pid: int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in children}
        os.kill(max(pages, key=pages.get), signal.SIGKILL)

    def run(self, clients, seconds, kill=False):
        """Load of so many clients for so long; with `kill`, a worker dies half way.

        Returns: dict of ``rate`` (answers a second), ``cpu_rate`` (answers a second of the processor that the server
            used), ``front_ms``, ``worker_ms`` (of the processor that an answer took there; all three None with
            `kill`), ``p50_ms``, ``p99_ms``, ``answered``, ``retried``, ``lost``.
        """
        before = self.cpu()
        found = asyncio.run(self._run(clients, seconds, kill))
        if kill:
            return {**found, "cpu_rate": None, "front_ms": None, "worker_ms": None}
        front, workers = (after - then for after, then in zip(self.cpu(), before))
        answered = found["answered"]
        return {
            **found,
            "cpu_rate": answered / (front + workers),
            "front_ms": 1000 * front / answered,
            "worker_ms": 1000 * workers / answered,
        }

    async def _run(self, clients, seconds, kill):
        begin = time.monotonic()
        found = {"latencies": [], "retried": 0, "lost": 0}
        bodies = itertools.cycle(self.bodies)
        tasks = [self._client(bodies, begin + seconds, found) for _ in range(clients)]
        if kill:
            tasks.append(self._kill_after(seconds / 2))
        await asyncio.gather(*tasks)
        elapsed, times = time.monotonic() - begin, sorted(found.pop("latencies"))
        if not times:
            raise RuntimeError(f"{clients} clients: no answer at all")
        at = {name: 1000 * times[min(int(share * len(times)), len(times) - 1)] for name, share in
              (("p50_ms", 0.5), ("p99_ms", 0.99))}  # fmt: skip
        return {"rate": len(times) / elapsed, **at, "answered": len(times), **found}

    async def _kill_after(self, seconds):
        await asyncio.sleep(seconds)
        self.kill_worker()

    async def _client(self, bodies, end, found):
        connection = None
        while time.monotonic() < end:
            body, begin = next(bodies), time.monotonic()
            while True:
                try:
                    connection = connection or await asyncio.open_connection("127.0.0.1", self.port)
                    status, wait, stays = await _ask(*connection, body)
                except (OSError, ValueError, asyncio.IncompleteReadError):
                    status, wait, stays = 0, 0.0, False
                if not stays and connection:
                    connection[1].close()
                    connection = None
                if status != 503:
                    break
                found["retried"] += 1
                await asyncio.sleep(wait)
            if status == 200:
                found["latencies"].append(time.monotonic() - begin)
            else:
                found["lost"] += 1
        if connection:
            connection[1].close()


async def _ask(reader, writer, body):
    """(status, seconds to wait before the next try, whether the connection stays open) of one request."""
    head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
    await reader.readexactly(int(headers["content-length"]))
    return int(lines[0].split()[1]), float(headers.get("retry-after", 0)), headers.get("connection") != "close"


def main(args):
    """Print the figures of one load."""
    load = ServiceLoad(args.bundle, Path(args.file).read_text(encoding="utf-8").splitlines())
    try:
        print(json.dumps(load.run(args.clients, args.seconds, args.kill)))
    finally:
        load.close()
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("file")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--kill", action="store_true", help="kill -9 a worker half way")
    sys.exit(main(parser.parse_args()))
