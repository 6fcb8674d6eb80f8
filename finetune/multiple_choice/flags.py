"""The flags of multiple choice, beside those of every task."""

from __future__ import annotations

from dataclasses import dataclass

from propeller.flags import flag
from reader.choices import FORMS


@dataclass(frozen=True)
class MultipleChoiceFlags:
    """multiple choice: the right one of the options of a row"""

    choice_separator: str = flag(
        "|", "what stands between the options of a field choices; a list of JSON or Parquet needs none", metavar="TEXT"
    )
    choice_labels: str = flag(
        "number", "what a label is: the number of the option from 0, its letter from A, or its text", choices=FORMS
    )


FLAGS = MultipleChoiceFlags
EXAMPLE = "--model MODEL --train_set train.jsonl --dev_set dev.jsonl --checkpoints output/choices"
