"""Label sets and multiple choice beside transformers; and what each option of training gains.

    python -m pip install -r requirements-peers.txt
    python benchmark/task_peers.py --part peers         # seeds 1 to 5
    python benchmark/task_peers.py --part options       # five seeds; again to go on

Peers: both sides have the same weights, heads drawn by the seed, and the batches of our reader in one order; torch has
its own AdamW, losses and dropout. Label sets: the kinds of names in 2,400 sentences of MSRA-NER (micro F1), from a
random encoder of two layers; six epochs, 32 a batch. Multiple choice: 800 questions of four sentences of SST-2, one of
which praises (accuracy), from MiniLM's lowest two layers; four epochs, 16 a batch. Rate 1e-3. And the first 20 losses
of seed 1 without dropout, with torch's epsilon on both sides. Exit status 1 when one of them differs by more than 1e-3,
or when a mean difference is neither under 1.5 points nor under two of its standard errors.

Options: such an encoder on 400 rows of SST-2 (accuracy), and on 400 of which one in five praises (Matthews
correlation); three epochs, 16 a batch, rate 1e-3, 400 rows of the dev set; each option is the plain recipe with one
change. The CRF is compared on 800 sentences of MSRA-NER, from a random encoder of two layers, in six epochs. A gain is
the mean over seeds of the difference to the plain recipe of that seed.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmark import peer_trajectory  # noqa: E402
from benchmark.parts import task_rows  # noqa: E402
from benchmark.parts.common import Bench, arguments, say  # noqa: E402
from benchmark.parts.comparison import Recipe, Task, add_flags, find_model, prepare_model, versions  # noqa: E402
from benchmark.quality import random_model, report_losses, verdict  # noqa: E402
from propeller import runtime  # noqa: E402
from propeller.errors import UserError, exit_on_user_error  # noqa: E402

SHARED = ROOT.parent / "shared"
LAYERS = 2
LOSS_STEPS = 20
RATE, BATCH, EPOCHS = 1e-3, 16, 3
RARE, TAGGED = "SST-2, one in five", "MSRA-NER"
CLASSES = {"SST-2": ("simple_accuracy", "acc"), RARE: ("matthews_corrcoef", "matthews_corrcoef")}
PLAIN = "plain"
OPTIONS = {
    PLAIN: {},
    "class weights, balanced": {"class_weights": "balanced"},
    "focal loss, gamma 2": {"focal_gamma": 2.0},
    "label smoothing 0.1": {"label_smoothing": 0.1},
    "R-Drop, alpha 1": {"rdrop_alpha": 1.0},
    "FGM, epsilon 1": {"fgm_epsilon": 1.0},
    "EMA, decay 0.95": {"ema_decay": 0.95},
    "SWA, last quarter": {"swa_start": 0.75},
    "layer-wise decay 0.8": {"layer_lr_decay": 0.8},
    "cosine": {"lr_scheduler": "cosine"},
    "polynomial, power 2": {"lr_scheduler": "polynomial", "lr_power": 2.0},
    "constant": {"lr_scheduler": "constant"},
    "head dropout 0": {"head_dropout": 0.0},
    "head dropout 0.3": {"head_dropout": 0.3},
}
TAGS = {PLAIN: {}, "CRF": {"crf": True}}


class Peer(NamedTuple):
    """What is measured beside transformers: our task, its score, outputs of its head, tokens of a row, the recipe."""

    task: str
    score: str
    labels: int
    max_seq_len: int
    recipe: Recipe


SETS, CHOICE = "label sets", "multiple choice"
PEERS = {
    SETS: Peer(
        "multi_label_classification",
        "micro_f1",
        len(task_rows.KINDS),
        96,
        Recipe(rows=2400, batch=32, epochs=6, learning_rate=1e-3),
    ),
    CHOICE: Peer("multiple_choice", "acc", 1, 64, Recipe(rows=800, batch=16, epochs=4, learning_rate=1e-3)),
}


def train(task, model, seed, scores, **flags):
    """The scores of the last evaluation of a run in this process, by name."""
    import finetune

    logging.getLogger("ernie").setLevel(logging.ERROR)
    logging.getLogger("propeller").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="task-peers-") as out:
        finetune.train(
            task, ernie_config_path=model / "ernie_config.json", vocab_path=model / "vocab.txt",
            checkpoints=Path(out) / "run", random_seed=seed, validation_steps=0, eval_strategy="steps", save_steps=0,
            do_test=False, token_cache_dir="off", use_cuda=False, skip_steps=10**6, **flags,
        )  # fmt: skip
        lines = (Path(out) / "run/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    record = [record for record in map(json.loads, lines) if record["event"] == "dev"][-1]
    return {name: record[name] for name in scores}


# ---------------------------------------------------------------- peers


def reader_of(folder, peer, seed=None):
    """The reader of the training rows (shuffled by `seed`) or of dev."""
    from reader.choices import ChoiceReader, Choices
    from reader.task_reader import TaskReader
    from tokenization import build_tokenizer

    training = seed is not None
    tokenizer = build_tokenizer("FullTokenizer", folder / "model/vocab.txt", True, False)
    given = {"max_seq_len": peer.max_seq_len, "batch_size": peer.recipe.batch, "shuffle": training, "seed": seed or 0,
             "epochs": peer.recipe.epochs if training else 1}  # fmt: skip
    stem = "train" if training else "dev"
    if peer.task == "multiple_choice":
        return ChoiceReader(folder / f"{stem}.jsonl", tokenizer, choices=Choices(), label_kind="choice", **given)
    sets = {"label_map": task_rows.KINDS, "num_labels": peer.labels, "label_kind": "set"}
    return TaskReader(folder / f"{stem}.tsv", tokenizer, **sets, **given)


def run_peer(folder, peer, seed, steps=None):
    """``score`` and ``losses`` of transformers and torch; ``steps``: only so many, without a score."""
    for name in ("torch", "transformers"):
        if versions()[name] is None:
            raise UserError(f"{name} is not installed: python -m pip install -r requirements-peers.txt")
    for name, number in (("train", seed), ("dev", None)):
        batches = enumerate(batch for batch, _ in itertools.islice(reader_of(folder, peer, number).batches(), steps))
        arrays = {f"{i}/{key}": array for i, batch in batches for key, array in batch.items()}
        np.savez(folder / f"{name}.npz", **arrays)
    recipe = peer.recipe
    job = {"rates": peer_trajectory.rates(recipe)[:steps], "dropout_seed": seed, "task": peer.task}
    job.update(num_labels=peer.labels, threads=runtime.cores())
    job.update(weight_decay=recipe.weight_decay, clip_norm=recipe.clip_norm)
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    command = [sys.executable, str(ROOT / "benchmark/parts/task_peer.py"), str(folder)]
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    return json.loads(done.stdout)


def run_ours(folder, peer, seed):
    """``score`` of this project's run."""
    choice = peer.task == "multiple_choice"
    stem = "jsonl" if choice else "tsv"
    more = {} if choice else {"multi_label": True, "label_map_config": folder / "labels.json"}
    found = train(
        "multiple_choice" if choice else "classify", folder / "model", seed, (peer.score,),
        init_checkpoint=folder / "model/params", train_set=folder / f"train.{stem}", dev_set=folder / f"dev.{stem}",
        for_cn=False, max_seq_len=peer.max_seq_len, batch_size=peer.recipe.batch, epoch=peer.recipe.epochs,
        learning_rate=peer.recipe.learning_rate, **more,
    )  # fmt: skip
    return {"score": found[peer.score]}


