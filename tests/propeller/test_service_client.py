"""The client of the server: the calls of 2019, one connection, trying again."""

import threading

import numpy as np
import pytest

from propeller.service.client import InferenceClient, ServerError, ServiceClient
from tests.helpers.service_toys import (
    SLOW,
    ask_json,
    limited_server,
    toy_server,
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


def test_the_client_of_2019(server):
    ids = np.arange(21 * 5).reshape(21, 5)
    with InferenceClient(server.url.replace("http", "tcp"), batch_size=8, num_coroutine=3) as client:
        total, doubled, seven = client(ids, np.ones_like(ids))
        assert (total[:, 0] == ids.sum(1)).all()
        assert total.dtype == np.float32
        assert (doubled == 2 * ids).all()
        assert seven.shape == (21, 7)
        for arrays in ([ids], [ids, ids[:3]], [ids[0], ids[0]], [ids[:0], ids[:0]]):
            with pytest.raises(ValueError, match="arrays"):
                client(*arrays)
        with pytest.raises(ServerError, match="outside of 0 to 1000") as error:
            client(ids[:1] - 5, np.ones((1, 5)))
        assert (error.value.status, error.value.code) == (400, "bad_request")
        assert error.value.request_id in str(error.value)


def test_the_client_keeps_its_connection_and_outlives_its_end(folder):
    with toy_server(folder, limits={"keep_alive_s": 0.05}) as server, ServiceClient(server.url) as client:
        client.get("/healthz")
        first = client._local.connection.sock
        client.get("/healthz")
        assert client._local.connection.sock is first
        wait_until(lambda: len(server.table) == 0)
        assert client.get("/healthz")["status"] == "ok"


def test_the_client_tries_again_when_the_server_is_busy(folder):
    limits = {"queue_size": 1, "max_texts": 1, "max_batch_size": 1}
    free, told = threading.Event(), []

    def keep_busy(url):
        while not free.is_set():
            ask_json(url, "/predict", {"texts": [str(SLOW)]})

    def refused(client):
        try:
            client.post("/predict", {"texts": ["2"]})
        except ServerError as error:
            told.append((error.status, error.retry_after))
        return bool(told)

    with toy_server(folder, limits=limits) as server:
        others = [threading.Thread(target=keep_busy, args=(server.url,)) for _ in range(4)]
        for thread in others:
            thread.start()
        try:
            with ServiceClient(server.url, retries=0) as client:
                wait_until(lambda: refused(client))
            assert told == [(503, 1)]
        finally:
            free.set()
        with ServiceClient(server.url, retries=30) as client:
            assert client.post("/predict", {"texts": ["2"]})["sums"] == [2.0]
        for thread in others:
            thread.join()


def test_a_client_without_a_server():
    with ServiceClient("127.0.0.1:9", timeout=5) as client, pytest.raises(ServerError, match="127.0.0.1:9") as error:
        client.get("/info")
    assert error.value.status is None
    for host in ("ftp://x", "http://", ""):
        with pytest.raises(ValueError, match="not an address"):
            ServiceClient(host)
