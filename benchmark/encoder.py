"""What a Chinese encoder is worth: fine-tuned on a few rows, beside random weights.

    python benchmark/encoder.py                       # output/zh_encoder/model, of sh script/zh_task/pretrain.sh --full
    python benchmark/encoder.py --model MODEL --tasks MSRA-NER --seeds 1 --minutes 10

run_classifier.py and run_sequence_labeling.py train on 800 rows of ChnSentiCorp for 6 epochs at rate 2e-4 and on 2,400
sentences of MSRA-NER for 4 at 5e-4, with a CRF, from the encoder and from random weights. The rows are those of
benchmark/pretraining.py, but texts are cut to 128 tokens, as long as the encoder has seen any, not to 64. Seeds set the
order of the rows, the head, dropout and random weights. The dev texts must not be in what the encoder has read:
EXCLUDE of the recipe leaves them out.

Exit status 1 where the mean from the encoder is below the target (80 points of accuracy, 60 of F1) or not above random
weights by two standard errors, or when the minutes ran out. Cells are kept: run it again, and it goes on.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmark.parts.common import RESULTS, arguments
from benchmark.parts.comparison import versions
from benchmark.parts.pretraining_cells import (
    SHARED,
    Cells,
    Start,
    chosen,
    fine_tune,
    fine_tuning_cell,
    gain,
    prepared,
    spread,
)
from ernie.checkpoint import params_digest
from propeller.errors import UserError, exit_on_user_error

ROOT = Path(__file__).resolve().parents[1]
RANDOM, ENCODER = "random", "the encoder"
TARGETS = {"ChnSentiCorp": 80.0, "MSRA-NER": 60.0}
CHANGES = {"ChnSentiCorp": {"epochs": 6, "learning_rate": 2e-4}, "MSRA-NER": {}}  # to what benchmark/pretraining.py has
FLAGS = {"ChnSentiCorp": {"max_seq_len": 128}, "MSRA-NER": {"max_seq_len": 128, "crf": "true"}}


def settled(task, args):
    """A task with what is other here than in benchmark/pretraining.py, and what the flags change."""
    changes = dict(CHANGES[task.name])
    if "epochs" in changes:
        changes["epochs"] *= args.longer
    if args.learning_rate:
        changes["learning_rate"] = args.learning_rate
    return replace(task, **changes)


def scores_of(found, task, seeds):
    """name of a start -> seed -> score, of what was measured."""
    return {
        start: {seed: found[task.name, start, seed][task.score] for seed in seeds if (task.name, start, seed) in found}
        for start in (RANDOM, ENCODER)
    }


def report(found, tasks, seeds):
    """Print the table, in Markdown; whether all was measured and meets its target."""
    print("| task, score | random weights | the encoder | target | gain |\n|---|---|---|---|---|")
    good = True
    for task in tasks:
        scores = scores_of(found, task, seeds)
        if not all(scores.values()):
            good = False
            print(f"| {task.name}, {task.shown} | not measured | | | |")
            continue
        mean = 100 * sum(scores[ENCODER].values()) / len(scores[ENCODER])
        more, error = gain(scores[ENCODER], scores[RANDOM])
        met = mean >= TARGETS[task.name]
        good = good and met and more > 2 * error and all(len(each) == len(seeds) for each in scores.values())
        shown = f"{TARGETS[task.name]:g}: {'met' if met else '**missed**'}"
        each = " | ".join(spread(scores[start].values()) for start in (RANDOM, ENCODER))
        print(f"| {task.name}, {task.shown} | {each} | {shown} | {more:+.2f} (s.e. {error:.2f}) |")
    return good


def main(args):
    """Exit status: 0 if everything was measured and meets its target."""
    model = Path(args.model)
    missing = [name for name in ("params", "ernie_config.json", "vocab.txt") if not (model / name).exists()]
    if missing:
        raise UserError(
            f"{model}: holds no {missing[0]}: make it by sh script/zh_task/pretrain.sh --full, or give --model"
        )
    known = {"encoder": params_digest(model / "params"), "versions": versions()}
    cells = Cells("encoder", args, known, args.results)
    tasks = [settled(task, args) for task in chosen(args)]
    data = prepared(SimpleNamespace(folder=Path(args.work)), args.data, tasks)
    starts = (Start(ENCODER, model / "params"), Start(RANDOM))
    jobs = {
        (task.name, start.name, seed): (
            fine_tuning_cell(task, start, seed, **FLAGS[task.name]),
            lambda task=task, start=start, seed=seed: fine_tune(
                task, data[task.name], start, model, seed, cells.threads, **FLAGS[task.name]
            ),
        )
        for seed in args.seeds
        for task in tasks
        for start in starts
    }
    good = report(cells.keyed(jobs), tasks, args.seeds)
    return 0 if good and not cells.out_of_time else 1


if __name__ == "__main__":
    parser = arguments(__doc__)
    names = list(TARGETS)
    work = ROOT / "output" / "encoder_benchmark"
    model = ROOT / "output" / "zh_encoder" / "model"
    parser.add_argument("--model", default=str(model), help="folder of the encoder [output/zh_encoder/model]")
    parser.add_argument("--results", default=str(RESULTS), help="folder of the stored figures [benchmark/results]")
    parser.add_argument("--data", default=str(SHARED / "data"), help="folder with zh/ [../shared/data]")
    parser.add_argument("--work", default=str(work), help=f"where rows are kept [output/{work.name}]")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], help="[1 2 3 4 5]")
    parser.add_argument("--tasks", nargs="+", default=names, choices=names, help="[all of them]")
    parser.add_argument("--rows", type=int, default=1, help="fine-tune on so many times the rows [1]")
    parser.add_argument("--longer", type=int, default=1, help="fine-tune for so many times the epochs [1]")
    parser.add_argument("--learning_rate", type=float, help="[2e-4 for ChnSentiCorp, 5e-4 for MSRA-NER]")
    exit_on_user_error(main, parser.parse_args())
