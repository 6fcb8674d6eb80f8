"""Regression, one number per example: STS-B.

python run_classifier.py --is_regression true --train_set train.tsv ...
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle.nn.functional as F

from ernie.layers import Linear
from finetune import metrics, task_class
from finetune.classification.by_metric import ByMetric, score_of
from finetune.classification.classifier import check_settings
from finetune.classification.flags import ClassificationFlags
from finetune.classification.windows import InWindows
from finetune.task import ENCODER_INPUTS, with_qid
from propeller.errors import UserError
from propeller.metrics import Collected, Metric
from propeller.train.model import Input, RunMode

if TYPE_CHECKING:
    from ernie.config import ErnieConfig
    from finetune.spec import ModelSpec


class Regression(ByMetric, InWindows):
    """Regression: one number per example, a linear function of the pooled [CLS] vector.

    The parameters have the names of a classifier's, with one output, as in checkpoints of the 2019 code.
    """

    name = "regression"
    head_prefix: tuple[str, ...] = ("_cls_out",)
    flags: type = ClassificationFlags
    label_kind = "float"
    num_labels = 1
    answer_outputs = ("logits",)
    teaches = "logits"
    pools_cls = True
    job = "finetune.classification.predictions:ClassifyJob"
    report = "finetune.reporting.numbers:report"
    script = "infer_classifyer.py"
    loss_flags = ("rdrop_alpha", "fgm_epsilon")
    inputs = (*ENCODER_INPUTS, Input("labels", [None, 1], "float32", label=True))

    def __init__(self, config: ErnieConfig, spec: ModelSpec, mode: RunMode, optimizer: Any = None) -> None:
        super().__init__(config, spec, mode, optimizer)
        self.cls_out = Linear(config, config.hidden_size, 1, weight_name="_cls_out_w", bias_name="_cls_out_b")

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """-> ``logits``, float32 [batch, 1]: the predicted numbers."""
        pooled = self.pooled(features)  # [batch, hidden]
        return {"logits": self.cls_out(F.dropout(pooled, self.spec.dropout, training=self.training))}

    def loss(self, predictions: dict[str, Any], label: dict[str, Any]) -> Any:
        """Mean squared error."""
        return F.mse_loss(self.text_logits(predictions, label), label["labels"])

    def divergence(self, one: dict[str, Any], other: dict[str, Any], label: dict[str, Any]) -> Any:
        """Of numbers the squared difference."""
        return F.mse_loss(self.text_logits(one, label), self.text_logits(other, label))

    def metrics(self, predictions: dict[str, Any], label: dict[str, Any]) -> dict[str, Metric]:
        """None while training, as in 2019; the correlations in evaluation."""
        if self.training_mode:
            return {}
        compute = score_of(self.spec).compute
        return {"scores": Collected([self.text_logits(predictions, label), label["labels"]], compute)}

    @classmethod
    def check_settings(cls, spec: ModelSpec) -> None:
        check_settings(spec)
        if spec.metric not in metrics.REGRESSION:
            raise UserError(
                f"--metric {spec.metric} is for classes: of numbers it is {metrics.REGRESSION[0]}: leave it out"
            )

    @classmethod
    def check(cls, spec: ModelSpec) -> None:
        cls.check_settings(spec)
        if spec.num_labels != 1:
            raise UserError(f"--is_regression true needs --num_labels 1, not {spec.num_labels}")
        if spec.label_map is not None:
            raise UserError("--is_regression true with --label_map_config: leave it out, the label is a number")

    @classmethod
    def metric(cls, settings: Any) -> str | None:
        """The correlations where the flag has the default of classes."""
        return metrics.REGRESSION[0] if settings.metric == ClassificationFlags.metric else settings.metric

    @classmethod
    def more_tests(cls, settings: Any) -> list[tuple[str, str]]:
        return task_class("classify").more_tests(settings)

    @classmethod
    def decode(cls, outputs: Mapping[str, np.ndarray], row: Any, spec: ModelSpec) -> dict[str, Any]:
        """``score``: the number."""
        return {"score": float(outputs["logits"][0])}

    @classmethod
    def score_rows(
        cls, outputs: Mapping[str, np.ndarray], labels: np.ndarray, qids: np.ndarray | None, spec: ModelSpec
    ) -> Mapping[str, float] | None:
        """The correlations."""
        return score_of(spec).compute(outputs["logits"], labels)

    @classmethod
    def answers_changed(
        cls,
        exact: Mapping[str, np.ndarray],
        rough: Mapping[str, np.ndarray],
        batch: Mapping[str, np.ndarray],
        spec: ModelSpec,
    ) -> np.ndarray:
        """The difference of a row's score, per unit of the score where it is above 1."""
        one, other = exact["logits"].ravel(), rough["logits"].ravel()
        return np.minimum(np.abs(one - other) / np.maximum(np.abs(one), 1.0), 1.0)

    @classmethod
    def evaluation_line(cls, spec: ModelSpec, scores: Mapping[str, Any], elapsed: float) -> str:
        """The line of the 2019 code, with the true loss; the 2019 code always wrote 0 there."""
        text = score_of(spec).text.format(**scores)
        return f"ave loss: {scores['loss']:f}, {text}, elapsed time: {elapsed:f} s"

    @classmethod
    def legacy_line(cls, outputs: Mapping[str, np.ndarray], row: Any, spec: ModelSpec) -> str | None:
        """The line of 2019: the number in full, a tab, the number as numpy prints a float32 array of one."""
        logits = outputs["logits"]
        return with_qid(f"{float(logits[0])}\t{logits}", row)
