"""How long a student that asks its teacher while it learns waits for it: the cell of benchmark/distillation.py.

A server of the teacher's bundle answers on this machine. The rows are as many as an epoch needs, so the teacher says
all of them in the first epoch, and the epochs after it read what was kept.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 4
MOST_WAITING = 0.1  # of the time of a cached epoch


def free_port():
    """A port that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def serving(bundle, log):
    """The address of a server of a bundle, a process of its own that ends with the block."""
    port = free_port()
    command = [sys.executable, "-m", "propeller.tools.start_server", "-m", str(bundle), "-p", str(port),
               "--use_cuda", "false"]  # fmt: skip
    with open(log, "w", encoding="utf8") as said:
        process = subprocess.Popen(command, cwd=ROOT, stderr=said, stdout=said)
        try:
            waiting = [sys.executable, "distill/script/wait_for.py", f"http://127.0.0.1:{port}", str(process.pid)]
            subprocess.run(waiting, cwd=ROOT, check=True)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def waits(folder):
    """epoch -> (seconds waited for batches, seconds in all) of a run, from its ``metrics.jsonl``."""
    found: dict[int, tuple[float, float]] = {}
    before = 0
    for text in (folder / "metrics.jsonl").read_text(encoding="utf8").splitlines():
        record = json.loads(text)
        if record["event"] != "train":
            continue
        seconds = (record["step"] - before) / record["speed"]
        before = record["step"]
        waited, total = found.get(record["epoch"], (0.0, 0.0))
        found[record["epoch"]] = waited + record["waiting"] * seconds, total + seconds
    return found


def measure_online(part, run, words, rows):
    """Train a student that asks the teacher for each of its rows once.

    Args:
        part: of the benchmark: ``folder``, ``unlabelled``.
        run: what runs a command of ours and gives what it said.
        words: the command line of the student, without the teacher.
        rows: how many unlabelled rows an epoch needs.

    Returns:
        ``asked``, ``teacher_s`` (the time the teacher took for them), and of the first epoch and of those after it
        ``waited_s`` and ``total_s``.
    """
    folder = part.folder / "online"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    lines = part.unlabelled.read_text(encoding="utf8").splitlines()
    (folder / "rows.tsv").write_text("\n".join(lines[: rows + 1]) + "\n", encoding="utf8")
    bundle = next((part.folder / "bundle").iterdir())
    with serving(bundle, folder / "server.log") as url:
        said = run(*words, "--unlabelled_set", folder / "rows.tsv", "--teacher", url, "--epoch", EPOCHS,
                   "--skip_steps", 1, "--checkpoints", folder / "run")  # fmt: skip
    asked, seconds = re.search(r"the teacher was asked for (\d+) rows, which took it ([\d.]+) s", said).groups()
    epochs = waits(folder / "run")
    later = [both for epoch, both in epochs.items() if epoch]
    return {
        "asked": int(asked),
        "teacher_s": float(seconds),
        "first": dict(zip(("waited_s", "total_s"), epochs[0])),
        "later": {"waited_s": sum(one for one, _ in later), "total_s": sum(other for _, other in later)},
    }


def report_online(name, cell):
    """Print two lines; whether both targets are met."""
    first, later = cell["first"], cell["later"]
    share = later["waited_s"] / max(later["total_s"], 1e-9)
    in_time = first["waited_s"] < cell["teacher_s"]
    print(
        f"{name}, a teacher that is asked while the student learns: it took {cell['teacher_s']:.1f} s for "
        f"{cell['asked']} rows, for which {first['waited_s']:.1f} s of the first epoch's {first['total_s']:.1f} s were "
        f"waited: {'less than it took' if in_time else 'not less than it took'}"
    )
    word = "reached" if share < MOST_WAITING else "not reached"
    print(f"once its answers are kept, {100 * share:.1f}% of the time is waited, under {100 * MOST_WAITING:g}%: {word}")
    return in_time and share < MOST_WAITING