def prepare(folder, peer, start, data, seed):
    """Make model/, hf/ and the rows of a task in `folder`; the head is drawn by the seed."""
    prepare_model(folder, start, peer.recipe, seed, Task(peer.task, labels=peer.labels))
    if peer.task == "multiple_choice":
        for end in ("w", "b"):
            (folder / f"model/params/_cls_out_{end}").rename(folder / f"model/params/choice_out_{end}")
    for path in data.iterdir():
        (folder / path.name).symlink_to(path)


def measure_losses(bench, shown, peer, start, data):
    """(ours, theirs): the first losses without dropout, with torch's epsilon; None where the minutes were used up."""
    seed = peer_trajectory.SEED
    peer = peer._replace(recipe=replace(peer.recipe, dropout=0.0))
    with tempfile.TemporaryDirectory(prefix="task-peers-") as name:
        folder = Path(name)
        prepare(folder, peer, start, data, seed)
        kind = Task(shown, finetune=peer.task, labels=peer.labels)

        def ours():
            return peer_trajectory.run_ours(folder, peer.recipe, reader_of(folder, peer, seed), kind, LOSS_STEPS)

        found = [
            bench.cell(f"{shown}, ours, losses", ours),
            bench.cell(f"{shown}, peer, losses", lambda: run_peer(folder, peer, seed, LOSS_STEPS)["losses"]),
        ]
    say(f"{shown}: first losses {'not ' if None in found else ''}measured")
    return found


def measure_pair(bench, shown, peer, start, data, seed):
    """(ours, theirs) of a seed; None where the minutes were used up."""
    with tempfile.TemporaryDirectory(prefix="task-peers-") as name:
        folder = Path(name)
        prepare(folder, peer, start, data, seed)
        found = []
        for side, run in (("ours", run_ours), ("peer", run_peer)):
            begin = time.monotonic()
            found.append(bench.cell(f"{shown}, {side}, seed {seed}", lambda run=run: run(folder, peer, seed)))
            say(f"{shown}, seed {seed}, {side}: {(found[-1] or {}).get('score')} ({time.monotonic() - begin:.0f} s)")
    return found


