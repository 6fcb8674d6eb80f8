"""Losses over classes, as the options of training ask for them.

options = LossOptions(class_weights=(1.0, 2.5), label_smoothing=0.1)
mean_class_loss(logits, labels, options)        # a scalar, inside a Program
divergence(logits, other_logits)                # R-Drop: how far two passes are apart, per place
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from propeller.errors import UserError


@dataclass(frozen=True)
class LossOptions:
    """How the loss of a class is changed while training.

    The loss of a place with label y is ``w_y * (1 - p_y)^gamma * sum_k q_k * -log p_k``, p the probabilities.

    Attributes:
        class_weights: w, one per class; None: 1. The mean is over places, not over their weights, so that steps made
            of several batches are those of one.
        label_smoothing: q is 1 - s for the label, and s shared by all classes, the label too (Szegedy et al. 2016,
            arXiv 1512.00567, section 7).
        focal_gamma: gamma (Lin et al. 2017, arXiv 1708.02002, equation 4).
    """

    class_weights: tuple[float, ...] | None = None
    label_smoothing: float = 0.0
    focal_gamma: float = 0.0

    @property
    def changes(self) -> bool:
        """Whether it is another loss than the cross entropy."""
        return self.class_weights is not None or self.label_smoothing > 0 or self.focal_gamma > 0


PLAIN = LossOptions()


def class_losses(logits: Any, labels: Any, options: LossOptions = PLAIN) -> Any:
    """The loss of each place.

    Args:
        logits: float32 [..., classes].
        labels: int64 [..., 1].
        options: ``LossOptions``.

    Returns:
        float32 [..., 1].
    """
    import paddle
    import paddle.nn.functional as F

    if not options.changes:
        return F.cross_entropy(logits, labels, reduction="none")
    log_probs = F.log_softmax(logits)
    picked = F.one_hot(labels.squeeze(-1), logits.shape[-1])  # [..., classes]
    of_label = (log_probs * picked).sum(axis=-1, keepdim=True)
    share = options.label_smoothing
    losses = -(1.0 - share) * of_label - share * log_probs.mean(axis=-1, keepdim=True)
    if options.focal_gamma:
        # 0 ** gamma has an infinite slope where gamma is below 1
        losses = losses * paddle.clip(1.0 - paddle.exp(of_label), min=1e-6) ** options.focal_gamma
    if options.class_weights is not None:
        weights = paddle.assign(np.asarray(options.class_weights, "float32"))
        losses = losses * (picked * weights).sum(axis=-1, keepdim=True)
    return losses


def mean_class_loss(logits: Any, labels: Any, options: LossOptions = PLAIN) -> Any:
    """The mean of ``class_losses``, a scalar."""
    import paddle.nn.functional as F

    return class_losses(logits, labels, options).mean() if options.changes else F.cross_entropy(logits, labels)


def divergence(one: Any, other: Any) -> Any:
    """The mean of both Kullback-Leibler divergences between the probabilities of two logits.

    Liang et al. 2021, arXiv 2106.14448, equation 2 (R-Drop).

    Args:
        one, other: float32 [..., classes].

    Returns:
        float32 [...].
    """
    import paddle.nn.functional as F

    logs, other_logs = F.log_softmax(one), F.log_softmax(other)
    return ((logs.exp() - other_logs.exp()) * (logs - other_logs)).sum(axis=-1) / 2.0


def balanced_weights(counts: np.ndarray, labels: Sequence[str], path: str) -> tuple[float, ...]:
    """Weights inverse to how often each class is there, 1 on average over the places (King & Zeng 2001, section 4.2).

    Args:
        counts: int [classes], places of each class.
        labels: the words for the classes.
        path: the file, for the message.

    Raises:
        UserError: a class has no places.
    """
    for label, count in zip(labels, counts):
        if not count:
            raise UserError(
                f"--class_weights balanced: no row of {path} that is trained on has the class {label}: give numbers, "
                "or add such rows, or raise --max_train_rows"
            )
    return tuple(float(weight) for weight in counts.sum() / (len(counts) * counts))
