"""What script/quickstart.sh shows at its end: the accuracy, five predictions, and where everything lies.

    python script/demo/quickstart_report.py --checkpoints output/quickstart/en_glue/ernie_base/SST-2/seed_1 \
        --data output/quickstart/data/SST-2

Reads ``metrics.jsonl`` (one JSON object a line, with ``event`` and ``acc``) and the prediction file (one line a row of
the test set: predicted label, TAB, the probabilities in brackets). Standard library only.
Exit status 2, with one line, when something is missing.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Callable

LABEL_WORDS = {0: "negative", 1: "positive"}
SAMPLES = 5


class MissingError(Exception):
    """Something that a finished run leaves behind is not there or not as it should be: one line, with the remedy."""


def said(work: Callable[[], None]) -> int:
    """The exit status of a program that does this: 2, with a line on stderr, where something is missing."""
    try:
        work()
    except MissingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def dev_scores(metrics_file: Path, *names: str) -> list[tuple[int, tuple[float, ...]]]:
    """``(step, the scores of these names)`` of every dev evaluation, in the order they were made.

    Raises:
        MissingError: no file, a line that is not JSON, or no dev evaluation in it.
    """
    if not metrics_file.is_file():
        raise MissingError(f"{metrics_file} is missing: the fine-tuning run did not finish; run the same command again")
    found = []
    for number, line in enumerate(metrics_file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise MissingError(
                f"{metrics_file} line {number} is not JSON ({error.msg}): delete its folder, run again"
            ) from None
        if entry.get("event") != "dev":
            continue
        for name in names:
            if name not in entry:
                message = f"{metrics_file} line {number} is a dev evaluation without {name}: was --metric changed?"
                raise MissingError(message)
        found.append((int(entry["step"]), tuple(float(entry[name]) for name in names)))
    if not found:
        raise MissingError(f"{metrics_file} holds no dev evaluation: run without --do_val false")
    return found


def newest_predictions(checkpoints: Path) -> Path:
    """The prediction file of the last evaluation: ``test_out.tsv.<epoch>.<step>`` with the highest step.

    Raises:
        MissingError: there is none.
    """
    numbered = {}
    for path in checkpoints.glob("test_out.tsv*"):
        match = re.fullmatch(r"test_out\.tsv(?:\.(\d+)\.(\d+))?", path.name)
        if match:
            numbered[tuple(int(group or 0) for group in match.groups())] = path
    if not numbered:
        raise MissingError(f"no prediction file {checkpoints}/test_out.tsv*: run without --do_test false")
    return numbered[max(numbered)]


def read_predictions(path: Path) -> list[tuple[int, float]]:
    """``(label, its probability)`` of every line.

    Raises:
        MissingError: a line of another form, named with its number.
    """
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            label_text, probability_text = line.split("\t")
            label = int(float(label_text))
            probabilities = [float(text) for text in probability_text.strip("[] ").replace(",", " ").split()]
            rows.append((label, probabilities[label]))
        except (ValueError, IndexError):
            raise MissingError(
                f"{path} line {number} is not a label, a TAB and its probabilities: {line[:80]!r}"
            ) from None
    return rows


def read_rows(path: Path) -> list[dict[str, str]]:
    """The cells of every row of a TSV whose header names at least text_a, by column.

    Raises:
        MissingError: no file, or no column text_a.
    """
    if not path.is_file():
        raise MissingError(f"{path} is missing: delete its folder and run the same command again")
    header, *lines = path.read_text(encoding="utf-8").split("\n")
    columns = header.split("\t")
    if "text_a" not in columns:
        raise MissingError(f"{path} line 1 names no column text_a but {columns}")
    return [dict(zip(columns, line.split("\t"))) for line in lines if line]


def spread(count: int) -> list[int]:
    """SAMPLES numbers spread evenly over 0..count - 1; fewer where there are no more."""
    return sorted({sample * count // SAMPLES for sample in range(SAMPLES)} & set(range(count)))


def sample_lines(rows, predictions) -> list[str]:
    """A few rows spread evenly over the file, as lines to print: label word, probability, right or wrong, sentence."""
    lines = []
    for index in spread(len(rows)):
        row, (label, probability) = rows[index], predictions[index]
        verdict = "" if "label" not in row else ("  right" if int(row["label"]) == label else "  wrong")
        lines.append(f"  {LABEL_WORDS.get(label, label):8}  {probability:.3f}{verdict}  {row['text_a']}")
    return lines


def next_command(checkpoints: Path) -> str:
    """The shell command that labels a new file with the fine-tuned model."""
    program = Path(__file__).resolve().parents[2] / "infer_classifyer.py"
    flags = {
        "--model": checkpoints / "best",
        "--predict_set": "mine.txt",
        "--output": "mine_predictions.tsv",
    }
    return shlex.join([sys.executable, str(program)] + [str(word) for pair in flags.items() for word in pair])


def places(checkpoints: Path) -> str:
    """Where a run's files lie, a line each."""
    return f"""checkpoint  {checkpoints / "best"}
log         {checkpoints / "train.log"}
figures     {checkpoints / "metrics.jsonl"}
curves      {checkpoints / "curves.png"}"""


def rows_and_predictions(test_file: Path, prediction_file: Path, predictions: list) -> list[dict[str, str]]:
    """The rows of the test file. Raises MissingError: there are not as many predictions."""
    rows = read_rows(test_file)
    if len(rows) != len(predictions):
        counts = f"{prediction_file} has {len(predictions)} lines for {len(rows)} rows of {test_file}"
        raise MissingError(f"{counts}: delete {prediction_file.parent} and run again")
    return rows


def report(checkpoints: Path, data: Path) -> str:
    """The whole report as one text.

    Raises:
        MissingError: see the readers above, and when predictions and sentences differ in number.
    """
    accuracies = [(step, score) for step, (score,) in dev_scores(checkpoints / "metrics.jsonl", "acc")]
    last_step, last_accuracy = accuracies[-1]
    best_step, best_accuracy = max(accuracies, key=lambda pair: pair[1])
    prediction_file = newest_predictions(checkpoints)
    predictions = read_predictions(prediction_file)
    rows = rows_and_predictions(data / "test.tsv", prediction_file, predictions)
    dev_rows = len(read_rows(data / "dev.tsv"))
    return f"""
Accuracy on {dev_rows} held-out sentences: {last_accuracy:.4f} after the last step, {last_step}
(best: {best_accuracy:.4f} after step {best_step})

Five predictions (label, its probability, sentence) of the {len(predictions)} in {prediction_file}:
{chr(10).join(sample_lines(rows, predictions))}

{places(checkpoints)}

Next: label your own sentences. Write them to mine.txt, one per line, and run
  {next_command(checkpoints)}
mine_predictions.tsv then has each sentence, its label and the probability of each label.

Never report SST-2 dev accuracy for this model: 717 of SST-2's 872 dev rows are among the sentences used here."""


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--checkpoints", type=Path, required=True, help="the run's checkpoint folder")
    parser.add_argument("--data", type=Path, required=True, help="the folder with dev.tsv and test.tsv")
    arguments = parser.parse_args(argv)
    return said(lambda: print(report(arguments.checkpoints, arguments.data)))


if __name__ == "__main__":
    sys.exit(main())
