"""The precision that is asked for, on the device that is there.

precision(place, fp16=True, scaling=LossScaling())                # propeller.train.amp.Precision
"""

from __future__ import annotations

import paddle

from propeller import runtime
from propeller.errors import UserError
from propeller.train.amp import FP32, LossScaling, Precision
from propeller.train.names import DEFAULT_NAMES, SettingNames

FP16, BF16 = "float16", "bfloat16"


def precision(
    place: object,
    fp16: bool = False,
    bf16: bool = False,
    scaling: LossScaling | None = None,
    names: SettingNames = DEFAULT_NAMES,
) -> Precision:
    """What training computes in.

    Args:
        place: the Paddle place it runs on.
        fp16, bf16: whether matrix products are to be computed in that; neither: in fp32.
        scaling: the loss scale of fp16; None: the default one.
        names: what errors call the settings.

    Raises:
        UserError: both half precisions are asked for; the device cannot compute in the one.
    """
    if fp16 and bf16:
        raise UserError(f"{names.fp16} with {names.bf16}: give one of them; bf16 needs no loss scale")
    if fp16:
        check_fp16(place, names)
        return Precision(FP16, scaling or LossScaling(names=names))
    if bf16:
        check_bf16(place, names)
        return Precision(BF16)
    return FP32


def check_fp16(place: object, names: SettingNames = DEFAULT_NAMES) -> None:
    """Raise UserError where fp16 cannot be computed."""
    if isinstance(place, paddle.CPUPlace):
        raise UserError(f"{names.fp16} needs a GPU: give {names.bf16}, which CPUs know too, or leave both out")
    if not paddle.amp.is_float16_supported():
        raise UserError(f"{names.fp16}: this GPU has no fast fp16 (compute capability below 7.0): leave it out")


def check_bf16(place: object, names: SettingNames = DEFAULT_NAMES) -> None:
    """Raise UserError where bf16 cannot be computed."""
    if isinstance(place, paddle.CPUPlace):
        if not runtime.cpu_has_bf16():
            raise UserError(f"{names.bf16}: this CPU lacks AVX-512, which Paddle's bf16 needs: leave it out")
    elif not paddle.amp.is_bfloat16_supported():
        raise UserError(f"{names.bf16}: this GPU has no bf16 (compute capability below 8.0): give {names.fp16}")
