"""Score a file of predictions, made by whatever program, beside the labelled file.

    python -m finetune.score output/answers/predictions.json data/cmrc2018/dev.json
    python -m finetune.score predictions.tsv data/msra_ner/test.tsv --chunk_scheme IOB
    python -m finetune.score predictions.tsv data/RTE/dev.tsv --task classify
    python -m finetune.score predictions.tsv data/topics/dev.tsv --task multi_label_classification

Printed is one JSON object. The forms of file are those of ``finetune/scoring``: answers.py (reading comprehension, by
the rules of CMRC 2018 and DRCD or of SQuAD), tags.py, classes.py (classes and numbers), label_sets.py (multi-label
classification, which --task must name).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from propeller.errors import UserError, exit_on_user_error
from propeller.flags import FlagParser, add_flags, flag, read_flags
from reader.tables.form import ENDINGS
from reader.tagging.tags import SCHEMES

TASKS = ("auto", "classify", "multi_label_classification", "regression", "sequence_label", "mrc")
LANGUAGES = ("auto", "zh", "cmrc", "drcd", "en", "squad")
LOOKED_AT = 50  # rows by which a table of tags is told from one of classes


@dataclass(frozen=True)
class ScoreArgs:
    """scores: what is compared, and how"""

    task: str = flag("auto", "what kind of labels; auto: as REFERENCE looks", choices=TASKS)
    mrc_language: str = flag(
        "auto", "reading comprehension: zh (cmrc, drcd) or en (squad); auto: as the questions", choices=LANGUAGES
    )
    chunk_scheme: str = flag("IOB", "tags: how they make entities", choices=tuple(SCHEMES))
    o_label: str = flag("O", "tags: the one outside of entities", metavar="TAG")
    label_separator: str = flag(",", "multi-label classification: what stands between labels", metavar="TEXT")
    label_map_config: str | None = flag(None, "JSON file of labels or tags and their class numbers")


def build_parser() -> FlagParser:
    """The flags."""
    parser = FlagParser(
        prog="python -m finetune.score",
        description="Score a file of predictions, whoever made it, beside the labelled file.",
        example="output/predictions.tsv test.tsv --task classify",
        allow_abbrev=False,
    )
    parser.add_argument(
        "predictions", metavar="PREDICTIONS", help="TSV, CSV, JSON, JSON lines, Parquet, CoNLL columns, plain lines"
    )
    parser.add_argument(
        "reference",
        metavar="REFERENCE",
        help="SQuAD JSON, or TSV, CSV, JSON, JSON lines, Parquet or CoNLL columns with labels",
    )
    add_flags(parser, ScoreArgs)
    return parser


def main(argv: Sequence[str]) -> int:
    """The command; returns its exit status."""
    values = read_flags(build_parser(), argv)
    predictions, reference = values.pop("predictions"), values.pop("reference")
    scores, notes = score_file(predictions, reference, ScoreArgs(**values))
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    print(json.dumps(scores, ensure_ascii=False))
    return 0


def score_file(predictions: str, reference: str, args: ScoreArgs) -> tuple[dict[str, Any], list[str]]:
    """The scores of a file of predictions, ``task`` among them, and notes on what was left out.

    Args:
        predictions, reference: the files.
        args: the flags.

    Raises:
        UserError: a file is not of a form that is known, or the two do not go together.
    """
    from reader.row_encoder import load_label_map

    task = kind_of(reference) if args.task == "auto" else args.task
    label_map = load_label_map(args.label_map_config) if args.label_map_config else None
    scores: dict[str, Any]
    notes: list[str] = []
    if task == "mrc":
        from finetune.scoring.answers import score_answers

        scores, notes = score_answers(predictions, reference, args.mrc_language)
    elif task == "sequence_label":
        from finetune.scoring.tags import score_tags

        scores = score_tags(predictions, reference, args.chunk_scheme, args.o_label, label_map)
    elif task == "multi_label_classification":
        from finetune.scoring.label_sets import score_label_sets

        scores = score_label_sets(predictions, reference, args.label_separator, label_map)
    elif task == "regression":
        from finetune.scoring.classes import score_numbers

        scores = score_numbers(predictions, reference)
    else:
        from finetune.scoring.classes import score_classes

        scores, notes = score_classes(predictions, reference, label_map)
    return {"task": task, **scores}, notes


def kind_of(reference: str) -> str:
    """The task that a labelled file is of, by its form.

    SQuAD JSON: mrc. A TSV, or JSON lines, with as many labels as tokens in its first rows: sequence_label; else with
    labels that are numbers with a fraction: regression; else classify. Lines without such a header, each of a token and
    a tag: sequence_label.

    Raises:
        UserError: it has no form that is known.
    """
    from finetune.scoring.classes import is_regression, read_labels
    from finetune.scoring.rows import at, columns_of, is_json_lines, read_json_lines, read_lines, read_table
    from finetune.scoring.tags import SEPARATOR

    lines = read_lines(reference)
    first = next(line for line in lines if line.text.strip())
    if is_json_lines(lines):
        if not _is_json(first.text) or "data" in json.loads(first.text):
            return "mrc"
        if all("tags" in row.values for row in read_json_lines(reference, lines[:LOOKED_AT])):
            return "sequence_label"
        return "regression" if is_regression(read_labels(reference, lines)) else "classify"
    if first.text.lstrip().startswith("["):
        return "mrc"
    columns = columns_of(lines)
    if "label" not in columns:
        if ENDINGS.get(Path(reference).suffix.lower()):  # a table by its name, not tokens with tags
            raise UserError(
                f"{at(reference, first.number)}: column 'label' is missing (there: {', '.join(columns)}): rename the "
                "column of the labels, or convert the file: python script/convert_table.py FILE NEW.tsv --columns "
                "text_a=NAME label=NAME"
            )
        if len(first.text.split()) > 1 and all(len(line.text.split()) != 1 for line in lines[:LOOKED_AT]):
            return "sequence_label"
        raise UserError(
            f"{at(reference, first.number)}: neither SQuAD JSON, nor a header with 'label', nor tokens with tags: give "
            "a labelled file, or say with --task what it is"
        )
    counts = []
    for row in read_table(reference, lines[: LOOKED_AT + 1]):
        parts = [str(row.values.get(name, "")).replace(SEPARATOR, " ").split() for name in ("text_a", "label")]
        counts.append((len(parts[0]), len(parts[1])))
    if all(one == other for one, other in counts) and any(one > 1 for one, _ in counts):
        return "sequence_label"
    return "regression" if is_regression(read_labels(reference, lines)) else "classify"


def _is_json(text):
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
