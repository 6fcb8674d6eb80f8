"""Single-sentence and sentence-pair classification, answer ranking: GLUE, XNLI, ChnSentiCorp, LCQMC, BQ, DBQA.

python run_classifier.py --train_set sst2/train.tsv --dev_set sst2/dev.tsv --num_labels 2 ...
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle.nn.functional as F

from ernie.layers import Linear
from finetune import metrics, task_class
from finetune.classification.by_metric import ByMetric, score_of
from finetune.classification.flags import ClassificationFlags
from finetune.classification.windows import InWindows, check_windows
from finetune.losses import divergence, mean_class_loss
from finetune.task import ENCODER_INPUTS, FinetuneTask, with_qid
from propeller.errors import UserError
from propeller.metrics import Collected, Metric
from propeller.train.model import Input, RunMode

if TYPE_CHECKING:
    from ernie.config import ErnieConfig
    from finetune.spec import ModelSpec, Reading
    from reader.batch_reader import BatchReader
    from reader.tokenizer import Tokenizer


class Classifier(ByMetric, InWindows):
    """Single-label classification: softmax over the pooled [CLS] vector."""

    name = "classify"
    head_prefix: tuple[str, ...] = ("_cls_out",)
    flags: type = ClassificationFlags
    answer_outputs = ("probs",)
    teaches = "logits"
    pools_cls = True
    not_in_table = ("label_id",)
    job = "finetune.classification.predictions:ClassifyJob"
    report = "finetune.reporting.classes:report"
    script = "infer_classifyer.py"
    loss_flags = ("class_weights", "label_smoothing", "focal_gamma", "rdrop_alpha", "fgm_epsilon")
    inputs: tuple[Input, ...] = (*ENCODER_INPUTS, Input("labels", [None, 1], "int64", label=True))

    def __init__(self, config: ErnieConfig, spec: ModelSpec, mode: RunMode, optimizer: Any = None) -> None:
        super().__init__(config, spec, mode, optimizer)
        self.cls_out = Linear(
            config, config.hidden_size, spec.num_labels, weight_name="_cls_out_w", bias_name="_cls_out_b"
        )

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """-> ``logits`` and ``probs``, float32 [batch, num_labels]."""
        pooled = self.pooled(features)  # [batch, hidden]
        logits = self.cls_out(F.dropout(pooled, self.spec.dropout, training=self.training))
        return {"logits": logits, "probs": F.softmax(logits)}

    def loss(self, predictions: dict[str, Any], label: dict[str, Any]) -> Any:
        """Mean cross entropy; while training as ``spec.loss`` changes it."""
        return mean_class_loss(self.text_logits(predictions, label), label["labels"], self.train_loss)

    def divergence(self, one: dict[str, Any], other: dict[str, Any], label: dict[str, Any]) -> Any:
        return divergence(self.text_logits(one, label), self.text_logits(other, label)).mean()

    def text_probs(self, predictions: dict[str, Any], label: dict[str, Any]) -> Any:
        """The probabilities of texts, float32 [batch, num_labels]."""
        return F.softmax(self.text_logits(predictions, label)) if self.windows else predictions["probs"]

    @classmethod
    def outputs_of(cls, logits: np.ndarray) -> dict[str, np.ndarray]:
        return {"logits": logits, "probs": metrics.softmax(logits)}

    def metrics(self, predictions: dict[str, Any], label: dict[str, Any]) -> dict[str, Metric]:
        """Accuracy while training, as the log has it; the chosen metric in evaluation."""
        compute = metrics.simple_accuracy if self.training_mode else score_of(self.spec).compute
        return {"scores": Collected([self.text_probs(predictions, label), label["labels"]], compute)}

    @classmethod
    def variant(cls, settings: Any) -> type[FinetuneTask]:
        """Regression and multi-label classification by their flags, ranking by its metric."""
        if settings.multi_label:
            return task_class("multi_label_classification")
        if settings.is_regression:
            return task_class("regression")
        return RankingClassifier if settings.metric in metrics.RANKING else Classifier

    @classmethod
    def check_settings(cls, spec: ModelSpec) -> None:
        check_settings(spec)
        if not spec.settings.is_classify:
            raise UserError("--is_classify false needs --is_regression true")
        if spec.metric in metrics.REGRESSION:
            raise UserError(f"--metric {spec.metric} is for numbers: give --is_regression true")

    @classmethod
    def check(cls, spec: ModelSpec) -> None:
        cls.check_settings(spec)
        if spec.num_labels < 2:
            raise UserError(f"--num_labels must be at least 2 for classification, not {spec.num_labels}")
        if spec.metric in metrics.RANKING and spec.num_labels != 2:
            raise UserError(f"--metric {spec.metric} ranks by class 1 of 2: give --num_labels 2, not {spec.num_labels}")

    @classmethod
    def metric(cls, settings: Any) -> str | None:
        return settings.metric

    @classmethod
    def more_tests(cls, settings: Any) -> list[tuple[str, str]]:
        """The GLUE diagnostics."""
        return [(settings.diagnostic, settings.diagnostic_save)] if settings.diagnostic else []

    @classmethod
    def decode(cls, outputs: Mapping[str, np.ndarray], row: Any, spec: ModelSpec) -> dict[str, Any]:
        """``label``, ``label_id``, the probability of each label; of equal ones the first (``metrics.best_class``)."""
        probs = outputs["probs"]  # [num_labels]
        best = int(metrics.best_class(probs))
        labels = spec.labels
        return {"label": labels[best], "label_id": best, "probabilities": dict(zip(labels, probs.tolist()))}

    @classmethod
    def score_rows(
        cls, outputs: Mapping[str, np.ndarray], labels: np.ndarray, qids: np.ndarray | None, spec: ModelSpec
    ) -> Mapping[str, float] | None:
        """By ``--metric``; without qids a ranking has accuracy and F1 alone."""
        score = score_of(spec)
        if spec.metric in metrics.RANKING:
            score = score if qids is not None else score_of(spec.replace(metric="acc_and_f1"))
            return score.compute(outputs["probs"], labels, *(() if qids is None else (qids,)))
        return score.compute(outputs["probs"], labels)

    @classmethod
    def answers_changed(
        cls,
        exact: Mapping[str, np.ndarray],
        rough: Mapping[str, np.ndarray],
        batch: Mapping[str, np.ndarray],
        spec: ModelSpec,
    ) -> np.ndarray:
        """1 for a row that gets another label."""
        return (metrics.best_class(exact["probs"]) != metrics.best_class(rough["probs"])).astype(float)

    @classmethod
    def evaluation_line(cls, spec: ModelSpec, scores: Mapping[str, Any], elapsed: float) -> str:
        text = score_of(spec).text.format(**scores)
        return f"ave loss: {scores['loss']:f}, {text}, data_num: {scores['data_num']:d}, elapsed time: {elapsed:f} s"

    @classmethod
    def training_line(cls, record: Mapping[str, Any]) -> str:
        return f"{super().training_line(record)}, ave acc: {record['acc']:f}"

    @classmethod
    def legacy_line(cls, outputs: Mapping[str, np.ndarray], row: Any, spec: ModelSpec) -> str | None:
        """The line of 2019: the predicted class as a float, a tab, the probabilities as numpy prints them.

        The 2019 code let numpy break long rows of numbers into several lines; here a row stays on one line.
        """
        probs = outputs["probs"]
        with np.printoptions(linewidth=sys.maxsize, threshold=sys.maxsize):
            return with_qid(f"{float(metrics.best_class(probs))}\t{probs}", row)


def check_settings(spec: ModelSpec, multi_label: bool = False) -> None:
    """Raise UserError for --diagnostic without --diagnostic_save, --f1_average without an F1, flags of label sets and
    of windows that do not go together."""
    check_windows(spec)
    if not multi_label:
        for name in ("threshold", "tune_threshold", "label_separator"):
            if getattr(spec.settings, name) != type(spec.settings).__dataclass_fields__[name].default:
                raise UserError(f"--{name} is for label sets: give --multi_label true, or leave it out")
    if spec.settings.f1_average and spec.metric not in metrics.WITH_F1:
        raise UserError(
            f"--f1_average {spec.settings.f1_average}: --metric {spec.metric} has no F1: give --metric acc_and_f1, or "
            "leave it out"
        )
    if spec.settings.diagnostic and not spec.settings.diagnostic_save:
        raise UserError("--diagnostic needs --diagnostic_save: where its predictions go")


class RankingClassifier(Classifier):
    """A classifier of (question, answer) rows whose score ranks the answers of a question, which ``qid`` names."""

    def __init__(self, config: ErnieConfig, spec: ModelSpec, mode: RunMode, optimizer: Any = None) -> None:
        super().__init__(config, spec, mode, optimizer)
        if not self.training_mode:  # training needs no qid; prediction is fed no labels
            self.inputs = (*self.inputs, Input("qids", [None, 1], "int64", label=True))

    def metrics(self, predictions: dict[str, Any], label: dict[str, Any]) -> dict[str, Metric]:
        """Accuracy while training; accuracy, F1, MRR and MAP in evaluation."""
        if self.training_mode:
            return super().metrics(predictions, label)
        compute = score_of(self.spec).compute
        return {"scores": Collected([self.text_probs(predictions, label), label["labels"], label["qids"]], compute)}

    @classmethod
    def open_reader(cls, path: str, tokenizer: Tokenizer, spec: ModelSpec, reading: Reading) -> BatchReader:
        reader = super().open_reader(path, tokenizer, spec, reading)
        if reading.labelled and not reading.training and "qid" not in reader.table.columns:
            raise UserError(
                f"{path}, line 1: --metric {spec.metric} needs the column 'qid', the number of each row's "
                f"question (there: {', '.join(reader.table.columns)}); add it or choose another metric"
            )
        return reader
