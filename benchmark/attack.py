"""The worst that clients may do to a server, within its limits and outside them: memory, silence, what is lost.

    python benchmark/attack.py --minutes 30              # prints the table of docs/hardening.md
    python benchmark/attack.py --only worst              # one part alone; --help names them

A server of its own over a tiny model of random weights (embeddings, whose answers are the largest). Memory is what the
server's processes have at their fullest, less what they had idle; silence is the longest that anybody waits for
``GET /healthz`` meanwhile, asked for again and again. Targets: under 1 GB and under 1 s for one request. A part that
was measured is not measured again (benchmark/results/attack.json). Each request is tried three times, for the most
memory and the shortest of the three silences: other processes on the machine can only add to it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmark.load import ServiceLoad  # noqa: E402
from benchmark.parts import attacks  # noqa: E402
from benchmark.parts.common import Bench, arguments, say  # noqa: E402
from benchmark.parts.process_memory import children, memory  # noqa: E402

MOST_MB, MOST_SILENCE_S = 1000.0, 1.0
TRIES = 3


class Watch:
    """Within it the server's memory and silence are watched; figures are ``mb`` and ``silence`` afterwards."""

    def __init__(self, load):
        self.pid, self.port, self.mb, self.silence = load.server.pid, load.port, 0.0, 0.0

    def __enter__(self):
        for one in children(self.pid):
            Path(f"/proc/{one}/clear_refs").write_text("5")  # VmHWM begins anew
        self._idle = memory(self.pid, "VmRSS")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        return self

    def __exit__(self, *exc):
        time.sleep(0.3)  # what comes after the answer counts too
        self._ended.set()
        self._thread.join()
        self.mb = max(0.0, memory(self.pid, "VmHWM") - self._idle)

    def _ask(self):
        while not self._ended.wait(0.01):
            begin = time.monotonic()
            with contextlib.suppress(OSError):
                attacks.send(self.port, attacks.GET_HEALTH)
            self.silence = max(self.silence, time.monotonic() - begin)

    def figures(self, **more):
        return {"mb": round(self.mb, 1), "silence": round(self.silence, 3), **more}


def watched(load, act):
    """Figures of one part; ``act(load)`` gives more of them."""
    with Watch(load) as watch:
        more = act(load)
    return watch.figures(**more)


def least(load, act):
    """Of three times: the most memory, the least silence."""
    tries = [watched(load, act) for _ in range(TRIES)]
    best = min(tries, key=lambda figures: figures["silence"])
    return {**best, "mb": max(figures["mb"] for figures in tries)}


@contextlib.contextmanager
def server(workers=1, more=()):
    """A server over a tiny bundle."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from tests.helpers.served import make_bundle
    from tests.helpers.tiny import make_model

    with tempfile.TemporaryDirectory() as folder:
        model = make_model(Path(folder) / "model")
        bundle = make_bundle(Path(folder) / "bundle", model, "embed", pooling="mean")
        flags = ("--workers", str(workers), "--threads", "1", "--use_cuda", "false", *more)
        load = ServiceLoad(bundle, ["a text"], flags)
        try:
            attacks.send(load.port, attacks.post("/predict", b'{"texts": ["warm"]}'))
            yield load
        finally:
            if load.server.poll() is None:
                load.close()


def measure(bench, only):
    """All parts, as far as the minutes go: name -> figures."""
    found = {}
    with contextlib.ExitStack() as stack:
        opened = []

        def part(name, act, fresh=False):
            def run():
                say(f"{name} ...")
                if fresh:
                    with server(workers=2) as load:
                        return watched(load, act) if fresh != "ends" else act(load)
                if not opened:
                    opened.append(stack.enter_context(server()))
                return least(opened[0], act) if name.startswith("worst") else watched(opened[0], act)

            if only is None or name.split(":")[0] == only:
                found[name] = bench.cell(name, run)

        part("idle", attacks.idle)
        for name, (path, body) in attacks.worst().items():
            part(f"worst: {name}", lambda load, path=path, body=body: attacks.one(load, path, body))
        part("together", attacks.together)
        part("flood", attacks.flood)
        part("slow", attacks.slow)
        part("malformed", attacks.malformed)
        part("long", attacks.long)
        part("killed", attacks.killed, fresh=True)
        part("stopped", attacks.stopped, fresh="ends")
    return {name: figures for name, figures in found.items() if figures}


def table(found):
    """Lines of the table."""
    lines = ["| what | memory over idle | longest silence of `/healthz` | what came of it |", "|---|---|---|---|"]
    for name, figures in found.items():
        given = dict(figures)
        mb, silence = given.pop("mb", None), given.pop("silence", None)
        cells = [f"{mb:,.0f} MB" if mb is not None else "", f"{silence:.2f} s" if silence is not None else ""]
        lines.append(
            f"| {name} | {' | '.join(cells)} | {', '.join(f'{key} {value}' for key, value in given.items())} |"
        )
    return lines


def main(argv):
    """Print the table; status 1 if one request was over a target."""
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=attacks.PARTS, help="this part alone")
    args = parser.parse_args(argv)
    bench = Bench("attack", args, settings={"version": 1})
    found = measure(bench, args.only)
    print(*table(found), sep="\n")
    alone = [figures for name, figures in found.items() if name.startswith("worst")]
    over = [f for f in alone if f["mb"] >= MOST_MB or f["silence"] >= MOST_SILENCE_S]
    print(f"\none request: {len(alone)} tried, {len(over)} over {MOST_MB:g} MB or {MOST_SILENCE_S:g} s")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
