"""FGM: each batch is learnt a second time, with its words moved to where the loss rises fastest.

model.adversary = FGM(model.encoder, epsilon=1.0)        # inside a train Program

Miyato et al. 2017, arXiv 1605.07725, section 3: with g the gradient of the loss with respect to the word embeddings of
an example, the step is ``epsilon * g / |g|``, and the gradients of both passes are added up. g is of an example, not of
the batch, so the step of several batches, or of several processes, is that of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

import paddle

if TYPE_CHECKING:
    from ernie.modeling import ErnieEncoder


class FGM:
    """What takes the place of the backward pass.

    Args:
        encoder: of the model; its word embedding must be trained.
        epsilon: the length of the step.
    """

    def __init__(self, encoder: ErnieEncoder, epsilon: float) -> None:
        self.encoder, self.epsilon = encoder, epsilon
        self._words: Any = None  # of the first pass, [tokens, hidden]
        self._step: Any = None  # that the second pass adds
        self._features: Any = None
        encoder.register_forward_pre_hook(self._note)
        encoder.embeddings.tables["src_ids"].register_forward_post_hook(self._move)

    def backward(self, loss: Any, again: Callable[[], Any]) -> list[tuple[Any, Any]]:
        """Append both backward passes; see ``propeller.train.model.Model.adversary``."""
        block = paddle.static.default_main_program().global_block()
        parameters = [parameter for parameter in block.all_parameters() if not parameter.stop_gradient]
        *first, slope = paddle.static.gradients([loss], [*parameters, self._words])
        self._step = self._step_along(slope)
        second = paddle.static.gradients([again()], parameters)
        return [(p, one + other) for p, one, other in zip(parameters, first, second) if one is not None]

    def _note(self, layer, inputs):
        self._features = inputs[0]

    def _move(self, layer, inputs, words):
        if self._step is not None:
            return words + self._step
        self._words = words
        return words

    def _step_along(self, slope):
        """slope: [tokens, hidden] -> the step, each example's of one length."""
        rows = self._rows()
        norms = paddle.sqrt(paddle.geometric.segment_sum((slope * slope).sum(axis=1), rows))  # [batch]
        step = slope * (self.epsilon / paddle.clip(paddle.gather(norms, rows), min=1e-20)).unsqueeze(1)
        step.stop_gradient = True
        return step

    def _rows(self):
        """The number of each token's example, int64 [tokens]."""
        ids = self._features["src_ids"]
        rows = paddle.cumsum(paddle.ones_like(ids[:, :1]), axis=0) - 1 + paddle.zeros_like(ids)  # [batch, seq]
        if not self.encoder.skips_padding:
            return rows.flatten()
        from ernie import packed

        return packed.pick(rows, packed.packing_of(self._features["input_mask"]))
