"""docs/propeller.md tells the truth: its program, commands and snippets are run as they are printed."""

import os
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest

from tests.helpers.common import ROOT

TEXT = (ROOT / "docs" / "propeller.md").read_text(encoding="utf8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


PROGRAM, LEARNER, DATA, METRIC, HOOK, CLIENT = blocks("python")
RUN, SERVE, GROUP = blocks("sh")


def call(command, folder, seconds=300):
    words = shlex.split(command.replace("\\\n", " "))
    words = [sys.executable, *words[1:]] if words[0] == "python" else words
    words = [str(ROOT / word) if word == "finetune_launch.py" else word for word in words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=folder, env=environment, timeout=seconds, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the page's program has run."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "iris.py").write_text(PROGRAM)
    first = call(RUN, folder)
    (folder / "said").write_text(first.stdout)
    (folder / "stderr").write_text(first.stderr)
    return folder


def accuracy(said):
    return float(re.fullmatch(r"dev_acc\t([\d.]+)", said.splitlines()[-1]).group(1))


def test_blocks_are_those_that_are_looked_at():
    assert set(re.findall(r"^```(\w*)$", TEXT, re.MULTILINE)) == {"", "sh", "python", "text"}
    assert "`iris.py`:\n\n```python\n" in TEXT


@pytest.mark.slow
def test_the_program_learns_and_logs_what_is_shown(folder):
    assert accuracy((folder / "said").read_text()) > 0.9
    log = (folder / "stderr").read_text()
    (shown,) = blocks("text")
    for line in shown.splitlines():
        assert re.search(re.escape(line).replace("…", r"[\d.e+-]+"), log), line
    assert len(re.findall(r"\tstep:\d+\tsteps/sec", log)) == 30
    assert len(re.findall(r"\*\*\* eval res: dev \*\*\*", log)) == 3


@pytest.mark.slow
def test_the_program_again_trains_no_further(folder):
    again = call(RUN, folder)
    assert not re.search(r"step:\d+\tsteps/sec", again.stderr)
    assert again.stdout == (folder / "said").read_text()
    assert sorted(path.name for path in (folder / "output" / "iris").glob("step_*"))[-1] == "step_300"


@pytest.mark.slow
def test_the_snippets(folder):
    said = (
        "import numpy as np\n"
        "print(scores['acc'], sum(p == k for p, (_, k) in zip(predicted, flowers('dev'))) / len(predicted))\n"
        "print(sorted(int(y) for _, ys in batches for y in ys), [len(x) for x, _ in batches])\n"
        "print(largest.eval())\n"
        "print(lowest[0] == hook.at, 0 < hook.at < 300)\n"
    )
    code = "\n".join(["import propeller.paddle as propeller", LEARNER, DATA, METRIC, HOOK, said])
    (folder / "snippets.py").write_text(code)
    lines = call("python snippets.py", folder).stdout.splitlines()
    scored, counted = map(float, lines[0].split())
    assert scored == pytest.approx(counted)
    assert scored > 0.9
    assert lines[1] == "[0, 4, 16, 36, 64] [3, 2]"
    assert lines[2] == "8.0"
    assert lines[3] == "True True"


@pytest.mark.slow
def test_the_server_and_its_client(folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = shlex.split(SERVE.replace("8113", str(port)))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen([sys.executable, *words[1:]], cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/info", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (folder / "server.log").read_text()[-2000:]
                assert time.monotonic() < end, (folder / "server.log").read_text()[-2000:]
                time.sleep(0.2)
        space = {}
        exec(CLIENT.replace("8113", str(port)), space)
        assert space["logits"].shape == (2, 3)
        assert space["logits"].argmax(axis=1).tolist() == [0, 2]
        with space["InferenceClient"](f"http://127.0.0.1:{port}") as client:
            (again,) = client(np.array([[[5.1], [3.5], [1.4], [0.2]]]))  # as in 2019, [rows, numbers, 1]
        np.testing.assert_allclose(again, space["logits"][:1], atol=1e-5)
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.slow
def test_two_processes(folder):
    said = call(GROUP, folder)
    lines = (said.stdout + said.stderr).splitlines()
    assert accuracy(next(line for line in reversed(lines) if line.startswith("dev_acc"))) > 0.9


def test_the_metrics_and_fields_named_are_those_that_are_there():
    import propeller.metrics
    from propeller.hparams import RunConfig

    section = TEXT[TEXT.index("## Metrics") : TEXT.index("For a metric of your own, subclass `Metrics`")]
    named = set(re.findall(r"`([A-Z]\w*)", section)) - {"Metrics"}
    assert named == set(propeller.metrics.__all__) - {"Metrics", "Metric", "Collected"}
    section = TEXT[TEXT.index("`RunConfig` has the settings") : TEXT.index("`--run_config` and `--hparam` take")]
    assert set(re.findall(r"`(\w+)`", section)) - {"RunConfig", "best"} == set(RunConfig._fields)


def test_the_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / "docs" / target).exists(), target
