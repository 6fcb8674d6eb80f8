"""Reading comprehension with and without the dropout before its head, beside transformers and torch.

    python -m pip install -r requirements-peers.txt
    python benchmark/reading.py                     # CMRC2018's trial set, seeds 1 to 3; again to go on
    python benchmark/reading.py --seeds 1 --questions 200 --dev_questions 100 --start_steps 200

Three arms learn from CMRC2018's trial set and answer questions of its dev set: run_mrc.py as it is, which drops 0.1 of
the encoder's output before the head as the 2019 code does; run_mrc.py --head_dropout 0; and transformers'
BertForQuestionAnswering with the same dropout of 0.1 put before its head. The last one starts from what ernie.convert
makes of the same weights, head included, and takes the windows of our reader in the same order; its losses are torch's
own, and its logits become answers and scores by the same code. All: the encoder of parts/reading_start.py, windows of
128 tokens, 16 a batch, rate 1e-3 with linear warm-up over a tenth and decay, weight decay 0.01, clipping at 1, dropout
0.1 in the encoder. Each draws its own dropout and has its own form of Adam's epsilon; a seed sets order, head, dropout.

Beside the scores, the first 30 losses of seed 1 without any dropout, with torch's epsilon on both sides. Exit status 1
when one of them differs by more than 1e-3, when ours and transformers' scores differ in the mean by neither under 1.5
points nor under two standard errors, or when the minutes ran out. What the dropout does is shown, not judged.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmark import peer_trajectory  # noqa: E402
from benchmark.parts.common import RESULTS, Bench, arguments, say  # noqa: E402
from benchmark.parts.comparison import Recipe, Task, prepare_model, run_peer, settings  # noqa: E402
from benchmark.parts.reading_start import MAX_SEQ_LEN, ReadingStart  # noqa: E402
from benchmark.quality import POINTS, report_losses, verdict  # noqa: E402
from propeller import runtime  # noqa: E402
from propeller.errors import UserError, exit_on_user_error  # noqa: E402
from reader.squad.reader import SquadReader  # noqa: E402
from tokenization import build_tokenizer  # noqa: E402

SHARED = ROOT.parent / "shared"
TASK = Task("CMRC2018", finetune="mrc", metric=None, scores=("em", "f1"), chinese=True)
RECIPE = Recipe(rows=0, batch=16, learning_rate=1e-3)
WINDOWS = {"doc_stride": 96, "max_query_length": 64, "max_seq_len": MAX_SEQ_LEN}
ANSWERS = {"n_best_size": 20, "max_answer_length": 100}
HEAD_DROPOUT = 0.1
LOSS_STEPS = 30
OURS, WITHOUT, PEER = "ours, 0.1", "ours, 0", "transformers + torch, 0.1"
SCORES = {"em": "EM", "f1": "F1"}
FILES = ("train.json", "dev.json")


def draw_questions(source, target, count):
    """Write `count` questions of a SQuAD file, drawn once and in its order; all of them where it has no more.

    Raises:
        UserError: there is no such file.
    """
    if not source.is_file():
        raise UserError(f"{source}: not there: give --data the folder that holds zh/")
    articles = json.loads(source.read_text(encoding="utf-8"))["data"]
    names = [entry["id"] for article in articles for part in article["paragraphs"] for entry in part["qas"]]
    kept = set(random.Random(0).sample(names, min(count, len(names))))
    for article in articles:
        for part in article["paragraphs"]:
            part["qas"] = [entry for entry in part["qas"] if entry["id"] in kept]
        article["paragraphs"] = [part for part in article["paragraphs"] if part["qas"]]
    target.write_text(json.dumps({"version": "drawn", "data": articles}, ensure_ascii=False), encoding="utf-8")


def make_reader(data, vocab, recipe, seed=None):
    """The reader of train.json (shuffled by `seed`) or dev.json in `data`, as run_mrc.py has it."""
    training = seed is not None
    tokenizer = build_tokenizer("FullTokenizer", vocab, do_lower_case=True, for_cn=False)
    return SquadReader(
        data / FILES[not training],
        tokenizer,
        answers="train" if training else "score",
        batch_size=recipe.batch,
        shuffle=training,
        seed=seed or 0,
        epochs=recipe.epochs if training else 1,
        **WINDOWS,
    )


def command(folder, data, recipe, seed, head_dropout):
    """run_mrc.py over a prepared folder: trained once, evaluated at the end."""
    flags = {
        "ernie_config_path": folder / "model/ernie_config.json",
        "vocab_path": folder / "model/vocab.txt",
        "init_checkpoint": folder / "model/params",
        "train_set": data / "train.json",
        "dev_set": data / "dev.json",
        "do_test": "false",
        "checkpoints": folder / f"checkpoints-{head_dropout}",
        "mrc_language": "zh",
        "head_dropout": head_dropout,
        "batch_size": recipe.batch,
        "epoch": recipe.epochs,
        "learning_rate": recipe.learning_rate,
        "warmup_proportion": recipe.warmup_proportion,
        "weight_decay": recipe.weight_decay,
        "random_seed": seed,
        "validation_steps": 0,
        "eval_strategy": "steps",
        "save_steps": 0,
        "use_cuda": "false",
        **WINDOWS,
        **ANSWERS,
    }
    words = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    return [sys.executable, str(ROOT / "run_mrc.py"), *words]


def run_ours(folder, data, recipe, seed, head_dropout):
    """``em``, ``f1`` in percent and ``questions`` of the dev set, from the run's own metrics.jsonl."""
    log = folder / "train.log"
    with open(log, "wb") as file:
        done = subprocess.run(
            command(folder, data, recipe, seed, head_dropout), stdout=file, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").rstrip().rsplit("\n", 1)[-1]
        raise UserError(f"run_mrc.py ended with {done.returncode}: {last}")
    lines = (folder / f"checkpoints-{head_dropout}/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    record = [record for record in map(json.loads, lines) if record["event"] == "dev"][-1]
    return {"em": record["em"], "f1": record["f1"], "questions": record["question_num"]}


def run_theirs(folder, data, recipe, seed):
    """``em``, ``f1`` in percent and ``questions`` of transformers' logits, and the ``losses`` of its training."""
    from finetune.mrc.answers import predict
    from finetune.mrc.scores import score

    vocab = folder / "model/vocab.txt"
    train, dev = make_reader(data, vocab, recipe, seed), make_reader(data, vocab, recipe)
    found = run_peer(folder, recipe, peer_trajectory.rates(recipe), train, dev, seed, TASK, HEAD_DROPOUT)
    with np.load(folder / "logits.npz", allow_pickle=False) as stored:
        logits = {int(name): stored[name] for name in stored.files}
    predictions, _ = predict(dev, logits, **ANSWERS)
    scores = score("zh", {question.id: question.answers for question in dev.file.questions}, predictions)
    return {"em": scores["em"], "f1": scores["f1"], "questions": scores["question_num"], "losses": found["losses"]}


def measure(bench, seed, model, data, recipe):
    """arm -> figures of a seed; None where the minutes were used up."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="reading-") as name:
        folder = Path(name)
        prepare_model(folder, model, recipe, seed, TASK)
        runs = {
            OURS: lambda: run_ours(folder, data, recipe, seed, HEAD_DROPOUT),
            PEER: lambda: run_theirs(folder, data, recipe, seed),
            WITHOUT: lambda: run_ours(folder, data, recipe, seed, 0),
        }
        for arm, run in runs.items():
            begin = time.monotonic()
            found[arm] = bench.cell(f"{arm}, seed {seed}", run)
            shown = {key: round(value, 2) for key, value in (found[arm] or {}).items() if key != "losses"}
            say(f"seed {seed}, {arm}: {shown or None} ({time.monotonic() - begin:.0f} s)")
    return found


def measure_losses(bench, model, data, recipe):
    """(ours, theirs): the first LOSS_STEPS losses of seed 1 without dropout; None where the minutes were used up."""
    recipe, seed = replace(recipe, dropout=0.0), peer_trajectory.SEED
    with tempfile.TemporaryDirectory(prefix="reading-") as name:
        folder = Path(name)
        prepare_model(folder, model, recipe, seed, TASK)
        reader = make_reader(data, folder / "model/vocab.txt", recipe, seed)
        rates = peer_trajectory.rates(recipe)[:LOSS_STEPS]
        theirs = bench.cell("losses, peer", lambda: run_peer(folder, recipe, rates, reader, task=TASK)["losses"])
        ours = bench.cell("losses, ours", lambda: peer_trajectory.run_ours(folder, recipe, reader, TASK, LOSS_STEPS))
    say(f"first losses {'' if ours and theirs else 'not '}measured")
    return ours, theirs


def mean_and_error(values):
    """ "mean ± standard error" of scores in percent."""
    values = list(values)
    error = f" ± {statistics.stdev(values) / len(values) ** 0.5:.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{error}"


def report(found):
    """Print the scores in Markdown and both comparisons; whether all was measured and ours and theirs are in bounds.

    Args: found: seed -> arm -> figures or None.
    """
    arms = (OURS, WITHOUT, PEER)
    whole = {seed: cells for seed, cells in found.items() if None not in cells.values()}
    columns = [(shown, score, arm) for score, shown in SCORES.items() for arm in arms]
    print("| seed | " + " | ".join(f"{shown}: {arm}" for shown, _, arm in columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for seed, cells in whole.items():
        print(f"| {seed} | " + " | ".join(f"{cells[arm][score]:.2f}" for _, score, arm in columns) + " |")
    if not whole or len(whole) < len(found):
        print("NOT everything was measured")
        return False
    by_arm = [mean_and_error(cells[arm][score] for cells in whole.values()) for _, score, arm in columns]
    print("| mean ± standard error | " + " | ".join(by_arm) + " |\n")
    good = True
    for score, shown in SCORES.items():
        sides = {arm: [cells[arm][score] / 100 for cells in whole.values()] for arm in arms}
        mean, error, _ = verdict(sides[OURS], sides[WITHOUT])
        print(f"{shown}, with the dropout less without: {mean:+.2f} points, standard error {error:.2f}")
        mean, error, met = verdict(sides[OURS], sides[PEER])
        print(f"{shown}, ours less transformers: {mean:+.2f} points, standard error {error:.2f}; ", end="")
        print(f"target: under {max(POINTS, 2 * error):.2f}: {'met' if met else 'NOT met'}")
        good &= met
    return good


def main(args):
    """Exit status: 0 if everything asked for was measured and is in bounds."""
    end = time.monotonic() + 60 * args.minutes
    start = ReadingStart(args.work, args.data, args.zh_vocab, args.start_steps)
    say(f"contexts of the start: {start.counts}")
    model = start.make(end)
    if model is None:
        print("NOT everything was measured: the minutes were used up before the start was trained")
        return 1
    with tempfile.TemporaryDirectory(prefix="reading-") as name:
        data, source = Path(name), Path(args.data) / "zh/cmrc2018"
        draw_questions(source / "trial.json", data / "train.json", args.questions)
        draw_questions(source / "dev.json", data / "dev.json", args.dev_questions)
        recipe = replace(RECIPE, epochs=args.epochs)
        reader = make_reader(data, model / "vocab.txt", recipe, peer_trajectory.SEED)
        recipe = replace(recipe, rows=reader.num_examples)
        known = settings(model, data, recipe, FILES, windows=WINDOWS, answers=ANSWERS)
        bench = Bench("reading", args, known, args.results)
        bench.end = end
        losses = measure_losses(bench, model, data, recipe)
        found = {seed: measure(bench, seed, model, data, recipe) for seed in args.seeds}
        questions = len(reader.file.questions)
    print(f"{questions} questions, {recipe.rows} windows, {recipe.epochs} epoch(s), rate {recipe.learning_rate}\n")
    good = report(found) if found else True
    return 0 if report_losses(*losses) and good else 1


if __name__ == "__main__":
    parser = arguments(__doc__)
    work = ROOT / "output/reading_benchmark"
    parser.add_argument("--results", default=str(RESULTS), help="folder of the stored figures [benchmark/results]")
    parser.add_argument("--data", default=str(SHARED / "data"), help="folder with zh/ [../shared/data]")
    parser.add_argument("--zh_vocab", default=str(SHARED / "vocab/vocab_zh.txt"), help="[../shared/vocab/vocab_zh.txt]")
    parser.add_argument("--work", default=str(work), help=f"where the start is kept [output/{work.name}]")
    parser.add_argument("--start_steps", type=int, default=1600, help="of the training of the start [1600]")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3], help="none: losses alone [1 2 3]")
    parser.add_argument("--questions", type=int, default=1002, help="of the trial set, at most [1002: all]")
    parser.add_argument("--dev_questions", type=int, default=400, help="of the dev set, drawn once [400 of 3,219]")
    parser.add_argument("--epochs", type=int, default=1, help="of fine-tuning [1]")
    parsed = parser.parse_args()
    runtime.prepare()
    exit_on_user_error(main, parsed)
