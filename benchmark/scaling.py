"""Training on two cores: one process of two threads, two processes of one, and transformers + torch with two threads.
One process is measured with Paddle's operators, too.

    python -m pip install -r requirements-peers.txt
    python benchmark/scaling.py                         # on an idle machine; 40 minutes at most

Tokens a second of the median step, over full rows of 128 random ids, dropout 0.1, AdamW and clipping on both sides; a
round is a fresh run of each, interleaved. Two processes share the batch and sum their gradients over gloo; how long
that takes by itself is shown too. Exit status 1 when the better of one and two processes stays below 1.2 times torch
with 4 layers of 256, or below 1.1 times with 12 layers of 768.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmark.parts.common import LEAST_ROUNDS, Bench, arguments, say  # noqa: E402

SIDE = str(ROOT / "benchmark" / "parts" / "scaling_side.py")
SIZES = {  # name -> job, target beside torch
    "4 x 256, 32 x 128": ({"layers": 4, "hidden": 256, "batch": 32, "length": 128, "steps": 12, "warmup": 3}, 1.2),
    "12 x 768, 8 x 128": ({"layers": 12, "hidden": 768, "batch": 8, "length": 128, "steps": 6, "warmup": 2}, 1.1),
}
CANDIDATES = {  # name -> side, processes, threads of each, whether the operators are fused
    "one process x 2 threads": ("ours", 1, 2, True),
    "two processes x 1 thread": ("ours", 2, 1, True),
    "one process, Paddle's": ("ours", 1, 2, False),
    "transformers + torch": ("peer", 1, 2, False),
}
COUNTED = ("one process x 2 threads", "two processes x 1 thread")  # the better one is held against the target
PEER = "transformers + torch"


def measure(job, side, processes, threads, fused):
    """A run; what the side found."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        words = [SIDE, side, json.dumps({**job, "threads": threads, "fused": fused}), str(out)]
        if processes > 1:
            launcher = [str(ROOT / "finetune_launch.py"), "--nproc_per_node", str(processes), "--backend", "gloo"]
            words = [*launcher, "--print_config", "false", "--split_log_path", folder, *words]
        given = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=given, check=False)
        if done.returncode:
            raise SystemExit(f"{side} ended with status {done.returncode}:\n{done.stderr[-3000:]}")
        return json.loads(out.read_text())


def report(name, found, exchange, target):
    """Print a size's figures; whether the target is met."""
    print(f"\n{name}: tokens a second, median (least to most)")
    base = found[PEER].median if PEER in found else None
    for candidate, rounds in found.items():
        beside = f"  {rounds.median / base:.2f} of torch" if base else ""
        print(f"  {candidate:26} {rounds!s:>40}{beside}")
    if exchange:
        print(f"  summing the gradients of two processes by itself: {1000 * statistics.median(exchange):.0f} ms a step")
    mine = [found[name] for name in COUNTED if name in found]
    if not base or not mine or not all(rounds.complete for rounds in [found[PEER], *mine]):
        print("  not measured to the end: start again to go on")
        return False
    met = max(rounds.median for rounds in mine) >= target * base
    print(f"  target: the better of one and two processes at {target} of torch: {'met' if met else 'missed'}")
    return met


def main():
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=LEAST_ROUNDS, help=f"rounds of each [{LEAST_ROUNDS}]")
    parser.add_argument("--bucket_mb", type=float, help="megabytes of gradients sent at once [the loop's default]")
    parser.add_argument("--sizes", nargs="*", choices=tuple(SIZES), default=list(SIZES), help="which to measure")
    parser.add_argument(
        "--ways", nargs="*", choices=COUNTED, default=None, help="measure only these of ours, beside torch"
    )
    args = parser.parse_args()
    from benchmark.parts.comparison import versions

    bench = Bench("scaling", args, {"versions": versions(), "bucket_mb": args.bucket_mb, "sizes": SIZES})
    met = []
    for name in args.sizes:
        job, target = SIZES[name]
        exchange = bench.stored["cells"].setdefault(f"{name}, exchange", [])

        def run(side, processes, threads, fused, job=job, exchange=exchange):
            found = measure({**job, "bucket_mb": args.bucket_mb}, side, processes, threads, fused)
            if "exchange_seconds" in found:
                exchange.append(found["exchange_seconds"])
            return found["rate"]

        ways = CANDIDATES if args.ways is None else [*args.ways, PEER]
        candidates = {label: (lambda how=CANDIDATES[label]: run(*how)) for label in ways}
        found = bench.rounds(name, candidates, args.rounds)
        met.append(report(name, found, exchange, target) if found else False)
    if not all(met):
        say("not every target is met")
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
