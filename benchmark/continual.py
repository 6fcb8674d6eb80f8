"""Continual multi-task pre-training in small: what ERNIE 2.0 compares, on a mini encoder and for minutes.

    python -m pip install -r requirements-pretrain.txt matplotlib
    python benchmark/continual.py                   # again to go on where the minutes ran out
    python benchmark/continual.py --seeds 1 2 3 --steps 4000 --minutes 180

Four ways to spend the same steps on the corpus of benchmark/pretraining.py, cleared of dev texts by the same code, from
the same weights, which have learnt to tell masked pieces of short instances: masking alone, all tasks mixed from the
start, one after another, and continual (train.py --schedule), where a task enters with every stage beside those before.
Of each way: how well held-out text is told by every task after each stage
(docs/continual.png shows it between stages too: whether a task is forgotten while others are learnt), and the scores
of fine-tuning on ChnSentiCorp, MSRA-NER and AFQMC. A seed is one of pre-training and fine-tuning.

The tasks share the steps evenly, and stand in the stages as in the paper's table: of a fifth of its steps a task has
one in each stage behind its first and the rest in that one. Exit status 1 when the minutes ran out: what the ways are
worth is for the figures to say, and no target.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmark.parts.common import say
from benchmark.parts.pretraining_cells import (
    ROOT,
    TASKS,
    Cells,
    Start,
    chosen,
    dev_texts,
    fine_tune,
    fine_tuning_cell,
    parser,
    prepared,
    pretraining_cell,
    settings,
    spread,
)
from benchmark.parts.pretraining_corpus import MAX_SEQ_LEN, Corpus, digest, join_lists
from benchmark.parts.pretraining_runs import MASKING, PRETRAINING, ShortStage, pretrain
from propeller.errors import UserError, exit_on_user_error
from propeller.files import write_file
from propeller.runtime import cores

LEARNT = (MASKING, "sentence_distance", "sentence_reordering", "token_document_relation")  # as they enter
HEADS = {MASKING: {"next_sentence": False}}
IDS = {MASKING: 0, "token_document_relation": 2, "sentence_reordering": 3, "sentence_distance": 4}
HELD_OUT = 200  # instances of a text for each task
PARTS = len(LEARNT) + 1  # of a task's steps
SHORT = "what they begin with"
ALONE, MIXED, SEQUENTIAL, CONTINUAL = "masking alone", "all from the start", "one after another", "continual"
SCHEDULES = {ALONE: "continual", MIXED: "multitask", SEQUENTIAL: "sequential", CONTINUAL: "continual"}
RECIPE = {
    **PRETRAINING,
    "max_seq_len": MAX_SEQ_LEN,
    "lr_scheduler": "noam_decay",
    "mask_units": "entity",
}
COLOURS = {ALONE: "tab:gray", MIXED: "tab:green", SEQUENTIAL: "tab:orange", CONTINUAL: "tab:blue"}


def stages(method, steps) -> dict:
    """task -> (its first stage, steps of that stage and of those behind it), for a task list."""
    if method == ALONE:
        return {MASKING: (1, [steps])}
    unit, count = steps // (PARTS * len(LEARNT)), len(LEARNT)
    return {
        name: (number, [unit * (PARTS - count + number), *[unit] * (count - number)])
        for number, name in enumerate(LEARNT, 1)
    }


def borders(method, steps) -> list:
    """Steps at which the stages of a way end."""
    per_task = steps // len(LEARNT)
    if method in (SEQUENTIAL, ALONE):  # masking alone is looked at as often
        return [per_task * (number + 1) for number in range(len(LEARNT))]
    if method == MIXED:
        return [per_task * len(LEARNT)]
    given, ends = stages(method, steps), []
    for stage in range(1, len(LEARNT) + 1):
        counts = [counts[stage - first] for first, counts in given.values() if 0 <= stage - first < len(counts)]
        ends.append((ends[-1] if ends else 0) + sum(counts))
    return ends


def check_every(method, steps) -> int:
    """Steps between looks at the held-out text: every border is one."""
    unit = steps // (PARTS * len(LEARNT))
    return 2 * unit if method == CONTINUAL else PARTS * unit // 2 if PARTS * unit % 2 == 0 else PARTS * unit


class Pretraining:
    """The pre-trainings of this benchmark over one corpus, from the weights of a `ShortStage`.

    Args:
        steps: of each; rate: the highest learning rate.
        end: of time.monotonic, where one that runs is stopped, to go on with the next start.
    """

    def __init__(self, corpus, short, steps, rate, threads, end):
        self.corpus, self.short, self.steps, self.rate = corpus, short, steps, rate
        self.threads, self.end = threads, end
        self.lists = {}
        for part in ("", "_valid"):
            folders = corpus.build("tasks", part, tasks=",".join(LEARNT))
            for name in LEARNT:
                lists = [folder / name / "filelist" for folder in folders]
                if part:
                    lists = [thinned(path, corpus.folder / f"held_out/{path.parts[-3]}/{name}") for path in lists]
                self.lists[name, part] = join_lists(lists, corpus.folder / f"{name}{part}.list")

    def flags(self, method, seed):
        """For train.py, without places."""
        schedule, every = SCHEDULES[method], check_every(method, self.steps)
        warmup = {"warmup_steps": self.steps // 10, "random_seed": seed}
        return {**RECIPE, "learning_rate": self.rate, **warmup, "schedule": schedule, "validation_steps": every}

    def folder(self, method, seed):
        """Where a pre-training has its checkpoints."""
        key = digest([method, self.steps, LEARNT, self.flags(method, seed), self.short.known])
        return self.corpus.folder / f"{method.replace(' ', '_')}-{seed}-{key}"

    def run(self, method, seed):
        """Figures of the held-out text: task -> [[step, figure], ...]; None where the minutes were used up."""
        flags = {**self.flags(method, seed), "init_pretraining_params": self.short.params}
        folder = self.folder(method, seed)
        found = pretrain(self.corpus, folder, self.entries(method), flags, self.threads, self.end)
        return None if found is None else held_out(found)

    def entries(self, method):
        """Of the task list."""
        return [
            {
                "name": name,
                "task_id": IDS[name],
                "head": HEADS.get(name, {}),
                "filelist": str(self.lists[name, ""].resolve()),
                "valid_filelist": str(self.lists[name, "_valid"].resolve()),
                "start_stage": first,
                "steps": counts,
            }
            for name, (first, counts) in stages(method, self.steps).items()
        ]


def thinned(filelist, folder):
    """A list of one shard with HELD_OUT lines from all over those of `filelist`: looks at it must not take long."""
    lines = []
    for row in filelist.read_text(encoding="utf-8").splitlines():
        with gzip.open(filelist.parent / row.split("\t")[0], "rb") as file:
            lines += file.readlines()
    step = max(len(lines) / HELD_OUT, 1)
    kept = [lines[int(number * step)] for number in range(min(len(lines), HELD_OUT))]
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "held_out.gz", gzip.compress(b"".join(kept), mtime=0))
    write_file(folder / "filelist", b"held_out.gz\t1\n")
    return folder / "filelist"


def held_out(found) -> dict:
    """task -> [[step, figure], ...] of dev records: mean of the classes' accuracies, of masking the perplexity."""
    figures = {}
    for record in found:
        if record["event"] == "dev":
            figure = record["ppl"] if record["task"] == MASKING else record["balanced_acc"]
            figures.setdefault(record["task"], []).append([record["step"], figure])
    return figures


