"""Students of regression, one number per text or pair of texts.

python -m finetune student_regression --ernie_config_path config/student/cnn.json --train_set sts/train.tsv ...
"""

from __future__ import annotations

from typing import Any

from distill.losses import number_loss
from distill.students.base import StudentNetworks
from distill.students.teaching import Teaching
from distill.teacher import NUMBERS
from finetune import metrics
from finetune.classification.regression import Regression
from finetune.spec import ModelSpec
from propeller.errors import UserError


class StudentRegression(Teaching, StudentNetworks, Regression):
    """Regression by a small, fast network: one number per example."""

    name = "student_regression"
    learns = NUMBERS
    loss_flags = Regression.loss_flags

    def loss(self, predictions: dict[str, Any], label: dict[str, Any]) -> Any:
        """Mean squared error; while training with a teacher the mean of ``number_loss``."""
        if not self.distils:
            return super().loss(predictions, label) + self.layer_loss()
        return number_loss(predictions["logits"], label, self.weights(self.spec)).mean() + self.layer_loss()

    @classmethod
    def metric(cls, settings: Any) -> str | None:
        return settings.metric or metrics.REGRESSION[0]

    @classmethod
    def more_tests(cls, settings: Any) -> list[tuple[str, str]]:
        return []

    @classmethod
    def check_settings(cls, spec: ModelSpec) -> None:
        if spec.metric not in metrics.REGRESSION:
            raise UserError(f"--metric {spec.metric} is for classes: of numbers it is {metrics.REGRESSION[0]}")

    @classmethod
    def check(cls, spec: ModelSpec) -> None:
        cls.check_settings(spec)
        if spec.num_labels != 1:
            raise UserError(f"--num_labels of a regression is 1, not {spec.num_labels}")
        if spec.label_map is not None:
            raise UserError("--label_map_config with a regression: leave it out, the label is a number")
        cls.check_teaching(spec)
