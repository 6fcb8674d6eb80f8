"""Spearman on STS-B's dev set: plain encoders, whitening, SimCSE, and pairs and scores with labels.

    python benchmark/sentence_vectors.py                        # reads STS-B and MRPC in ../shared/data/glue
    python benchmark/sentence_vectors.py --rows 4000 --steps 300 --minutes 20

The registry's one English encoder, all-MiniLM-L6-v2, was trained for sentence vectors. So there are two starts: that
one as it is ("minilm"), and what masked language modelling leaves of it ("masked": --steps steps of 1,024 tokens of
STS-B's and MRPC's training sentences, where the loss is that of masked words alone), which stands for an encoder that
was only pre-trained. Of both: the mean over the top layer's tokens, that whitened (Su et al. 2021), and SimCSE on
--rows sentences of STS-B's training pairs without their scores; of "masked" also half as many pairs with a score of 4
and more (--objective pairs), and as many pairs of any score with it (--objective cosine). One seed, one epoch each;
the last checkpoint counts, so nothing is chosen by the dev set. No sentence of the dev set is in a training text.

Exit status 1 when SimCSE gains less than 8 points over the plain mean of the "masked" start, or the minutes ran out.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmark.parts.common import Bench, arguments, say  # noqa: E402
from benchmark.parts.comparison import add_flags, find_model  # noqa: E402
from ernie.checkpoint import scan_params  # noqa: E402
from propeller.errors import UserError, exit_on_user_error  # noqa: E402
from propeller.files import write_file  # noqa: E402
from script.demo.demo_packages import draw  # noqa: E402

GLUE = ROOT.parent / "shared/data/glue"
GAIN = 8.0
NEAR = 4.0  # the score of 5 from which two sentences count as a pair
TRAINING = {"batch_size": 32, "epoch": 1, "max_seq_len": 48, "for_cn": "false", "random_seed": 1, "skip_steps": 20,
            "validation_steps": 0, "save_steps": 0, "use_cuda": "false", "do_test": "false"}  # fmt: skip
# what is trained -> (the file of its rows, its flags)
ARMS = {
    "SimCSE": ("sentences", {"objective": "simcse", "learning_rate": 1e-4}),
    "pairs": ("pairs", {"objective": "pairs", "learning_rate": 1e-4}),
    "scores": ("scored", {"objective": "cosine", "learning_rate": 1e-4}),
}
MASKING = {"batch_size": 1024, "in_tokens": "true", "max_seq_len": 32, "learning_rate": 3e-4, "random_seed": 1,
           "lr_scheduler": "linear_warmup_decay", "save_steps": 0, "validation_steps": 0, "skip_steps": 50,
           "use_cuda": "false"}  # fmt: skip


def glue_rows(path, *names):
    """The columns of these names of a GLUE file, a tuple per row.

    Raises:
        UserError: the file is not there.
    """
    if not path.is_file():
        raise UserError(f"{path}: not there: give --glue the folder of STS-B and MRPC")
    header, *lines = path.read_text(encoding="utf-8-sig").splitlines()
    places = [header.split("\t").index(name) for name in names]
    rows = [line.split("\t") for line in lines]
    return [tuple(row[place].strip() for place in places) for row in rows if len(row) > max(places)]


def write_rows(path, header, rows):
    """A TSV of rows; returns how many."""
    lines = ["\t".join(header), *("\t".join(map(str, row)) for row in rows)]
    write_file(path, ("\n".join(lines) + "\n").encode())
    return len(rows)


class Texts:
    """The text of all arms, in a folder: dev.tsv, sentences.tsv, pairs.tsv, scored.tsv, corpus.txt.

    Args: glue: folder of GLUE's data; folder: where they go; rows: sentences of SimCSE.
    """

    def __init__(self, glue, folder, rows):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        dev = [row for row in glue_rows(glue / "STS-B/dev.tsv", "sentence1", "sentence2", "score") if all(row)]
        held_out = {text for one, other, _ in dev for text in (one, other)}
        scored = [
            row
            for row in glue_rows(glue / "STS-B/train.tsv", "sentence1", "sentence2", "score")
            if all(row) and not held_out & set(row[:2])
        ]
        pairs = draw([row[:2] for row in scored if float(row[2]) >= NEAR], rows // 2)
        every = list(dict.fromkeys(text for row in scored for text in row[:2]))
        chosen = draw(every, rows) if len(every) > rows else every
        mrpc = glue_rows(glue / "MRPC/train.tsv", "#1 String", "#2 String")
        corpus = dict.fromkeys(text for row in (*((text,) for text in every), *mrpc) for text in row)
        self.counts = {
            "dev": write_rows(folder / "dev.tsv", ("text_a", "text_b", "label"), dev),
            "sentences": write_rows(folder / "sentences.tsv", ("text_a",), [(text,) for text in chosen]),
            "pairs": write_rows(folder / "pairs.tsv", ("text_a", "text_b"), pairs),
            "scored": write_rows(folder / "scored.tsv", ("text_a", "text_b", "label"), draw(scored, rows // 2)),
        }
        texts = [text for text in corpus if text and text not in held_out]
        documents = ["\n".join(texts[begin : begin + 8]) for begin in range(0, len(texts), 8)]
        write_file(folder / "corpus.txt", ("\n\n".join(documents) + "\n").encode())
        self.counts["corpus"] = len(texts)

    def digest(self, pattern="*.t*"):
        """What tells these texts from others; pattern: of the files that count."""
        names = sorted(path.name for path in self.folder.glob(pattern))
        return hashlib.sha256(b"".join((self.folder / name).read_bytes() for name in names)).hexdigest()


def run(log, program, *words, **flags):
    """A program of the project; its standard output. Raises UserError: it failed."""
    given = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    command = [sys.executable, *program, *map(str, words), *given]
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as file:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=file, env=os.environ, text=True)
    if done.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").rstrip().rsplit("\n", 1)[-1]
        raise UserError(f"{' '.join(program)} ended with {done.returncode}: {last}")
    return done.stdout


def spearman(log, model, dev, **flags):
    """Spearman and Pearson of a model's vectors on the dev set."""
    shown = run(log, ("-m", "finetune.embedding.sts"), model, dev, use_cuda="false", **flags)
    found = re.search(r"spearman (-?[\d.]+)  pearson (-?[\d.]+)", shown)
    return {"spearman": float(found.group(1)), "pearson": float(found.group(2))}


