"""Clients that are slow, idle, many or ill-behaved: the server answers or ends them, and goes on for the others."""

import contextlib
import gc
import json
import socket
import time
import weakref

import pytest

from propeller.service.connections import BoundedProtocol
from tests.helpers.service_toys import ask, ask_json, connect, read_all, toy_server, wait_until

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def impatient(folder):
    limits = {
        "header_s": 0.3,
        "body_s": 0.3,
        "keep_alive_s": 0.3,
        "write_s": 0.3,
        "max_header_kb": 4,
        "max_body_kb": 64,
    }
    with toy_server(folder, limits=limits) as server:
        yield server


def error_code(answer):
    return json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"]


@pytest.mark.parametrize("sent", [b"", b"G", b"GET / HTTP/1.1\r\nHost:", b"\r\n"])
def test_headers_that_do_not_come(impatient, sent):
    with connect(impatient.url) as connection:
        connection.sendall(sent)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert error_code(answer) == "request_timeout"


@pytest.mark.parametrize(
    "piece", [b"\r\n", b"GET / HTTP/1.1\r\nA: b\r\n", b"X: y\r\n"], ids=["blank", "requests", "rest"]
)
def test_headers_that_trickle_are_no_sign_of_life(impatient, piece):
    with connect(impatient.url) as connection, contextlib.suppress(ConnectionError):
        if piece.startswith(b"X"):
            connection.sendall(b"GET / HTTP/1.1\r\n")
        for _ in range(400):
            connection.sendall(piece)
            time.sleep(0.05)
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                if not connection.recv(4096):
                    break
            connection.setblocking(True)
        else:
            pytest.fail("the connection was kept")


def test_a_body_that_does_not_come(impatient):
    with connect(impatient.url) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert error_code(answer) == "request_timeout"


def test_an_answer_before_the_body_ends_the_connection(impatient):
    with connect(impatient.url) as connection:
        connection.sendall(b"POST /none HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000\r\n\r\n" + b"x" * 10000)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"connection: close" in answer


def test_idle_connections_are_ended(impatient):
    with connect(impatient.url) as connection:
        connection.sendall(GET)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_headers_without_end(impatient):
    with connect(impatient.url) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(b"GET / HTTP/1.1\r\n")
        for _ in range(100):
            connection.sendall(b"A" * 1000)
        answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert error_code(answer) == "headers_too_large"


def test_trailers_without_end(impatient):
    with connect(impatient.url) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n")
        for _ in range(10000):
            connection.sendall(b"A: " + b"b" * 10000 + b"\r\n")
        pytest.fail("100 MB of trailers were taken")


@pytest.mark.parametrize(
    "sent", [b"nonsense\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9.9\r\n\r\n", b"GET \xff\r\n"]
)
def test_what_is_not_http(impatient, sent):
    with connect(impatient.url) as connection:
        connection.sendall(sent)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert error_code(answer) == "bad_request"


@pytest.mark.parametrize("count", ["-1", "+5", "1e3", "0x10", "", "9" * 30])
def test_lengths_that_are_none(impatient, count):
    with connect(impatient.url) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %s\r\n\r\n{}" % count.encode()
        )
        answer = read_all(connection)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 "))
    assert error_code(answer) in ("bad_request", "too_large")


