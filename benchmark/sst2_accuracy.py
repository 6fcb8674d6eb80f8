"""Dev accuracy after one epoch of fine-tuning, beside transformers and torch with the same rows, head and settings.

    python -m pip install -r requirements-peers.txt
    python benchmark/sst2_accuracy.py               # 2,500 rows of SST-2 from MiniLM, seeds 1 to 3, 872 dev rows

Ours: run_classifier.py as it is. Theirs: the model that ernie.convert makes of the same weights, head included, and
torch.optim.AdamW over the batches of our reader. Both: batch 32, rate 1e-4 with linear warm-up over a tenth and decay,
weight decay 0.01, clipping at 1, dropout 0.1; each draws its own dropout, and each has its own form of Adam's epsilon.
A seed sets the order of the rows, the head and the dropout. Exit status 1 when the mean difference of accuracy is
neither under 1.5 points nor under two of its standard errors.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmark.common import Bench, arguments, say  # noqa: E402
from benchmark.peer_trajectory import rates  # noqa: E402
from benchmark.sst2 import LABELS, Recipe, add_flags, find, make_reader, prepare, run_peer, settings  # noqa: E402
from propeller import runtime  # noqa: E402
from propeller.errors import UserError, exit_on_user_error  # noqa: E402

POINTS = 1.5


def command(folder, recipe, seed, max_seq_len):
    """run_classifier.py over a prepared folder: one epoch, one evaluation at its end."""
    flags = {
        "ernie_config_path": folder / "model/ernie_config.json",
        "vocab_path": folder / "model/vocab.txt",
        "init_checkpoint": folder / "model/params",
        "train_set": folder / "train.tsv",
        "dev_set": folder / "dev.tsv",
        "do_test": "false",
        "checkpoints": folder / "checkpoints",
        "num_labels": LABELS,
        "max_seq_len": max_seq_len,
        "for_cn": "false",
        "batch_size": recipe.batch,
        "epoch": 1,
        "learning_rate": recipe.learning_rate,
        "warmup_proportion": recipe.warmup_proportion,
        "weight_decay": recipe.weight_decay,
        "random_seed": seed,
        "validation_steps": 0,
        "token_cache_dir": "off",
        "use_cuda": "false",
    }
    words = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    return [sys.executable, str(ROOT / "run_classifier.py"), *words]


def run_ours(folder, recipe, seed, max_seq_len):
    """dict with ``acc`` and ``loss`` of the dev set, from the run's own metrics.jsonl."""
    log = folder / "train.log"
    with open(log, "wb") as file:
        done = subprocess.run(command(folder, recipe, seed, max_seq_len), stdout=file, stderr=subprocess.STDOUT)
    if done.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").rstrip().rsplit("\n", 1)[-1]
        raise UserError(f"run_classifier.py ended with {done.returncode}: {last}")
    lines = (folder / "checkpoints/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    record = [record for record in map(json.loads, lines) if record["event"] == "dev"][-1]
    return {"acc": record["acc"], "loss": record["loss"], "rows": record["data_num"]}


def measure(bench, seed, model, data, recipe):
    """(ours, theirs) of a seed; None where the minutes were used up."""
    with tempfile.TemporaryDirectory(prefix="accuracy-") as name:
        folder = Path(name)
        prepare(folder, model, data, recipe, seed)
        train, dev = make_reader(folder, "train.tsv", recipe, seed), make_reader(folder, "dev.tsv", recipe)
        ours = bench.cell(f"ours, seed {seed}", lambda: run_ours(folder, recipe, seed, train.max_seq_len))
        say(f"seed {seed}, ours: {ours}")
        theirs = bench.cell(f"peer, seed {seed}", lambda: run_peer(folder, recipe, rates(recipe), train, dev, seed))
        say(f"seed {seed}, peer: {theirs and {key: theirs[key] for key in ('acc', 'loss')}}")
    return ours, theirs


def verdict(ours, theirs):
    """(mean difference, its standard error, whether it is in bounds), of accuracies a seed, in points."""
    differences = [100 * (a - b) for a, b in zip(ours, theirs)]
    mean = statistics.mean(differences)
    error = statistics.stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else 0.0
    return mean, error, abs(mean) < max(POINTS, 2 * error)


def report(pairs):
    """Print every seed and the verdict; whether all was measured and is in bounds."""
    print("seed  accuracy: ours  transformers + torch  difference   dev loss: ours  transformers + torch")
    complete = {seed: pair for seed, pair in pairs.items() if None not in pair}
    for seed, (our, their) in complete.items():
        points = 100 * (our["acc"] - their["acc"])
        print(f"{seed:4}  {our['acc']:14.4f}  {their['acc']:20.4f}  {points:+10.2f}", end="")
        print(f"   {our['loss']:14.4f}  {their['loss']:20.4f}")
    if len(complete) < len(pairs):
        print("NOT everything was measured")
        return False
    mean, error, good = verdict(*([pair[side]["acc"] for pair in complete.values()] for side in (0, 1)))
    print(f"mean difference: {mean:+.2f} points, standard error {error:.2f}; ", end="")
    print(f"target: under {max(POINTS, 2 * error):.2f}, the larger of {POINTS} and two standard errors")
    print("the target is met" if good else "NOT met")
    return good


def main(args):
    """Exit status: 0 if everything was measured and is in bounds."""
    model, data = find(args)
    recipe = Recipe(rows=args.rows, batch=args.batch)
    bench = Bench("sst2_accuracy", args, settings(model, data, recipe), args.results)
    return 0 if report({seed: measure(bench, seed, model, data, recipe) for seed in args.seeds}) else 1


if __name__ == "__main__":
    parser = arguments(__doc__)
    add_flags(parser)
    parser.add_argument("--rows", type=int, default=2500, help="training rows, the first ones of train.tsv [2500]")
    parser.add_argument("--batch", type=int, default=32, help="rows an update [32]")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="[1 2 3]")
    parsed = parser.parse_args()
    runtime.prepare()
    exit_on_user_error(main, parsed)