class Comparison:
    """Both starts and all arms; what is trained lies in ``folder``."""

    def __init__(self, args, bench, model, texts):
        self.args, self.bench, self.model, self.texts = args, bench, model, texts
        self.folder = Path(args.work)
        self.log = self.folder / "log.txt"
        self.dev = texts.folder / "dev.tsv"

    def masked(self):
        """The "masked" start, a model's folder; None where the minutes were used up."""
        digest = self.texts.digest("corpus.txt")[:8]
        folder = self.folder / f"masked_{self.args.steps}_{digest}"

        def train():
            if (folder / "params").is_dir():  # made before, with other --rows
                return {"steps": self.args.steps}
            shards = self.folder / f"shards_{digest}"
            run(self.log, ("-m", "pretrain.build_data"), input=self.texts.folder / "corpus.txt", output=shards,
                vocab_path=self.model / "vocab.txt", segmenter="english", max_seq_len=MASKING["max_seq_len"],
                pairs="positive")  # fmt: skip
            entry = {"name": "knowledge_masking", "task_id": 0, "head": {"next_sentence": False},
                     "filelist": str(shards / "filelist"), "steps": [self.args.steps], "start_stage": 1}  # fmt: skip
            write_file(folder.with_suffix(".json"), json.dumps({"tasks": [entry]}).encode())
            run(self.log, ("train.py",), ernie_config_path=self.model / "ernie_config.json",
                vocab_path=self.model / "vocab.txt", init_pretraining_params=self.model / "params",
                task_list=folder.with_suffix(".json"), warmup_steps=self.args.steps // 10, checkpoints=folder,
                **MASKING)  # fmt: skip
            return {"steps": self.args.steps}

        return folder if self.bench.cell("masked start", train) and (folder / "params").is_dir() else None

    def measure(self, start, model):
        """The figures of a start: arm -> Spearman and Pearson."""

        def cell(arm, work):
            found = self.bench.cell(f"{start}, {arm}", work)
            say(f"{start}, {arm}: {found}")
            return found

        mean = {"pooling": "mean"}
        found = {"mean": cell("mean", lambda: spearman(self.log, model, self.dev, **mean))}
        for arm in ("SimCSE", "whitened", "pairs", "scores"):
            if arm == "whitened":
                found[arm] = cell(arm, lambda: self._whitened(start, model))
            elif start == "masked" or arm == "SimCSE":
                found[arm] = cell(arm, lambda arm=arm: self._trained(start, model, arm))
        return found

    def _whitened(self, start, model):
        vectors = self.folder / f"vectors_{start}"
        places = {
            "ernie_config_path": "ernie_config.json",
            "vocab_path": "vocab.txt",
            "init_pretraining_params": "params",
        }
        given = {flag: model / name for flag, name in places.items()}
        run(self.log, ("ernie_encoder.py",), "--no_top_layer", data_set=self.texts.folder / "sentences.tsv",
            output_dir=vectors, pooling="mean", max_seq_len=48, use_cuda="false", **given)  # fmt: skip
        whitening = vectors / "whitening.npz"
        run(self.log, ("-m", "finetune.embedding.whiten"), vectors, output=whitening, dimensions=self.args.dimensions)
        return spearman(self.log, model, self.dev, pooling="mean", whitening=whitening)

    def _trained(self, start, model, arm):
        rows, flags = ARMS[arm]
        folder = self.folder / f"{start}_{arm}"
        run(self.log, ("-m", "finetune"), "sentence_vectors", "--overwrite",
            train_set=self.texts.folder / f"{rows}.tsv", checkpoints=folder, **TRAINING,
            ernie_config_path=model / "ernie_config.json", vocab_path=model / "vocab.txt",
            init_pretraining_params=model / "params", **flags)  # fmt: skip
        return spearman(self.log, folder / "last", self.dev)