def shown(task, figure) -> str:
    """Perplexity, or accuracy in points of 100; as text."""
    return f"{figure:.1f}" if task == MASKING else f"{100 * figure:.2f}"


def mean_curve(curves) -> list:
    """[(step, mean figure)] over the seeds, of the steps that all of them have."""
    tables = [dict(map(tuple, curve)) for curve in curves]
    steps = sorted(set.intersection(*(set(table) for table in tables))) if tables else []
    return [(step, sum(table[step] for table in tables) / len(tables)) for step in steps]


def curves_of(found, seeds) -> dict:
    """(method, task) -> `mean_curve` over the seeds that were measured. Args: found: (method, seed) -> figures."""
    table = {}
    for method in SCHEDULES:
        measured = [found[method, seed] for seed in seeds if (method, seed) in found]
        for name in LEARNT:
            curves = [figures[name] for figures in measured if name in figures]
            if curves:
                table[method, name] = mean_curve(curves)
    return table


def report_held_out(curves, steps):
    """Print what each way tells of held-out text after each of its stages, in Markdown."""
    print(f"| way, after its stage | step | {' | '.join(f'{name} {_unit(name)}' for name in LEARNT)} |")
    print(f"|---|---|{'---|' * len(LEARNT)}")
    for method in SCHEDULES:
        for number, step in enumerate(borders(method, steps), 1):
            cells = [dict(curves.get((method, name), [])).get(step) for name in LEARNT]
            if any(cell is not None for cell in cells):
                told = [shown(name, cell) if cell is not None else "" for name, cell in zip(LEARNT, cells)]
                print(f"| {method}, {number} | {step} | {' | '.join(told)} |")
    print()


