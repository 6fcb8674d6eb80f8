"""Multi-label classification: a text or pair has any number of labels.

    python run_classifier.py --multi_label true --train_set train.tsv --dev_set dev.tsv --label_map_config labels.json \
        --tune_threshold one ...

The label column lists the labels, ``sport,politics``, or is empty. The parameters have the names of a classifier's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle.nn.functional as F

from finetune.classification import thresholds as cuts
from finetune.classification.classifier import Classifier, check_settings
from finetune.classification.windows import sigmoid
from finetune.task import ENCODER_INPUTS, FinetuneTask
from propeller.errors import UserError
from propeller.metrics import Collected, Metric
from propeller.train.model import Input

if TYPE_CHECKING:
    from finetune.spec import ModelSpec, Reading
    from reader.batch_reader import BatchReader
    from reader.tokenizer import Tokenizer


class MultiLabel(Classifier):
    """Multi-label classification: a sigmoid per label over the pooled [CLS] vector."""

    name = "multi_label_classification"
    label_kind = "set"
    report = "finetune.reporting.label_sets:report"
    teaches = ""
    divergence = FinetuneTask.divergence  # none
    inputs = (*ENCODER_INPUTS, Input("labels", [None, None], "float32", label=True))

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """-> ``logits`` and ``probs``, float32 [batch, num_labels]."""
        logits = super().forward(features)["logits"]
        return {"logits": logits, "probs": F.sigmoid(logits)}

    def loss(self, predictions: dict[str, Any], label: dict[str, Any]) -> Any:
        """Mean binary cross entropy over texts and labels."""
        return F.binary_cross_entropy_with_logits(self.text_logits(predictions, label), label["labels"])

    def text_probs(self, predictions: dict[str, Any], label: dict[str, Any]) -> Any:
        """The probabilities of the labels of texts, float32 [batch, num_labels]."""
        return F.sigmoid(self.text_logits(predictions, label)) if self.windows else predictions["probs"]

    @classmethod
    def outputs_of(cls, logits: np.ndarray) -> dict[str, np.ndarray]:
        return {"logits": logits, "probs": sigmoid(logits)}

    def metrics(self, predictions: dict[str, Any], label: dict[str, Any]) -> dict[str, Metric]:
        """Micro F1 while training; in evaluation the arrays, which ``finish_scores`` scores."""
        tensors = [self.text_probs(predictions, label), label["labels"]]
        if not self.training_mode:
            return {"arrays": Collected(tensors, lambda probs, labels: {"arrays": (probs, labels)})}  # type: ignore[dict-item]
        limits = thresholds_of(self.spec)
        return {"scores": Collected(tensors, lambda probs, labels: cuts.set_scores(probs >= limits, labels))}

    @classmethod
    def variant(cls, settings: Any) -> type[FinetuneTask]:
        return cls

    @classmethod
    def metric(cls, settings: Any) -> str | None:
        return None

    @classmethod
    def check_settings(cls, spec: ModelSpec) -> None:
        """Raise UserError where settings do not go together."""
        settings = spec.settings
        if settings.is_regression or not settings.is_classify:
            raise UserError("--multi_label true classifies: leave --is_regression and --is_classify out")
        if settings.metric != "simple_accuracy" or settings.f1_average:
            raise UserError(
                f"--metric and --f1_average are for one label per text; with --multi_label leave them out: "
                f"{', '.join(cuts.SCORES)} are all computed, and --best_metric names the one that picks the best "
                "checkpoint"
            )
        check_settings(spec, multi_label=True)
        separator = settings.label_separator
        if not separator or set(separator) & set("\t\r\n"):
            raise UserError(f"--label_separator {separator!r}: give a text of one character or more without a tab")
        if settings.tune_threshold != "none" and settings.threshold is not None:
            raise UserError(f"--threshold {settings.threshold}: is tuned by --tune_threshold: leave one of them out")

    @classmethod
    def check(cls, spec: ModelSpec) -> None:
        """Raise UserError where settings, labels and thresholds do not go together."""
        cls.check_settings(spec)
        separator = spec.settings.label_separator
        for word in spec.label_map or ():
            if separator in word or word != word.strip():
                raise UserError(
                    f"{spec.label_map_source}: the label {word!r} holds the separator {separator!r} or begins or ends "
                    "with a blank: rename it, or give another --label_separator"
                )
        thresholds_of(spec)

    @classmethod
    def reader_options(cls, spec: ModelSpec, reading: Reading, tokenizer: Tokenizer) -> dict[str, Any]:
        options = super().reader_options(spec, reading, tokenizer)
        return {**options, "label_separator": spec.settings.label_separator}

    @classmethod
    def finish_scores(
        cls, scores: dict[str, Any], reader: BatchReader, spec: ModelSpec, folder: Path
    ) -> dict[str, Any]:
        """``micro_f1``, ``macro_f1``, ``sample_f1``, ``exact_match``; on the first dev set the thresholds, if asked."""
        probs, labels = scores.pop("arrays")
        limits, tuned = thresholds_of(spec), {}
        if spec.settings.tune_threshold != "none" and scores["stem"] == "dev":
            found = cuts.write_thresholds(cuts.tune(probs, labels > 0.5, spec.settings.tune_threshold))
            limits, tuned = cuts.read_thresholds(found, spec.num_labels), {"tuned": {"flags": {"threshold": found}}}
        return {**scores, **cuts.set_scores(probs >= limits, labels), **tuned}

    @classmethod
    def decode(cls, outputs: Mapping[str, np.ndarray], row: Any, spec: ModelSpec) -> dict[str, Any]:
        """``labels``: those at or above their threshold, in the order of the classes; ``probabilities`` of all."""
        probs, words = outputs["probs"], spec.labels  # [num_labels]
        chosen = probs >= thresholds_of(spec)
        return {
            "labels": [word for word, is_chosen in zip(words, chosen) if is_chosen],
            "probabilities": dict(zip(words, probs.tolist())),
        }

    @classmethod
    def table_cells(cls, decoded: Mapping[str, Any], spec: ModelSpec) -> Mapping[str, Any]:
        """``label`` as the column of a labelled file is, and the probabilities."""
        label = spec.settings.label_separator.join(decoded["labels"])
        return {"label": label, "probabilities": decoded["probabilities"]}

    @classmethod
    def score_rows(
        cls, outputs: Mapping[str, np.ndarray], labels: np.ndarray, qids: np.ndarray | None, spec: ModelSpec
    ) -> Mapping[str, float] | None:
        """By the thresholds of the model."""
        return cuts.set_scores(outputs["probs"] >= thresholds_of(spec), labels)

    @classmethod
    def answers_changed(
        cls,
        exact: Mapping[str, np.ndarray],
        rough: Mapping[str, np.ndarray],
        batch: Mapping[str, np.ndarray],
        spec: ModelSpec,
    ) -> np.ndarray:
        """1 for a row that gets another set of labels."""
        limits = thresholds_of(spec)
        return ((exact["probs"] >= limits) != (rough["probs"] >= limits)).any(axis=1).astype(float)

    @classmethod
    def best_by(cls, spec: ModelSpec) -> str:
        return "micro_f1"

    @classmethod
    def score_names(cls, spec: ModelSpec) -> tuple[str, ...]:
        return ("loss", *cuts.SCORES)

    @classmethod
    def evaluation_line(cls, spec: ModelSpec, scores: Mapping[str, Any], elapsed: float) -> str:
        text = ", ".join(f"{name}: {scores[name]:f}" for name in cuts.SCORES)
        text += cuts.shown(scores.get("tuned", {}).get("flags", {}))
        return f"ave loss: {scores['loss']:f}, {text}, data_num: {scores['data_num']:d}, elapsed time: {elapsed:f} s"

    @classmethod
    def training_line(cls, record: Mapping[str, Any]) -> str:
        return f"ave loss: {record['loss']:f}, ave micro f1: {record['micro_f1']:f}"

    @classmethod
    def legacy_line(cls, outputs: Mapping[str, np.ndarray], row: Any, spec: ModelSpec) -> str | None:
        return None


def thresholds_of(spec: ModelSpec) -> np.ndarray:
    """The threshold of each label, float64 [num_labels]. Raises UserError, see ``read_thresholds``."""
    return cuts.read_thresholds(spec.settings.threshold if spec.settings else None, spec.num_labels)