def report_pairs(pairs):
    """Print the scores of both sides; whether all was measured and is in bounds."""
    good = True
    print("| task | seed | ours | transformers | difference, points |\n|---|---|---|---|---|")
    for shown, by_seed in pairs.items():
        whole = {seed: pair for seed, pair in by_seed.items() if None not in pair}
        for seed, (our, their) in whole.items():
            one, other = our["score"], their["score"]
            print(f"| {shown} | {seed} | {one:.4f} | {other:.4f} | {100 * (one - other):+.2f} |")
        if len(whole) < len(by_seed) or not whole:
            print(f"\n{shown}: NOT everything was measured\n")
            good = False
            continue
        mean, error, met = verdict(*([pair[side]["score"] for pair in whole.values()] for side in (0, 1)))
        print(f"| {shown} | mean | | | {mean:+.2f}, standard error {error:.2f}: {'met' if met else 'NOT met'} |")
        good &= met
    return good


# ---------------------------------------------------------------- options


def measure_option(bench, folder, model, name, option, seed):
    """The score of an option; None where the minutes were used up."""
    key = f"{name}, {option}, seed {seed}"
    if name == TAGGED:
        task, score, flags = "sequence_label", "f1", {**TAGS[option], "label_map_config": folder / "label_map.json"}
        flags.update(learning_rate=1e-3, epoch=6, max_seq_len=96)
    else:
        metric, score = CLASSES[name]
        task, flags = "classify", {"learning_rate": RATE, "epoch": EPOCHS, "metric": metric, "num_labels": 2}
        flags.update(for_cn=False, max_seq_len=64, **OPTIONS[option])
    begin = time.monotonic()
    value = bench.cell(key, lambda: train(task, model, seed, (score,), **flags, **files(folder))[score])
    say(f"{key}: {value} ({time.monotonic() - begin:.0f} s)")
    return value


def files(folder):
    """The files that every run takes."""
    return {"train_set": folder / "train.tsv", "dev_set": folder / "dev.tsv", "batch_size": BATCH,
            "init_pretraining_params": folder / "model/params"}  # fmt: skip


def gain(values, plain):
    """ "+0.40 ± 0.21" of the seeds that both have, with a star where it is over two standard errors; "" without two."""
    both = [
        100 * (values[seed] - plain[seed]) for seed in plain if values.get(seed) is not None and plain[seed] is not None
    ]
    if len(both) < 2:
        return ""
    mean, error = statistics.mean(both), statistics.stdev(both) / len(both) ** 0.5
    few = "" if len(both) == len(plain) else f" ({len(both)} seeds)"
    return f"{mean:+.2f} ± {error:.2f}{few}{' *' if abs(mean) > 2 * error else ''}"


def report_options(found):
    """Print the table of gains; whether all was measured."""
    names = [name for name in CLASSES if name in found]
    for name in found:
        values = [100 * value for value in found[name][PLAIN].values() if value is not None]
        if len(values) > 1:
            error = statistics.stdev(values) / len(values) ** 0.5
            print(f"{name}, plain: {statistics.mean(values):.2f} ± {error:.2f}")
    print("\n| option | " + " | ".join(f"{name}, points" for name in names) + " |\n|" + "---|" * (len(names) + 1))
    for option in OPTIONS:
        if option != PLAIN:
            cells = [gain(found[name][option], found[name][PLAIN]) or "not measured" for name in names]
            print(f"| {option} | " + " | ".join(cells) + " |")
    if TAGGED in found:
        print(f"\nCRF on MSRA-NER, F1: {gain(found[TAGGED]['CRF'], found[TAGGED][PLAIN]) or 'not measured'}")
    print("\n* over two standard errors")
    return all(value is not None for tasks in found.values() for cells in tasks.values() for value in cells.values())


def random_chinese(folder, vocab):
    """The random encoder of benchmark/quality.py with two layers."""
    return random_model(folder, Path(vocab), num_hidden_layers=LAYERS, hidden_size=128)


def make_tags(folder, data, train_rows, dev_rows):
    """The first rows of MSRA-NER."""
    source = Path(data) / "zh/msra_ner"
    for name, count in (("train.tsv", train_rows), ("dev.tsv", dev_rows)):
        lines = (source / name).read_text(encoding="utf-8").split("\n")[: count + 1]
        (folder / name).write_text("\n".join(lines).rstrip("\n") + "\n", encoding="utf-8")
    (folder / "label_map.json").write_bytes((source / "label_map.json").read_bytes())


