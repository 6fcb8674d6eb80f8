"""Students beside their teacher: accuracy alone and distilled, rows a second from text to label, MB.

    python benchmark/distillation.py                              # film reviews, all students, seeds 1 to 5
    python benchmark/distillation.py --parts films --students bow transformer_2 --seeds 1 2 --minutes 20
    python benchmark/distillation.py --parts chnsenticorp --model MODEL      # needs ../shared/data/zh, or --data FOLDER

films: the quickstart's film reviews. The teacher is MiniLM, fine-tuned on the first --labelled rows; it labels the
other rows and --copies augmented copies of all. chnsenticorp: --model fine-tuned on ChnSentiCorp, augmentation by
jieba. Students of one kind alone and distilled have the same network, rows with labels and learning rate; alone, they
begin with what the model knew before it was fine-tuned, and pass over the rows until they know them by heart. A seed
sets weights, order and dropout. Accuracy is that of the last checkpoint on the dev rows whose texts train.tsv does not
have; nothing is chosen by it. Speed is batch prediction of a file, read and written, by the time it takes of one core.
The students of two and of five Transformer layers are scored and timed with 8-bit products, the teacher and the others
with 32-bit ones. At the end the first kind of student learns from a server of the teacher, and what it waits for it is
told.

Teacher, labels, word vectors and every student are made once and kept in --work; a student takes from ten seconds to
some minutes of a core. Run it again after --minutes, and it goes on.

Exit status 1 when a kind of student is not better distilled by more than two standard errors of the difference, when no
student keeps 97% of the teacher's accuracy at 20 times its speed or none 99% at 3 times, when a student waits for its
teacher longer than it should (benchmark/parts/online_teacher.py), or when the minutes ran out. With --show only then.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmark.parts.common import RESULTS, Bench, arguments, say  # noqa: E402
from benchmark.parts.distillation_part import KINDS, Part  # noqa: E402
from benchmark.parts.online_teacher import report_online  # noqa: E402
from propeller.errors import exit_on_user_error  # noqa: E402

WORK = ROOT / "output" / "distillation_benchmark"
SPEED_ROUNDS = 3
TEACHER_ROWS = 20  # the teacher reads a twentieth of the rows that a student's speed is taken of
KEEPS = ((0.97, 20.0), (0.99, 3.0))  # of the teacher's accuracy, at so many times its rows a second
STUDENTS = ("bow", "cnn", "bilstm", "transformer_2", "transformer_5")


def standard_error(values):
    """Of the mean of some numbers."""
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("inf")


def with_error(value, error):
    """A figure and its standard error, which one seed does not have."""
    return f"{value:.2f} ±{error:5.2f}" if error < float("inf") else f"{value:.2f}"


def measure(bench, part, args):
    """Print the table of one part; whether it meets the targets, and nothing is missing."""
    teacher = bench.cell(f"{part.name} teacher", part.teach)
    if teacher is None or bench.cell(f"{part.name} labels {part.unlabelled.name}", part.label) is None:
        return False
    found, bundles = {}, {}
    for seed in args.seeds:  # all kinds with one seed, then with the next: whenever the minutes end, a table is there
        for name in args.students:
            for distilled in (False, True):
                key = f"{part.name} {name} {'distilled' if distilled else 'alone'} {seed}"
                known = f"{key} {part.digest(name, distilled)}"
                cell = bench.cell(known, lambda n=name, s=seed, d=distilled: part.student(n, s, d))
                if cell is not None:
                    say(f"{key}: {100 * cell['accuracy']:.2f}, in {cell['seconds']:.0f} s")
                    found.setdefault((name, distilled), {})[seed] = cell
        if seed == args.seeds[0]:
            speeds = measure_speed(bench, part, args, found, bundles)
    first = args.students[0]
    online = bench.cell(f"{part.name} {first} online {part.digest(first, True)}", lambda: part.online(first))
    good = report(part.name, teacher, found, speeds, {name: each["mb"] for name, each in bundles.items()}, args)
    return online is not None and report_online(part.name, online) and good


def measure_speed(bench, part, args, found, bundles):
    """name -> rows a second, of the teacher and of the students that the first seed made; ``bundles`` are filled in."""
    for name in args.students:
        if found.get((name, True)):
            cell = bench.cell(
                f"{part.name} {name} bundle {part.digest(name, True)}", lambda n=name: part.bundle(n, args.seeds[0])
            )
            bundles.update({} if cell is None else {name: cell})
    folders = {"teacher": part.folder / "bundle", **{name: Path(each["bundle"]) for name, each in bundles.items()}}
    few = max(args.speed_rows // TEACHER_ROWS, 1)
    known = {name: "teacher" if name == "teacher" else f"{name} {part.digest(name, True)}" for name in folders}
    candidates = {
        known[name]: (
            lambda folder=folder, name=name: (
                part.speed(folder, few)
                if name == "teacher"
                else part.speed(folder, args.speed_rows, KINDS[name].precision)
            )
        )
        for name, folder in folders.items()
    }
    rounds = bench.rounds(f"{part.name} rows a second", candidates, SPEED_ROUNDS)
    return {name: rounds[known[name]].median for name in folders if known[name] in rounds}


HEAD = ("alone", "distilled", "difference", "of teacher", "rows/s", "times", "MB")
WIDTHS = (16, 16, 16, 12, 10, 8, 8)


def line(name, *cells):
    """A line of the table."""
    return f"{name:<14}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS))


def report(name, teacher, found, speeds, sizes, args):
    """Print a table; whether the targets are met."""
    base, best = speeds.get("teacher", 0.0), 100 * teacher["accuracy"]
    print(f"\n{name}: {args.labelled} labelled rows; accuracy in %, mean of seeds ± standard error")
    print(line("", *HEAD))
    print(line("teacher", f"{best:.2f}", "", "", "", f"{base:,.0f}" if base else "-", "1", f"{teacher['mb']:.1f}"))
    good, kept = True, []
    for student in args.students:
        alone, taught = (found.get((student, distilled), {}) for distilled in (False, True))
        both = sorted(set(alone) & set(taught))
        if not both:
            good = False
            continue
        one, other = ([100 * cells[seed]["accuracy"] for seed in both] for cells in (alone, taught))
        gain = statistics.mean(other) - statistics.mean(one)
        error = (standard_error(one) ** 2 + standard_error(other) ** 2) ** 0.5
        share, times = statistics.mean(other) / best, speeds.get(student, 0.0) / base if base else 0.0
        good, kept = good and gain > 2 * error, [*kept, (share, times)]
        figures = [
            *(with_error(statistics.mean(each), standard_error(each)) for each in (one, other)),
            with_error(gain, error),
            f"{100 * share:.1f}%",
            f"{speeds[student]:,.0f}" if student in speeds else "-",
            f"{times:.1f}" if times else "-",
        ]
        more = "" if gain > 2 * error else "   one seed shows nothing"
        if len(both) > 1 and not gain > 2 * error:
            more = "   not better by two standard errors"
        print(line(student, *figures, f"{sizes[student]:.1f}" if student in sizes else "-") + more)
    for least, faster in KEEPS:
        reached = any(share >= least and times >= faster for share, times in kept)
        good = good and reached
        word = "reached" if reached else "not reached"
        print(f"{100 * least:g}% of the teacher's accuracy at {faster:g} times its speed: {word}")
    return good


def main(args):
    """Exit status: 0 if everything was measured and meets its target."""
    names = ("labelled", "teacher_epochs", "teacher_rate", "model", "data", "speed_rows")
    settings = {name: getattr(args, name) for name in names}  # those of a student are in the names of its cells
    bench = Bench("distillation", args, settings, args.results)
    good = [measure(bench, Part(name, args), args) for name in args.parts]
    return 0 if (args.show or all(good)) and not bench.out_of_time else 1


def build_parser(prog=None):
    """The flags; ``prog`` is the name in their messages, None the program's own."""
    parser = arguments(__doc__)
    parser.prog = prog or parser.prog
    parser.add_argument("--parts", nargs="+", default=["films"], choices=("films", "chnsenticorp"), help="[films]")
    parser.add_argument("--students", nargs="+", default=list(STUDENTS), choices=STUDENTS, help="[all]")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], help="[1 2 3 4 5]")
    parser.add_argument("--labelled", type=int, default=2000, help="rows with labels [2000]")
    parser.add_argument("--copies", type=int, default=5, help="augmented copies of each [5]")
    parser.add_argument("--ratio", type=int, default=4, help="the teacher's batches for each labelled one [4]")
    parser.add_argument("--temperature", type=float, default=2.0, help="[2]")
    parser.add_argument("--teacher_epochs", type=int, default=3, help="passes of the teacher over them [3]")
    parser.add_argument("--teacher_rate", type=float, default=1e-4, help="its learning rate [1e-4]")
    parser.add_argument("--model", help="the model that the teacher starts from [the quickstart's encoder]")
    parser.add_argument("--data", help="the folder that has SST-2/ or chnsenticorp/ [fetched; ../shared/data/zh]")
    parser.add_argument("--label_precision", default="fp32", choices=("fp32", "bf16"), help="of labelling [fp32]")
    parser.add_argument("--unlabelled", type=int, help="rows for the teacher to label at most [all]")
    parser.add_argument("--speed_rows", type=int, default=20000, help="rows that speed is taken of [20000]")
    parser.add_argument("--work", default=str(WORK), help="folder of data and models [output/distillation_benchmark]")
    parser.add_argument("--results", default=str(RESULTS), help="folder of the stored figures [benchmark/results]")
    parser.add_argument("--show", action="store_true", help="end with status 0 whatever the figures are")
    return parser


if __name__ == "__main__":
    exit_on_user_error(main, build_parser().parse_args())
