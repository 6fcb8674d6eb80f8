"""The network half of a task that predicts masked pieces, whatever else it tells.

class MaskingModel(MaskedTask):
    def compute_losses(self, predictions, label): ...
"""

from __future__ import annotations

import paddle

from pretrain.task import ENCODER_INPUTS, PretrainTask
from propeller.train.model import Input


class MaskedTask(PretrainTask):
    """Masked pieces and what they were. Where several batches make one step they are weighted by these pieces."""

    inputs: tuple[Input, ...] = (
        *ENCODER_INPUTS,
        Input("mask_pos", [None, 1], "int64"),
        Input("mask_label", [None, 1], "int64", label=True),
    )

    def build(self) -> None:
        self._of: paddle.Tensor | None = None  # the logits that the losses are of
        self._losses: tuple[paddle.Tensor, ...] = ()

    def losses(self, predictions: dict, label: dict) -> tuple[paddle.Tensor, ...]:
        """``compute_losses``, which loss and scores share."""
        if self._of is not predictions["mask_lm_logits"]:
            self._of, self._losses = predictions["mask_lm_logits"], self.compute_losses(predictions, label)
        return self._losses

    def compute_losses(self, predictions: dict, label: dict) -> tuple[paddle.Tensor, ...]:
        """The cross entropy of each masked piece, float32 [masked, 1], and what else the task has."""
        raise NotImplementedError

    def loss_weight(self, batch: dict) -> int:
        return len(batch["mask_label"])
