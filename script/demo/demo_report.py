"""What the demonstrations of script/demo/ show at their end: the dev score, some predictions, and where things lie.

    python script/demo/demo_report.py reviews --checkpoints output/demo/zh_task/ernie_base/ChnSentiCorp/seed_1 \
        --data output/demo/data/chnsenticorp

Everything is read from the files that a run leaves behind, as in script/demo/quickstart_report.py, whose parts it uses.
Standard library only. Exit status 2, with one line, when something is missing.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Callable, NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository

from script.demo.quickstart_report import (
    MissingError,
    dev_scores,
    newest_predictions,
    places,
    read_predictions,
    read_rows,
    rows_and_predictions,
    said,
    sample_lines,
    spread,
)

SEPARATOR = "\x02"


def cut(text: str, length: int = 70) -> str:
    """The text, or its beginning and ``...``."""
    return text if len(text) <= length else f"{text[:length]}..."


# ---------------------------------------------------------------- predictions, a function a demonstration


def strength_samples(checkpoints: Path, data: Path) -> tuple[Path, list[str]]:
    """Predicted score, what people gave, sentence."""
    file = newest_predictions(checkpoints)
    predictions = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            predictions.append(float(line.split("\t")[0]))
        except ValueError:
            raise MissingError(f"{file} line {number} is not a number and a TAB: {line[:80]!r}") from None
    rows = rows_and_predictions(data / "test.tsv", file, predictions)
    return file, [
        f"  predicted {predictions[index]:+.2f}  people {float(rows[index]['label']):+.2f}  {rows[index]['text_a']}"
        for index in spread(len(rows))
    ]


def review_samples(checkpoints: Path, data: Path) -> tuple[Path, list[str]]:
    """Label word, its probability, right or wrong, the review's beginning."""
    file = newest_predictions(checkpoints)
    predictions = read_predictions(file)
    rows = rows_and_predictions(data / "test.tsv", file, predictions)
    return file, [cut(line, 100) for line in sample_lines(rows, predictions)]


def entity_samples(checkpoints: Path, data: Path) -> tuple[Path, list[str]]:
    """Sentences with names in them: what was found, and what the data say."""
    file = newest_predictions(checkpoints)
    found = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entities = json.loads(line.split("\t")[3])
            found.append({(entity["text"], entity["type"]): None for entity in entities})
        except (IndexError, ValueError, KeyError, TypeError):
            raise MissingError(f"{file} line {number} is not text, tags, probabilities and entities") from None
    rows = rows_and_predictions(data / "test.tsv", file, found)
    named = [index for index, row in enumerate(rows) if "B-" in row.get("label", "")]
    lines = []
    for index in (named[place] for place in spread(len(named))):
        text = rows[index]["text_a"].split(SEPARATOR)
        wanted = labelled_entities(text, rows[index]["label"].split(SEPARATOR))
        lines += [f"  {''.join(text)}", f"    found {_names(found[index])}    labelled {_names(wanted)}"]
    return file, lines


def labelled_entities(characters: list[str], tags: list[str]) -> list[tuple[str, str]]:
    """(text, type) of the entities of BIO tags, in order, each once."""
    found: list[list[str]] = []
    for character, tag in zip(characters, tags):
        if tag.startswith("B-"):
            found.append([character, tag[2:]])
        elif tag.startswith("I-") and found:
            found[-1][0] += character
    return list(dict.fromkeys(map(tuple, found)))


def _names(entities) -> str:
    return ", ".join(f"{text} ({kind})" for text, kind in entities) or "nothing"


def cloze_samples(checkpoints: Path, data: Path) -> tuple[Path, list[str]]:
    """Questions of the dev set with the answer given and the one wanted."""
    file = checkpoints / "dev_predictions.json"
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
        blocks = json.loads((data / "dev.json").read_text(encoding="utf-8"))["data"][0]["paragraphs"]
    except (OSError, ValueError) as error:
        raise MissingError(f"{error}: the run did not finish; run the same command again") from None
    asked = [entry for block in blocks for entry in block["qas"] if entry["id"] in given]
    lines = []
    for entry in (asked[place] for place in spread(len(asked))):
        answer, wanted = given[entry["id"]], entry["answers"][0]["text"]
        lines.append(f"  {entry['question']}")
        lines.append(f"    {'right' if answer == wanted else 'wrong'}: {cut(answer, 30)}    wanted: {wanted}")
    return file, lines


# ---------------------------------------------------------------- the demonstrations


