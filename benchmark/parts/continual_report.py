"""Tables and the picture of benchmark/continual.py.

`figures` is (way, seed) -> task -> [[step, figure], ...] as the cells keep it: the perplexity of masking, of other
tasks the mean of the classes' accuracies. `scores` is (fine-tuning task, way, seed) -> the cell's result.

Tables show `value`s: masking by its loss, the logarithm of the perplexity, the rest in points of 100.
"""

from __future__ import annotations

import math
import statistics
from typing import NamedTuple

from benchmark.parts.common import say
from benchmark.parts.continual_plan import ALONE, CHANCE, CONTINUAL, MIXED, PIECES, SCHEDULES, SEQUENTIAL, WAYS, WORDS
from benchmark.parts.pretraining_cells import spread
from benchmark.parts.pretraining_runs import MASKING

SHORT = "what they begin with"
PAIRS = ((CONTINUAL, MIXED), (MIXED, SEQUENTIAL), (CONTINUAL, ALONE))
MASKINGS = ((ALONE, WORDS), (WORDS, PIECES), (ALONE, PIECES))  # by units, the largest first
ORDER = PAIRS[:2]  # the paper's: continual before all from the start before one after another
SIGNIFICANT = 2  # standard errors
COLOURS = {ALONE: "tab:gray", MIXED: "tab:green", SEQUENTIAL: "tab:orange", CONTINUAL: "tab:blue"}


def value(task, figure) -> float:
    """What is averaged of a figure: the logarithm of a perplexity, points of 100 of an accuracy."""
    return math.log(figure) if task == MASKING else 100 * figure


def unit_of(task) -> str:
    """Of `value`."""
    return "loss" if task == MASKING else "accuracy"


def shown(task, values) -> str:
    """Mean and standard deviation of `value`s; the perplexity of the mean loss in brackets."""
    digits = 3 if task == MASKING else 2
    mean = statistics.mean(values)
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    perplexity = f" ({math.exp(mean):,.0f})" if task == MASKING else ""
    return f"{mean:.{digits}f}{deviation}{perplexity}"


def curves_of(figures, plan, seeds) -> dict:
    """(way, task) -> {step: {seed: value}} of the seeds that were measured.

    Words and pieces alone are left out: a perplexity under other masks is no measure of the same thing.
    """
    table = {}
    for method in WAYS:
        for seed in seeds:
            for name in plan.learnt:
                for step, figure in figures.get((method, seed), {}).get(name, []):
                    table.setdefault((method, name), {}).setdefault(step, {})[seed] = value(name, figure)
    return table


class Difference(NamedTuple):
    """Of two ways, seed by seed: positive where the first is better. error: None of a single seed."""

    mean: float
    error: float | None
    seeds: int

    def __str__(self):
        error = "one seed" if self.error is None else f"s.e. {self.error:.2f}"
        return f"{self.mean:+.2f} ({error})"

    @property
    def sign(self) -> int:
        """1 or -1 where it is beyond SIGNIFICANT standard errors, else 0."""
        if self.error is None or abs(self.mean) <= SIGNIFICANT * self.error:
            return 0
        return 1 if self.mean > 0 else -1


def difference(first, second, falls=False):
    """The `Difference` of two dicts seed -> value; None without a seed in both. Args: falls: whether less is better."""
    both = [(first[seed] - second[seed]) * (-1 if falls else 1) for seed in first if seed in second]
    if not both:
        return None
    error = statistics.stdev(both) / len(both) ** 0.5 if len(both) > 1 else None
    return Difference(statistics.mean(both), error, len(both))


# ---------------------------------------------------------------- tables


def report_held_out(curves, plan):
    """Print what each way tells of held-out text after each of its stages, in Markdown."""
    print(f"| way, after its stage | step | {' | '.join(f'{name} ({unit_of(name)})' for name in plan.learnt)} |")
    print(f"|---|---|{'---|' * len(plan.learnt)}")
    for method in WAYS:
        for number, step in enumerate(plan.borders(method), 1):
            cells = [curves.get((method, name), {}).get(step) for name in plan.learnt]
            if any(cells):
                told = [shown(name, list(cell.values())) if cell else "" for name, cell in zip(plan.learnt, cells)]
                print(f"| {method}, {number} | {step} | {' | '.join(told)} |")
    chances = [f"{CHANCE[name]:.1f}" if name in CHANCE else "" for name in plan.learnt]
    print(f"| without reading the text | | {' | '.join(chances)} |\n")


def report_fine_tuning(scores, seeds, tasks, ways=WAYS) -> bool:
    """Print the scores of fine-tuning, in Markdown; whether all were measured."""
    print(f"| way | {' | '.join(f'{task.name}, {task.shown}' for task in tasks)} |")
    print(f"|---|{'---|' * len(tasks)}")
    whole = True
    for start in (SHORT, *ways):
        row = []
        for task in tasks:
            cells = [scores.get((task.name, start, seed)) for seed in seeds]
            found = [cell[task.score] for cell in cells if cell is not None]
            whole &= len(found) == len(seeds)
            row.append(spread(found) if found else "")
        print(f"| {start} | {' | '.join(row)} |")
    print()
    return whole


