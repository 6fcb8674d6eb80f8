"""The flags of reading comprehension, beside those of every task."""

from __future__ import annotations

from dataclasses import dataclass

from propeller.flags import flag

LANGUAGES = ("auto", "zh", "en", "dureader")
LEGACY = {"legacy": True}


@dataclass(frozen=True)
class MrcArgs:
    """reading comprehension: windows, answers, scores"""

    doc_stride: int = flag(128, "tokens from one window of a long context to the next", facts=LEGACY)
    max_query_length: int = flag(64, "tokens kept of a question", facts=LEGACY)
    max_answer_length: int = flag(100, "longest answer predicted, in tokens", facts=LEGACY)
    n_best_size: int = flag(20, "answers kept for each question", facts=LEGACY)
    mrc_language: str = flag(
        "auto",
        "exact match and F1 of CMRC 2018 (zh, as in 2019), SQuAD (en) or DuReader's own script (dureader); auto: zh "
        "if half of the questions are, else en",
        choices=LANGUAGES,
        facts={"prediction": False},
    )


@dataclass(frozen=True)
class NoFlags:
    """output: two files in the folder --output"""


FLAGS, PREDICTION = MrcArgs, NoFlags
