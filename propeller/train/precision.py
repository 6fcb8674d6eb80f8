"""The precision that the flags ask for, on the device that is there.

precision(args.train, place)                # propeller.train.amp.Precision
"""

from __future__ import annotations

import paddle

from propeller.errors import UserError
from propeller.train.amp import FP32, LossScaling, Precision

HALF = {"use_fp16": "float16", "use_bf16": "bfloat16"}


def precision(train, place):
    """What training computes in.

    Args:
        train: an object with the flags ``use_fp16``, ``use_bf16`` and those of the loss scale.
        place: the Paddle place it runs on.

    Raises:
        UserError: both half precisions are asked for; the device cannot compute in the one; a loss scale is senseless.
    """
    if train.use_fp16 and train.use_bf16:
        raise UserError("--use_fp16 true with --use_bf16 true: give one of them; bf16 needs no loss scale")
    if train.use_fp16:
        check_fp16(place)
        scaling = LossScaling(
            initial=train.init_loss_scaling,
            dynamic=train.use_dynamic_loss_scaling,
            incr_every_n_steps=train.incr_every_n_steps,
            decr_every_n_nan_or_inf=train.decr_every_n_nan_or_inf,
            incr_ratio=train.incr_ratio,
            decr_ratio=train.decr_ratio,
        )
        return Precision(HALF["use_fp16"], scaling)
    if train.use_bf16:
        check_bf16(place)
        return Precision(HALF["use_bf16"])
    return FP32


def check_fp16(place):
    """Raise UserError where fp16 cannot be computed."""
    if isinstance(place, paddle.CPUPlace):
        raise UserError("--use_fp16 true needs a GPU: give --use_bf16 true, which CPUs know too, or leave both out")
    if not paddle.amp.is_float16_supported():
        raise UserError("--use_fp16 true: this GPU has no fast fp16 (compute capability below 7.0): leave it out")


def check_bf16(place):
    """Raise UserError where bf16 cannot be computed."""
    if isinstance(place, paddle.CPUPlace):
        if not paddle.base.core.supports_bfloat16():
            raise UserError("--use_bf16 true: this CPU lacks AVX-512, which Paddle's bf16 needs: leave it out")
    elif not paddle.amp.is_bfloat16_supported():
        raise UserError("--use_bf16 true: this GPU has no bf16 (compute capability below 8.0): give --use_fp16 true")
