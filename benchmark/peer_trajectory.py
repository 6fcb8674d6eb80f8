"""Fine-tuning step by step beside transformers and torch: the same weights and batches must give the same losses.

    python -m pip install -r requirements-peers.txt
    python benchmark/peer_trajectory.py             # 50 steps of SST-2 from MiniLM, batch 32, no dropout

Ours: the training loop, network and optimiser of run_classifier.py, the optimiser with torch's epsilon. Theirs: the
model that ernie.convert makes of the same weights, torch.optim.AdamW. On both sides rate 2e-5 with linear warm-up and
decay, weight decay 0.01 but on layer norms and biases, gradients clipped to a global norm of 1. Exit status 1 when a
loss differs by more than 1e-4.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmark.parts.common import Bench, arguments, say  # noqa: E402
from benchmark.parts.comparison import (  # noqa: E402
    SST2_TASK,
    Recipe,
    add_flags,
    find,
    make_reader,
    prepare,
    run_peer,
    settings,
    tag_set,
)
from benchmark.parts.no_saver import NoSaver  # noqa: E402
from propeller import runtime  # noqa: E402
from propeller.errors import exit_on_user_error  # noqa: E402

TOLERANCE = 1e-4
SEED = 1


def optimization(recipe):
    """The OptimizationConfig of a recipe, with torch's epsilon."""
    from ernie.optimization import OptimizationConfig

    return OptimizationConfig(
        learning_rate=recipe.learning_rate,
        num_train_steps=recipe.steps,
        warmup_steps=recipe.warmup,
        weight_decay=recipe.weight_decay,
        clip_norm=recipe.clip_norm,
        epsilon_form="torch",
    )


def run_ours(folder, recipe, reader, task=SST2_TASK, steps=None):
    """The loss of every step of this project's loop, or of the first ``steps``."""
    from ernie.checkpoint import read_params
    from ernie.config import ErnieConfig
    from ernie.optimization import AdamW
    from finetune import task_class
    from finetune.spec import ModelSpec
    from finetune.tagging.flags import SequenceLabelArgs
    from propeller.train.hooks import RunHook
    from propeller.train.model import RunMode
    from propeller.train.trainer import Learner, RunConfig
    from reader.pyreader import PyReader

    losses = []

    class Losses(RunHook):
        def after_step(self, learner, state):
            losses.append(state.last_loss)

    config = ErnieConfig(folder / "model/ernie_config.json")
    kind = task_class(task.finetune)
    tags = {"label_map": tag_set(folder).mapping, "settings": SequenceLabelArgs()} if task.tags else {}
    spec = ModelSpec(num_labels=task.labels, dropout=config.hidden_dropout_prob, **tags)

    def make_model(mode):
        return kind(config, spec, mode, AdamW(optimization(recipe)) if mode is RunMode.TRAIN else None)

    run = RunConfig(seed=SEED, log_steps=10**9, max_steps=steps, place=runtime.place("false"))
    learner = Learner(make_model, run)
    learner.write(read_params(folder / "model/params"))
    learner.train(
        lambda position: PyReader(lambda: reader.batches(position), 50), reader.num_examples, NoSaver(), [], [Losses()]
    )
    return losses


def rates(recipe):
    """The learning rate of every update."""
    from ernie.optimization import learning_rate_at

    return [float(learning_rate_at(optimization(recipe), step)) for step in range(recipe.updates)]


def report(ours, theirs):
    """Print both; whether no step differs by more than TOLERANCE."""
    print("step      ours  transformers + torch  difference")
    differences = [abs(our - their) for our, their in zip(ours, theirs)]
    for step, (our, their, difference) in enumerate(zip(ours, theirs, differences), start=1):
        print(f"{step:4}  {our:8.6f}  {their:20.6f}  {difference:10.1e}")
    step = int(np.argmax(differences)) + 1  # a NaN counts as the largest
    largest = differences[step - 1]
    good = len(ours) == len(theirs) and largest <= TOLERANCE
    print(f"largest difference over {len(ours)} steps: {largest:.1e} at step {step}, target: {TOLERANCE:.0e}")
    print("the target is met" if good else "NOT met")
    return good


def main(args):
    """Exit status: 0 if both were measured and agree."""
    model, data = find(args)
    recipe = Recipe(rows=args.steps * args.batch, batch=args.batch, learning_rate=2e-5, dropout=0.0)
    bench = Bench("peer_trajectory", args, settings(model, data, recipe), args.results)
    with tempfile.TemporaryDirectory(prefix="trajectory-") as name:
        folder = Path(name)
        prepare(folder, model, data, recipe, SEED)
        reader = make_reader(folder, "train.tsv", recipe, SEED)
        say(f"{recipe.steps} steps of {recipe.batch} rows from {data}")
        ours = bench.cell("ours", lambda: run_ours(folder, recipe, reader))
        theirs = bench.cell("peer", lambda: run_peer(folder, recipe, rates(recipe), reader)["losses"])
    if ours is None or theirs is None:
        print("NOT everything was measured")
        return 1
    return 0 if report(ours, theirs) else 1


if __name__ == "__main__":
    parser = arguments(__doc__)
    add_flags(parser)
    parser.add_argument("--steps", type=int, default=50, help="updates [50]")
    parser.add_argument("--batch", type=int, default=32, help="rows an update [32]")
    parsed = parser.parse_args()
    runtime.prepare()
    exit_on_user_error(main, parsed)