class Demo(NamedTuple):
    """What differs between demonstrations.

    program: what predicts; scores: their names in metrics.jsonl, the first one picks the best; new: the file of the
    reader's own text; own: what is in it; output: where predictions go; told: what is in that.
    """

    program: str
    scores: tuple[str, ...]
    line: str
    samples: Callable
    heading: str
    new: str
    own: str
    output: str
    told: str
    warning: str


DEMOS = {
    "strength": Demo(
        "infer_classifyer.py",
        ("corr", "pearson", "spearmanr"),
        "Pearson correlation {1:.4f}, Spearman {2:.4f} with what people gave, from -4 to 4",
        strength_samples,
        "Predicted strength, the mean of what people gave, sentence",
        "mine.txt",
        "one sentence per line",
        "mine_predictions.tsv",
        "each sentence and its score",
        "Never report SST-2 dev accuracy for this model: 717 of SST-2's 872 dev rows are among its sentences.",
    ),
    "reviews": Demo(
        "infer_classifyer.py",
        ("acc",),
        "Accuracy {0:.4f}",
        review_samples,
        "Label, its probability, review",
        "mine.txt",
        "one review per line",
        "mine_predictions.tsv",
        "each review, its label and the probability of each label",
        "Never report a ChnSentiCorp figure for this model: 959 of the 1,200 dev rows and 7,663 of the\n"
        "9,600 train rows of ChnSentiCorp are among these reviews, word for word.",
    ),
    "entities": Demo(
        "infer_sequence_labeling.py",
        ("f1", "precision", "recall"),
        "F1 {0:.4f}, precision {1:.4f}, recall {2:.4f} of persons, places and organisations",
        entity_samples,
        "Sentence, names found, names labelled",
        "mine.txt",
        "one sentence per line",
        "mine_predictions.tsv",
        "each sentence, the tag of each character and the entities with their places",
        "This is no MSRA-NER figure: only organisations of a single word are labelled, and the encoder is small.",
    ),
    "cloze": Demo(
        "infer_mrc.py",
        ("avg", "em", "f1"),
        "Exact match {1:.2f}, F1 {2:.2f}, of 100",
        cloze_samples,
        "Question, answer given, answer wanted",
        "mine.json",
        "SQuAD 1.1 JSON like dev.json, the answers left out",
        "mine_predictions",
        "predictions.json, the answer to each question",
        "This is no CMRC2018 figure: a question is a sentence of its own context, and the encoder is small.",
    ),
}


def next_command(demo: Demo, checkpoints: Path) -> str:
    """The shell command that predicts a new file with the fine-tuned model."""
    flags = {"--model": checkpoints / "best", "--predict_set": demo.new, "--output": demo.output}
    program = Path(__file__).resolve().parents[2] / demo.program
    return shlex.join([sys.executable, str(program)] + [str(word) for pair in flags.items() for word in pair])


def dev_rows(data: Path) -> int:
    """The number of rows, or questions, of the dev set."""
    if (data / "dev.tsv").is_file():
        return len(read_rows(data / "dev.tsv"))
    paragraphs = json.loads((data / "dev.json").read_text(encoding="utf-8"))["data"][0]["paragraphs"]
    return sum(len(paragraph["qas"]) for paragraph in paragraphs)


def report(name: str, checkpoints: Path, data: Path) -> str:
    """The whole report as one text. Raises MissingError: something of the run is not there."""
    demo = DEMOS[name]
    scores = dev_scores(checkpoints / "metrics.jsonl", *demo.scores)
    last_step, last = scores[-1]
    best_step, best = max(scores, key=lambda pair: pair[1][0])
    file, samples = demo.samples(checkpoints, data)
    better = "" if best_step == last_step else f"\n(best, after step {best_step}: {demo.line.format(*best)})"
    return f"""
{demo.line.format(*last)}, {dev_rows(data)} held-out rows, after the last step, {last_step}{better}

{demo.heading}, from {file}:
{chr(10).join(samples)}

{places(checkpoints)}
data        {data}

Next: your own text. Write {demo.new}, {demo.own}, and run
  {next_command(demo, checkpoints)}
{demo.output} then has {demo.told}.

{demo.warning}"""


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("demo", choices=tuple(DEMOS))
    parser.add_argument("--checkpoints", type=Path, required=True, help="the run's checkpoint folder")
    parser.add_argument("--data", type=Path, required=True, help="the folder with the dev and the test set")
    arguments = parser.parse_args(argv)
    return said(lambda: print(report(arguments.demo, arguments.checkpoints, arguments.data)))


if __name__ == "__main__":
    sys.exit(main())
