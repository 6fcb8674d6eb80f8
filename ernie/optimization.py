"""AdamW with decoupled weight decay and its learning-rate schedules, equal to the 2019 trajectories.

    optimizer = AdamW(OptimizationConfig(learning_rate=3e-5, num_train_steps=1000, warmup_steps=100))
    optimizer.apply(paddle.static.append_backward(loss))      # inside the train Program
    executor.run(program, feed={**batch, **optimizer.feed(step)})

The update of step t (counted from 1), after clipping by global norm (Kingma & Ba 2015, end of section 2, the form whose
epsilon is not scaled; Loshchilov & Hutter 2019 for the decay)::

    w = w - lr * weight_decay * w - lr * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + epsilon)

Paddle's own AdamW, as torch's, divides by ``sqrt(v / (1 - beta2^t)) + epsilon`` instead: ``epsilon_form="torch"``, for
comparisons with such an optimiser.

The schedules of 2019 are ``linear_warmup_decay`` and ``noam_decay``. The others are measured from the end of the
warm-up, as elsewhere: ``cosine`` (Loshchilov & Hutter 2017, arXiv 1608.03983, equation 5, without restarts),
``polynomial`` (Chen et al. 2016, arXiv 1606.00915, section 4.1.1) and ``constant`` (Goyal et al. 2017, arXiv
1706.02677, section 2.2, the warm-up).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from ernie.depth import rate_factor
from propeller.errors import UserError

SCHEDULERS = ("linear_warmup_decay", "noam_decay", "cosine", "polynomial", "constant")
EPSILON_FORMS = ("outside", "torch")
NO_DECAY_SUFFIXES = ("_bias", "_b", ".b_0")


@dataclass(frozen=True)
class OptimizationConfig:
    """What the optimiser needs to know.

    Args:
        learning_rate: the peak rate.
        num_train_steps: updates until the linear decay reaches 0.
        warmup_steps: updates of linear warm-up; with 0 the schedules of 2019 have a constant rate (as in 2019).
        weight_decay: decoupled decay per update, multiplied by the learning rate.
        scheduler: one of ``SCHEDULERS``.
        clip_norm: global gradient norm limit; 0: none.
        epsilon_form: "outside" of the bias correction, as in 2019, or as "torch" has it.
        restarts: updates, counted from 0, at which the warm-up of the schedules of 2019 begins anew; noam's fall, too.
        end_rate: where ``cosine`` and ``polynomial`` end.
        power: of ``polynomial``.
        layer_decay: what the rate of each layer is multiplied by, compared with the one above; see ``ernie.depth``.
        layers: how many encoder layers there are, for ``layer_decay``.
    """

    learning_rate: float
    num_train_steps: int
    warmup_steps: int = 0
    weight_decay: float = 0.0
    scheduler: str = "linear_warmup_decay"
    clip_norm: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    epsilon_form: str = "outside"
    restarts: tuple[int, ...] = ()
    end_rate: float = 0.0
    power: float = 1.0
    layer_decay: float = 1.0
    layers: int = 0

    def __post_init__(self) -> None:
        if self.epsilon_form not in EPSILON_FORMS:
            raise UserError(f"epsilon_form {self.epsilon_form!r} is unknown: choose one of {', '.join(EPSILON_FORMS)}")
        if self.scheduler not in SCHEDULERS:
            raise UserError(f"lr_scheduler {self.scheduler!r} is unknown: choose one of {', '.join(SCHEDULERS)}")
        if not self.learning_rate > 0:
            raise UserError(f"learning_rate must be above 0, not {self.learning_rate}")


def decays(name: str) -> bool:
    """Whether weight decay applies to the parameter: not to layer norms, not to biases."""
    return "layer_norm" not in name and not name.endswith(NO_DECAY_SUFFIXES)


def learning_rate_at(config: OptimizationConfig, step: int) -> np.float32:
    """The learning rate of update ``step``, counted from 0: a float32, computed in float32 as the 2019 graph did.

    ``linear_warmup_decay``: rises from 0 (the first update has rate 0) over ``warmup_steps``, then falls linearly to 0
    at ``num_train_steps``; the fall is measured from step 0, so the rate jumps where warm-up ends. Then it is 0.
    ``noam_decay`` (Vaswani et al. 2017, section 5.3): proportional to ``min(n^-0.5, n * warmup^-1.5)``, n = step + 1,
    and scaled to peak at ``learning_rate``.
    The others rise likewise, then go from ``learning_rate`` to ``end_rate``, which they reach at ``num_train_steps``:
    with p the part of the steps after the warm-up that is done, the distance from ``end_rate`` is multiplied by
    ``(1 + cos(pi p)) / 2`` or ``(1 - p)^power``; a ``constant`` rate stays.
    """
    f32 = np.float32
    rate, warmup = f32(config.learning_rate), config.warmup_steps
    if config.scheduler in _SHAPES:
        return f32(_shaped(config, step))
    if warmup <= 0:
        return rate
    start = max((first for first in config.restarts if first <= step), default=0)
    if config.scheduler == "noam_decay":
        return _noam(config.learning_rate, warmup, step - start + 1)
    # Divisions by a number were products with its reciprocal in the 2019 graph.
    total = max(config.num_train_steps, 1)
    fallen = rate * (f32(1.0) - f32(min(step, total)) * f32(1 / total))
    if step - start < warmup:
        return (fallen if start else rate) * (f32(step - start) * f32(1 / warmup))
    return fallen


_SHAPES: dict[str, Callable[[float, float], float]] = {
    "cosine": lambda part, power: (1.0 + math.cos(math.pi * part)) / 2.0,
    "polynomial": lambda part, power: (1.0 - part) ** power,
    "constant": lambda part, power: 1.0,
}


def _shaped(config, step):
    rate, warmup = config.learning_rate, config.warmup_steps
    if step < warmup:
        return rate * step / warmup
    part = min((step - warmup) / max(config.num_train_steps - warmup, 1), 1.0)
    end = 0.0 if config.scheduler == "constant" else config.end_rate
    return end + (rate - end) * _SHAPES[config.scheduler](part, config.power)


def _noam(rate, warmup, number):
    f32 = np.float32
    width = 1 / (warmup * rate**2)  # the model width whose schedule peaks at this rate
    slow, fast = f32(number) ** f32(-0.5), f32(warmup**-1.5) * f32(number)
    return f32(width**-0.5) * min(slow, fast)


class AdamW:
    """The optimiser of a train Program; its state is the Program's own (moments and step powers by parameter name).

    ``feed(step)`` must be fed with every update.

    Args:
        config: what the optimiser needs to know.
        fused: clip and update with the operator of ``ernie/operators``, which must be loaded; on a CPU, in float32.
    """

    def __init__(self, config: OptimizationConfig, fused: bool = False) -> None:
        self.config, self.fused = config, fused

    def apply(self, params_grads: Sequence[tuple[Any, Any]], skip: paddle.Tensor | None = None) -> None:
        """Append clipping and the update.

        Args:
            params_grads: pairs of parameter and gradient, as ``paddle.static.append_backward`` returns them.
            skip: None, or a bool [1]: whether weights, moments and step powers are to stay what they are.
        """
        config = self.config
        rate = paddle.static.data("learning_rate", [1], "float32")
        epsilon = paddle.static.data("adam_epsilon", [1], "float32")
        factors = [rate_factor(parameter.name, config.layer_decay, config.layers) for parameter, _ in params_grads]
        rates = {factor: rate if factor == 1.0 else rate * factor for factor in factors}  # each factor's once
        for (parameter, _), factor in zip(params_grads, factors):
            parameter.optimize_attr = {"learning_rate": rates[factor]}
        inner = paddle.optimizer.AdamW(
            learning_rate=config.learning_rate,
            beta1=config.beta1,
            beta2=config.beta2,
            epsilon=epsilon,
            weight_decay=config.weight_decay,
            apply_decay_param_fun=decays,
            grad_clip=paddle.nn.ClipGradByGlobalNorm(config.clip_norm) if config.clip_norm else None,
        )
        if self.fused:
            self._apply_fused(inner, params_grads, rate, epsilon, factors)
            return
        inner._set_auxiliary_var("found_inf", skip)  # how Paddle's own loss scaler tells its kernels
        inner.apply_gradients(params_grads)

    def _apply_fused(self, inner, params_grads, rate, epsilon, factors):
        """The same update over the same variables, which Paddle's optimiser makes and names."""
        from ernie import operators

        config = self.config
        parameters = [parameter for parameter, _ in params_grads]
        inner._create_accumulators(paddle.static.default_main_program().global_block(), parameters)
        kinds = ("moment1", "moment2", "beta1_pow_acc", "beta2_pow_acc")
        kept = ([inner._get_accumulator(kind, parameter) for parameter in parameters] for kind in kinds)
        decay = [config.weight_decay if decays(parameter.name) else 0.0 for parameter in parameters]
        gradients = [gradient for _, gradient in params_grads]
        operators.adamw(parameters, gradients, *kept, rate, epsilon, decay, factors, config.beta1, config.beta2,
                        config.clip_norm or float("inf"))  # fmt: skip

    def learning_rate(self, step: int) -> float:
        """The rate of update ``step`` (from 0)."""
        return float(learning_rate_at(self.config, step))

    def feed(self, step: int) -> dict[str, np.ndarray]:
        """What update ``step`` (from 0) needs beside its batch: float32 [1] each.

        Paddle's kernel divides by ``sqrt(v / (1 - beta2^t)) + epsilon``; feeding ``epsilon / sqrt(1 - beta2^t)`` gives
        the form above; fed as it is, it gives torch's.
        """
        epsilon = self.config.epsilon
        if self.config.epsilon_form == "outside":
            epsilon /= np.sqrt(1.0 - float(np.float32(self.config.beta2)) ** (step + 1))
        return {
            "learning_rate": np.array([learning_rate_at(self.config, step)], "float32"),
            "adam_epsilon": np.array([epsilon], "float32"),
        }