def report(found):
    """Print all figures; whether SimCSE gains what it should, and nothing is missing."""
    print(f"{'start':8} {'arm':10} spearman  pearson   gain over mean")
    complete = True
    for start, arms in found.items():
        for arm, figures in arms.items():
            complete = complete and figures is not None
            if figures and arms["mean"]:
                gain = 100 * (figures["spearman"] - arms["mean"]["spearman"])
                print(f"{start:8} {arm:10} {figures['spearman']:8.4f} {figures['pearson']:8.4f} {gain:+8.2f} points")
    arms = found.get("masked", {})
    if not arms or not complete or not arms.get("SimCSE"):
        print("NOT everything was measured")
        return False
    gain = 100 * (arms["SimCSE"]["spearman"] - arms["mean"]["spearman"])
    print(f"SimCSE over the plain mean: {gain:+.2f} points, target {GAIN:g}: {'met' if gain >= GAIN else 'NOT met'}")
    return gain >= GAIN


def main(args):
    """Exit status: 0 if everything was measured and SimCSE gains what it should."""
    model = find_model(args)
    texts = Texts(Path(args.glue), Path(args.work) / f"text_{args.rows}", args.rows)
    weights = hashlib.sha256()
    for name, variable in sorted(scan_params(model / "params").items()):
        weights.update(name.encode() + Path(variable.path).read_bytes())
    settings = {"rows": args.rows, "steps": args.steps, "dimensions": args.dimensions, "text": texts.digest(),
                "counts": texts.counts, "model": weights.hexdigest(), "training": TRAINING, "masking": MASKING,
                "arms": ARMS}  # fmt: skip
    comparison = Comparison(args, Bench("sentence_vectors", args, settings, args.results), model, texts)
    say(", ".join(f"{name} {count}" for name, count in texts.counts.items()))
    found = {}
    masked = comparison.masked()
    if masked:
        found["masked"] = comparison.measure("masked", masked)
    found["minilm"] = comparison.measure("minilm", model)
    return 0 if report(found) else 1


if __name__ == "__main__":
    parser = arguments(__doc__)
    add_flags(parser, data=False)
    parser.add_argument("--glue", default=str(GLUE), help="folder of GLUE's download [../shared/data/glue]")
    parser.add_argument("--work", default=str(ROOT / "output/sentence_vectors_benchmark"), help="where models are kept")
    parser.add_argument("--rows", type=int, default=10_000, help="sentences that SimCSE learns from [10000]")
    parser.add_argument("--steps", type=int, default=300, help="of masked language modelling [300]")
    parser.add_argument("--dimensions", type=int, default=256, help="of whitened vectors [256]")
    exit_on_user_error(main, parser.parse_args())
