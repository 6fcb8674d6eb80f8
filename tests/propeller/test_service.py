"""The server's routes over a toy model: what it answers to good and bad requests, its limits, its clients."""

import base64
import concurrent.futures
import json

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from propeller.errors import UserError
from propeller.service.client import InferenceClient, ServerError
from propeller.service.requests import parse_json
from tests.helpers.service_toys import (
    FAILS,
    INPUTS,
    NAN,
    OUTPUTS,
    SLOW,
    ask,
    ask_json,
    connect,
    limited_server,
    read_all,
    toy_server,
    toy_settings,
    wait_until,
    write_page,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_page(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def server(folder):
    with limited_server(folder) as server:
        yield server


def error_of(answer):
    """The error of an answer, which must be whole."""
    status, headers, body = answer
    error = json.loads(body)["error"]
    assert set(error) == {"code", "message", "request_id"}
    assert error["request_id"] == headers["X-Request-Id"]
    assert headers["Content-Type"] == "application/json"
    return status, error


def test_texts_are_answered(server):
    status, answer = ask_json(server.url, "/predict", {"texts": ["1 2 3", "40", "5 6"]})
    assert status == 200
    assert answer == {"sums": [6.0, 40.0, 11.0], "doubled": [[2, 4, 6], [80], [10, 12]]}, "cut to each row's length"


def test_arrays_are_answered_in_the_form_they_came(server):
    inputs = {"ids": [[1, 2, 3], [4, 5, 0]], "mask": [[1, 1, 1], [1, 1, 0]]}
    status, answer = ask_json(server.url, "/arrays", {"inputs": inputs})
    assert status == 200
    assert answer["outputs"]["total"] == [[6.0], [9.0]]
    assert answer["outputs"]["doubled"] == [[2, 4, 6], [8, 10, 0]]
    assert list(answer["outputs"]) == OUTPUTS
    ids = np.array([[7, 8]], "<i8")
    encoded = {"dtype": "int64", "shape": [1, 2], "base64": base64.b64encode(ids.tobytes()).decode()}
    payload = {"inputs": {"ids": encoded, "mask": [[1, 1]]}, "outputs": ["doubled"]}
    status, answer = ask_json(server.url, "/arrays", payload)
    assert status == 200
    assert list(answer["outputs"]) == ["doubled"]
    found = answer["outputs"]["doubled"]
    assert np.frombuffer(base64.b64decode(found["base64"]), found["dtype"]).tolist() == [14, 16]


BAD_BODIES = {
    "empty": b"",
    "not JSON": b"{",
    "not an object": b"[1]",
    "not UTF-8": b'{"texts": ["\xff"]}',
    "UTF-16": '{"texts": ["1"]}'.encode("utf-16"),
    "half a surrogate": b'{"texts": ["\\ud800"]}',
    "NaN": b'{"texts": ["1"], "x": NaN}',
    "infinite": b'{"x": 1e999}',
    "many digits": b'{"x": ' + b"9" * 10000 + b"}",
    "nested": b'{"x": ' + b"[" * 8000 + b"]" * 8000 + b"}",
    "texts missing": b"{}",
    "texts empty": b'{"texts": []}',
    "texts of a wrong type": b'{"texts": [1]}',
    "text of words": b'{"texts": ["one"]}',
    "negative": b'{"texts": ["-5"]}',
    "empty text": b'{"texts": [""]}',
    "too many tokens": json.dumps({"texts": ["1" + " 1" * 49 + " 1"]}).encode(),
}


@pytest.mark.parametrize("case", BAD_BODIES)
def test_bad_bodies(server, case):
    status, error = error_of(ask(server.url, "POST", "/predict", BAD_BODIES[case]))
    assert (status, error["code"]) == ((413, "too_large") if case == "too many tokens" else (400, "bad_request"))
    assert "Traceback" not in error["message"]
    assert error_of(ask(server.url, "POST", "/arrays", BAD_BODIES[case]))[0] == 400


def test_what_json_may_hold():
    assert parse_json('{"texts": ["\\ud83d\\ude00", "😀 é"]}'.encode()) == {"texts": ["😀", "😀 é"]}
    assert parse_json(b'{"x": [1, -2.5e3, true, null]}') == {"x": [1, -2500.0, True, None]}


def test_limits_of_a_request(server):
    for texts in (["1"] * 9, ["1" * 101]):
        status, error = error_of(ask(server.url, "POST", "/predict", json.dumps({"texts": texts})))
        assert (status, error["code"]) == (413, "too_large")
    payload = {"inputs": {"ids": [[1]] * 9, "mask": [[1]] * 9}}
    assert error_of(ask(server.url, "POST", "/arrays", json.dumps(payload)))[0] == 413
    payload = {"inputs": {"ids": [[1]], "mask": [[1]]}, "outputs": ["other"]}
    status, error = error_of(ask(server.url, "POST", "/arrays", json.dumps(payload)))
    assert status == 400
    assert "other" in error["message"]


def test_a_large_body_is_refused_before_it_is_sent(server):
    with connect(server.url) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n{")
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()


def test_a_large_body_of_unknown_length_is_refused_on_the_way(server):
    with connect(server.url) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.sendall(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        connection.sendall(b"1\r\nx\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 413 ")


def test_a_body_in_chunks_is_taken(server):
    with connect(server.url) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for byte in b'{"texts": ["1 2"]}':
            connection.sendall(b"1\r\n%c\r\n" % byte)
        connection.sendall(b"0\r\n\r\n")
        assert b'{"sums":[3.0]' in read_all(connection)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/none", 404),
        ("POST", "/none", 404),
        ("GET", "/predict", 405),
        ("DELETE", "/arrays", 405),
        ("POST", "/healthz", 405),
        ("POST", "/", 405),
        ("GET", "/page/none.js", 404),
        ("GET", "/page/.hidden", 404),
        ("GET", "/page/../service_toys.py", 404),
        ("GET", "/page/%2e%2e/%2e%2e/etc/passwd", 404),
        ("GET", "/page//etc/passwd", 404),
        ("GET", "/%00", 404),
    ],
)
def test_paths_and_methods(server, method, path, status):
    found, headers, _ = answer = ask(server.url, method, path)
    assert found == status == error_of(answer)[0]
    assert (headers["Allow"] is not None) == (status == 405)


def test_the_page(server):
    for path, words, kind in (
        ("/", b"a page", "text/html; charset=utf-8"),
        ("/page/index.html", b"a page", "text/html; charset=utf-8"),
        ("/page/app.js", b"use strict", "text/javascript; charset=utf-8"),
        ("/page/sub/style.css", b"p {}", "text/css; charset=utf-8"),
    ):
        status, headers, body = ask(server.url, "GET", path)
        assert (status, headers["Content-Type"]) == (200, kind)
        assert words in body
        assert "default-src 'self'" in headers["Content-Security-Policy"]
    status, headers, body = ask(server.url, "HEAD", "/")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 0


def test_request_ids(server):
    assert ask(server.url, "GET", "/healthz", X_Request_Id="my-id")[1]["X-Request-Id"] == "my-id"
    made = {ask(server.url, "GET", "/healthz", **given)[1]["X-Request-Id"] for given in ({}, {"X_Request_Id": "a b"})}
    assert len(made) == 2
    assert all(len(number) == 32 for number in made)
    assert error_of(ask(server.url, "GET", "/none", X_Request_Id="abc"))[1]["request_id"] == "abc"


def test_faults_of_model_and_handler_are_500_and_stay_inside(server):
    for texts, code in ((["bug"], "internal"), ([str(NAN)], "internal"), ([str(FAILS)], "model_failed")):
        status, error = error_of(ask(server.url, "POST", "/predict", json.dumps({"texts": texts})))
        assert (status, error["code"]) == (500, code)
        assert "bug" not in error["message"]
    assert ask_json(server.url, "/predict", {"texts": ["1"]})[0] == 200


def test_one_bad_row_does_not_hurt_the_others_of_its_batch(server):
    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        asked = [f"{SLOW}", f"{FAILS}", "1", "2", "3", "4"]
        found = list(threads.map(lambda text: ask_json(server.url, "/predict", {"texts": [text]}), asked))
    assert [status for status, _ in found] == [200, 500, 200, 200, 200, 200]


def test_requests_that_wait_share_a_batch(server, folder):
    before = len((folder / ".batches").read_text().splitlines())
    with concurrent.futures.ThreadPoolExecutor(9) as threads:
        slow = threads.submit(ask_json, server.url, "/predict", {"texts": [str(SLOW)]})
        wait_until(lambda: len((folder / ".batches").read_text().splitlines()) > before)
        found = list(threads.map(lambda n: ask_json(server.url, "/predict", {"texts": [str(n)]})[1]["sums"], range(8)))
        assert slow.result()[0] == 200
    assert found == [[float(number)] for number in range(8)]
    shapes = [json.loads(line)["shape"] for line in (folder / ".batches").read_text().splitlines()[before:]]
    assert len(shapes) < 9
    assert sum(rows for rows, _ in shapes) == 9


def test_info_and_health(server):
    status, _, body = ask(server.url, "GET", "/info")
    said = json.loads(body)
    assert status == 200
    assert (said["task"], said["inputs"], said["outputs"]) == ("toy", INPUTS, OUTPUTS)
    assert said["limits"]["max_texts"] == 8
    assert said["model"] == {"kind": "toy"}
    status, _, body = ask(server.url, "GET", "/healthz")
    assert (status, json.loads(body)["status"]) == (200, "ok")


def figures(url):
    status, headers, body = ask(url, "GET", "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(body.decode())
    return {(sample.name, *sorted(sample.labels.values())): sample.value for one in families for sample in one.samples}


def test_metrics_are_prometheus_text_and_count(server):
    before = figures(server.url)
    assert ask_json(server.url, "/predict", {"texts": ["1", "2"]})[0] == 200
    ask(server.url, "GET", "/none")
    after = figures(server.url)

    def grown(*key):
        return after[key] - before.get(key, 0)

    assert grown("propeller_requests_total", "/predict", "200") == 1
    assert grown("propeller_requests_total", "404", "other") == 1
    assert grown("propeller_request_seconds_count", "/predict") == 1
    assert grown("propeller_batch_size_sum") == 2
    assert after["propeller_workers_alive",] == 1
    assert after["propeller_queue_instances",] == 0
    assert after["propeller_connections",] >= 1


def test_overload_is_answered_at_once_and_passes(folder):
    limits = {"queue_size": 4, "max_texts": 4, "max_batch_size": 1}
    with toy_server(folder, limits=limits) as server, concurrent.futures.ThreadPoolExecutor(30) as threads:
        texts = {"texts": [str(SLOW)]}
        answers = [threads.submit(ask, server.url, "POST", "/predict", json.dumps(texts)) for _ in range(30)]
        found = [answer.result() for answer in answers]
        statuses = [status for status, _, _ in found]
        assert set(statuses) == {200, 503}
        assert statuses.count(200) >= 4, "what the queue holds"
        for answer in found:
            if answer[0] == 503:
                assert error_of(answer)[1]["code"] == "overloaded"
                assert int(answer[1]["Retry-After"]) >= 1
        assert ask_json(server.url, "/predict", {"texts": ["1"]})[0] == 200


def test_bodies_together_are_bounded(folder):
    with toy_server(folder, limits={"max_bodies_kb": 8}) as server:
        with connect(server.url) as connection:
            connection.sendall(
                b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\n\r\n" + b" " * 5000
            )
            wait_until(lambda: ask(server.url, "POST", "/predict", b" " * 5000)[0] == 503)
        wait_until(lambda: ask(server.url, "POST", "/predict", b" " * 5000)[0] == 400)


def test_a_deadline_is_kept_and_later_work_dropped(folder):
    with toy_server(folder, limits={"deadline_s": 0.2, "max_batch_size": 1}) as server:
        status, error = error_of(ask(server.url, "POST", "/predict", json.dumps({"texts": [str(SLOW)] * 20})))
        assert (status, error["code"]) == (504, "deadline_exceeded")
        wait_until(lambda: ask_json(server.url, "/predict", {"texts": ["1"]})[0] == 200, 5)


def test_a_client_that_left_is_not_worked_for(folder):
    with toy_server(folder, limits={"max_batch_size": 1}) as server:
        body = json.dumps({"texts": [str(SLOW)] * 100}).encode()
        with connect(server.url) as connection:
            connection.sendall(
                b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            wait_until(lambda: figures(server.url)["propeller_queue_instances",] > 0)
        wait_until(lambda: figures(server.url)["propeller_queue_instances",] == 0, 20)
        assert figures(server.url)["propeller_requests_total", "/predict", "499"] == 1


def test_a_token(folder):
    with toy_server(folder, token="s3cret") as server:
        for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "Basic s3cret"}):
            for method, path in (("POST", "/predict"), ("POST", "/arrays"), ("GET", "/info"), ("GET", "/metrics")):
                status, answer_headers, _ = answer = ask(server.url, method, path, **headers)
                assert status == 401 == error_of(answer)[0]
                assert answer_headers["WWW-Authenticate"] == "Bearer"
        assert ask(server.url, "GET", "/healthz")[0] == 200
        assert ask(server.url, "GET", "/")[0] == 200
        body = json.dumps({"texts": ["1"]})
        assert ask(server.url, "POST", "/predict", body, Authorization="Bearer s3cret")[0] == 200
        with InferenceClient(server.url, token="s3cret") as client:
            assert client([[1, 2]], [[1, 1]])[0].tolist() == [[3.0]]
        with InferenceClient(server.url) as client, pytest.raises(ServerError, match="401") as error:
            client([[1, 2]], [[1, 1]])
        assert error.value.code == "unauthorized"


def test_arrays_only(folder):
    with toy_server(folder, handlers="none") as server:
        assert ask_json(server.url, "/predict", {"texts": ["1"]})[0] == 404
        assert ask(server.url, "GET", "/")[0] == 404
        assert ask_json(server.url, "/arrays", {"inputs": {"ids": [[3]], "mask": [[1]]}})[0] == 200


@pytest.mark.parametrize("module", ["tests.nowhere", "nowhere.at.all", "tests.helpers.tiny"])
def test_a_handler_module_that_is_none(folder, module):
    from propeller.service.server import RunningServer

    with pytest.raises(UserError, match=f"--handlers {module}"):
        RunningServer(toy_settings(folder, handlers=module))
