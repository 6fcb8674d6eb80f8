"""One data set of benchmark/distillation.py: its files, its teacher, its students. All by the project's commands.

Everything lies in a folder of its own; what is there is not made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmark.parts.common import say
from benchmark.parts.online_teacher import measure_online
from propeller.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"


# The only evaluation and the only checkpoint.
AT_THE_END = {"eval_strategy": "steps", "validation_steps": 0, "save_strategy": "steps", "save_steps": 0}


@dataclass(frozen=True)
class Kind:
    """A student. shape: as in ``config/student``; vector_size: of its word vectors, which the teacher makes;
    whole_words: its vocabulary, else the teacher's pieces; layers, inner: the teacher's layers it has, their width;
    epochs: passes over the rows with labels, distilled and alone; ratio: the teacher's batches for each labelled one,
    0 for what the command says; precision: that of its inference model, which is what is scored and timed."""

    shape: dict
    vector_size: int = 128
    whole_words: bool = True
    layers: str = ""
    inner: int = 0
    learning_rate: float = 1e-3
    epochs: tuple[int, int] = (10, 10)
    batch_size: int = 32
    ratio: int = 0
    precision: str = "fp32"


KINDS = {
    "bow": Kind({"network": "bow", "hidden_dropout_prob": 0.5}),
    "cnn": Kind({"network": "cnn", "windows": [1, 2, 3], "filters": 100, "hidden_dropout_prob": 0.5}, epochs=(8, 10)),
    "bilstm": Kind({"network": "bilstm", "lstm_size": 64, "hidden_dropout_prob": 0.5}, epochs=(6, 10)),
    "transformer_2": Kind({}, layers="0,5", inner=256, learning_rate=3e-4, epochs=(6, 8), ratio=8, precision="int8"),
    "transformer_5": Kind({}, layers="0,1,2,3,5", learning_rate=1e-4, epochs=(3, 3), precision="int8"),
}


def run(*command):
    """Run one of our commands; its standard error. Raises UserError with its last line."""
    environment = {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))), **os.environ}
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


class Part:
    """One data set with its teacher.

    Args:
        name: ``films`` or ``chnsenticorp``.
        args: the command line.
    """

    def __init__(self, name, args) -> None:
        self.name, self.args = name, args
        teacher = [args.labelled, args.teacher_epochs, args.teacher_rate, args.model, args.data]
        self.folder = Path(args.work) / f"{name}-{digest(teacher)}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.teacher = self.folder / "teacher"
        english = name == "films"
        self.text = {"for_cn": "false", "max_seq_len": 64 if english else 128}
        self.segmenter = "english" if english else "jieba"
        self.model = Path(args.model) if args.model else ROOT / "output" / "quickstart" / "model"
        self.unlabelled = self.folder / f"unlabelled-{digest([args.copies, args.unlabelled])}.tsv"

    def teach(self):
        """train.tsv, dev.tsv, the teacher and its bundle. Facts of the teacher."""
        (self._films if self.name == "films" else self._chnsenticorp)()
        model = self.model
        say(f"{self.name}: fine-tuning the teacher on {self.args.labelled} rows")
        run("finetune", "classify", *flags(
            ernie_config_path=model / "ernie_config.json", vocab_path=model / "vocab.txt",
            init_pretraining_params=model / "params", train_set=self.folder / "train.tsv",
            dev_set=self.folder / "dev.tsv", checkpoints=self.teacher, batch_size=32, epoch=self.args.teacher_epochs,
            learning_rate=self.args.teacher_rate,
            bucket_window=1024, **AT_THE_END, use_cuda="false", do_test="false", **self.text,
        ))  # fmt: skip
        if not (self.folder / "bundle").is_dir():
            self._export(self.teacher / "last", self.folder / "bundle")
        accuracy = self._accuracy(self.folder, model=self.teacher / "last")
        return {"accuracy": accuracy, **self._size(self.folder / "bundle")}

    def label(self):
        """The unlabelled rows, what the teacher says of them, and the students' words. How many rows there are."""
        if not self.unlabelled.is_file():
            self._unlabelled()
        rows = count(self.unlabelled)
        say(f"{self.name}: the teacher labels {rows} rows")
        run("distill.label", self.folder / "bundle" / "last_inference_model", self.unlabelled,
            *flags(use_cuda="false", precision=self.args.label_precision))  # fmt: skip
        if not (self.folder / "vocab.txt").is_file():
            segmenter = [] if self.name == "films" else flags(segmenter=self.segmenter)
            run("distill.vocab", self.folder / "all.tsv", *flags(output=self.folder / "vocab.txt"), *segmenter)
        return rows

    def _unlabelled(self):
        """Text without labels, and copies of all text, by turns at random; as many rows as are asked for."""
        label = (self.folder / "train.tsv").read_text(encoding="utf8").splitlines()
        column, rest = label[0].split("\t").index("text_a"), self.folder / "remainder.tsv"
        rows = rest.read_text(encoding="utf8").splitlines()[1:] if rest.is_file() else []
        write(self.folder / "all.tsv", ["text_a", *(row.split("\t")[column] for row in label[1:]), *rows])
        copies = self.unlabelled.with_suffix(".copies.tsv")
        run("distill.augment", self.folder / "all.tsv", copies,
            *flags(copies=self.args.copies, segmenter=self.segmenter))  # fmt: skip
        rows += copies.read_text(encoding="utf8").splitlines()[1:]
        random.Random(0).shuffle(rows)
        write(self.unlabelled, ["text_a", *rows[: self.args.unlabelled]])

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
        self._split(data)

    def _chnsenticorp(self):
        source = Path(self.args.data or SHARED / "zh") / "chnsenticorp"
        if not (source / "train.tsv").is_file():
            raise UserError(f"{source}: holds no train.tsv: give --data FOLDER, the one that has chnsenticorp/")
        if not self.args.model:
            raise UserError("chnsenticorp needs --model FOLDER: a Chinese model, params/, ernie_config.json, vocab.txt")
        self._split(source)

    def _split(self, source):
        """The first rows have labels, the others lose theirs."""
        rows = shuffled(source / "train.tsv")
        column = rows[0].split("\t").index("text_a")
        write(self.folder / "train.tsv", rows[: self.args.labelled + 1])
        rest = [row.split("\t")[column] for row in rows[self.args.labelled + 1 :]]
        write(self.folder / "remainder.tsv", ["text_a", *rest])
        shutil.copyfile(source / "dev.tsv", self.folder / "dev.tsv")
        known = {row.split("\t")[column].strip() for row in rows[1:]}
        head, *dev = (source / "dev.tsv").read_text(encoding="utf8").splitlines()
        column = head.split("\t").index("text_a")
        fresh = [row for row in dev if row.split("\t")[column].strip() not in known]
        if len(fresh) < len(dev):
            say(f"{self.name}: {len(dev) - len(fresh)} of {len(dev)} dev texts are in train.tsv too and not scored")
        write(self.folder / "scored.tsv", [head, *fresh])

    def _export(self, checkpoint, folder, precision="fp32"):
        """Write the inference model. 8-bit products may change what they will: the student is scored with them."""
        int8 = flags(precision=precision, calibration_set=self.folder / "train.tsv", max_loss=1)
        run("finetune.prediction", *flags(init_checkpoint=checkpoint, do_prediction="false", use_cuda="false",
                                          save_inference_model_path=folder),
            *(int8 if precision == "int8" else []))  # fmt: skip

    @staticmethod
    def _size(folder, precision="fp32"):
        name = "model.int8.onnx" if precision == "int8" else "model.pdiparams"
        return {"mb": next(folder.glob(f"*/{name}")).stat().st_size / 1e6}

    def ratio(self, name):
        """The teacher's batches for each labelled one."""
        return KINDS[name].ratio or self.args.ratio

    def digest(self, name, distilled):
        """What tells the settings of a student from others."""
        taught = [self.ratio(name), self.args.temperature, self.unlabelled.name] if distilled else []
        return digest([asdict(KINDS[name]), taught])

    def _run_of(self, name, seed, distilled):
        """The folder of a student."""
        return self.folder / f"{name}-{seed}-{self.digest(name, distilled)}"

    def student(self, name, seed, distilled):
        """Train one; its accuracy, and the seconds that took."""
        kind, folder = KINDS[name], self._run_of(name, seed, distilled)
        taught = {"unlabelled_set": self.unlabelled, "unlabelled_ratio": self.ratio(name),
                  "temperature": self.args.temperature} if distilled else {}  # fmt: skip
        begun = time.monotonic()
        words = flags(checkpoints=folder, epoch=kind.epochs[not distilled], **taught)
        run(*self._command(name, kind, seed, distilled), *words)
        model = {"model": folder / "last"}
        if kind.precision != "fp32":
            bundle = Path(self.bundle(name, seed, distilled)["bundle"])
            model = {"inference_model": next(bundle.glob("*_inference_model")), "precision": kind.precision}
        return {"accuracy": self._accuracy(folder, **model), "seconds": round(time.monotonic() - begun, 1)}

    def _accuracy(self, folder, **model):
        """Of a model on the dev rows that are in no training file."""
        output = folder / "scored_out.tsv"
        run("finetune.prediction", *flags(predict_set=self.folder / "scored.tsv", output=output, use_cuda="false"),
            *flags(**model))  # fmt: skip
        head, *rows = (line.split("\t") for line in output.read_text(encoding="utf8").splitlines())
        gold, label = head.index("gold_label"), head.index("label")
        return sum(row[gold] == row[label] for row in rows) / len(rows)

    def bundle(self, name, seed, distilled=True):
        """The folder of the inference model of a student, and its size."""
        folder, precision = self._run_of(name, seed, distilled), KINDS[name].precision
        if not (folder / "bundle").is_dir():
            self._export(folder / "last", folder / "bundle", precision)
        return {"bundle": str(folder / "bundle"), **self._size(folder / "bundle", precision)}

    def _command(self, name, kind, seed, distilled):
        """The words that train a student, but for its folder, its epochs and its teacher."""
        words = {"tokenizer": "WholeWordTokenizer", "vocab_path": self.folder / "vocab.txt"}
        if kind.layers or not kind.whole_words:
            words = {"vocab_path": self.model / "vocab.txt"}
        return ["finetune", "student", *flags(
            ernie_config_path=self._shape(name, kind, distilled), train_set=self.folder / "train.tsv",
            dev_set=self.folder / "dev.tsv", batch_size=kind.batch_size, bucket_window=1024,
            init_pretraining_params=self._start(kind, distilled) / "params",
            learning_rate=kind.learning_rate, random_seed=seed, keep_checkpoints=1, **AT_THE_END,
            use_cuda="false", do_test="false", **self.text, **words,
        )]  # fmt: skip

    def online(self, name):
        """What a student waits for a teacher that is asked while it learns, see ``measure_online``."""
        kind = KINDS[name]
        batches = -(-self.args.labelled // kind.batch_size) * self.ratio(name)
        rows = min(batches * kind.batch_size, count(self.unlabelled))
        words = self._command(name, kind, 1, True)
        return measure_online(self, run, [*words, *flags(unlabelled_ratio=self.ratio(name))], rows)

    def _start(self, kind, distilled):
        """What a student begins with: its share of the teacher, alone that of the model before it was fine-tuned."""
        source = self.teacher / "last" if distilled else self.model
        size = ["layers", kind.layers, kind.inner] if kind.layers else ["words", kind.whole_words, kind.vector_size]
        folder = self.folder / f"start-{digest([*size, distilled])}"
        if not folder.is_dir():
            if kind.layers:
                inner = flags(intermediate_size=kind.inner) if kind.inner else []
                run("distill.shrink", source, folder, *flags(layers=kind.layers), *inner)
            else:
                words = self.folder if kind.whole_words else self.model
                run("distill.vectors", source, words / "vocab.txt", folder, *flags(size=kind.vector_size))
        return folder

    def _shape(self, name, kind, distilled):
        if kind.layers:
            return self._start(kind, distilled) / "ernie_config.json"
        write(self.folder / f"{name}.json", [json.dumps({**kind.shape, "embedding_size": kind.vector_size})])
        return self.folder / f"{name}.json"

    def speed(self, folder, rows, precision="fp32"):
        """Rows a second of batch prediction from a file to a file, on one core, see ``text_to_label.py``."""
        source = (self.folder / "dev.tsv").read_text(encoding="utf8").splitlines()
        column = source[0].split("\t").index("text_a")
        texts = [row.split("\t")[column] for row in source[1:]]
        path = self.folder / f"speed-{rows}.tsv"
        write(path, ["text_a", *(texts * -(-rows // len(texts)))[:rows]])
        script = ROOT / "benchmark" / "parts" / "text_to_label.py"
        model = next(folder.glob("*_inference_model"))
        words = [sys.executable, script, model, path, self.folder / "speed_out.tsv", precision]
        done = subprocess.run(list(map(str, words)), cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f"{script.name}: {done.stderr.strip().splitlines()[-1]}")
        return rows / json.loads(done.stdout)["cpu_s"]


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
