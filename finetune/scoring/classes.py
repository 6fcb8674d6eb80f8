"""Scores of classes and numbers: prediction files of any of the usual forms beside a labelled TSV or JSON lines.

label<TAB>prob_0<TAB>prob_1     a header that names label, prediction or score; other columns are left out
{"label": ..., "probabilities": {...}}                      JSON lines
1.0<TAB>[0.2 0.8]               run_classifier.py's lines, with the qid before them where there is one
0.2<TAB>0.8                     probabilities of the classes alone
1                               one label or number per line
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from finetune import metrics
from finetune.scoring.rows import (
    Line,
    Row,
    at,
    check_counts,
    columns_of,
    is_json_lines,
    read_json_lines,
    read_lines,
    read_table,
)
from finetune.scoring.tables import BLANKS
from propeller.errors import UserError
from reader.tsv import shorten

LABEL_KEYS = ("label", "prediction", "predictions", "score")


class Prediction(NamedTuple):
    """A predicted label or number as text, the probability of each class where the file has it, the row's text_a."""

    line: int
    label: str
    probabilities: dict[str, float] | list[float] | None = None
    text: str | None = None


def read_labels(path: str | os.PathLike[str], lines: Sequence[Line] | None = None) -> list[Row]:
    """The rows of a labelled file: TSV with a column ``label``, or JSON lines with that key.

    Raises:
        UserError: it is neither, or a row has no label.
    """
    lines = read_lines(path) if lines is None else lines
    rows = read_json_lines(path, lines) if is_json_lines(lines) else read_table(path, lines)
    for row in rows:
        if row.values.get("label") in (None, ""):
            has = ", ".join(map(str, list(row.values)[:8]))
            raise UserError(f"{at(path, row.line)}: no label (there: {has}): give a file with a column 'label'")
    return rows


def read_predictions(path: str | os.PathLike[str]) -> list[Prediction]:
    """The predictions of a file, one per row, see the module. Raises UserError where it has none of the forms."""
    lines = read_lines(path)
    if is_json_lines(lines):
        return [_of_row(path, row) for row in read_json_lines(path, lines)]
    if set(columns_of(lines)) & set(LABEL_KEYS):
        return [_of_row(path, row) for row in read_table(path, lines)]
    return [_of_line(path, line) for line in lines]


def _of_row(path, row):
    key = next((key for key in LABEL_KEYS if key in row.values), None)
    value = row.values.get(key)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or value == "":
        raise UserError(f"{at(path, row.line)}: no label ({', '.join(LABEL_KEYS)}): give one in every row")
    probabilities = row.values.get("probabilities")
    if probabilities is None:
        named: dict[str, str] = {name[5:]: text for name, text in row.values.items() if name.startswith("prob_")}
        probabilities = {name: _number(path, row.line, text) for name, text in named.items()} or None
    text = row.values.get("text_a")
    return Prediction(row.line, str(value), probabilities, text if isinstance(text, str) else None)


def _of_line(path, line):
    fields = line.text.split("\t")
    if fields[-1].startswith("[") and fields[-1].endswith("]") and len(fields) in (2, 3):
        numbers = [_number(path, line.number, part) for part in fields[-1][1:-1].split()]
        return Prediction(line.number, fields[-2], numbers)
    if len(fields) == 1 and fields[0].strip():
        return Prediction(line.number, fields[0].strip())
    if len(fields) > 1 and all(map(_is_number, fields)):
        numbers = [float(field) for field in fields]
        return Prediction(line.number, str(int(metrics.best_class(numbers))), numbers)
    raise UserError(
        f"{at(path, line.number)}: no form of prediction that is known ({shorten(line.text)}): give one label per "
        "line, probabilities separated by tabs, or a header that names the column 'label'"
    )


def _is_number(text):
    try:
        return math.isfinite(float(text))
    except (TypeError, ValueError):
        return False


def _number(path, line, text):
    if not _is_number(text):
        raise UserError(f"{at(path, line)}: {shorten(str(text))} is no number: correct it")
    return float(text)


def _same(one, other):
    """Whether texts are equal, a tab or line end as the blank that a TSV has for it."""
    return one == other or one.translate(BLANKS) == other.translate(BLANKS)


def _paired(predictions, reference, wanted):
    """The predictions, as many as the reference has rows and of the same texts where both tell."""
    found = read_predictions(predictions)
    check_counts(predictions, [row.line for row in found], reference, [row.line for row in wanted])
    for prediction, row in zip(found, wanted):
        text = row.values.get("text_a")
        if prediction.text is not None and isinstance(text, str) and not _same(prediction.text, text):
            raise UserError(
                f"{at(predictions, prediction.line)}: text_a is {shorten(prediction.text)}, but {shorten(text)} at "
                f"{at(reference, row.line)}: give the predictions of that file, in its order"
            )
    return found


# ---------------------------------------------------------------- numbers


def is_regression(rows: Sequence[Row]) -> bool:
    """Whether labels are numbers and at least one has a fraction or a decimal point."""
    labels = [str(row.values["label"]) for row in rows]
    return all(map(_is_number, labels)) and any(not label.strip().lstrip("+-").isdigit() for label in labels)


