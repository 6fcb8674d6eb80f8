"""Programs that are killed before one of their file operations and started again, for every operation there is.

    python benchmark/kill_points.py                                      # all kinds, all places, 40 minutes at a time
    python benchmark/kill_points.py --kinds fine-tuning build_data --places 10

A small run of each kind is killed before its first file operation, another one before its second, and so on. The same
command again must end with status 0, and must leave what an undisturbed run leaves: the same files, links, weights,
metrics and curves, and nothing more. --places takes so many of each kind, evenly spread. Places that were tried are not
tried again; give --again after a change of the code.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmark.parts.common import RESULTS, Bench, arguments, say  # noqa: E402

KINDS = ("fine-tuning", "pre-training", "build_data", "embeddings", "prediction", "export", "labelling", "distillation")


def spread(total, places):
    """Numbers below ``total``: all, or so many that are evenly spread, the first and the last among them."""
    if places is None or places >= total:
        return list(range(total))
    return sorted({round(i * (total - 1) / max(places - 1, 1)) for i in range(places)})


def main(argv=None):
    """Print the table; 0 when every place was tried and survived."""
    parser = arguments(__doc__)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="of runs (default: all)")
    parser.add_argument("--places", type=int, help="how many of each kind (default: all)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder of the results")
    args = parser.parse_args(argv)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # a process with threads cannot be forked
        os.environ[name] = "1"
    bench = Bench("kill_points", args, {}, args.results)
    from tests.helpers.kill_programs import Programs

    rows, made = [], None
    with tempfile.TemporaryDirectory() as folder:
        for kind in args.kinds:
            if made is None and not bench.out_of_time:
                made = Programs(Path(folder) / "runs", args.kinds)
            total = bench.cell(f"{kind}, operations", lambda: made.operations(kind))  # noqa: B023 - called at once
            if total is None:
                continue
            found = {}
            for number in spread(total, args.places):
                found[number] = bench.cell(f"{kind}, {number}", lambda: made.killed(kind, number))  # noqa: B023
                if found[number]:
                    say(f"{kind}, before operation {number}: {found[number]}")
            rows.append((kind, total, found))
    return report(rows, len(args.kinds))


def report(rows, kinds):
    """Print kind, operations, places tried and survived; the exit status."""
    good = len(rows) == kinds
    print(f"{'kind':<14} {'operations':>10} {'tried':>6} {'survived':>9}")
    for kind, total, found in rows:
        tried = [text for text in found.values() if text is not None]
        survived = sum(not text for text in tried)
        good = good and survived == len(found)
        print(f"{kind:<14} {total:>10} {len(tried):>6} {survived:>9}")
    for kind, _, found in rows:
        for number, text in found.items():
            if text:
                print(f"{kind}, before operation {number}: {text}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
