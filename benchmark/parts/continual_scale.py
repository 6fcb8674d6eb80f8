"""What benchmark/continual.py can tell about scale: held-out figures at parts of the steps, and their slope.

    report_scale(curves, plan)      # curves: as of continual_report.curves_of

The learning rate falls over a run and tasks enter in the middle of one, so an early look at a long run shows less than
a short run would reach at its end. Start the benchmark with fewer --steps to compare ends.
"""

from __future__ import annotations

import math
import statistics

from benchmark.parts.continual_plan import ALONE, CONTINUAL, WAYS
from benchmark.parts.continual_report import PAIRS
from benchmark.parts.pretraining_runs import MASKING

FRACTIONS = (0.25, 0.5, 1)


def slope(points) -> float:
    """Of least squares, per doubling. Args: points: (step, value)."""
    xs, ys = [math.log2(step) for step, _ in points], [number for _, number in points]
    middle = statistics.mean(xs)
    return sum((x - middle) * y for x, y in zip(xs, ys)) / sum((x - middle) ** 2 for x in xs)


def trend(curve, plan):
    """(values at FRACTIONS of the steps, slope per doubling, its standard error or None); None where one is missing.

    Args: curve: {step: {seed: value}}.
    """
    steps = [plan.look(part) for part in FRACTIONS]
    if any(step not in curve for step in steps) or not steps[0]:
        return None
    seeds = [seed for seed in curve[steps[0]] if all(seed in curve[step] for step in steps)]
    if not seeds:
        return None
    slopes = [slope([(step, curve[step][seed]) for step in steps]) for seed in seeds]
    error = statistics.stdev(slopes) / len(slopes) ** 0.5 if len(slopes) > 1 else None
    return [statistics.mean(curve[step][seed] for seed in seeds) for step in steps], statistics.mean(slopes), error


def gap(first, second, falls) -> dict:
    """Curve of the differences of two curves, positive where the first is better."""
    sign = -1 if falls else 1
    return {
        step: {seed: sign * (by_seed_[seed] - second[step][seed]) for seed in by_seed_ if seed in second[step]}
        for step, by_seed_ in first.items()
        if step in second
    }


def steps_to(wanted, value, growth, steps) -> float | None:
    """After how many steps a value becomes `wanted`, from what it is after `steps`; None: it moves away from that."""
    doublings = (wanted - value) / growth if growth else -1
    return steps * 2.0 ** min(doublings, 1000) if doublings > 0 else None  # a float holds no more


def report_steps_to(curves, plan):
    """Print when the continual way would tell masked pieces as well as masking alone does at its end, by its slope."""
    one, other = (curves.get((way, MASKING), {}) for way in (CONTINUAL, ALONE))
    found, wanted = trend(one, plan), trend(other, plan)
    if found is None or wanted is None:
        return
    step = steps_to(wanted[0][-1], found[0][-1], found[1], plan.steps)
    told = "never" if step is None or step > 1e9 else f"after {step:,.0f} steps, {step / plan.steps:.0f} times as many"
    print(f"By its slope, {CONTINUAL} has the held-out masking loss of {ALONE} {told}.\n")


def report_scale(curves, plan):
    """Print the held-out figures at FRACTIONS of the steps with their slope per doubling of the steps, in Markdown."""
    steps = [plan.look(part) for part in FRACTIONS]
    print(f"| task, way | {' | '.join(f'step {step}' for step in steps)} | per doubling | closes at step |")
    print(f"|---|{'---|' * (len(steps) + 2)}")
    for name in plan.learnt:
        ways = {way: curves.get((way, name), {}) for way in WAYS}
        rows = [(way, curve, False) for way, curve in ways.items()]
        rows += [
            (f"{one} better than {two} by", gap(ways[one], ways[two], name == MASKING), True) for one, two in PAIRS
        ]
        for label, curve, compared in rows:
            found = trend(curve, plan)
            if found is None:
                continue
            values, growth, error = found
            digits = 3 if name == MASKING else 2
            closes = steps_to(0, values[-1], growth, plan.steps) if compared and values[-1] < 0 else None
            far = "" if closes is None else f"{closes:,.0f}" if closes < 1e9 else "beyond 10^9"
            cells = " | ".join(f"{number:{'+' if compared else ''}.{digits}f}" for number in values)
            spread_ = "" if error is None else f" (s.e. {error:.{digits}f})"
            print(f"| {name}, {label} | {cells} | {growth:+.{digits}f}{spread_} | {far} |")
    print()
    report_steps_to(curves, plan)
