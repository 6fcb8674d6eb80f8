"""Where the processes of one machine meet, other machines cannot come in.

python -m pytest tests/propeller/test_loopback.py
"""

import os
import re
import socket
import subprocess
import sys

import pytest

from propeller.train import loopback
from tests.helpers.common import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux binds sockets to devices")
DEVICE_CHARS = 16


def device(bound):
    return bound.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, DEVICE_CHARS)


def test_a_socket_that_comes_later_is_bound_and_others_are_not():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with socket.create_server(("", 0)) as other, loopback.only(f"127.0.0.1:{port}"):
        with socket.create_server(("", port)) as store:
            while not device(store):
                pass
            assert device(store) == b"lo\0"
            assert device(other) == b""
            with socket.create_connection(("127.0.0.1", port), 5):
                pass


def test_a_socket_of_another_device_refuses_loopback():
    """The same call, the other way round: what does not come by the device is refused."""
    names = [name for _, name in socket.if_nameindex() if name != "lo"]
    if not names:
        pytest.skip("this machine has one device")
    with socket.create_server(("", 0)) as store:
        store.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, names[0].encode() + b"\0")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", store.getsockname()[1]), 5)


def test_several_machines_meet_at_their_own_address():
    with socket.create_server(("", 0)) as store:
        with loopback.only(f"10.0.0.1:{store.getsockname()[1]}"):
            pass
        assert device(store) == b""


SCRIPT = """
import os, socket, sys
sys.path.insert(0, {root!r})
from propeller import runtime
runtime.prepare()
from propeller.train import distribution
ranks = distribution.start()
ranks.all_gather(1)
for name in os.listdir("/proc/self/fd"):
    try:
        with socket.socket(fileno=os.dup(int(name))) as some:
            if some.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and some.family == socket.AF_INET:
                print("listens", some.getsockname(), some.getsockopt(socket.SOL_SOCKET, 25, 16))
    except OSError:
        pass
ranks.barrier()
"""


@pytest.mark.slow
def test_paddles_store_of_a_group_on_one_machine(tmp_path):
    (tmp_path / "listens.py").write_text(SCRIPT.format(root=str(ROOT)))
    words = [
        "--nproc_per_node",
        "2",
        "--backend",
        "gloo",
        "--print_config",
        "false",
        "--split_log_path",
        tmp_path / "log",
    ]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PADDLE_")}
    done = subprocess.run(
        [sys.executable, str(ROOT / "finetune_launch.py"), *map(str, words), str(tmp_path / "listens.py")],
        env={**kept, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    logs = [(tmp_path / "log" / f"job.log.{rank}").read_text() for rank in (0, 1)]
    listening = [re.findall("^listens (.*)$", text, re.MULTILINE) for text in logs]
    assert len(listening[0]) == 1, listening
    assert listening[0][0].endswith(r"b'lo\x00'"), listening
    assert listening[1] == []
