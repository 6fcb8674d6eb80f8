"""Students beside their teacher: accuracy alone and distilled, rows a second from text to label, MB.

    python benchmark/distillation.py                              # film reviews, all students, seeds 1 to 5
    python benchmark/distillation.py --parts films --students bow transformer --seeds 1 2 --minutes 20
    python benchmark/distillation.py --parts chnsenticorp --model MODEL      # needs ../shared/data/zh, or --data FOLDER

films: the quickstart's film reviews. The teacher is MiniLM, fine-tuned on the first --labelled rows; it labels the
other rows and --copies augmented copies of the labelled ones. chnsenticorp: --model fine-tuned on ChnSentiCorp, and
augmented copies of its training set by jieba. Students of one kind alone and distilled have the same network, rows
with labels, learning rate and number of epochs of them; a seed sets weights, order and dropout. Accuracy is that of
the last checkpoint on the dev set, which nothing is chosen by. Speed is batch prediction of a file, read and written,
on one core. At the end the first kind of student learns from a server of the teacher, and what it waits for it is told.

Exit status 1 when a kind of student is not better distilled by more than two standard errors of the difference, when no
student keeps 97% of the teacher's accuracy at 20 times its speed or none 99% at 3 times, when a student waits for its
teacher longer than it should (benchmark/parts/online_teacher.py), or when the minutes ran out. With --show only then.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmark.parts.common import RESULTS, Bench, arguments, say  # noqa: E402
from benchmark.parts.online_teacher import measure_online, report_online  # noqa: E402
from propeller.errors import UserError, exit_on_user_error  # noqa: E402

WORK = ROOT / "output" / "distillation_benchmark"
SHARED = ROOT.parent / "shared" / "data"
SPEED_ROUNDS = 3
TEACHER_ROWS = 20  # the teacher reads a twentieth of the rows that a student's speed is taken of
KEEPS = ((0.97, 20.0), (0.99, 3.0))  # of the teacher's accuracy, at so many times its rows a second
STUDENTS = ("bow", "cnn", "bilstm", "transformer")


@dataclass(frozen=True)
class Kind:
    """A student. shape: of ``config/student``, with changes; whole_words: its vocabulary, else the teacher's pieces and
    word embedding; keep: the teacher's layers it has."""

    shape: dict
    whole_words: bool = False
    keep: int = 0
    learning_rate: float = 1e-3
    epochs: int = 10
    batch_size: int = 32


KINDS = {
    "bow": Kind({"network": "bow"}, whole_words=True),
    "cnn": Kind({"network": "cnn", "windows": [1, 2, 3], "filters": 64}),
    "bilstm": Kind({"network": "bilstm", "lstm_size": 64}),
    "transformer": Kind({}, keep=2, learning_rate=2e-4, epochs=5),
}


def run(*command, threads=None):
    """Run one of our commands; its standard error. Raises UserError with its last line."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads or len(os.sched_getaffinity(0)))}
    words = [sys.executable, "-m", *map(str, command)]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{' '.join(words[2:6])} ...: {done.stderr.strip().splitlines()[-1]}")
    return done.stderr


def digest(value):
    """Eight letters for a value, so that other settings have other folders."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:8]