def score_numbers(predictions: str | os.PathLike[str], reference: str | os.PathLike[str]) -> dict[str, Any]:
    """``pearson``, ``spearmanr``, ``corr`` and ``rows``.

    Raises:
        UserError: a label or prediction is no number; the files have different numbers of rows.
    """
    wanted = read_labels(reference)
    found = _paired(predictions, reference, wanted)
    labels = [_number(reference, row.line, row.values["label"]) for row in wanted]
    numbers = [_number(predictions, row.line, row.label) for row in found]
    return {**metrics.pearson_and_spearman(np.array(numbers), np.array(labels)), "rows": len(labels)}


# ---------------------------------------------------------------- classes


def score_classes(
    predictions: str | os.PathLike[str],
    reference: str | os.PathLike[str],
    label_map: Mapping[str, int] | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """The scores of ``--metric`` that the two files allow.

    Args:
        predictions, reference: the files; rows go together by their order.
        label_map: label word -> class number; needed where one file has words and the other numbers.

    Returns:
        (``acc``, ``f1`` with ``f1_average`` "binary" (of class 1) or "macro", ``matthews_corrcoef``, with qid and
        probabilities ``mrr`` and ``map``, and ``rows``; notes on what is left out).

    Raises:
        UserError: the files do not go together, or a label is unknown.
    """
    wanted = read_labels(reference)
    found = _paired(predictions, reference, wanted)
    labels = [(reference, row.line, str(row.values["label"])) for row in wanted]
    predicted = [(predictions, row.line, row.label) for row in found]
    words = dict(label_map or {}) or _words(labels, predicted)
    truth = np.array([_class(words, label_map, *entry) for entry in labels])
    guess = np.array([_class(words, label_map, *entry) for entry in predicted])
    scores: dict[str, Any] = {"acc": float(np.mean(truth == guess))}
    notes: list[str] = []
    if words and not label_map and len(words) <= 2:
        notes.append("f1 is left out: give --label_map_config to say which of the two words is class 1")
    else:
        scores.update(_f1(truth, guess, len(label_map or ())))
    scores["matthews_corrcoef"] = _matthews_corrcoef(truth, guess)
    if all("qid" in row.values for row in wanted):
        scores.update(_ranking(found, wanted, truth, reference, label_map, notes))
    return {**scores, "rows": len(truth)}, notes


def _f1(truth, guess, classes):
    """F1 of class 1 for two classes, macro F1 for more, over those of the label map or else all that occur."""
    from sklearn import metrics as sk

    seen = set(truth.tolist()) | set(guess.tolist())
    if (classes or max(seen) + 1) <= 2:
        return {"f1": float(sk.f1_score(truth, guess, pos_label=1, zero_division=0.0)), "f1_average": "binary"}
    labels = sorted(seen | set(range(classes)))
    f1 = sk.f1_score(truth, guess, average="macro", labels=labels, zero_division=0.0)
    return {"f1": float(f1), "f1_average": "macro"}


def _matthews_corrcoef(truth, guess):
    from sklearn import metrics as sk

    return float(sk.matthews_corrcoef(truth, guess)) if len(set(truth.tolist()) | set(guess.tolist())) > 1 else 0.0


def _whole_number(text):
    """ "1.0" and "1" as 1, anything else as None; 2019 wrote classes as floats."""
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() and number >= 0 else None


def _words(labels, predicted):
    """{} where all labels are numbers; else word -> number, sorted, of both files."""
    if all(_whole_number(label) is not None for _, _, label in labels):
        return {}
    known = {label for _, _, label in labels}
    for path, line, label in predicted:
        if label not in known and _whole_number(label) is not None:
            raise UserError(
                f"{at(path, line)}: the label {shorten(label)} is a number, {labels[0][0]} has words: give their "
                "numbers with --label_map_config"
            )
    return {label: number for number, label in enumerate(sorted(known | {label for _, _, label in predicted}))}


def _class(words, label_map, path, line, label):
    if label in words:
        return words[label]
    number = _whole_number(label)
    if number is not None and (not words or (label_map and number in words.values())):
        return number
    if label_map:
        raise UserError(f"{at(path, line)}: the label {shorten(label)} is not in the label map: correct one of them")
    raise UserError(
        f"{at(path, line)}: the label {shorten(label)} is a word, the other file has numbers: give --label_map_config"
    )


def _ranking(found, wanted, truth, reference, label_map, notes):
    """``mrr`` and ``map`` by the probability of class 1; {} with a note where the predictions have none."""
    names = {number: word for word, number in (label_map or {}).items()}
    scores = []
    for row in found:
        given = row.probabilities
        if isinstance(given, dict):
            given = [given.get("0", given.get(names.get(0))), given.get("1", given.get(names.get(1)))]
        if not isinstance(given, list) or len(given) < 2 or not _is_number(given[1]):
            notes.append("mrr and map are left out: the predictions have no probability of class 1")
            return {}
        scores.append(float(given[1]))
    qids = []
    for row in wanted:
        number = _whole_number(str(row.values["qid"]))
        if number is None:
            raise UserError(f"{at(reference, row.line)}: qid {shorten(str(row.values['qid']))} is no whole number")
        qids.append(number)
    return {
        "mrr": metrics.mean_reciprocal_rank(qids, scores, truth),
        "map": metrics.mean_average_precision(qids, scores, truth),
    }
