"""Small faults, a test each: a server's signals, headers, a dead pool, closed streams, crafted bundles, full disks."""

import concurrent.futures
import errno
import gc
import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from urllib.parse import urlsplit

import pytest

from propeller.bundle import MANIFEST, read_bundle
from propeller.errors import UserError, exit_on_user_error
from propeller.service import connections
from propeller.service import server as server_module
from tests.helpers.common import ROOT
from tests.helpers.service_toys import ask, ask_json, connect, read_all, toy_process, toy_server, wait_until


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("page")


def test_a_hangup_lets_the_server_answer_what_it_took(folder, tmp_path):
    log = tmp_path / "batches"
    with toy_process(folder, limits={"max_batch_size": 1}, options={"delay": 0.2, "log": str(log)}) as (process, url):
        before = len(log.read_text().splitlines())
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            answers = [threads.submit(ask_json, url, "/predict", {"texts": [str(n), "1"]}) for n in range(4)]
            wait_until(lambda: len(log.read_text().splitlines()) > before)
            wait_until(lambda: b"in_parsing 0.0" in ask(url, "GET", "/metrics")[2])
            time.sleep(0.1)
            process.send_signal(signal.SIGHUP)
            assert [answer.result()[1]["sums"] for answer in answers] == [[float(n), 1.0] for n in range(4)]
        assert process.wait(30) == 0


def test_requests_that_come_after_a_signal_are_refused_and_not_reset(folder, monkeypatch):
    """On new connections, on one that had a request before and on one that had none; for 0.3 s, here for 3."""
    assert (server_module.REFUSING_S, connections.REFUSING_S) == (0.3, 0.3)
    for module in (server_module, connections):
        monkeypatch.setattr(module, "REFUSING_S", 3.0)
    with toy_server(folder) as server, connect(server.url) as silent:
        client = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
        client.request("GET", "/info")
        assert client.getresponse().read().startswith(b"{")
        begin = time.monotonic()
        server.stop()  # as the signal does
        wait_until(lambda: server.table.closing)
        for connection in (client.sock, silent, connect(server.url), connect(server.url)):
            with connection:
                connection.sendall(REQUEST)
                answer = read_whole(connection)
            assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
            assert b"connection: close\r\n" in answer
            assert b"retry-after: 1\r\n" in answer
            assert b'"shutting_down"' in answer
        assert time.monotonic() - begin < 3, "the machine is too slow for this test"
        wait_until(lambda: server._server.servers and not server._server.servers[0].sockets)
        with pytest.raises(ConnectionRefusedError):
            connect(server.url)


REQUEST = b"GET /info HTTP/1.1\r\nHost: localhost\r\n\r\n"


def read_whole(connection):
    """What comes until the end; a reset is an error."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_request_of_very_many_lists_is_parsed_without_looking_for_garbage(folder):
    before = gc.get_threshold()
    collections = []
    with toy_server(folder) as server:
        gc.callbacks.append(lambda phase, facts: collections.append(phase))
        try:
            body = b'{"texts": [' + b"[]," * 600_000 + b"[]]}"
            status, _ = ask_json(server.url, "/predict", body)
        finally:
            gc.callbacks.pop()
        assert status == 400
        assert len(collections) < 20, "two for each: begin and end"
    assert gc.get_threshold() == before


@pytest.mark.parametrize("size", [33, 60, 100])
def test_headers_over_the_limit_are_refused_when_they_come_at_once_too(folder, size):
    with toy_server(folder) as server:
        with connect(server.url) as connection:
            connection.sendall(b"GET /info HTTP/1.1\r\nHost: localhost\r\n" + b"X-Y: z\r\n" * (size * 128) + b"\r\n")
            answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert answer.count(b"HTTP/1.1") == 1
        many = {f"X_{n}": "y" * 1000 for n in range(25)}
        assert ask(server.url, "GET", "/info", **many)[0] == 200


def test_a_dead_pool_is_told_at_once(folder):
    with toy_server(folder, limits={"deadline_s": 30}) as server:
        pool = server.service.pool
        pool.task["options"] = {"fails": "bug"}
        os.kill(pool.pids[0], signal.SIGKILL)
        begin = time.monotonic()
        status, answer = ask_json(server.url, "/predict", {"texts": ["1"]})
        assert (status, answer["error"]["code"]) == (503, "retry")
        wait_until(lambda: pool.dead)
        status, headers, body = ask(server.url, "POST", "/predict", json.dumps({"texts": ["1"]}))
        assert (status, headers["Retry-After"]) == (503, "1")
        assert "no worker" in json.loads(body)["error"]["message"]
        assert time.monotonic() - begin < 20, "of 30 that requests may wait"
        pool.task["options"] = {}
        wait_until(lambda: not pool.dead)
        assert ask_json(server.url, "/predict", {"texts": ["1"]})[0] == 200


def test_reading_a_request_is_under_the_deadline(folder, monkeypatch):
    with toy_server(folder, limits={"deadline_s": 0.3}) as server:
        parse = server.service.handler.parse
        monkeypatch.setattr(server.service.handler, "parse", lambda *given: [time.sleep(1), parse(*given)][1])
        begin = time.monotonic()
        status, answer = ask_json(server.url, "/predict", {"texts": ["1"]})
        assert (status, answer["error"]["code"]) == (504, "deadline_exceeded")
        assert time.monotonic() - begin < 0.9
        app = server._server.config.app
        assert app._parsing == 1, "its thread goes on"
        wait_until(lambda: (app._parsing, app._budget.used) == (0, 0))
        monkeypatch.undo()
        assert ask_json(server.url, "/predict", {"texts": ["1"]})[0] == 200


SPEAKS = """
import subprocess, sys
from propeller.errors import UserError, exit_on_user_error

