"""The picture of the README: the curves of a quickstart and what its model says of twelve sentences.

    sh script/quickstart.sh --validation_steps 50
    python script/demo/quickstart_picture.py --out docs/quickstart.png

Everything in it is read from the run: ``metrics.jsonl``, the newest predictions, and the test set.
Exit status 2, with one line, when something is missing.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from script.demo.quickstart_report import (
    MissingError,
    dev_scores,
    newest_predictions,
    read_predictions,
    read_rows,
    said,
)

RUN = "output/quickstart/en_glue/ernie_base/SST-2/seed_1"
DATA = "output/quickstart/data/SST-2"
BLUE, ORANGE, GREY = "#2f6db3", "#d9822b", "#666666"
WIDTH = 56  # characters of a sentence that are shown


def shortened(text: str) -> str:
    """The beginning of a sentence, at most WIDTH characters."""
    return text if len(text) <= WIDTH else text[: WIDTH - 1].rstrip() + "…"


def losses(metrics: Path) -> list[tuple[int, float]]:
    """``(step, mean loss since the last line)`` of training."""
    records = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    return [(record["step"], record["loss"]) for record in records if record["event"] == "train"]


def positive(predictions: list[tuple[int, float]]) -> list[float]:
    """The probability of ``positive`` for each prediction."""
    return [probability if label else 1 - probability for label, probability in predictions]


def draw_curves(axes: Any, run: Path) -> None:
    """Training loss and dev accuracy over the steps."""
    steps, loss = zip(*losses(run / "metrics.jsonl"))
    axes.plot(steps, loss, color=GREY, label="training loss")
    scores = dev_scores(run / "metrics.jsonl", "acc")
    axes.plot(
        [step for step, _ in scores],
        [accuracy for _, (accuracy,) in scores],
        color=BLUE,
        marker="o",
        label="accuracy, 1,000 held-out sentences",
    )
    axes.set(xlabel="step", ylim=(0, 1), title="sh script/quickstart.sh")
    axes.legend(frameon=False, loc="lower right")


def draw_predictions(axes: Any, run: Path, data: Path) -> None:
    """A bar per test sentence: how likely it is positive; right or wrong by its label."""
    rows = read_rows(data / "test.tsv")
    shares = positive(read_predictions(newest_predictions(run)))
    if len(rows) != len(shares):
        raise MissingError(f"{len(shares)} predictions in {run} for {len(rows)} rows of {data}: run again")
    order = sorted(range(len(rows)), key=shares.__getitem__)
    right = [(shares[number] >= 0.5) == (rows[number]["label"] == "1") for number in order]
    axes.barh(
        [shortened(rows[number]["text_a"]) for number in order],
        [shares[number] for number in order],
        color=[BLUE if good else ORANGE for good in right],
    )
    axes.axvline(0.5, color=GREY, linewidth=0.8)
    axes.set(xlim=(0, 1), xlabel="probability of positive (blue: right, orange: wrong)", title="what the model says")


def draw(run: Path, data: Path, out: Path) -> None:
    """Write the picture."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 3.8), width_ratios=(1, 1), layout="constrained")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    draw_curves(left, run)
    draw_predictions(right, run, data)
    figure.savefig(out, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--run", type=Path, default=Path(RUN), help=f"the run's directory [{RUN}]")
    parser.add_argument("--data", type=Path, default=Path(DATA), help=f"the directory with test.tsv [{DATA}]")
    parser.add_argument("--out", type=Path, required=True, help="the PNG to write")
    arguments = parser.parse_args(argv)
    return said(lambda: draw(arguments.run, arguments.data, arguments.out))


if __name__ == "__main__":
    sys.exit(main())
