"""Scores of label sets: a prediction file of multi-label classification beside a labelled file.

text_a<TAB>label                        a header that names label; a row's labels are joined, or the field is empty
{"labels": ["sport", "politics"], ...}  JSON lines, with a list, or with "label" and joined labels
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from finetune.classification.thresholds import set_scores
from finetune.scoring.rows import Row, at, check_counts, is_json_lines, read_json_lines, read_lines, read_table
from propeller.errors import UserError
from reader.tsv import shorten


def score_label_sets(
    predictions: str | os.PathLike[str],
    reference: str | os.PathLike[str],
    separator: str = ",",
    label_map: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """``micro_f1``, ``macro_f1``, ``sample_f1`` and ``exact_match``, see ``set_scores``, and ``rows``.

    Args:
        predictions, reference: the files; rows go together by their order.
        separator: what stands between the labels of a field.
        label_map: the labels there are; None: those that occur in either file.

    Raises:
        UserError: a file has no labels, or the two have different numbers of rows; a label is not in the map.
    """
    if not separator:
        raise UserError("--label_separator '': give a text of one character or more")
    found, wanted = (_read(path, separator) for path in (predictions, reference))
    check_counts(predictions, [line for line, _ in found], reference, [line for line, _ in wanted])
    names = sorted(label_map or {label for rows in (found, wanted) for _, labels in rows for label in labels})
    if not names:
        raise UserError(f"{reference}: no row of it has a label: give a labelled file")
    sets = [
        np.array([[name in labels for name in names] for labels in _known(path, rows, names)])
        for path, rows in ((predictions, found), (reference, wanted))
    ]
    return {**set_scores(*sets), "rows": len(wanted)}


def _read(path, separator) -> list[tuple[int, set[str]]]:
    """(line, labels) of each row."""
    lines = read_lines(path)
    rows = read_json_lines(path, lines) if is_json_lines(lines) else read_table(path, lines)
    return [(row.line, _labels(path, row, separator)) for row in rows]


def _labels(path, row: Row, separator) -> set[str]:
    value = row.values.get("labels", row.values.get("label"))
    if isinstance(value, list) and all(isinstance(label, str) for label in value):
        return set(value)
    if not isinstance(value, str):
        raise UserError(f"{at(path, row.line)}: no labels: give every row a column 'label', or a list 'labels'")
    return set(filter(None, map(str.strip, value.split(separator))))


def _known(path, rows, names):
    known = set(names)
    for line, labels in rows:
        for label in sorted(labels - known):
            raise UserError(
                f"{at(path, line)}: the label {shorten(label)} is not in the label map: correct one of them"
            )
        yield labels