def flags(**values):
    """A command line."""
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def last_accuracy(folder):
    """Of the last evaluation of a run."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf8").splitlines()]
    return [line["acc"] for line in lines if line["event"] == "dev"][-1]


class Part:
    """One data set with its teacher.

    Args:
        name: ``films`` or ``chnsenticorp``.
        args: the command line.
    """

    def __init__(self, name, args) -> None:
        self.name, self.args = name, args
        teacher = [args.labelled, args.copies, args.teacher_epochs, args.teacher_rate, args.model]
        teacher += [args.unlabelled, args.data] if args.unlabelled or args.data else []
        self.folder = Path(args.work) / f"{name}-{digest(teacher)}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.teacher = self.folder / "teacher"
        english = name == "films"
        self.text = {"for_cn": "false", "max_seq_len": 64 if english else 128}
        self.segmenter = "english" if english else "jieba"
        self.model = Path(args.model) if args.model else ROOT / "output" / "quickstart" / "model"

    def prepare(self):
        """train.tsv, dev.tsv, unlabelled.tsv; the teacher, its bundle and its labels. Facts of the teacher."""
        (self._films if self.name == "films" else self._chnsenticorp)()
        if not (self.folder / "unlabelled.tsv").is_file():
            run("distill.augment", self.folder / "train.tsv", self.folder / "augmented.tsv",
                *flags(copies=self.args.copies, segmenter=self.segmenter))  # fmt: skip
            parts = [self.folder / "remainder.tsv", self.folder / "augmented.tsv"]
            rows = [
                line for part in parts if part.is_file() for line in part.read_text(encoding="utf8").splitlines()[1:]
            ]
            if self.args.unlabelled:
                random.Random(0).shuffle(rows)
                rows = rows[: self.args.unlabelled]
            write(self.folder / "unlabelled.tsv", ["text_a", *rows])
        model = self.model
        say(f"{self.name}: fine-tuning the teacher on {self.args.labelled} rows")
        run("finetune", "classify", *flags(
            ernie_config_path=model / "ernie_config.json", vocab_path=model / "vocab.txt",
            init_pretraining_params=model / "params", train_set=self.folder / "train.tsv",
            dev_set=self.folder / "dev.tsv", checkpoints=self.teacher, batch_size=32, epoch=self.args.teacher_epochs,
            learning_rate=self.args.teacher_rate,
            bucket_window=1024, validation_steps=0, save_steps=0, use_cuda="false", do_test="false", **self.text,
        ))  # fmt: skip
        if not (self.folder / "bundle").is_dir():
            self._export(self.teacher / "last", self.folder / "bundle")
        say(f"{self.name}: the teacher labels {count(self.folder / 'unlabelled.tsv')} rows")
        run("distill.label", self.folder / "bundle" / "last_inference_model", self.folder / "unlabelled.tsv",
            *flags(use_cuda="false"))  # fmt: skip
        if not (self.folder / "vocab.txt").is_file():
            segmenter = [] if self.name == "films" else flags(segmenter=self.segmenter)
            files = [self.folder / "train.tsv", self.folder / "unlabelled.tsv"]
            run("distill.vocab", *files, *flags(output=self.folder / "vocab.txt", min_count=2), *segmenter)
        return {"accuracy": last_accuracy(self.teacher), **self._size(self.folder / "bundle")}

    def _films(self):
        source = ROOT / "output" / "quickstart"
        data = Path(self.args.data or source / "data") / "SST-2"
        for what, place in (("encoder", self.model), ("sentiment", data)):
            given = self.args.model if what == "encoder" else self.args.data
            if not place.exists() and not given:
                script = ROOT / "script" / "demo" / "demo_data.py"
                out = place if what == "encoder" else source / "data"
                command = [sys.executable, str(script), what, "--out", str(out), "--cache", str(source / "downloads")]
                subprocess.run(command, check=True)
        if not (data / "train.tsv").is_file():
            raise UserError(f"{data}: holds no train.tsv: give --data FOLDER, the one that has SST-2/")
        rows = shuffled(data / "train.tsv")
        column = rows[0].split("\t").index("text_a")
        write(self.folder / "train.tsv", rows[: self.args.labelled + 1])
        rest = [row.split("\t")[column] for row in rows[self.args.labelled + 1 :]]
        write(self.folder / "remainder.tsv", ["text_a", *rest])
        shutil.copyfile(data / "dev.tsv", self.folder / "dev.tsv")

    def _chnsenticorp(self):
        source = Path(self.args.data or SHARED / "zh") / "chnsenticorp"
        if not (source / "train.tsv").is_file():
            raise UserError(f"{source}: holds no train.tsv: give --data FOLDER, the one that has chnsenticorp/")
        if not self.args.model:
            raise UserError("chnsenticorp needs --model FOLDER: a Chinese model, params/, ernie_config.json, vocab.txt")
        rows = shuffled(source / "train.tsv")
        write(self.folder / "train.tsv", rows[: self.args.labelled + 1])
        shutil.copyfile(source / "dev.tsv", self.folder / "dev.tsv")

    def _export(self, checkpoint, folder):
        run("finetune.prediction", *flags(init_checkpoint=checkpoint, do_prediction="false", use_cuda="false",
                                          save_inference_model_path=folder))  # fmt: skip

    @staticmethod
    def _size(folder):
        return {"mb": next(folder.glob("*/model.pdiparams")).stat().st_size / 1e6}

    def student(self, name, seed, distilled):
        """Train one; its accuracy and size."""
        kind = KINDS[name]
        taught = [self.args.ratio, self.args.temperature] if distilled else []
        folder = self.folder / f"{name}-{seed}-{digest([asdict(kind), taught])}"
        taught = {"unlabelled_set": self.folder / "unlabelled.tsv", "unlabelled_ratio": self.args.ratio,
                  "temperature": self.args.temperature} if distilled else {}  # fmt: skip
        run(*self._command(name, kind, seed), *flags(checkpoints=folder, epoch=kind.epochs, **taught))
        bundle = folder / "bundle"
        if not bundle.is_dir():
            self._export(folder / "last", bundle)
        return {"accuracy": last_accuracy(folder), **self._size(bundle), "bundle": str(bundle)}

    def _command(self, name, kind, seed):
        """The words that train a student, but for its folder, its epochs and its teacher."""
        words = {"tokenizer": "WholeWordTokenizer", "vocab_path": self.folder / "vocab.txt"}
        if not kind.whole_words:
            words = {"vocab_path": self.model / "vocab.txt", "init_pretraining_params": self._initial(kind) / "params"}
        return ["finetune", "student", *flags(
            ernie_config_path=self._shape(name, kind), train_set=self.folder / "train.tsv",
            dev_set=self.folder / "dev.tsv", batch_size=kind.batch_size,
            learning_rate=kind.learning_rate, random_seed=seed, validation_steps=0, save_steps=0, keep_checkpoints=1,
            use_cuda="false", do_test="false", **self.text, **words,
        )]  # fmt: skip

    def online(self, name):
        """What a student waits for a teacher that is asked while it learns, see ``measure_online``."""
        kind = KINDS[name]
        batches = -(-self.args.labelled // kind.batch_size) * self.args.ratio
        rows = min(batches * kind.batch_size, count(self.folder / "unlabelled.tsv"))
        return measure_online(
            self, run, [*self._command(name, kind, 1), *flags(unlabelled_ratio=self.args.ratio)], rows
        )

    def _initial(self, kind):
        """The model directory that a student of the teacher's pieces begins with."""
        folder = self.folder / f"start-{kind.keep or 1}"
        if not folder.is_dir():
            run("distill.shrink", self.teacher / "last", folder, *flags(keep=kind.keep or 1))
        return folder

    def _shape(self, name, kind):
        if kind.keep:
            return self._initial(kind) / "ernie_config.json"
        size = {} if kind.whole_words else {"embedding_size": json.loads(
            (self.model / "ernie_config.json").read_text(encoding="utf8"))["hidden_size"]}  # fmt: skip
        write(self.folder / f"{name}.json", [json.dumps({**kind.shape, **size})])
        return self.folder / f"{name}.json"

    def speed(self, folder, rows):
        """Rows a second of batch prediction from a file to a file, on one core."""
        source = (self.folder / "dev.tsv").read_text(encoding="utf8").splitlines()
        column = source[0].split("\t").index("text_a")
        texts = [row.split("\t")[column] for row in source[1:]]
        path = self.folder / f"speed-{rows}.tsv"
        write(path, ["text_a", *(texts * -(-rows // len(texts)))[:rows]])
        said = run(
            "finetune.prediction",
            *flags(
                inference_model=next(folder.iterdir()),
                predict_set=path,
                output=self.folder / "speed_out.tsv",
                use_cuda="false",
            ),
            threads=1,
        )
        # fmt: skip
        return float(re.search(r"predicted \d+ rows in [\d.]+ s, ([\d.]+) rows/s", said).group(1))


def shuffled(path):
    """The lines of a file, those after the header in an order that is always the same: files may be sorted by label."""
    head, *rows = path.read_text(encoding="utf8").splitlines()
    random.Random(0).shuffle(rows)
    return [head, *rows]


def count(path):
    """Rows of a TSV."""
    with open(path, "rb") as file:
        return sum(1 for _ in file) - 1


def write(path, lines):
    """A file of lines."""
    path.write_text("\n".join(lines) + "\n", encoding="utf8")


def standard_error(values):
    """Of the mean of some numbers."""
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("inf")


def with_error(value, error):
    """A figure and its standard error, which one seed does not have."""
    return f"{value:.2f} ±{error:5.2f}" if error < float("inf") else f"{value:.2f}"


def measure(bench, part, args):
    """Print the table of one part; whether it meets the targets, and nothing is missing."""
    teacher = bench.cell(f"{part.name} teacher", part.prepare)
    if teacher is None:
        return False
    found, folders = {}, {"teacher": part.folder / "bundle"}
    for name in args.students:
        for distilled in (False, True):
            for seed in args.seeds:
                key = f"{part.name} {name} {'distilled' if distilled else 'alone'} {seed}"
                cell = bench.cell(key, lambda n=name, s=seed, d=distilled: part.student(n, s, d))
                if cell is not None:
                    say(f"{key}: {100 * cell['accuracy']:.2f}")
                    found.setdefault((name, distilled), {})[seed] = cell
        if found.get((name, True)):
            folders[name] = Path(next(iter(found[name, True].values()))["bundle"])
    few = max(args.speed_rows // TEACHER_ROWS, 1)
    candidates = {
        name: (lambda folder=folder, name=name: part.speed(folder, few if name == "teacher" else args.speed_rows))
        for name, folder in folders.items()
    }
    speeds = bench.rounds(f"{part.name} rows a second", candidates, SPEED_ROUNDS)
    online = bench.cell(f"{part.name} {args.students[0]} online", lambda: part.online(args.students[0]))
    good = report(part.name, teacher, found, {name: each.median for name, each in speeds.items()}, args)
    return online is not None and report_online(part.name, online) and good


HEAD = ("alone", "distilled", "difference", "of teacher", "rows/s", "times", "MB")
WIDTHS = (16, 16, 16, 12, 10, 8, 8)


def line(name, *cells):
    """A line of the table."""
    return f"{name:<12}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS))


def report(name, teacher, found, speeds, args):
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
        print(line(student, *figures, f"{taught[both[0]]['mb']:.1f}") + more)
    for least, faster in KEEPS:
        reached = any(share >= least and times >= faster for share, times in kept)
        good = good and reached
        word = "reached" if reached else "not reached"
        print(f"{100 * least:g}% of the teacher's accuracy at {faster:g} times its speed: {word}")
    return good


def main(args):
    """Exit status: 0 if everything was measured and meets its target."""
    kinds = {name: asdict(kind) for name, kind in KINDS.items()}
    settings = {"labelled": args.labelled, "copies": args.copies, "ratio": args.ratio, "temperature": args.temperature,
                "kinds": kinds, "teacher": [args.teacher_epochs, args.teacher_rate], "model": args.model,
                "sizes": [args.unlabelled, args.speed_rows]}  # fmt: skip
    bench = Bench("distillation", args, settings, args.results)
    good = [measure(bench, Part(name, args), args) for name in args.parts]
    return 0 if (args.show or all(good)) and not bench.out_of_time else 1


if __name__ == "__main__":
    parser = arguments(__doc__)
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
    parser.add_argument("--unlabelled", type=int, help="rows for the teacher to label at most [all]")
    parser.add_argument("--speed_rows", type=int, default=20000, help="rows that speed is taken of [20000]")
    parser.add_argument("--work", default=str(WORK), help="folder of data and models [output/distillation_benchmark]")
    parser.add_argument("--results", default=str(RESULTS), help="folder of the stored figures [benchmark/results]")
    parser.add_argument("--show", action="store_true", help="end with status 0 whatever the figures are")
    exit_on_user_error(main, parser.parse_args())
