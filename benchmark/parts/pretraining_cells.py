"""What benchmark/pretraining.py and benchmark/continual.py share beside the corpus: fine-tuning, cells, figures.

tasks = chosen(args)                                            # of --tasks, with --rows and --longer
cells = Cells("pretraining", args, settings(corpus))        # a Bench whose cells are measured side by side
data = prepared(corpus, args.data, tasks)                       # rows of every task, drawn once
start = Start("char masking", folder / "params")                 # or Start("random")
found = fine_tune(tasks[0], data[tasks[0].name], start, corpus.model, seed, cells.threads)
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmark.parts.common import RESULTS, Bench, arguments, say  # noqa: E402
from benchmark.parts.comparison import versions  # noqa: E402
from benchmark.parts.pretraining_corpus import MAX_SEQ_LEN, DevTexts, digest, run_script  # noqa: E402
from propeller.errors import UserError  # noqa: E402
from propeller.files import write_file  # noqa: E402
from propeller.runtime import cores  # noqa: E402
from script.demo.demo_packages import draw  # noqa: E402

SHARED = ROOT.parent / "shared"
# Nobody reads what an epoch before the last gives: dev set and checkpoint once, after the last step.
AT_THE_END = {"eval_strategy": "steps", "validation_steps": 0, "save_strategy": "steps", "save_steps": 0}
SIDE_BY_SIDE = 2  # runs at a time, each with its part of the cores: small batches gain little from more threads


# ---------------------------------------------------------------- fine-tuning tasks


@dataclass(frozen=True)
class FineTuning:
    """A task to fine-tune on: its folder in --data, how much of it, what is expected of pre-training.

    score: name in metrics.jsonl; expected: gain over random weights in points of 100; balanced: as many rows of each
    class, where a short training answers the larger class otherwise; header: the columns where the file names none.
    """

    name: str
    folder: str
    score: str
    shown: str
    expected: float
    rows: int
    dev_rows: int
    epochs: int
    labels: int = 2
    balanced: bool = False
    header: tuple = ()
    batch: int = 32
    learning_rate: float = 5e-4

    @property
    def tags(self) -> bool:
        """Whether it is sequence labelling."""
        return self.labels > 2

    @property
    def flags(self) -> dict:
        """For the script, beside those of every task."""
        return {}

    def read(self, data, part) -> list:
        """Rows, the header first: lists of fields. Raises UserError."""
        path = Path(data) / self.folder / f"{part}.tsv"
        if not path.is_file():
            raise UserError(f"{path}: not there: give --data the folder that holds {Path(self.folder).parts[0]}/")
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8").rstrip("\n").split("\n")]
        return [list(self.header), *rows] if self.header else rows

    def dev_texts(self, data) -> list:
        """Every text of the dev set."""
        header, *rows = self.read(data, "dev")
        columns = [place for place, name in enumerate(header) if name.startswith("text_")]
        return [row[place] for row in rows for place in columns]

    def prepare(self, data, out):
        """train.tsv and dev.tsv in `out`, of rows drawn once, the same for every start and seed."""
        out.mkdir(parents=True)
        for part, count in (("train", self.rows), ("dev", self.dev_rows)):
            header, *rows = self.read(data, part)
            rows = self._balanced(rows, header.index("label"), count) if self.balanced else draw(rows, count)
            write_file(out / f"{part}.tsv", "".join("\t".join(row) + "\n" for row in (header, *rows)).encode())
        if self.tags:
            shutil.copy(Path(data) / self.folder / "label_map.json", out / "label_map.json")

    def _balanced(self, rows, column, count):
        classes = sorted({row[column] for row in rows})
        parts = [draw([row for row in rows if row[column] == name], count // len(classes)) for name in classes]
        least = min(map(len, parts))
        return [row for together in zip(*(part[:least] for part in parts)) for row in together]


TASKS = (
    FineTuning("ChnSentiCorp", "zh/chnsenticorp", "acc", "accuracy", 2.0, rows=800, dev_rows=1000, epochs=3),
    FineTuning("MSRA-NER", "zh/msra_ner", "f1", "F1", 5.0, rows=2400, dev_rows=600, epochs=4, labels=7),
    FineTuning(
        "AFQMC",
        "zh/afqmc",
        "acc",
        "accuracy",
        2.0,
        rows=2400,
        dev_rows=2680,  # all of the smaller class, as many of the larger
        epochs=2,
        balanced=True,
        header=("text_a", "text_b", "label"),
    ),
)


def dev_texts(data, tasks=TASKS) -> DevTexts:
    """Of all tasks. Raises UserError: a file is not there."""
    return DevTexts(text for task in tasks for text in task.dev_texts(data))


def chosen(args, tasks=TASKS) -> list:
    """The tasks of --tasks, all of them without it, with --rows and --longer times what they have.

    Raises:
        UserError: one of --tasks is none of `tasks`.
    """
    names = [task.name for task in tasks]
    wanted = getattr(args, "tasks", None) or names
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise UserError(f"--tasks {' '.join(unknown)}: give some of {', '.join(names)}")
    found = [task for task in tasks if task.name in wanted]
    return [replace(task, rows=task.rows * args.rows, epochs=task.epochs * args.longer) for task in found]


def prepared(corpus, data, tasks) -> dict:
    """task name -> folder of its rows, as `fine_tune` takes it; made beside the corpus where it is missing."""
    found = {}
    for task in tasks:
        folder = corpus.folder / "tasks" / f"{task.name}-{digest(asdict(task))}"
        if not folder.is_dir():
            task.prepare(data, folder)
        found[task.name] = folder
    return found


class Start(NamedTuple):
    """What fine-tuning starts from; params: its weights, in a folder whose name says what they are of; None: random."""

    name: str
    params: Path | None = None


def fine_tuning_cell(task, start, seed, **flags) -> str:
    """Name of a cell, with a digest of all that it depends on beside the corpus.

    Args: start: a `Start`; flags: as `fine_tune` gets them.
    """
    known = digest([asdict(task), MAX_SEQ_LEN, start.params and start.params.parent.name, *([flags] if flags else [])])
    return f"{task.name}, {task.rows} rows, {task.epochs} epochs, {start.name}, seed {seed} ({known})"


def fine_tune(task, data, start, model, seed, threads, **more) -> dict:
    """The score of the dev set after training once.

    Args:
        task: a `FineTuning`; data: its prepared folder; start: a `Start`, whose random weights are of this seed; model:
        folder with ernie_config.json and vocab.txt; more: flags of the entry script beside the usual ones.

    Raises:
        UserError: the run failed.
    """
    with tempfile.TemporaryDirectory(prefix="pays-") as folder:
        flags = {
            "ernie_config_path": model / "ernie_config.json",
            "vocab_path": model / "vocab.txt",
            "train_set": data / "train.tsv",
            "dev_set": data / "dev.tsv",
            "do_test": "false",
            "checkpoints": folder,
            "num_labels": task.labels,
            "max_seq_len": MAX_SEQ_LEN,
            "batch_size": task.batch,
            "epoch": task.epochs,
            "learning_rate": task.learning_rate,
            "bucket_window": 512,
            "random_seed": seed,
            **AT_THE_END,
            "token_cache_dir": "off",
            "use_cuda": "false",
            **task.flags,
        }
        if start.params is not None:
            flags["init_pretraining_params"] = start.params
        if task.tags:
            flags.update(label_map_config=data / "label_map.json", chunk_scheme="IOB")
        flags.update(more)
        script = "run_sequence_labeling.py" if task.tags else "run_classifier.py"
        run_script(script, flags, Path(folder) / "log", threads)
        record = [record for record in records(folder) if record["event"] == "dev"][-1]
    return {task.score: record[task.score], "rows": record["data_num"]}


def records(folder) -> list:
    """Of a run's metrics.jsonl."""
    return [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


# ---------------------------------------------------------------- runs


class Cells(Bench):
    """A Bench whose cells are measured side by side, each with its part of the cores, and kept as they come.

    Attributes: threads: of each; side_by_side: how many at a time; cores: what they take together.
    """

    threads = max(1, cores() // SIDE_BY_SIDE)

    def __init__(self, name, args, settings, results=RESULTS, side_by_side=SIDE_BY_SIDE):
        super().__init__(name, args, settings, results)
        self.side_by_side = side_by_side
        self.cores = min(cores(), side_by_side * self.threads)

    def together(self, measures) -> dict:
        """name -> result, without those there was no time for.

        Args: measures: name -> function; one that returns None was stopped and is called again by the next start.
        """
        cells = self.stored["cells"]
        missing = [name for name in measures if name not in cells]
        with ThreadPoolExecutor(self.side_by_side) as pool:
            futures = {pool.submit(self._timed, measures[name]): name for name in missing}
            errors = []
            for future in as_completed(futures):
                if future.cancelled():
                    continue
                if future.exception():  # what runs beside it is kept, nothing more begun
                    errors.append(future.exception())
                    for other in futures:
                        other.cancel()
                    continue
                result, seconds = future.result()
                if result is not None:
                    cells[futures[future]] = result
                    self._store()
                    say(f"{futures[future]}: {_rounded(result)} ({seconds:.0f} s)")
        if errors:
            raise errors[0]
        left = [name for name in measures if name not in cells]
        if left:
            say(f"the minutes are used up before {', '.join(left)}: start again to go on, or give more --minutes")
        return {name: cells[name] for name in measures if name in cells}

    def keyed(self, jobs) -> dict:
        """key -> result, as `together`. Args: jobs: key -> (name of the cell, its function)."""
        keys = {name: key for key, (name, _) in jobs.items()}
        return {keys[name]: result for name, result in self.together(dict(jobs.values())).items()}

    def _timed(self, measure):
        begin = time.monotonic()
        return (None if begin >= self.end else measure()), time.monotonic() - begin


def _rounded(result):
    shown = {name: value for name, value in result.items() if isinstance(value, (int, float))}
    return {name: round(value, 4) for name, value in shown.items()} or "done"


# ---------------------------------------------------------------- scores of several seeds


def spread(values) -> str:
    """Mean and standard deviation in points of 100."""
    points = [100 * value for value in values]
    deviation = f" ± {statistics.stdev(points):.2f}" if len(points) > 1 else ""
    return f"{statistics.mean(points):.2f}{deviation}"


def gain(scores, over) -> tuple:
    """(mean, standard error) of the differences seed by seed, in points of 100. Args: dicts seed -> score."""
    points = [100 * (scores[seed] - over[seed]) for seed in sorted(scores) if seed in over]
    error = statistics.stdev(points) / len(points) ** 0.5 if len(points) > 1 else 0.0
    return statistics.mean(points), error


def settings(corpus) -> dict:
    """What all cells depend on."""
    return {"corpus": corpus.settings, "versions": versions()}


def pretraining_cell(name, folder) -> str:
    """Name of a cell. Args: folder: of its checkpoints, named by all that they depend on."""
    return f"{name} ({folder.name})"


def parser(doc, seeds, tasks=TASKS):
    """Flags of these benchmarks. Args: tasks: that --tasks may name; none: there is no such flag."""
    made = arguments(doc)
    work, cache = ROOT / "output/pretraining_benchmark", ROOT / "output/quickstart/downloads"
    made.add_argument("--results", default=str(RESULTS), help="folder of the stored figures [benchmark/results]")
    made.add_argument("--data", default=str(SHARED / "data"), help="folder with zh/ [../shared/data]")
    made.add_argument("--work", default=str(work), help=f"where corpora and checkpoints are kept [output/{work.name}]")
    made.add_argument("--cache", default=str(cache), help="where packages are kept [output/quickstart/downloads]")
    made.add_argument("--short_steps", type=int, default=1500, help="on instances of 12 tokens, at first [1500]")
    made.add_argument("--seeds", type=int, nargs="+", default=seeds, help=f"of fine-tuning [{seeds}]")
    names = [task.name for task in tasks]
    if names:
        made.add_argument("--tasks", nargs="+", choices=names, help="to fine-tune on [all of them]")
    made.add_argument("--rows", type=int, default=1, help="fine-tune on so many times the rows [1]")
    made.add_argument("--longer", type=int, default=1, help="fine-tune for so many times the epochs [1]")
    return made