def main():
    print("said")
    print("said", file=sys.stderr)
    subprocess.run([sys.executable, "-c", "import sys; print(sys.stderr)"], check=True)
    raise UserError("wrong")

exit_on_user_error(main)
"""


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_closed_streams(closed):
    def close():
        for number in closed:
            os.close(number)

    process = subprocess.run(
        [sys.executable, "-c", SPEAKS], cwd=ROOT, preexec_fn=close, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert process.returncode == 2
    assert "Traceback" not in process.stderr
    assert 2 in closed or process.stderr.endswith("error: wrong\n")
    assert 1 in closed or process.stdout.startswith("said\n")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_what_the_system_refuses_is_one_line(number, capsys):
    def main():
        raise OSError(number, os.strerror(number), "/out/rows.tsv")

    with pytest.raises(SystemExit) as ended:
        exit_on_user_error(main)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: /out/rows.tsv: {os.strerror(number)}: make room")
    assert said.count("\n") == 1


def test_other_errors_of_the_system_are_not_hidden():
    def main():
        raise OSError(errno.EIO, "a broken disk")

    with pytest.raises(OSError, match="a broken disk"):
        exit_on_user_error(main)


GOOD = {
    "format": 1,
    "task": "toy",
    "inputs": [{"name": "ids", "shape": [None, None], "dtype": "int64"}],
    "outputs": ["total"],
    "meta": {},
    "files": {},
}
ENTRY = {"name": "ids", "shape": [None, None], "dtype": "int64"}


def write(folder, **changes):
    """A manifest whose own sha256 is right, whoever wrote it."""
    manifest = {name: value for name, value in {**GOOD, **changes}.items() if value is not ...}
    text = json.dumps(manifest, sort_keys=True)
    (folder / MANIFEST).write_text(json.dumps({**manifest, "sha256": hashlib.sha256(text.encode()).hexdigest()}))
    return folder


def test_a_manifest_of_the_right_form(tmp_path):
    assert read_bundle(write(tmp_path)).inputs == GOOD["inputs"]


@pytest.mark.parametrize(
    "changes",
    [
        *[{name: ...} for name in ("task", "inputs", "outputs", "meta", "files")],
        *[{name: 5} for name in ("task", "inputs", "outputs", "meta", "files")],
        {"inputs": []},
        {"inputs": [5]},
        {"inputs": [{**ENTRY, "dtype": "object"}]},
        {"inputs": [{**ENTRY, "dtype": ["int64"]}]},
        {"inputs": [{**ENTRY, "shape": 5}]},
        {"inputs": [{**ENTRY, "shape": [None, -5]}]},
        {"inputs": [{**ENTRY, "shape": [None, True]}]},
        {"inputs": [{"name": "ids"}]},
        {"inputs": [{**ENTRY, "name": 5}]},
        {"outputs": []},
        {"outputs": [5]},
        {"files": {"model.json": 5}},
        {"files": {"model.json": {"bytes": 5}}},
    ],
    ids=str,
)
def test_a_manifest_of_another_form_is_one_line(tmp_path, changes):
    with pytest.raises(UserError, match=r"bundle\.json: .* export it$"):
        read_bundle(write(tmp_path, **changes))