def test_requests_sent_ahead_are_answered_in_order(impatient):
    with connect(impatient.url) as connection:
        for number in range(5):
            body = json.dumps({"texts": [str(number)]}).encode()
            connection.sendall(b"POST /predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        answers = read_all(connection)
    assert [part.partition(b"]")[0] for part in answers.split(b'"sums":[')[1:]] == [b"%d.0" % n for n in range(5)]


def test_thousands_of_requests_sent_ahead_are_not_kept(impatient):
    with connect(impatient.url) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(GET * 5000)
        assert read_all(connection).count(b"HTTP/1.1 200") < 5000
    assert ask(impatient.url, "GET", "/healthz")[0] == 200


def test_an_upgrade_is_not_followed(impatient):
    with connect(impatient.url) as connection:
        connection.sendall(
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        assert read_all(connection).startswith(b"HTTP/1.1 200 ")


def test_http_1_0_and_expect(impatient):
    with connect(impatient.url) as connection:
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 200 ")
    with connect(impatient.url) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 16\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b'{"texts": ["1"]}')
        assert b'"sums":[1.0]' in read_all(connection)


def test_an_answer_that_is_not_taken_is_dropped(folder):
    (folder / "large.txt").write_text("x" * (1 << 25))
    with toy_server(folder, limits={"keep_alive_s": 0.2, "write_s": 0.2}) as server, connect(server.url) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /page/large.txt HTTP/1.1\r\n\r\n")
        wait_until(lambda: len(server.table) == 1)
        wait_until(lambda: len(server.table) == 0)


def test_nothing_is_kept_of_a_connection_that_is_gone(folder, monkeypatch):
    seen = []  # weak references: a search of every object takes seconds in a process that has run many tests
    begin = BoundedProtocol.connection_made

    def connection_made(protocol, transport):
        seen.append(weakref.ref(protocol))
        begin(protocol, transport)

    def kept():
        gc.collect()
        return [protocol for protocol in seen if protocol() is not None]

    monkeypatch.setattr(BoundedProtocol, "connection_made", connection_made)
    with toy_server(folder) as server:
        for _ in range(20):
            ask(server.url, "POST", "/predict", b"{")
        assert len(seen) >= 20
        wait_until(lambda: not kept())


def test_idle_connections_make_room(folder):
    with toy_server(folder, limits={"max_connections": 20, "header_s": 60}) as server, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(connect(server.url)) for _ in range(100)]
        wait_until(lambda: len(server.table) == 20)
        for _ in range(5):
            assert ask_json(server.url, "/predict", {"texts": ["1"]})[0] == 200
        assert len(server.table) <= 20
        assert read_all(idle[0]) == b""


def test_slow_bodies_make_room_too(folder):
    with toy_server(folder, limits={"max_connections": 10, "body_s": 60}) as server, contextlib.ExitStack() as stack:
        for _ in range(30):
            connection = stack.enter_context(connect(server.url))
            connection.sendall(b"POST /predict HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
        wait_until(lambda: len(server.table) == 10)
        assert ask_json(server.url, "/predict", {"texts": ["1"]})[0] == 200


@pytest.mark.slow
def test_connections_beyond_the_limit_are_told_when_all_are_at_work(folder):
    limits = {"max_connections": 3, "max_batch_size": 1}
    with toy_server(folder, limits=limits, options={"delay": 1.0}) as server, contextlib.ExitStack() as stack:
        body = b'{"texts": ["1", "2"]}'
        at_work = [stack.enter_context(connect(server.url)) for _ in range(3)]
        for connection in at_work:
            connection.sendall(
                b"POST /predict HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            )
        wait_until(lambda: len(server.service.queue) >= 4)
        status, headers, answer = ask(server.url, "GET", "/healthz")
        assert (status, headers["Retry-After"]) == (503, "1")
        assert json.loads(answer)["error"]["code"] == "too_many_connections"
        for connection in at_work:
            assert b'"sums":[1.0,2.0]' in read_all(connection)


@pytest.mark.slow
def test_ten_thousand_connections_opened_and_left(folder):
    with toy_server(folder) as server, contextlib.ExitStack() as stack:
        for number in range(10000):
            connection = connect(server.url)
            if number % 2:
                stack.enter_context(connection)
                if len(stack._exit_callbacks) > 400:
                    stack.close()
            else:
                connection.close()
            if number % 1000 == 0:
                assert ask_json(server.url, "/predict", {"texts": ["1 2"]}) == (
                    200,
                    {"sums": [3.0], "doubled": [[2, 4]]},
                )
        assert ask_json(server.url, "/predict", {"texts": ["1 2"]})[0] == 200
        stack.close()
        wait_until(lambda: len(server.table) == 0)
