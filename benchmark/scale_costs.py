"""What pre-training on much text costs in hours, disk and machines: the tables of docs/scaling.md, from figures.

    python benchmark/scale_costs.py                             # 10 GB and 1 TB of text
    python benchmark/scale_costs.py --gb 50 --epochs 3 --days 7 --tflops 300 --use 0.4

It measures nothing. The figures are those of benchmark/parts/scale_figures.json, each with the command that measured
it; a GPU is an estimate by operations: 6 per parameter of the layers and token, at --tflops times --use.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

FIGURES = Path(__file__).resolve().parent / "parts" / "scale_figures.json"
UNKNOWN = "not measured"
OPERATIONS = 6  # per parameter and token, forwards and backwards (Kaplan et al. 2020, arXiv 2001.08361, section 2.1)


def shown(number: float | None) -> str:
    """Two digits, or all of those before the point."""
    if number is None:
        return UNKNOWN
    if number < 10:
        return f"{number:.2g}"
    digits = 1 - math.floor(math.log10(number))
    return f"{round(number, digits):,.0f}"


def times(*factors: float | None) -> float | None:
    """The product; None where a factor is not known."""
    return None if None in factors else math.prod(factors)  # type: ignore[arg-type]


def over(number: float | None, by: float | None) -> float | None:
    """The quotient; None where one of them is not known."""
    return None if number is None or by is None else number / by


class Costs:
    """What follows from the figures.

    Args: figures: as in FIGURES; epochs: passes over the text; days: in which a run is to be done.
    """

    def __init__(self, figures: dict, epochs: float = 1, days: float = 30) -> None:
        self.figures, self.epochs, self.days = figures, epochs, days

    def _value(self, name):
        return self.figures[name]["value"]

    def tokens(self, gigabytes: float) -> float | None:
        """Of so much text."""
        return over(gigabytes * 1e9, self._value("text_bytes_per_token"))

    def data_rows(self, sizes: list[float]) -> list[list[str]]:
        """Size, tokens, shards in GB, core hours of building, hours of a pass of the reader."""
        rows = []
        for size in sizes:
            tokens = self.tokens(size)
            shards = over(times(tokens, self._value("shard_bytes_per_token")), 1e9)
            build, read = (
                over(over(tokens, self._value(name)), 3600)
                for name in ("build_tokens_per_second", "reader_tokens_per_second")
            )
            millions = over(tokens, 1e6)
            rows.append([f"{size:,g} GB", *map(shown, (millions, shards, build, read))])
        return rows

    def training_rows(self, sizes: list[float]) -> list[list[str]]:
        """Network, size, machine days of all passes, machines for `days`, ranks that one reader's speed feeds."""
        rows = []
        for each in self.figures["training"]:
            for size in sizes:
                rate = each["tokens_per_second"]
                days = over(over(times(self.tokens(size), self.epochs), rate), 86_400)
                machines = None if days is None else math.ceil(days / self.days)
                ranks = over(self._value("reader_tokens_per_second"), rate)
                rows.append([each["network"], f"{size:,g} GB", *map(shown, (rate, days, machines, ranks))])
        return rows

    def estimated_rows(self, sizes: list[float], tflops: float, use: float) -> list[list[str]]:
        """Network, size, tokens a second of an accelerator by operations, its days, how many for `days`, ranks fed."""
        rows = []
        for each in self.figures["training"]:
            rate = tflops * 1e12 * use / (OPERATIONS * each["parameters"])
            for size in sizes:
                days = over(over(times(self.tokens(size), self.epochs), rate), 86_400)
                machines = None if days is None else math.ceil(days / self.days)
                ranks = over(self._value("reader_tokens_per_second"), rate)
                rows.append([each["network"], f"{size:,g} GB", *map(shown, (rate, days, machines, ranks))])
        return rows


def table(head: list[str], rows: list[list[str]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"|{'|'.join(f' {cell} ' if cell != '---' else cell for cell in line)}|" for line in lines)


def report(costs: Costs, sizes: list[float], tflops: float, use: float) -> str:
    """All tables."""
    days = f"{costs.days:g} days"
    data = [
        "text",
        "million tokens",
        "shards, GB",
        "building, hours of one core",
        "a pass of the reader, hours at least",
    ]
    training = ["network", "text", "tokens a second of a machine", "machine days", f"machines for {days}", "ranks fed"]
    estimated = [
        "network",
        "text",
        "tokens a second of a GPU, estimated",
        "days of one",
        f"how many for {days}",
        "ranks fed",
    ]
    return "\n\n".join(
        [
            table(data, costs.data_rows(sizes)),
            table(training, costs.training_rows(sizes)),
            table(estimated, costs.estimated_rows(sizes, tflops, use)),
        ]
    )


def main() -> None:
    """As a program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figures", default=str(FIGURES), help="JSON of measured figures [parts/scale_figures.json]")
    parser.add_argument("--gb", type=float, nargs="+", default=[10, 1000], help="GB of UTF-8 text [10 1000]")
    parser.add_argument("--epochs", type=float, default=1, help="passes over the text [1]")
    parser.add_argument("--days", type=float, default=30, help="in which training is to be done [30]")
    parser.add_argument("--tflops", type=float, default=150, help="of an accelerator, in the precision used [150]")
    parser.add_argument("--use", type=float, default=0.4, help="part of them that training reaches [0.4]")
    args = parser.parse_args()
    figures = json.loads(Path(args.figures).read_text(encoding="utf-8"))
    print(report(Costs(figures, args.epochs, args.days), args.gb, args.tflops, args.use))


if __name__ == "__main__":
    main()