def _unit(name):
    return "(perplexity)" if name == MASKING else "(accuracy)"


def report_fine_tuning(found, seeds, tasks=TASKS):
    """Print the scores of fine-tuning, in Markdown; whether all were measured.

    Args: found: (name of the task, way, seed) -> the cell's result.
    """
    print(f"| way | {' | '.join(f'{task.name}, {task.shown}' for task in tasks)} |")
    print(f"|---|{'---|' * len(tasks)}")
    whole = True
    for start in (SHORT, *SCHEDULES):
        row = []
        for task in tasks:
            cells = [found.get((task.name, start, seed)) for seed in seeds]
            scores = [cell[task.score] for cell in cells if cell is not None]
            whole &= len(scores) == len(seeds)
            row.append(spread(scores) if scores else "")
        print(f"| {start} | {' | '.join(row)} |")
    return whole


def draw(curves, steps, path):
    """A picture: held-out figures by step, a panel a task, a line a way, dotted where continual's stages end."""
    try:
        import matplotlib
    except ImportError:
        say(f"matplotlib is not installed: {path} is not drawn")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, (len(LEARNT) + 1) // 2, figsize=(11, 7), constrained_layout=True)
    for panel, name in zip(panels.flat, LEARNT):
        for method in SCHEDULES:
            points = curves.get((method, name), [])
            panel.plot(*zip(*points), marker=".", color=COLOURS[method], label=method) if points else None
        for border in borders(CONTINUAL, steps)[:-1]:
            panel.axvline(border, color="lightgray", linestyle=":", zorder=0)
        panel.set_title(f"{name} {_unit(name)}")
        panel.set_xlabel("step")
        if name == MASKING:
            panel.set_yscale("log")
    panels.flat[0].legend(fontsize="small")
    figure.savefig(path, dpi=90)
    pyplot.close(figure)
    say(f"{path}: drawn")


def main(args):
    """Exit status: 0 if everything was measured."""
    if args.steps % (PARTS * len(LEARNT)) or args.steps < 1:
        raise UserError(f"--steps {args.steps}: give a multiple of {PARTS * len(LEARNT)}, which the stages divide")
    corpus = Corpus(args.work, dev_texts(args.data), args.cache, ROOT / "config/ernie2_mini_zh.json")
    corpus.print_counts()
    short = ShortStage(corpus, args.short_steps)
    cells = Cells("continual", args, settings(corpus), args.results)
    pretraining = Pretraining(corpus, short, args.steps, args.learning_rate, cells.threads, cells.end)
    tasks = chosen(args)
    data = prepared(corpus, args.data, tasks)
    begun = cells.keyed({SHORT: (pretraining_cell(SHORT, short.folder), lambda: short.run(cores(), cells.end))})
    runs = [(method, seed) for seed in args.seeds for method in SCHEDULES if begun]
    learnt = cells.keyed(
        {
            run: (pretraining_cell(run[0], pretraining.folder(*run)), lambda run=run: pretraining.run(*run))
            for run in runs
        }
    )

    def job(task, way, seed):
        folder = short.folder if way == SHORT else pretraining.folder(way, seed)
        start = Start(way, folder / "params")
        tune = lambda: fine_tune(task, data[task.name], start, corpus.model, seed, cells.threads)  # noqa: E731
        return fine_tuning_cell(task, start, seed), tune

    ready = [*learnt, *((SHORT, seed) for seed in args.seeds if begun)]
    tuned = cells.keyed({(task.name, *run): job(task, *run) for run in ready for task in tasks})
    curves = curves_of(learnt, args.seeds)
    print()
    report_held_out(curves, args.steps)
    if curves:
        draw(curves, args.steps, args.picture)
    whole = len(learnt) == len(SCHEDULES) * len(args.seeds)
    return 0 if report_fine_tuning(tuned, args.seeds, tasks) and whole else 1


if __name__ == "__main__":
    made = parser(__doc__, [1])
    made.add_argument("--steps", type=int, default=1200, help="of each way, of all its tasks together [1200]")
    made.add_argument("--learning_rate", type=float, default=RECIPE["learning_rate"], help="the highest [1e-3]")
    made.add_argument("--picture", default=str(ROOT / "docs/continual.png"), help="[docs/continual.png]")
    exit_on_user_error(main, made.parse_args())
