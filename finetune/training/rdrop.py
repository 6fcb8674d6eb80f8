"""R-Drop: each batch goes through the network twice, and the two answers are drawn together.

model = RDrop(task, alpha=1.0)          # inside a train Program; a Model like the task

Liang et al. 2021, arXiv 2106.14448. The loss is the mean of the losses of both passes, plus alpha times what the task
calls their ``divergence``. The paper sums the two losses, so its alpha is twice this one for the same direction. As in
the authors' code the passes are one pass over the batch put twice into one: dropout draws for each half of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from propeller.train.model import Model

if TYPE_CHECKING:
    from finetune.task import FinetuneTask
    from propeller.metrics import Metric

AGAIN = "/again"


class RDrop(Model):
    """A task's train model with R-Drop.

    Args:
        task: the model of the task.
        alpha: the weight of the divergence.
    """

    def __init__(self, task: FinetuneTask, alpha: float) -> None:
        super().__init__()
        self.task, self.alpha = task, alpha
        self.inputs, self.optimizer = task.inputs, task.optimizer

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """The task's predictions, and those of the second pass under names that end in ``AGAIN``."""
        both = self.task({name: paddle.concat([value, value]) for name, value in features.items()})
        predictions = {}
        for name, value in both.items():
            predictions[name], predictions[name + AGAIN] = paddle.split(value, 2)
        return predictions

    def loss(self, predictions: dict[str, Any], label: dict[str, Any]) -> Any:
        """See the module."""
        one, other = _passes(predictions)
        mean = (self.task.loss(one, label) + self.task.loss(other, label)) / 2.0
        return mean + self.alpha * self.task.divergence(one, other, label)

    def loss_weight(self, batch: dict[str, np.ndarray]) -> int:
        """The task's."""
        return self.task.loss_weight(batch)

    def segments(self) -> Iterable[paddle.nn.Layer]:
        """The task's."""
        return self.task.segments()

    def metrics(self, predictions: dict[str, Any], label: dict[str, Any]) -> dict[str, Metric]:
        """Those of the first pass."""
        return self.task.metrics(_passes(predictions)[0], label)


def _passes(predictions):
    one = {name: value for name, value in predictions.items() if not name.endswith(AGAIN)}
    return one, {name: predictions[name + AGAIN] for name in one}
