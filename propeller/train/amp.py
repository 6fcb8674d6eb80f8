"""Mixed precision: matrix products in fp16 or bf16, all else in fp32, and the loss scale that fp16 needs.

learner = Learner(make_model, RunConfig(precision=Precision("float16", LossScaling())))
learner = Learner(make_model, RunConfig(precision=Precision("bfloat16")))

Parameters, moments, gradients and checkpoints are float32 throughout: Paddle's autocast (level O1) puts casts around
the products of the forward pass (Micikevicius et al. 2018, arXiv 1710.03740, section 3.1); layer norm, softmax and
what its list of unsafe operators holds besides are float32, and so is the loss. Evaluation and prediction are
float32.

fp16 gradients below 6e-8 would be 0, so the loss is multiplied by a scale before the backward pass (section 3.2).
Non-finite gradients mean that the scale is too large. Then the step is skipped: no weight, moment or
step power changes, and the step is not counted, for the learning rate either. (In 2019 the gradients were set to 0
and Adam ran with them: moments shrank, weights moved on by their momentum and decayed, and all counters went on.)
"""

from __future__ import annotations

import contextlib
import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import paddle
from paddle.static.amp.amp_nn import check_finite_and_unscale, update_loss_scaling

from propeller.errors import UserError
from propeller.train.names import DEFAULT_NAMES, SettingNames

if TYPE_CHECKING:
    from propeller.train.state import TrainState


log = logging.getLogger("propeller.train")

DTYPES = ("float32", "float16", "bfloat16")
SCALE, GOOD_STEPS, BAD_STEPS = "loss_scaling", "loss_scaling_good_steps", "loss_scaling_bad_steps"


