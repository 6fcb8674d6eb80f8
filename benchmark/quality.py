"""Fine-tuning tasks beside transformers and torch: the same rows, order, heads and settings on both sides.

    python -m pip install -r requirements-peers.txt
    python benchmark/quality.py                     # CoLA, STS-B, MRPC, RTE, ChnSentiCorp, MSRA-NER; seeds 1 to 3
    python benchmark/quality.py --tasks CoLA RTE --seeds 1 --minutes 10

Ours: run_classifier.py and run_sequence_labeling.py as they are. Theirs: the model that ernie.convert makes of the
same weights, head included, and torch.optim.AdamW over the batches of our readers, with losses and scores of its own.
English tasks start from MiniLM: 2,500 rows, rate 1e-4, one epoch, of CoLA three; Chinese ones from one random encoder
of 4 layers, hidden 256: one epoch of 5,000 rows, rate 5e-4. Both: batch 32, at most 128 tokens, linear warm-up over a
tenth and decay, weight decay 0.01, clipping at 1, dropout 0.1; each draws its own dropout, and each has its own form of
Adam's epsilon. A seed sets the order of the rows, the head and the dropout.

For each task also the first 50 losses of seed 1 without dropout, with torch's epsilon on both sides. Exit status 1 when
one of them differs by more than 1e-3, when a mean difference of scores is neither under 1.5 points nor under two of
its standard errors, or when the minutes ran out.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmark import peer_trajectory  # noqa: E402
from benchmark.parts.common import Bench, arguments, say  # noqa: E402
from benchmark.parts.comparison import (  # noqa: E402
    MAX_SEQ_LEN,
    SST2_TASK,
    Recipe,
    Task,
    add_flags,
    find_model,
    make_reader,
    max_seq_len,
    prepare,
    run_peer,
    settings,
)
from ernie.checkpoint import write_params  # noqa: E402
from ernie.config import ErnieConfig  # noqa: E402
from ernie.foreign import encoder_shapes  # noqa: E402
from propeller import runtime  # noqa: E402
from propeller.errors import UserError, exit_on_user_error  # noqa: E402

POINTS = 1.5
LOSS_TOLERANCE = 1e-3
LOSS_STEPS = 50
SHARED = ROOT.parent / "shared"
RANDOM_ENCODER = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 256,
    "initializer_range": 0.02,
    "max_position_embeddings": MAX_SEQ_LEN,
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
    "sent_type_vocab_size": 2,
}


@dataclass(frozen=True)
class Entry:
    """A task of this benchmark: its folder in --data, what both sides train with."""

    task: Task
    folder: str
    recipe: Recipe

    def convert(self, raw, out):
        """Make train.tsv and dev.tsv of the readers in `out`, and label_map.json for tags, by the project's converters.

        Raises:
            UserError: a file is not there.
        """
        source = raw / self.folder
        names = ("train.tsv", "dev.tsv", *(["label_map.json"] if self.task.tags else []))
        for name in names:
            if not (source / name).is_file():
                raise UserError(f"{source / name}: not there: give --data the folder of glue/ and zh/")
        with contextlib.redirect_stdout(sys.stderr):
            if self.folder.startswith("glue/"):
                self._convert_glue(source, out)
            elif self.task.tags:  # as the reader takes it
                out.mkdir()
                for name in names:
                    shutil.copy(source / name, out / name)
            else:
                self._convert_reviews(source, out)

    def _convert_glue(self, source, out):
        from script.conversion import Report
        from script.en_glue.preprocess.convert import convert_file

        for name in ("train.tsv", "dev.tsv"):
            convert_file(Report(), source / name, out / name, self.task.name)

    @staticmethod
    def _convert_reviews(source, out):
        from script.conversion import Report
        from script.zh_task.preprocess.convert import reviews

        for name in ("train.tsv", "dev.tsv"):
            reviews(Report(), source / name, out / name)


ENGLISH = Recipe(rows=2500)
CHINESE = Recipe(rows=5000, learning_rate=5e-4)  # higher than for fine-tuning: the weights are random
# The cheap ones first. CoLA has three epochs, since an encoder that calls every sentence good compares nothing.
ENTRIES = [
    Entry(
        Task("CoLA", metric="matthews_corrcoef", scores=("matthews_corrcoef",)),
        "glue/CoLA",
        replace(ENGLISH, epochs=3),
    ),
    Entry(
        Task("STS-B", "regression", 1, "pearson_and_spearman", ("pearson", "spearmanr")),
        "glue/STS-B",
        ENGLISH,
    ),
    Entry(Task("MRPC", metric="acc_and_f1", scores=("acc", "f1")), "glue/MRPC", ENGLISH),
    Entry(Task("RTE"), "glue/RTE", ENGLISH),
    Entry(Task("ChnSentiCorp", chinese=True), "zh/chnsenticorp", CHINESE),
    Entry(
        Task("MSRA-NER", "sequence_label", 7, None, ("f1",), chinese=True),
        "zh/msra_ner",
        CHINESE,
    ),
]
BY_NAME = {entry.task.name: entry for entry in ENTRIES}


def random_model(folder, vocab, **changes):
    """Make an encoder of random weights, ever the same, with this vocabulary; returns the folder.

    Args: changes: to the configuration, RANDOM_ENCODER.

    Raises:
        UserError: there is no such file.
    """
    if not vocab.is_file():
        raise UserError(f"{vocab}: not there: give --zh_vocab a Chinese vocabulary")
    folder.mkdir()
    shutil.copy(vocab, folder / "vocab.txt")
    words = vocab.read_bytes().count(b"\n")
    config = ErnieConfig({**RANDOM_ENCODER, **changes, "vocab_size": words})
    config.save(folder / "ernie_config.json")
    random = np.random.RandomState(0)
    arrays = {}
    for name, shape in encoder_shapes(config).items():
        drawn = random.normal(0.0, config.initializer_range, shape) if len(shape) == 2 else np.zeros(shape)
        arrays[name] = (drawn + name.endswith("layer_norm_scale")).astype("float32")
    write_params(folder / "params", arrays)
    return folder


def command(folder, recipe, seed, task=SST2_TASK):
    """The entry script over a prepared folder: trained once, evaluated at the end."""
    flags = {
        "ernie_config_path": folder / "model/ernie_config.json",
        "vocab_path": folder / "model/vocab.txt",
        "init_checkpoint": folder / "model/params",
        "train_set": folder / "train.tsv",
        "dev_set": folder / "dev.tsv",
        "do_test": "false",
        "checkpoints": folder / "checkpoints",
        "num_labels": task.labels,
        "max_seq_len": max_seq_len(folder),
        "for_cn": str(task.chinese).lower(),
        "batch_size": recipe.batch,
        "epoch": recipe.epochs,
        "learning_rate": recipe.learning_rate,
        "warmup_proportion": recipe.warmup_proportion,
        "weight_decay": recipe.weight_decay,
        "random_seed": seed,
        "validation_steps": 0,
        "token_cache_dir": "off",
        "use_cuda": "false",
    }
    if task.tags:
        flags.update(label_map_config=folder / "label_map.json", chunk_scheme="IOB")
    else:
        flags.update(metric=task.metric, is_regression=str(task.finetune == "regression").lower())
    words = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    return [sys.executable, str(ROOT / ("run_sequence_labeling.py" if task.tags else "run_classifier.py")), *words]


def run_ours(folder, recipe, seed, task=SST2_TASK):
    """dict with the task's scores, ``loss`` and ``rows`` of the dev set, from the run's own metrics.jsonl."""
    log, words = folder / "train.log", command(folder, recipe, seed, task)
    with open(log, "wb") as file:
        done = subprocess.run(words, stdout=file, stderr=subprocess.STDOUT)
    if done.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").rstrip().rsplit("\n", 1)[-1]
        raise UserError(f"{Path(words[1]).name} ended with {done.returncode}: {last}")
    lines = (folder / "checkpoints/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    record = [record for record in map(json.loads, lines) if record["event"] == "dev"][-1]
    return {**{name: record[name] for name in (*task.scores, "loss")}, "rows": record["data_num"]}


def measure(bench, seed, model, data, recipe, task=SST2_TASK):
    """(ours, theirs) of a seed; None where the minutes were used up."""
    with tempfile.TemporaryDirectory(prefix="quality-") as name:
        folder = Path(name)
        prepare(folder, model, data, recipe, seed, task)

        def peer():
            train, dev = (make_reader(folder, f"{kind}.tsv", recipe, number, task)
                          for kind, number in (("train", seed), ("dev", None)))  # fmt: skip
            return run_peer(folder, recipe, peer_trajectory.rates(recipe), train, dev, seed, task)

        found = []
        for side, run in (("ours", lambda: run_ours(folder, recipe, seed, task)), ("peer", peer)):
            begin = time.monotonic()
            found.append(bench.cell(f"{side}, seed {seed}", run))
            shown = {key: round(value, 4) for key, value in (found[-1] or {}).items() if key != "losses"}
            say(f"{task.name}, seed {seed}, {side}: {shown or None} ({time.monotonic() - begin:.0f} s)")
    return tuple(found)


def measure_losses(bench, model, data, recipe, task):
    """(ours, theirs): the first LOSS_STEPS losses of seed 1 without dropout; None where the minutes were used up."""
    recipe, seed = replace(recipe, dropout=0.0), peer_trajectory.SEED
    with tempfile.TemporaryDirectory(prefix="quality-") as name:
        folder = Path(name)
        prepare(folder, model, data, recipe, seed, task)
        reader = make_reader(folder, "train.tsv", recipe, seed, task)
        rates = peer_trajectory.rates(recipe)[:LOSS_STEPS]
        ours = bench.cell("losses, ours", lambda: peer_trajectory.run_ours(folder, recipe, reader, task, LOSS_STEPS))
        theirs = bench.cell("losses, peer", lambda: run_peer(folder, recipe, rates, reader, task=task)["losses"])
    say(f"{task.name}: first losses {'' if ours and theirs else 'not '}measured")
    return ours, theirs


def verdict(ours, theirs):
    """(mean difference, its standard error, whether it is in bounds), of a score by seed, in points."""
    differences = [100 * (a - b) for a, b in zip(ours, theirs)]
    mean = statistics.mean(differences)
    error = statistics.stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else 0.0
    return mean, error, abs(mean) < max(POINTS, 2 * error)


def report(pairs, score="acc", shown="accuracy"):
    """Print a score of every seed and the verdict; whether all was measured and is in bounds."""
    print(f"seed  {shown}: ours  transformers + torch  difference   dev loss: ours  transformers + torch")
    complete = {seed: pair for seed, pair in pairs.items() if None not in pair}
    for seed, (our, their) in complete.items():
        points = 100 * (our[score] - their[score])
        print(f"{seed:4}  {our[score]:{len(shown) + 6}.4f}  {their[score]:20.4f}  {points:+10.2f}", end="")
        print(f"   {our['loss']:14.4f}  {their['loss']:20.4f}" if "loss" in their else "")
    if len(complete) < len(pairs):
        print("NOT everything was measured")
        return False
    mean, error, good = verdict(*([pair[side][score] for pair in complete.values()] for side in (0, 1)))
    print(f"mean difference: {mean:+.2f} points, standard error {error:.2f}; ", end="")
    print(f"target: under {max(POINTS, 2 * error):.2f}, the larger of {POINTS} and two standard errors")
    print("the target is met" if good else "NOT met")
    return good


def report_losses(ours, theirs):
    """Print the largest difference of the losses without dropout; whether all was measured and is in bounds."""
    if ours is None or theirs is None:
        print("losses without dropout: NOT measured")
        return False
    differences = np.abs(np.subtract(ours, theirs)) if len(ours) == len(theirs) else np.array([np.inf])
    step = int(np.argmax(differences))  # a NaN counts as the largest
    good = bool(differences[step] <= LOSS_TOLERANCE)
    print(f"losses without dropout: {ours[0]:.6f}, peer {theirs[0]:.6f}, at step 1; ", end="")
    print(f"{ours[-1]:.6f}, peer {theirs[-1]:.6f}, at step {len(ours)}")
    print(f"largest difference: {differences[step]:.1e} at step {step + 1}, target: {LOSS_TOLERANCE:.0e}: ", end="")
    print("met" if good else "NOT met")
    return good


class Comparison:
    """A task of a run: its data, converted, its model, its stored cells.

    Args: entry: an `Entry`; end: of time.monotonic, when measuring stops; scratch: a folder for the data.
    """

    def __init__(self, entry, args, end, scratch):
        self.task, data = entry.task, scratch / entry.task.name
        entry.convert(Path(args.data), data)
        vocab = Path(args.zh_vocab)
        model = random_model(scratch / f"{self.task.name}-model", vocab) if self.task.chinese else find_model(args)
        rows = (data / "train.tsv").read_bytes().count(b"\n") - 1
        self.recipe = replace(entry.recipe, rows=min(entry.recipe.rows, args.rows or rows, rows))
        name = f"quality_{self.task.name}"
        self.bench = Bench(name, args, settings(model, data, self.recipe, task=self.task.name), args.results)
        self.bench.end = end
        self.model, self.data, self.pairs, self.losses = model, data, {}, (None, None)

    def measure_losses(self):
        """The first losses without dropout."""
        self.losses = measure_losses(self.bench, self.model, self.data, self.recipe, self.task)

    def measure(self, seed):
        """The scores of a seed."""
        self.pairs[seed] = measure(self.bench, seed, self.model, self.data, self.recipe, self.task)

    def report(self):
        """Print what was found; whether it is whole and in bounds."""
        recipe = self.recipe
        print(f"\n{self.task.name}: {recipe.rows} rows, {recipe.epochs} epoch(s), rate {recipe.learning_rate}")
        good = [report(self.pairs, score, score) for score in self.task.scores if self.pairs]
        return all([*good, report_losses(*self.losses)])


def main(args):
    """Exit status: 0 if everything asked for was measured and is in bounds."""
    end = time.monotonic() + 60 * args.minutes
    with tempfile.TemporaryDirectory(prefix="quality-") as scratch:
        entries = [entry for entry in ENTRIES if entry.task.name in args.tasks]
        comparisons = [Comparison(entry, args, end, Path(scratch)) for entry in entries]
        for comparison in comparisons:
            comparison.measure_losses()
        for comparison in comparisons:
            for seed in args.seeds:
                comparison.measure(seed)
        good = [comparison.report() for comparison in comparisons]
    return 0 if all(good) else 1


if __name__ == "__main__":
    parser = arguments(__doc__)
    add_flags(parser, data=False)
    parser.add_argument("--data", default=str(SHARED / "data"), help="folder with glue/ and zh/ [../shared/data]")
    parser.add_argument("--zh_vocab", default=str(SHARED / "vocab/vocab_zh.txt"), help="[../shared/vocab/vocab_zh.txt]")
    parser.add_argument("--tasks", nargs="+", default=list(BY_NAME), choices=list(BY_NAME), help="[all of them]")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3], help="none: losses alone [1 2 3]")
    parser.add_argument("--rows", type=int, help="at most so many training rows [2500, Chinese 5000]")
    parsed = parser.parse_args()
    runtime.prepare()
    exit_on_user_error(main, parsed)
