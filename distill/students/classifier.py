"""Students of classification, of texts and of pairs: bag of words, CNN, BiLSTM, small Transformer.

    python -m finetune student --ernie_config_path config/student/bow.json --vocab_path student/vocab.txt \
        --train_set student/train.tsv --dev_set student/dev.tsv --epoch 50 --batch_size 100 --learning_rate 1e-4
    ... --unlabelled_set unlabelled.tsv                                # with what a teacher has said of it
    ... --unlabelled_set unlabelled.tsv --teacher http://127.0.0.1:8113     # or says while the student learns
"""

from __future__ import annotations

from typing import Any

from distill.losses import distillation_loss
from distill.students.base import StudentNetworks
from distill.students.teaching import Teaching
from finetune import metrics
from finetune.classification.classifier import Classifier
from finetune.spec import ModelSpec
from finetune.task import FinetuneTask
from propeller.errors import UserError


class Student(Teaching, StudentNetworks, Classifier):
    """Single-label classification by a small, fast network."""

    name = "student"
    loss_flags = Classifier.loss_flags

    def loss(self, predictions: dict[str, Any], label: dict[str, Any]) -> Any:
        """Mean cross entropy; while training with a teacher the mean of ``distillation_loss``."""
        if not self.distils:
            return super().loss(predictions, label) + self.layer_loss()
        return distillation_loss(predictions["logits"], label, self.weights(self.spec)).mean() + self.layer_loss()

    @classmethod
    def metric(cls, settings: Any) -> str | None:
        return settings.metric or "simple_accuracy"

    @classmethod
    def variant(cls, settings: Any) -> type[FinetuneTask]:
        return cls

    @classmethod
    def more_tests(cls, settings: Any) -> list[tuple[str, str]]:
        return []

    @classmethod
    def check_settings(cls, spec: ModelSpec) -> None:
        if spec.metric in metrics.REGRESSION:
            raise UserError(f"--metric {spec.metric} is for numbers: train the task student_regression")
        if spec.settings.f1_average and spec.metric not in metrics.WITH_F1:
            raise UserError(
                f"--f1_average {spec.settings.f1_average}: --metric {spec.metric} has no F1: give --metric acc_and_f1, "
                "or leave it out"
            )

    @classmethod
    def check(cls, spec: ModelSpec) -> None:
        cls.check_settings(spec)
        if spec.num_labels < 2:
            raise UserError(f"--num_labels must be at least 2 for classification, not {spec.num_labels}")
        cls.check_teaching(spec)
