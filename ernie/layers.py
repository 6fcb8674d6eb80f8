"""The smallest layers of the networks here: a linear one, a norm, and how their parameters are named and drawn.

    layer = Linear(config, 768, 3072, name="encoder_layer_0_ffn_fc_0", act="gelu")
    y = layer(x)                                  # [tokens, 768] -> [tokens, 3072]

They run eagerly and under ``paddle.static.program_guard``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import paddle
import paddle.nn.functional as F
from paddle import nn

from propeller.train.program import FROZEN

if TYPE_CHECKING:
    from ernie.config import ErnieConfig

_FROZEN: ContextVar[bool] = ContextVar("frozen", default=False)


@contextlib.contextmanager
def frozen() -> Iterator[None]:
    """Layers that are made here get weights of names of their own (``FROZEN``), which are not trained or stored."""
    token = _FROZEN.set(True)
    try:
        yield
    finally:
        _FROZEN.reset(token)


_NAMES: ContextVar[Callable[[str], str]] = ContextVar("names", default=str)


@contextlib.contextmanager
def renamed(rename: Callable[[str], str]) -> Iterator[None]:
    """Layers that are made here get weights of the names that ``rename`` gives, where several heads share a scope."""
    token = _NAMES.set(rename)
    try:
        yield
    finally:
        _NAMES.reset(token)


def parameter_name(name: str) -> str:
    """What a weight of that name is called here, see ``renamed`` and ``frozen``."""
    name = _NAMES.get()(name)
    return f"{name}{FROZEN}" if _FROZEN.get() else name


def parameter(layer: nn.Layer, name: str, shape: list[int], initializer: Any) -> Any:
    """A parameter of a layer with a fixed name, see ``parameter_name``."""
    name = parameter_name(name)
    attr = paddle.ParamAttr(name=name, initializer=initializer, trainable=not _FROZEN.get())
    return layer.create_parameter(shape, attr=attr)


def truncated_normal(config: ErnieConfig) -> nn.initializer.Initializer:
    """The 2019 initialiser: normal with ``initializer_range`` as its deviation, cut at two deviations.

    Paddle 2 cut there by itself; the bounds of Paddle 3 are numbers, -2 and 2 unless given.
    """
    bound = 2 * config.initializer_range
    return nn.initializer.TruncatedNormal(std=config.initializer_range, a=-bound, b=bound)


class Linear(nn.Layer):
    """``x @ weight + bias`` with the 2019 names ``<name>.w_0`` [in, out] and ``<name>.b_0`` [out].

    Args:
        name: the fully connected layer's name; or give ``weight_name`` and ``bias_name``.
        act: name of a function in ``paddle.nn.functional``, or None.
    """

    def __init__(
        self,
        config: ErnieConfig,
        size_in: int,
        size_out: int,
        name: str | None = None,
        weight_name: str | None = None,
        bias_name: str | None = None,
        act: str | None = None,
    ) -> None:
        super().__init__()
        self.weight = parameter(self, weight_name or f"{name}.w_0", [size_in, size_out], truncated_normal(config))
        self.bias = parameter(self, bias_name or f"{name}.b_0", [size_out], nn.initializer.Constant(0.0))
        self.act = getattr(F, act) if act else None

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """x: [..., in] -> [..., out]."""
        x = add_bias(paddle.matmul(x, self.weight), self.bias, self.training)
        return self.act(x) if self.act else x


def add_bias(x: paddle.Tensor, bias: paddle.Tensor, training: bool) -> paddle.Tensor:
    """``x + bias`` for x [tokens, n] or [..., n].

    While training on a CPU the bias of a flat x is added as ``ones[tokens, 1] @ bias[1, n]``: the sum is bit for bit
    the same, but its gradient is a matrix product, where the gradient of a broadcast addition is a slow reduction.
    """
    on_cpu = paddle.get_device() == "cpu"
    if x.dtype != bias.dtype:  # the product was computed in half precision
        # A GPU goes on in it. On a CPU the sum is float32: the gradient of a bias is a sum over all tokens, which in
        # bf16 is slow and loses digits there, and the gradient of a bf16 product with a constant crashes.
        return x.astype(bias.dtype) + bias if on_cpu else x + bias.astype(x.dtype)
    if training and len(x.shape) == 2 and on_cpu:
        ones = paddle.ones_like(x[:, :1])
        ones.stop_gradient = True
        return x + paddle.matmul(ones, bias.reshape([1, -1]))
    return x + bias


class LayerNorm(nn.Layer):
    """Layer normalisation over the last axis with the 2019 names ``<name>_scale`` and ``<name>_bias``, both [hidden].

    Args:
        initial_bias: 0.0 everywhere, but for the masked-LM transform of ERNIE 2.0, which starts at 1.0.
    """

    def __init__(self, config: ErnieConfig, name: str, initial_bias: float = 0.0) -> None:
        super().__init__()
        self.scale = parameter(self, f"{name}_scale", [config.hidden_size], nn.initializer.Constant(1.0))
        self.bias = parameter(self, f"{name}_bias", [config.hidden_size], nn.initializer.Constant(initial_bias))
        self.epsilon = config.layer_norm_eps

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """x: [..., hidden] -> the same shape."""
        return F.layer_norm(x, x.shape[-1:], self.scale, self.bias, self.epsilon)
