"""The flags of reading comprehension, beside those of every task."""

from __future__ import annotations

from dataclasses import dataclass

from propeller.flags import flag

LANGUAGES = ("auto", "zh", "en", "dureader")
LEGACY = {"legacy": True}
TUNING = ("none", "exact", "f1")


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
    version_2_with_negative: bool = flag(
        False, "questions may have no answer, as in SQuAD 2.0: is_impossible, or an empty list of answers"
    )
    null_score_diff_threshold: float | None = flag(
        None,
        "with --version_2_with_negative: no answer is given where its score is above that of the best answer by more "
        "than this [what the model was tuned to, else 0]",
        facts={"tuned": True},
    )
    tune_null_threshold: str = flag(
        "none",
        "with --version_2_with_negative: find that threshold on the first --dev_set, by the best exact match or f1, "
        "and store it in the checkpoint",
        choices=TUNING,
        facts={"stored": False, "prediction": False, "tunes": True},
    )


@dataclass(frozen=True)
class NoFlags:
    """output: two files in the folder --output"""


FLAGS, PREDICTION = MrcArgs, NoFlags
HAS_COLUMNS = False
EXAMPLE = "--model MODEL --train_set train.json --dev_set dev.json --checkpoints output/answers"
PREDICTION_EXAMPLE = "--model output/answers/best --predict_set new.json --output output/new_answers"
