"""A bundle that is replaced on disk while it is served: no worker serves it beside the old one."""

import json
import logging
import os
import shutil
import signal

import pytest

from propeller.bundle import read_bundle
from propeller.errors import UserError
from propeller.service.server import RunningServer, Settings, _in_thread
from propeller.service.worker import open_predictor
from tests.helpers.served import make_bundle
from tests.helpers.service_toys import ask, wait_until


@pytest.fixture(scope="module")
def bundles(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    return (
        make_bundle(folder / "one", model, "classify"),
        make_bundle(folder / "two", model, "classify", max_seq_len=20),
    )


def test_a_digest_names_one_bundle(bundles, tmp_path):
    one, two = bundles
    folder = tmp_path / "served"
    shutil.copytree(one, folder)
    digest = read_bundle(folder).digest
    assert len(digest) == 64
    assert read_bundle(folder, digest).digest == digest != read_bundle(two).digest
    opened = read_bundle(folder)
    opened.check_unchanged()
    shutil.rmtree(folder)
    with pytest.raises(UserError, match=r"bundle\.json"):
        opened.check_unchanged()
    shutil.copytree(two, folder)
    for refuse in (
        opened.check_unchanged,
        lambda: read_bundle(folder, digest),
        lambda: open_predictor(str(folder), "fp32", 1, "false", digest),
    ):
        with pytest.raises(UserError, match=r"bundle\.json: another bundle .* start again to use it") as error:
            refuse()
        assert digest[:12] in str(error.value)


def test_a_worker_refuses_the_new_bundle_and_takes_the_old_one_again(bundles, tmp_path, caplog):
    one, two = bundles
    folder = tmp_path / "served"
    shutil.copytree(one, folder)

    def health():
        status, _, body = ask(server.url, "GET", "/healthz")
        return status, json.loads(body)["workers"]

    server = RunningServer(Settings(bundle=str(folder), port=0, workers=1, threads=1, use_cuda="false"))
    with _in_thread(server), caplog.at_level(logging.ERROR, "propeller.service"):
        folder.rename(tmp_path / "old")
        shutil.copytree(two, folder)
        assert health() == (200, 1), "the model in memory goes on"
        os.kill(server.service.pool.pids[0], signal.SIGKILL)
        wait_until(lambda: "another bundle than the one" in caplog.text, 60)
        assert health() == (503, 0)
        shutil.rmtree(folder)
        (tmp_path / "old").rename(folder)
        wait_until(lambda: health() == (200, 1), 60)