def main(args):
    """Exit status: 0 if everything asked for was measured and the peers are in bounds."""
    rows = args.rows or 400
    peers = {shown: peer._replace(recipe=recipe_of(peer.recipe, args)) for shown, peer in PEERS.items()}
    known = {"dev_rows": args.dev_rows, "layers": LAYERS, "versions": versions()}
    if args.part == "peers":
        known["peers"] = repr(peers)
    else:
        known.update(rows=rows, recipes=repr((OPTIONS, TAGS, RATE, BATCH, EPOCHS)))
    bench = Bench(f"task_peers_{args.part}", args, known, args.results)
    with tempfile.TemporaryDirectory(prefix="task-peers-") as name:
        scratch = Path(name)
        if args.part == "peers":
            losses, pairs = measure_pairs(bench, args, scratch, peers)
            good = [*(report_losses(*both) for both in losses.values()), report_pairs(pairs)]
        else:
            good = [report_options(measure_options(bench, args, scratch, rows))]
    return 0 if all(good) else 1


def recipe_of(recipe, args):
    """A recipe with --rows and --epochs where they are given."""
    return replace(recipe, rows=args.rows or recipe.rows, epochs=args.epochs or recipe.epochs)


def measure_pairs(bench, args, scratch, peers):
    """Two tables by the task: (ours, theirs) of the first losses, and by seed of the scores."""
    sets, questions = scratch / "sets", scratch / "questions"
    for data in (sets, questions):
        data.mkdir()
    task_rows.make_kinds(sets, args.data, peers[SETS].recipe.rows, args.dev_rows)
    task_rows.make_questions(questions, args.data, peers[CHOICE].recipe.rows, args.dev_rows)
    small = task_rows.small_model(scratch / "small", find_model(args), LAYERS, task_rows.texts_of([questions]))
    starts = {SETS: (random_chinese(scratch / "random", args.zh_vocab), sets), CHOICE: (small, questions)}
    losses = {shown: measure_losses(bench, shown, peer, *starts[shown]) for shown, peer in peers.items()}
    seeds = [1, 2, 3, 4, 5] if args.seeds is None else args.seeds
    pairs = {
        shown: {seed: measure_pair(bench, shown, peer, *starts[shown], seed) for seed in seeds}
        for shown, peer in peers.items()
    }
    return losses, pairs


def folders_of(scratch):
    """task -> folder of its rows. A comma in a path would part it in two: --train_set takes several files."""
    return {name: scratch / name.replace(",", "") for name in (*CLASSES, TAGGED)}


def measure_options(bench, args, scratch, rows):
    """task -> option -> seed -> score or None; a seed of everything, then the next one."""
    folders = folders_of(scratch)
    for name, folder in folders.items():
        folder.mkdir()
        if name != TAGGED:
            task_rows.make_classes(folder, args.data, 0.2 if name == RARE else None, rows, args.dev_rows)
    random_chinese(folders[TAGGED] / "model", args.zh_vocab)
    make_tags(folders[TAGGED], args.data, 2 * rows, args.dev_rows)
    texts = task_rows.texts_of([folders[name] for name in CLASSES])
    model = task_rows.small_model(scratch / "small", find_model(args), LAYERS, texts)
    for name in CLASSES:
        (folders[name] / "model").symlink_to(model)
    found = {name: {option: {} for option in (TAGS if name == TAGGED else OPTIONS)} for name in folders}
    for seed in [1, 2, 3, 4, 5] if args.seeds is None else args.seeds:
        for name, options in found.items():
            for option, values in options.items():
                values[seed] = measure_option(bench, folders[name], folders[name] / "model", name, option, seed)
    return found


if __name__ == "__main__":
    parser = arguments(__doc__)
    add_flags(parser, data=False)
    parser.add_argument("--data", default=str(SHARED / "data"), help="folder with glue/ and zh/ [../shared/data]")
    parser.add_argument("--zh_vocab", default=str(SHARED / "vocab/vocab_zh.txt"), help="[../shared/vocab/vocab_zh.txt]")
    parser.add_argument("--part", default="peers", choices=("peers", "options"), help="what is measured [peers]")
    parser.add_argument("--seeds", type=int, nargs="*", help="none: losses of the peers alone [1 to 5]")
    rows = ", ".join(f"{peer.recipe.rows} of {shown}" for shown, peer in PEERS.items())
    parser.add_argument("--rows", type=int, help=f"training rows [{rows}, 400 of the options]")
    epochs = ", ".join(f"{peer.recipe.epochs} of {shown}" for shown, peer in PEERS.items())
    parser.add_argument("--epochs", type=int, help=f"of the peers [{epochs}]")
    parser.add_argument("--dev_rows", type=int, default=400, help="rows to score on [400]")
    parsed = parser.parse_args()
    runtime.prepare()
    exit_on_user_error(main, parsed)