@dataclass(frozen=True)
class LossScaling:
    """How the loss scale goes; the defaults are those of 2019.

    Args:
        initial: the scale of the first step.
        dynamic: whether it changes; without, it stays, and bad steps are skipped all the same.
        incr_every_n_steps: after so many good steps in a row it is multiplied by ``incr_ratio``.
        decr_every_n_nan_or_inf: after so many bad steps in a row it is multiplied by ``decr_ratio``, but never below 1.
        names: what errors call the settings.

    Raises:
        UserError: a value with which a scale cannot go.
    """

    initial: float = 102400.0
    dynamic: bool = True
    incr_every_n_steps: int = 100
    decr_every_n_nan_or_inf: int = 2
    incr_ratio: float = 2.0
    decr_ratio: float = 0.8
    names: SettingNames = field(default=DEFAULT_NAMES, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = self.names
        for name, value, good, needs in (
            (names.initial_loss_scale, self.initial, 1 <= self.initial < float("inf"), "1 or more"),
            (names.incr_every_n_steps, self.incr_every_n_steps, self.incr_every_n_steps >= 1, "1 or more"),
            (
                names.decr_every_n_nan_or_inf,
                self.decr_every_n_nan_or_inf,
                self.decr_every_n_nan_or_inf >= 1,
                "1 or more",
            ),
            (names.incr_ratio, self.incr_ratio, 1 < self.incr_ratio < float("inf"), "above 1"),
            (names.decr_ratio, self.decr_ratio, 0 < self.decr_ratio < 1, "between 0 and 1"),
        ):
            if not good:
                raise UserError(f"{name} must be {needs}, not {value}")

    def check_skips(self, scale: float, state: TrainState) -> None:
        """Say that a step was skipped.

        Raises:
            UserError: so many in a row, at a scale that cannot fall any more, that it is no use to go on.
        """
        step, row = state.step + 1, state.skipped_in_a_row
        log.warning("step %d skipped: non-finite gradients; loss scale %g", step, scale)
        if row < max(20, 2 * self.decr_every_n_nan_or_inf) or (self.dynamic and scale > 1):
            return
        names, or_else = self.names, ""
        if not self.dynamic:
            or_else = f" or {names.initial_loss_scale}, or give {names.dynamic_loss_scale}"
        raise UserError(
            f"step {step} (epoch {state.epoch}): gradients are non-finite {row} times in a row, "
            f"with loss scale {scale:g}: lower {names.learning_rate}{or_else}; the last checkpoint is good"
        )


@dataclass(frozen=True)
class Precision:
    """In what the matrix products of training are computed, and how the loss is scaled (None: not at all)."""

    dtype: str = "float32"
    scaling: LossScaling | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise UserError(f"precision {self.dtype!r} is unknown: choose one of {', '.join(DTYPES)}")

    def autocast(self) -> AbstractContextManager[None]:
        """The context to build a forward pass in."""
        if self.dtype == "float32":
            return contextlib.nullcontext()
        return paddle.amp.auto_cast(level="O1", dtype=self.dtype)

    def scaler(self) -> LossScaler | _NoScaler:
        """What scales the loss of the Program under construction and guards its update."""
        return LossScaler(self.scaling) if self.scaling else _NoScaler()

    def widened(self, predictions: dict[str, Any]) -> dict[str, Any]:
        """The named predictions in float32, for a loss and scores in float32."""
        if self.dtype == "float32":
            return predictions
        half = (paddle.float16, paddle.bfloat16)
        return {name: x.astype("float32") if x.dtype in half else x for name, x in predictions.items()}

    def check_backward(self, program: paddle.static.Program) -> None:
        """Raise for a Program that Paddle cannot run.

        Raises:
            UserError: its kernel for bf16 on a CPU would crash, since one factor of a product needs no gradient.
        """
        if self.dtype != "bfloat16" or paddle.get_device() != "cpu":
            return
        for op in program.global_block().ops:
            if op.name() != "pd_op.matmul_grad" or all(value.initialized() for value in op.results()):
                continue
            if paddle.bfloat16 in (value.dtype for value in op.operands_source()):
                raise UserError(
                    "bf16 on a CPU: Paddle cannot take the gradient of a product with a factor that needs none "
                    "(a frozen weight or the batch itself): train in fp32, or on a GPU"
                )


FP32 = Precision()


class LossScaler:
    """The loss scale of one Program; its variables outlive the Program's runs and are part of checkpoints.

    Order matters: what reduces gradients over batches or processes comes before ``apply``, so that all see the same.
    """

    def __init__(self, scaling: LossScaling) -> None:
        self.scaling = scaling
        self._scale = _variable(SCALE, "float32", scaling.initial)

    def scaled(self, loss: Any) -> Any:
        """The loss that the backward pass begins from."""
        return (loss * self._scale).reshape(loss.shape)

    def apply(self, optimizer: Any, params_grads: list[tuple[Any, Any]]) -> dict[str, Any]:
        """Divide gradients by the scale; update if all are finite, else leave everything as it is; let the scale go on.

        Args:
            optimizer: see ``Model.optimizer``.
            params_grads: pairs of parameter and float32 gradient.

        Returns:
            what to fetch: ``skipped``, bool [1], whether there was no update.
        """
        scaling = self.scaling
        grads, overflow = check_finite_and_unscale([grad for _, grad in params_grads], self._scale)
        good, bad = _variable(GOOD_STEPS, "int32", 0), _variable(BAD_STEPS, "int32", 0)
        grads = update_loss_scaling(
            grads,
            overflow,
            self._scale,
            good,
            bad,
            scaling.incr_every_n_steps,
            scaling.decr_every_n_nan_or_inf,
            scaling.incr_ratio,
            scaling.decr_ratio,
            stop_update=not scaling.dynamic,
        )
        pairs = [(parameter, grad) for (parameter, _), grad in zip(params_grads, grads)]
        optimizer.apply(pairs, skip=_on_host(overflow))
        return {"skipped": overflow}


def _variable(name, dtype, value):
    """A variable of the Program under construction that lasts; its startup Program gives it the value."""
    initializer = paddle.nn.initializer.Constant(value)
    return paddle.pir.core.create_persistable_value(dtype, [1], name, initializer=initializer)


class _NoScaler:
    """fp32 and bf16, whose range is that of fp32: nothing is added to the Program."""

    def scaled(self, loss):
        return loss

    def apply(self, optimizer, params_grads):
        optimizer.apply(params_grads)
        return {}


def _on_host(flag):
    """A bool [1] where the optimiser's kernels read it: on a GPU it is copied once, not once for every parameter."""
    if paddle.get_device() == "cpu":
        return flag
    return paddle.tensor.creation._memcpy(flag, paddle.CPUPlace())
