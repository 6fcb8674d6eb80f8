"""Labels that nobody gave: found in the training file, in a fixed order, so that every run of it numbers them alike.

found = find_labels(Classifier, "train.csv", form, num_labels=None)
found.label_map, found.num_labels           # {"bad": 0, "good": 1}, None
log_labels("train.csv", found)

Whole numbers stay class numbers, unless they are all those from 1 on. Other numbers are put in the order of their
values, words in that of their characters' code points, tags by their types with O the last.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from propeller.errors import UserError
from reader.row_encoder import alike, read_int
from reader.row_file import shorten
from reader.tables.form import TableForm

if TYPE_CHECKING:
    from finetune.task import FinetuneTask

log = logging.getLogger("ernie.finetune")

MOST_LABELS = 1000  # different ones; above that another column is meant
FEW_ROWS = 50  # below, every row may have a label of its own
SHOWN = 20


class FoundLabels(NamedTuple):
    """The labels of a training file.

    Attributes:
        label_map: word -> class, or None where labels are class numbers.
        num_labels: the number of classes, or None: not known from the file.
        counts: label -> rows that have it.
    """

    label_map: dict[str, int] | None = None
    num_labels: int | None = None
    counts: Mapping[str, int] = {}


def find_labels(
    task: type[FinetuneTask], path: str, form: TableForm, num_labels: int | None, settings: Any = None
) -> FoundLabels:
    """The labels of a training file.

    Args:
        task: the task.
        path: the file.
        form: how it is stored, and which column is the label.
        num_labels: what a flag says, or None.
        settings: the task's own flags.

    Raises:
        UserError: there are too many for classes, more than the flag says, or they are numbers with a fraction.
    """
    counts: Counter[str] = Counter()
    for word in task.label_words(path, form, settings):
        counts[word] += 1
        if len(counts) > max(MOST_LABELS, (num_labels or 0) + 1):
            raise _no_classes(path, f"over {max(MOST_LABELS, num_labels or 0)} different labels")
    del counts[""]  # the row is refused where it is read
    if not counts:
        return FoundLabels()
    rows = sum(counts.values())
    if num_labels is None and rows >= FEW_ROWS and len(counts) * 2 > rows:
        raise _no_classes(path, f"{len(counts)} different labels in {rows} rows")
    if not task.tags_tokens:
        if any(map(_is_int, counts)) and not _names_classes(counts, num_labels, task.num_labels):
            top = max((int(word) for word in counts if _is_int(word)), default=0)
            whole = num_labels is None and counts.keys() == {str(number) for number in range(top + 1)}
            return FoundLabels(None, top + 1 if whole and top >= task.num_labels else None, counts)
        _check_fractions(path, counts)
    ordered = task.order_labels(counts, settings)
    if num_labels is not None and len(ordered) > num_labels:
        raise UserError(
            f"--num_labels {num_labels}: but {path} has {len(ordered)} labels ({_shown(ordered, counts)}): leave the "
            "flag out, or correct the labels"
        )
    return FoundLabels({word: number for number, word in enumerate(ordered)}, None, counts)


def log_labels(path: str, found: FoundLabels) -> None:
    """Log the labels that a run takes from its training file; warn of those that are two for the model and one for a
    reader.

    Args:
        path: the file.
        found: its labels.
    """
    groups: dict[str, list[str]] = {}
    counts = found.counts
    for word in counts:
        groups.setdefault(alike(word), []).append(word)
    for words in groups.values():
        if len(words) > 1:
            log.warning(
                "%s: labels that differ in case or blanks alone are classes of their own: %s; write them alike if they "
                "mean the same", path, ", ".join(f"{shorten(word)} ({counts[word]})" for word in sorted(words)),
            )  # fmt: skip
    if found.label_map is not None:
        log.info("labels found in %s, in the order of their classes: %s", path, _shown([*found.label_map], counts))


def _names_classes(counts, num_labels, default):
    """Whether whole numbers are names of classes: 1 to 5 stars, none of which is missing."""
    if not all(map(_is_int, counts)):
        return False
    every = counts.keys() == {str(number) for number in range(1, len(counts) + 1)}
    return every and len(counts) >= default and num_labels in (None, len(counts))


def _is_int(word):
    try:
        read_int(word)
    except ValueError:
        return False
    return True


def _number(word):
    try:
        return float(word)
    except ValueError:
        return math.nan


def _check_fractions(path, counts):
    numbers = [_number(word) for word in counts]
    if all(map(math.isfinite, numbers)) and any(number != int(number) for number in numbers):
        odd = next(word for word in counts if _number(word) != int(_number(word)))
        raise UserError(
            f"{path}: its labels are numbers such as {odd}: give --is_regression true, or a "
            "--label_map_config if they are classes"
        )


def in_order(words: Collection[str]) -> list[str]:
    """Numbers by their values; where one is none, all by their code points."""
    if all(math.isfinite(_number(word)) for word in words):
        return sorted(words, key=lambda word: (float(word), word))
    return sorted(words)


def _no_classes(path, what):
    return UserError(
        f"{path}: {what}: see that the label column holds classes (--label_column), or give --label_map_config"
    )


def _shown(words, counts):
    text = ", ".join(f"{shorten(word)[1:-1]} ({counts[word]})" for word in words[:SHOWN])
    return text + (f" and {len(words) - SHOWN} more" if len(words) > SHOWN else "")
