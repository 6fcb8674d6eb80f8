"""What benchmarks share: a bound in minutes, cells that are kept and not measured again, interleaved rounds.

    bench = Bench("reader", arguments(__doc__).parse_args(), settings={"rows": 67349})
    rates = bench.rounds("speed", {"ours": ours, "peer": peer})     # name -> Rounds; each call returns one number
    memory = bench.cell("memory", measure)                          # whatever JSON holds

Results lie in benchmark/results/<name>.json. A run that was cut off, or that used up its minutes, goes on where it was
when started again; other settings, another machine or other versions start anew, and so does --again. Rounds are
interleaved (every candidate once, then again, the order turning), so that a machine that slows down slows all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[1] / "results"
LEAST_ROUNDS = 7


@dataclass(frozen=True)
class Rounds:
    """The numbers of one candidate, a number a round."""

    values: tuple

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def complete(self) -> bool:
        """Whether there are the rounds a figure needs."""
        return len(self.values) >= LEAST_ROUNDS

    def __str__(self):
        few = "" if self.complete else f", only {len(self.values)} of {LEAST_ROUNDS} rounds"
        return f"{shown(self.median)} ({shown(min(self.values))} to {shown(max(self.values))}{few})"


def shown(value: float) -> str:
    """Four digits, and all of those before the point."""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.4g}"


def arguments(doc: str) -> argparse.ArgumentParser:
    """A parser with the flags every benchmark has; `doc` is the module's docstring."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=40, help="stop measuring after so many minutes (default 40)")
    parser.add_argument("--again", action="store_true", help="throw stored results away and measure all anew")
    return parser


def machine() -> dict:
    """What figures depend on besides the code: processor, cores this process may use, Python and numpy."""
    import numpy

    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": model, "cores": cores, "python": platform.python_version(), "numpy": numpy.__version__}


class Bench:
    """The stored cells of one benchmark and the time it has left.

    Args: name: of the results file; args: of `arguments`; settings: JSON-able, what the figures were taken with.
    """

    def __init__(self, name: str, args, settings: dict, results=RESULTS):
        self.path = Path(results) / f"{name}.json"
        self.end = time.monotonic() + 60 * args.minutes
        self.out_of_time = False
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
        if load > 0.5:
            say(f"other processes keep {load:.1f} cores busy: figures that need every core will come out too low")
        settings = json.loads(json.dumps({**settings, "machine": machine()}))
        self.stored = {"settings": settings, "cells": {}}
        if self.path.is_file() and not args.again:
            stored = json.loads(self.path.read_text(encoding="utf-8"))
            if stored.get("settings") == settings:
                self.stored = stored
            else:
                say(f"{self.path} was measured with other settings: measuring anew")

    def cell(self, key: str, measure):
        """measure()'s result, or the stored one; None once the minutes are used up."""
        cells = self.stored["cells"]
        if key not in cells:
            if self._no_time(key):
                return None
            cells[key] = measure()
            self._store()
        return cells[key]

    def rounds(self, key: str, candidates: dict, count: int = LEAST_ROUNDS) -> dict:
        """`count` interleaved rounds of every candidate: name -> function returning one number (say rows a second).

        Returns: name -> Rounds, of the rounds there was time for; without the names that have none.
        """
        values = self.stored["cells"].setdefault(key, {})
        names = list(candidates)
        for number in range(count):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                done = values.setdefault(name, [])
                if len(done) > number:
                    continue
                if self._no_time(f"{key}, {name}, round {number + 1} of {count}"):
                    return self._rounds(values)
                done.append(candidates[name]())
                self._store()
                say(f"{key}, round {number + 1} of {count}: {name} {shown(done[-1])}")
        return self._rounds(values)

    @staticmethod
    def _rounds(values):
        return {name: Rounds(tuple(done)) for name, done in values.items() if done}

    def _no_time(self, what):
        if time.monotonic() >= self.end and not self.out_of_time:
            self.out_of_time = True
            say(f"the minutes are used up before {what}: start again to go on, or give more --minutes")
        return self.out_of_time

    def _store(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(f".{os.getpid()}.tmp")
        with open(beside, "w", encoding="utf-8") as file:
            json.dump(self.stored, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)


def say(text: str):
    """A line of progress, on stderr: stdout is for the result."""
    print(text, file=sys.stderr, flush=True)
