"""Answers to POST /arrays are bounded: refused by their size before anything is computed, sent as they are taken."""

import json
import time
import tracemalloc

import numpy as np
import pytest

from propeller.service.arrays import json_size, to_json
from propeller.service.client import InferenceClient
from propeller.service.padding import InputSpec, OutputSize, output_sizes
from propeller.service.requests import json_body
from tests.helpers.service_toys import INPUTS, Toy, ask, ask_json, connect, read_all, toy_server, wait_until


class Wide(Toy):
    """With an output like the states of an encoder: float32 [rows, seq, 1000]."""

    def run(self, batch):
        states = np.tile(batch["ids"][:, :, None].astype("float32") / 7, (1, 1, 1000))
        return {**super().run(batch), "states": states}


def open_wide(delay):
    """The factory that the worker calls."""
    return Wide(delay)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    limits = {"max_answer_mb": 1, "write_s": 1}
    with toy_server(folder, factory="tests.propeller.test_answer_size:open_wide", limits=limits) as server:
        server.service.bundle.outputs.append("states")
        yield server
        server.service.bundle.outputs.remove("states")


def inputs(rows, tokens):
    return {"ids": [[3] * tokens] * rows, "mask": [[1] * tokens] * rows}


def test_sizes_of_outputs_are_found_by_running():
    sizes = output_sizes(Wide().run, InputSpec(INPUTS))
    assert sizes["states"] == OutputSize(1000, 4, per_token=True)
    assert sizes["doubled"] == OutputSize(1, 8, per_token=True)
    assert sizes["seven"] == OutputSize(7, 4, per_token=False)
    assert sizes["states"].count(5) == 5000
    assert sizes["seven"].count(5) == 7


@pytest.mark.parametrize("as_base64", [True, False])
def test_the_size_of_an_answer_is_known_beforehand(as_base64):
    array = np.random.RandomState(0).randn(3, 40, 200).astype("float32")
    text = b"".join(to_json(array, as_base64))
    expected = sum(json_size(OutputSize(200, 4, True), 40, as_base64) for _ in array)
    assert 0.8 * expected < len(text) < 1.1 * expected
    if not as_base64:
        assert text == json_body(array.tolist())
        assert np.array_equal(np.array(json.loads(text), "float32"), array)


def test_text_is_made_in_parts_that_take_little_memory():
    array = np.random.RandomState(0).randn(8, 40, 512).astype("float32")
    tracemalloc.start()
    try:
        size = sum(len(part) for part in to_json(array, False))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < size / 2, "no list of all the numbers"


def test_an_answer_that_is_too_large_is_refused_with_the_way_out(server):
    before = len(server.service.queue)
    status, answer = ask_json(server.url, "/arrays", {"inputs": inputs(4, 40)})
    assert (status, before) == (413, 0)
    message = answer["error"]["message"]
    assert "3 MB (states 3)" in message
    assert "outputs" in message
    assert ask_json(server.url, "/arrays", {"inputs": inputs(4, 40), "outputs": ["total"]})[0] == 200
    status, answer = ask_json(server.url, "/arrays", {"inputs": inputs(1, 40)})
    assert status == 200
    assert np.shape(answer["outputs"]["states"]) == (1, 40, 1000)
    assert json.loads(ask(server.url, "GET", "/info")[2])["limits"]["max_answer_mb"] == 1


def test_the_client_sends_fewer_rows_then(server):
    ids = np.arange(1, 361).reshape(9, 40)
    with InferenceClient(server.url) as client:
        found = dict(zip(client.info["outputs"], client(ids, np.ones((9, 40), "float32"))))
    assert found["states"].shape == (9, 40, 1000)
    assert np.array_equal(found["doubled"], ids * 2)


def test_answers_that_nobody_takes_are_given_up_and_their_room_comes_back(server, caplog):
    body = json.dumps({"inputs": inputs(1, 44)}).encode()
    head = b"POST /arrays HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    budget = server._server.config.app._answers
    clients = [connect(server.url) for _ in range(4)]
    for client in clients:
        for _ in range(8):  # more than the system's buffers take
            client.sendall(head % len(body) + body)
    wait_until(lambda: budget.used > 0)
    time.sleep(0.5)
    assert budget.used <= budget.size
    wait_until(lambda: budget.used == 0)
    assert ask_json(server.url, "/arrays", {"inputs": inputs(1, 40)})[0] == 200
    for client in clients:
        read_all(client)
        client.close()
    assert "Traceback" not in caplog.text
