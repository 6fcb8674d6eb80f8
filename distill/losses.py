"""What a student's loss is made of, row by row: labels of people, and what a teacher says.

    rows = distillation_loss(logits, batch, settings)           # [batch]

A row's loss is the sum of the terms that it has, each times its weight:

    gold    cross entropy with the label, of labelled rows
    soft    T² KL(softmax(teacher / T) || softmax(student / T)) (Hinton et al. 2015, section 2.1)
    mse     squared difference of the logits, mean over the classes (Ba and Caruana 2014; arXiv 1903.12136, section 3.3)
    hard    cross entropy with the teacher's best class, as the offline demonstration of 2019 has it

Of tags the terms are those of each word piece (``tagging_loss``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import paddle
import paddle.nn.functional as F

from propeller.train.model import Input


def teaching_inputs(columns: int) -> tuple[Input, ...]:
    """The inputs that distillation adds, for a teacher of so many logits."""
    return (
        Input("teacher_logits", [None, columns], "float32", label=True),
        Input("is_labelled", [None, 1], "float32", label=True),
        Input("is_taught", [None, 1], "float32", label=True),
    )


def distillation_loss(logits: paddle.Tensor, batch: Mapping[str, paddle.Tensor], settings: Any) -> paddle.Tensor:
    """The loss of each row of a classification, float32 [batch].

    Args:
        logits: of the student, [batch, classes].
        batch: ``labels`` int64 [batch, 1] and the inputs of ``teaching_inputs``.
        settings: ``gold_weight``, ``soft_weight``, ``mse_weight``, ``hard_weight``, ``temperature``.
    """
    teacher, labelled, taught = (batch[name] for name in ("teacher_logits", "is_labelled", "is_taught"))
    total = paddle.zeros_like(labelled[:, 0])
    if settings.gold_weight:
        gold = F.cross_entropy(logits, batch["labels"], reduction="none")  # [batch, 1]
        total = total + settings.gold_weight * (gold * labelled)[:, 0]
    if settings.soft_weight:
        total = total + settings.soft_weight * soft_loss(logits, teacher, settings.temperature) * taught[:, 0]
    if settings.mse_weight:
        total = total + settings.mse_weight * ((logits - teacher) ** 2).mean(axis=1) * taught[:, 0]
    if settings.hard_weight:
        best = teacher.argmax(axis=1, keepdim=True)
        hard = F.cross_entropy(logits, best, reduction="none")
        total = total + settings.hard_weight * (hard * taught)[:, 0]
    return total


def tagging_inputs(columns: int) -> tuple[Input, ...]:
    """The inputs that distillation of tags adds, for a teacher of so many logits per token."""
    return (
        Input("teacher_logits", [None, None, columns], "float32", label=True),
        Input("is_labelled", [None, 1], "float32", label=True),
        Input("is_taught", [None, None], "float32", label=True),
    )


def tagging_loss(
    logits: paddle.Tensor, gold: paddle.Tensor, batch: Mapping[str, paddle.Tensor], settings: Any
) -> paddle.Tensor:
    """The loss of each word piece, float32 [batch, seq]; 0 at padding.

    Args:
        logits: of the student, [batch, seq, classes].
        gold: cross entropy with the labels, [batch, seq], 0 at padding.
        batch: the inputs of ``tagging_inputs``.
        settings: see ``distillation_loss``.
    """
    teacher, taught = batch["teacher_logits"], batch["is_taught"]
    total = settings.gold_weight * gold * batch["is_labelled"]
    if settings.soft_weight:
        total = total + settings.soft_weight * soft_loss(logits, teacher, settings.temperature) * taught
    if settings.mse_weight:
        total = total + settings.mse_weight * ((logits - teacher) ** 2).mean(axis=-1) * taught
    if settings.hard_weight:
        hard = F.cross_entropy(logits, teacher.argmax(axis=-1, keepdim=True), reduction="none").squeeze(-1)
        total = total + settings.hard_weight * hard * taught
    return total


def soft_loss(logits: paddle.Tensor, teacher: paddle.Tensor, temperature: float) -> paddle.Tensor:
    """T² KL(softmax(teacher / T) || softmax(logits / T)) of each row: [..., classes] -> [...]."""
    ours, theirs = F.log_softmax(logits / temperature), F.log_softmax(teacher / temperature)
    return temperature**2 * (theirs.exp() * (theirs - ours)).sum(axis=-1)


def number_loss(numbers: paddle.Tensor, batch: Mapping[str, paddle.Tensor], settings: Any) -> paddle.Tensor:
    """The loss of each row of a regression, float32 [batch]: squared distances from the label and from the teacher.

    Args:
        numbers: of the student, [batch, 1].
        batch: ``labels`` float32 [batch, 1] and the inputs of ``teaching_inputs``.
        settings: ``gold_weight``, ``mse_weight``.
    """
    gold = settings.gold_weight * batch["is_labelled"] * (numbers - batch["labels"]) ** 2
    taught = settings.mse_weight * batch["is_taught"] * (numbers - batch["teacher_logits"]) ** 2
    return (gold + taught)[:, 0]
