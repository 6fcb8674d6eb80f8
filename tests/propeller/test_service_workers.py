"""Worker processes that die, hang or never come up, and the server's own end."""

import concurrent.futures
import json
import os
import re
import signal
import socket
import threading

import pytest

from propeller import service
from propeller.errors import UserError
from propeller.service.batching import BatchQueue
from propeller.service.padding import InputSpec
from propeller.service.server import RunningServer
from propeller.service.workers import WorkerPool
from tests.helpers.service_toys import (
    DIES,
    HANGS,
    INPUTS,
    SLOW,
    ask,
    ask_json,
    children_of,
    connect,
    read_all,
    toy_bundle,
    toy_process,
    toy_server,
    toy_settings,
    wait_until,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("page")


def health(url):
    status, _, body = ask(url, "GET", "/healthz")
    return status, json.loads(body)["workers"]


def test_a_killed_worker_is_replaced_and_its_batch_answered(folder):
    with toy_server(folder, workers=2) as server, concurrent.futures.ThreadPoolExecutor(2) as threads:
        before = set(server.service.pool.pids)
        answers = [threads.submit(ask_json, server.url, "/predict", {"texts": [f"{SLOW} {n}"]}) for n in range(2)]
        wait_until(lambda: server.service.queue._running == 2)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        assert [answer.result()[0] for answer in answers] == [200, 200]
        wait_until(lambda: health(server.url) == (200, 2))
        assert not before & set(server.service.pool.pids)
        assert b"propeller_worker_restarts_total 2.0" in ask(server.url, "GET", "/metrics")[2]


def test_an_idle_worker_that_is_killed_is_replaced(folder):
    with toy_server(folder) as server:
        (pid,) = server.service.pool.pids
        os.kill(pid, signal.SIGKILL)
        assert ask_json(server.url, "/predict", {"texts": ["1"]})[0] == 200
        wait_until(lambda: health(server.url) == (200, 1))


def test_a_row_that_kills_workers_is_given_up_and_the_rest_of_its_batch_answered(folder):
    with toy_server(folder, options={"delay": 0.3}) as server, concurrent.futures.ThreadPoolExecutor(5) as threads:
        first = threads.submit(ask_json, server.url, "/predict", {"texts": ["1"]})
        wait_until(lambda: server.service.queue._running == 1)
        texts = [str(DIES), "2", "3", "4"]
        found = list(threads.map(lambda text: ask_json(server.url, "/predict", {"texts": [text]}), texts))
        assert first.result()[0] == 200
        assert [status for status, _ in found] == [503, 200, 200, 200]
        assert found[0][1]["error"]["code"] == "retry"


def test_without_a_worker_the_server_is_unwell_and_says_when_to_come_back(folder):
    with toy_server(folder, limits={"deadline_s": 0.5}) as server:
        server.service.pool.task["options"] = {"fails": "bug"}
        body = json.dumps({"texts": [str(DIES)]})
        status, headers, _ = ask(server.url, "POST", "/predict", body)
        assert (status, headers["Retry-After"]) == (503, "1")
        wait_until(lambda: health(server.url) == (503, 0))
        server.service.pool.task["options"] = {}
        wait_until(lambda: health(server.url) == (200, 1))
        assert ask_json(server.url, "/predict", {"texts": ["1"]})[0] == 200


def test_a_hung_worker_is_ended(folder):
    spec = InputSpec(INPUTS)
    queue = BatchQueue(10, 4, 0.0)
    task = {"factory": "tests.helpers.service_toys:open_toy", "options": {}}
    pool = WorkerPool(1, 1, task, spec, queue, patience_s=1)
    pool.start()
    try:
        (before,) = pool.pids
        row = spec.check({"ids": [HANGS], "mask": [1]})
        ticket = queue.submit([row], float("inf"))
        assert isinstance(ticket.future.exception(30), Exception)
        good = queue.submit([spec.check({"ids": [1, 2], "mask": [1, 1]})], float("inf"))
        assert good.future.result(30)[0]["total"].tolist() == [3.0]
        assert pool.pids != [before]
    finally:
        pool.close()


@pytest.mark.parametrize(
    ("fails", "kind", "words"),
    [
        ("user", UserError, "toy: this model cannot be loaded"),
        ("bug", RuntimeError, "a bug in the toy"),
        ("dies", RuntimeError, "a worker died while it loaded the model: was killed by signal 9"),
    ],
)
def test_a_model_that_does_not_load(folder, fails, kind, words):
    with pytest.raises(kind, match=words):
        RunningServer(toy_settings(folder, options={"fails": fails}, workers=2))


def test_a_port_in_use(folder):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} of 127.0.0.1 is in use"):
            RunningServer(toy_settings(folder, port=port))
    with pytest.raises(UserError, match="not an address"):
        RunningServer(toy_settings(folder, host="no.such.host.invalid"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_server_answers_what_it_took(folder, tmp_path, number):
    log = tmp_path / "batches"
    limits = {"max_batch_size": 1}
    with toy_process(folder, limits=limits, options={"delay": 0.2, "log": str(log)}) as (process, url):
        before = len(log.read_text().splitlines())  # of the start
        with concurrent.futures.ThreadPoolExecutor(6) as threads, connect(url) as idle, connect(url) as late:
            answers = [threads.submit(ask_json, url, "/predict", {"texts": [str(n), "0"]}) for n in range(6)]
            late.sendall(b'POST /predict HTTP/1.1\r\nContent-Length: 16\r\n\r\n{"texts"')  # half a request
            wait_until(lambda: len(log.read_text().splitlines()) > before)
            wait_until(lambda: b"in_parsing 0.0" in ask(url, "GET", "/metrics")[2])
            wait_until(lambda: queued(url) + len(log.read_text().splitlines()) - before >= 12)
            process.send_signal(number)
            wait_until(lambda: refused(url))
            assert process.poll() is None
            late.sendall(b': ["7"]}')
            assert read_all(idle) == b""
            assert [answer.result()[1]["sums"] for answer in answers] == [[float(n), 0.0] for n in range(6)]
            assert b'"sums":[7.0]' in read_all(late)
        assert process.wait(30) == 0
        assert "Traceback" not in process.stderr.read()


def queued(url):
    return int(re.search(rb"^propeller_queue_instances (\d+)", ask(url, "GET", "/metrics")[2], re.MULTILINE).group(1))


def refused(url):
    try:
        connect(url).close()
    except OSError:
        return True
    return False


def test_nothing_is_left_of_a_killed_server(folder):
    with toy_process(folder, workers=2) as (process, url):
        pids = children_of(process)
        assert len(pids) == 2
        assert health(url) == (200, 2)
        process.kill()
        process.wait()
        wait_until(lambda: not any(alive(pid) for pid in pids))


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_signal_to_the_whole_group_leaves_workers_to_finish(folder):
    with toy_process(folder) as (process, url), concurrent.futures.ThreadPoolExecutor(1) as threads:
        answer = threads.submit(ask_json, url, "/predict", {"texts": [str(SLOW)]})
        wait_until(lambda: b"in_parsing 0.0" in ask(url, "GET", "/metrics")[2] and not answer.done())
        for pid in children_of(process):
            os.kill(pid, signal.SIGTERM)
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(30) == 0


def test_the_face_of_propeller(folder):
    server = service.InferenceServer(
        toy_bundle(folder),
        handlers="tests.helpers.service_toys",
        factory="tests.helpers.service_toys:open_toy",
        options={"delay": 0.0},
    )
    with server.listen(0, wait=False) as running:
        with service.InferenceClient(running.url) as client:
            assert client([[5, 6]], [[1, 1]])[0].tolist() == [[11.0]]
    assert refused(running.url)


@pytest.mark.slow
def test_workers_killed_again_and_again_under_load(folder):
    """Every request is answered, or told to try again; no answer is another's."""
    done, found = threading.Event(), []

    def client(number):
        while not done.is_set():
            status, answer = ask_json(server.url, "/predict", {"texts": [f"{number} {n}" for n in range(3)]})
            found.append(status)
            assert status == 200 or answer["error"]["code"] == "retry", answer
            assert status != 200 or answer["sums"] == [float(number + n) for n in range(3)]

    with toy_server(folder, workers=2, options={"delay": 0.01}) as server:
        with concurrent.futures.ThreadPoolExecutor(16) as threads:
            clients = [threads.submit(client, number) for number in range(16)]
            for _ in range(15):
                pid = server.service.pool.pids[0]
                os.kill(pid, signal.SIGKILL)
                wait_until(lambda gone=pid: gone not in server.service.pool.pids and server.service.pool.alive == 2)
            done.set()
            for one in clients:
                one.result()
        assert set(found) <= {200, 503}
        assert found.count(200) > 20
        assert health(server.url) == (200, 2)