def by_seed(scores, seeds, task, way) -> dict:
    """seed -> score in points, of those measured."""
    found = {seed: scores.get((task.name, way, seed)) for seed in seeds}
    return {seed: 100 * cell[task.score] for seed, cell in found.items() if cell is not None}


def mean_by_seed(scores, seeds, tasks, way) -> dict:
    """seed -> mean of the scores in points, where all tasks were measured."""
    parts = [by_seed(scores, seeds, task, way) for task in tasks]
    return {
        seed: statistics.mean(part[seed] for part in parts) for seed in seeds if all(seed in part for part in parts)
    }


def tuned_differences(scores, seeds, tasks, pairs) -> dict:
    """Fine-tuning task, and the mean of several -> a `Difference` or None for each pair of ways."""
    found = {}
    for task in tasks:
        parts = {way: by_seed(scores, seeds, task, way) for way in SCHEDULES}
        found[f"{task.name}, {task.shown}"] = [difference(parts[one], parts[two]) for one, two in pairs]
    if len(tasks) > 1:
        parts = {way: mean_by_seed(scores, seeds, tasks, way) for way in SCHEDULES}
        found[f"mean of the {len(tasks)} tasks"] = [difference(parts[one], parts[two]) for one, two in pairs]
    return found


def differences(scores, curves, plan, seeds, tasks) -> dict:
    """What is compared -> a `Difference` or None for each of PAIRS."""
    found = tuned_differences(scores, seeds, tasks, PAIRS)
    for name in plan.learnt:
        parts = {way: curves.get((way, name), {}).get(plan.steps, {}) for way in WAYS}
        found[f"held-out {name}, {unit_of(name)}"] = [
            difference(parts[one], parts[two], name == MASKING) for one, two in PAIRS
        ]
    return found


def report_differences(found):
    """Print `differences`, in Markdown, and whether the paper's order shows.

    A row has it where both differences of ORDER are above SIGNIFICANT standard errors.
    """
    print(f"| better by | {' | '.join(f'{one} − {two}' for one, two in PAIRS)} | the paper's order |")
    print(f"|---|{'---|' * (len(PAIRS) + 1)}")
    told = {name: order(row[: len(ORDER)]) for name, row in found.items()}
    for name, row in found.items():
        print(f"| {name} | {' | '.join('' if cell is None else str(cell) for cell in row)} | {told[name]} |")
    shows = [name for name, answer in told.items() if answer == "shows"]
    print(
        f"\nThe paper's order (continual before all from the start before one after another) shows by {SIGNIFICANT} "
        f"standard errors in {len(shows)} of {len(found)} rows{': ' if shows else ''}{'; '.join(shows)}.\n"
    )


def report_maskings(scores, seeds, tasks):
    """Print how fine-tuning differs by the units that were masked, in Markdown."""
    print(f"| better by | {' | '.join(f'{one} − {two}' for one, two in MASKINGS)} |")
    print(f"|---|{'---|' * len(MASKINGS)}")
    for name, row in tuned_differences(scores, seeds, tasks, MASKINGS).items():
        print(f"| {name} | {' | '.join('' if cell is None else str(cell) for cell in row)} |")
    print()


def order(pair) -> str:
    """What the two differences of ORDER say of it."""
    if any(part is None for part in pair):
        return "not measured"
    signs = [part.sign for part in pair]
    if min(signs) == 1:
        return "shows"
    if -1 in signs:
        return "contradicted"
    return "undecided"


# ---------------------------------------------------------------- the picture


def draw(curves, plan, path):
    """A picture: held-out figures by step, a panel a task; a thick line of each way's mean, thin ones of its seeds.

    Dotted lines: where the stages of the continual way end.
    """
    try:
        import matplotlib
    except ImportError:
        say(f"matplotlib is not installed: {path} is not drawn")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    count = len(plan.learnt)
    rows = 1 if count < 4 else 2
    figure, panels = pyplot.subplots(
        rows, -(-count // rows), figsize=(11, 3.6 * rows), constrained_layout=True, squeeze=False
    )
    for panel, name in zip(panels.flat, plan.learnt):
        for method in WAYS:
            curve = curves.get((method, name), {})
            seeds = sorted({seed for found in curve.values() for seed in found})
            whole = [step for step in sorted(curve) if len(curve[step]) == len(seeds)]
            if not whole:
                continue
            lines = {seed: [_drawn(name, curve[step][seed]) for step in whole] for seed in seeds}
            for line in lines.values():
                panel.plot(whole, line, color=COLOURS[method], linewidth=0.6, alpha=0.5)
            means = [_drawn(name, statistics.mean(curve[step].values())) for step in whole]
            panel.plot(whole, means, marker=".", color=COLOURS[method], label=method)
        for border in plan.borders(CONTINUAL)[:-1]:
            panel.axvline(border, color="lightgray", linestyle=":", zorder=0)
        panel.set_title(f"{name} ({'perplexity' if name == MASKING else 'accuracy'})")
        panel.set_xlabel("step")
        if name == MASKING:
            panel.set_yscale("log")
    panels.flat[0].legend(fontsize="small")
    figure.savefig(path, dpi=90)
    pyplot.close(figure)
    say(f"{path}: drawn")


def _drawn(task, number):
    return math.exp(number) if task == MASKING else number
