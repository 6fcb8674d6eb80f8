"""Training on two cores: one process of two threads, two processes of one, and transformers + torch with two threads.

    python -m pip install -r requirements-peers.txt
    python benchmark/scaling.py                         # on an idle machine; 40 minutes at most

Tokens a second of the median step, over full rows of 128 random ids, dropout 0.1, AdamW and clipping on both sides; a
round is a fresh run of each, interleaved. Two processes share the batch and sum their gradients over gloo; how long
that takes by itself is shown too. Exit status 1 when two processes stay below 1.1 times torch with 4 layers of 256, or
below 0.95 times with 12 layers of 768.
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

from benchmark.common import LEAST_ROUNDS, Bench, arguments, say  # noqa: E402

SIDE = str(ROOT / "benchmark" / "scaling_side.py")
SIZES = {  # name -> job, target of two processes beside torch
    "4 x 256, 32 x 128": ({"layers": 4, "hidden": 256, "batch": 32, "length": 128, "steps": 12, "warmup": 3}, 1.1),
    "12 x 768, 8 x 128": ({"layers": 12, "hidden": 768, "batch": 8, "length": 128, "steps": 6, "warmup": 2}, 0.95),
}
CANDIDATES = {  # name -> side, processes, threads of each
    "one process x 2 threads": ("ours", 1, 2),
    "two processes x 1 thread": ("ours", 2, 1),
    "transformers + torch": ("peer", 1, 2),
}


def measure(job, side, processes, threads):
    """A run; what the side found."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        words = [SIDE, side, json.dumps({**job, "threads": threads}), str(out)]
        if processes > 1:
            launcher = [str(ROOT / "finetune_launch.py"), "--nproc_per_node", str(processes), "--backend", "gloo"]
            words = [*launcher, "--print_config", "false", "--split_log_path", folder, *words]
        given = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=given, check=False)
        if done.returncode:
            raise SystemExit(f"{side} ended with status {done.returncode}:\n{done.stderr[-3000:]}")
        return json.loads(out.read_text())


def report(name, found, exchange, target):
    """Print a size's figures; whether two processes meet their target."""
    print(f"\n{name}: tokens a second, median (least to most)")
    base = found["transformers + torch"].median if "transformers + torch" in found else None
    for candidate, rounds in found.items():
        beside = f"  {rounds.median / base:.2f} of torch" if base else ""
        print(f"  {candidate:26} {rounds!s:>40}{beside}")
    if exchange:
        print(f"  summing the gradients of two processes by itself: {1000 * statistics.median(exchange):.0f} ms a step")
    two = found.get("two processes x 1 thread")
    if not base or not two or not two.complete:
        print("  not measured to the end: start again to go on")
        return False
    met = two.median >= target * base
    print(f"  target: two processes at {target} of torch: {'met' if met else 'missed'}")
    return met


def main():
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=LEAST_ROUNDS, help=f"rounds of each [{LEAST_ROUNDS}]")
    parser.add_argument("--bucket_mb", type=float, help="megabytes of gradients sent at once [the loop's default]")
    parser.add_argument("--sizes", nargs="*", choices=tuple(SIZES), default=list(SIZES), help="which to measure")
    args = parser.parse_args()
    from benchmark.comparison import versions

    bench = Bench("scaling", args, {"versions": versions(), "bucket_mb": args.bucket_mb, "sizes": SIZES})
    met = []
    for name in args.sizes:
        job, target = SIZES[name]
        exchange = bench.stored["cells"].setdefault(f"{name}, exchange", [])

        def run(side, processes, threads, job=job, exchange=exchange):
            found = measure({**job, "bucket_mb": args.bucket_mb}, side, processes, threads)
            if "exchange_seconds" in found:
                exchange.append(found["exchange_seconds"])
            return found["rate"]

        candidates = {label: (lambda how=how: run(*how)) for label, how in CANDIDATES.items()}
        found = bench.rounds(name, candidates, args.rounds)
        met.append(report(name, found, exchange, target) if found else False)
    if not all(met):
        say("not every target is met")
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
