"""The flags of classification, ranking and regression, beside those of every task."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.metrics import F1_AVERAGES, METRICS
from propeller.flags import flag
from reader.windows import POOLINGS

# 2019's scripts of the other tasks took these flags too, and runs from before have them in their records.
EVERYWHERE = {"legacy": True, "in_every_run": True, "stored": False, "prediction": False}
RUN = {"legacy": True, "stored": False, "prediction": False}
ALONE = {"stored": False, "prediction": False}  # of a run, and of no prediction
TUNING = ("none", "one", "per_label")


@dataclass(frozen=True)
class ClassificationFlags:
    """classification: classes or numbers, and how they are scored"""

    metric: str = flag(
        "simple_accuracy",
        "score of an evaluation; of numbers pearson_and_spearman, whatever the default",
        choices=tuple(METRICS),
        facts=EVERYWHERE,
    )
    is_classify: bool = flag(True, "classification, unless --is_regression is true", facts=EVERYWHERE)
    is_regression: bool = flag(False, "regression: the label is a number", facts=EVERYWHERE)
    f1_average: str | None = flag(
        None,
        "F1 of --metric acc_and_f1 and acc_and_f1_and_mrr: binary: of class 1 among the rows of classes 0 and 1, as "
        "in 2019; or over all classes, macro, micro or weighted by their rows [binary for two classes, macro for more]",
        choices=F1_AVERAGES,
        facts=ALONE,
    )
    multi_label: bool = flag(False, "a text has any number of labels; the label column lists them", facts=ALONE)
    label_separator: str = flag(
        ",", "with --multi_label: what stands between the labels of a row; an empty field has none", metavar="TEXT"
    )
    threshold: str | None = flag(
        None,
        "with --multi_label: probability from which a text has a label, or one per label separated by commas [what the "
        "model was tuned to, else 0.5]",
        metavar="X[,X...]",
        facts={"tuned": True},
    )
    tune_threshold: str = flag(
        "none",
        "with --multi_label: find the threshold on the first --dev_set, one with the best micro F1 or per_label with "
        "the best F1 of each label, and store it in the checkpoint",
        choices=TUNING,
        facts={**ALONE, "tunes": True},
    )
    long_text: str = flag(
        "cut",
        "texts above --max_seq_len: cut, as in 2019, or read in windows that overlap, whose logits are pooled",
        choices=("cut", "window"),
    )
    window_stride: int = flag(
        0, "with --long_text window: tokens from one window to the next; 0: half of what a window has room for"
    )
    window_pooling: str = flag(
        "mean",
        "with --long_text window: mean of the windows' logits, max of each class, or the first window alone",
        choices=POOLINGS,
    )
    max_windows: int = flag(16, "with --long_text window: windows of a text; what is beyond is cut")
    diagnostic: str | None = flag(None, "GLUE diagnostics file to predict", facts=RUN)
    diagnostic_save: str | None = flag(None, "its prediction file; .epoch.step is added", facts=RUN)


@dataclass(frozen=True)
class ClassifyArgs:
    """classification and regression"""

    output_format: str = flag(
        "auto",
        "tsv: a header, the columns of the input, label and one probability per class; jsonl: the same as JSON lines; "
        "probs: only probabilities, as in 2019; auto: tsv into --output, probs to standard output",
        choices=("auto", "tsv", "jsonl", "probs"),
    )
    copy_columns: bool = flag(
        True, "the columns of the input, label as gold_label, stand before each prediction; not with probs"
    )
    is_regression: bool | None = flag(None, "the model predicts a number [false]")


FLAGS, PREDICTION = ClassificationFlags, ClassifyArgs
EXAMPLE = (
    "--model MODEL --train_set train.csv --dev_set dev.csv --text_column review --label_column stars "
    "--checkpoints output/reviews"
)
PREDICTION_EXAMPLE = "--model output/reviews/best --predict_set new.csv --text_column review --output output/new.tsv"
