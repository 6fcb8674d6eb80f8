"""Two processes, described as in 2019: the steps, metrics, predictions and files of one process."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from propeller.variables import read_variable
from tests.helpers.common import ROOT

TOY = str(Path(__file__).with_name("group_toy.py"))


def free_ports(number):
    probes = [socket.socket() for _ in range(number)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def train(folder, processes, size):
    """-> what each process found, and the weights at the end."""
    folder.mkdir()
    chief, *workers = [f"127.0.0.1:{port}" for port in free_ports(processes)]
    running = []
    for rank in range(processes):
        task = {"type": "worker", "index": rank - 1} if rank else {"type": "chief", "index": 0}
        group = json.dumps({"cluster": {"chief": [chief], "worker": workers}, "task": task})
        environment = {**os.environ, "PROPELLER_DISCONFIG": group, "PADDLE_DISTRI_BACKEND": "gloo"}
        words = [sys.executable, TOY, str(folder), str(size)]
        running.append(
            subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        )
    for process in running:
        said, _ = process.communicate(timeout=240)
        assert process.returncode == 0, said.decode()[-3000:]
    found = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(processes)]
    last = folder / "run" / "last"
    return found, {path.name: read_variable(path) for path in last.iterdir() if path.name.startswith("linear")}


def test_two_processes_do_what_one_does(tmp_path):
    """41 rows: the second process has none left for the last step. A step of one has the rows of both."""
    (alone,), wanted = train(tmp_path / "alone", 1, 10)
    both, weights = train(tmp_path / "both", 2, 5)
    assert alone["rank"] == [0, 1, True]
    assert [found["rank"] for found in both] == [[0, 2, True], [1, 2, False]]
    for name in wanted:
        np.testing.assert_allclose(weights[name], wanted[name], atol=1e-6, err_msg=name)
    assert set(alone["results"]["eval"]) == {"acc", "auc", "f1", "loss", "pn"}
    assert [found["results"]["eval"] == pytest.approx(alone["results"]["eval"], abs=1e-6) for found in both] == [
        True,
        True,
    ]
    for found in both:
        assert found["evaluated"] == pytest.approx(alone["evaluated"], abs=1e-6), "over all batches, on every process"
        np.testing.assert_allclose(found["predicted"], alone["predicted"], atol=1e-6, err_msg="in the data's order")
    for folder in ("alone", "both"):
        assert len(list((tmp_path / folder / "best").glob("model_*"))) == 1
        state = json.loads((tmp_path / folder / "run" / "last" / "training_state" / "state.json").read_text())
        assert state["step"] == 5
        assert state["position"] == {"epoch": 0, "batches": 5, "rows": 41, "ended": True}
