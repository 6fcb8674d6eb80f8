"""Training on a CPU without padding: the layers of ``ernie/operators`` over the tokens of a batch, end to end.

    encoder.packed = wanted("auto", config, on_gpu=False, half=False, recompute=False)
    states = encoder(features)      # in a training Program: the same values for all tokens, and 0 for padding

A batch comes padded, as everything outside the encoder knows it. Its tokens are picked out before the embeddings and
put back after the last layer; nothing between sees padding.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import paddle

from ernie import operators
from ernie.config import ErnieConfig
from propeller.errors import UserError

if TYPE_CHECKING:
    from ernie.modeling import EncoderLayer, ErnieEncoder
    from propeller.train.checkpoints import RecordedRun

log = logging.getLogger("ernie.operators")

FLAG = "--fused_encoder"


def wanted(
    choice: str | None,
    config: ErnieConfig,
    on_gpu: bool,
    half: bool,
    recompute: bool,
    begun: RecordedRun | None = None,
) -> bool:
    """Whether the training Program is to be made of the fused operators; builds and loads them if so.

    Args:
        choice: "auto" or None: where they can be; "true": or it is an error; "false": not.
        config: of the encoder, or of another network.
        on_gpu: whether training runs on one.
        half: whether matrix products are in half precision.
        recompute: whether layers are computed twice to save memory.
        begun: the run that is continued. Without a choice it goes on as it began; one without the flag began before
            there was any. One that is finished needs nothing.

    Raises:
        UserError: they are asked for, or the run began with them, and they cannot be had.
    """
    kept = begun if choice is None else None
    if kept:
        choice = kept.flags.get(FLAG, "false")
    if choice == "false" or (kept and kept.finished):
        return choice == "true"
    reason = _obstacle(config, on_gpu, half, recompute)
    if reason is None:
        try:
            operators.load()
        except operators.Unavailable as error:
            reason = str(error)
    if reason is None:
        log.info("training with the fused operators, without padding (%s false: with Paddle's)", FLAG)
        return True
    if kept:
        raise UserError(f"the run began with {FLAG} true: {reason}; or begin it afresh with --overwrite")
    if choice == "true":
        raise UserError(f"{FLAG} true: {reason}; or give {FLAG} false")
    if not on_gpu:
        log.info("training with Paddle's operators, padding included: for the fused ones %s", reason)
    return False


def _obstacle(config, on_gpu, half, recompute):
    if not isinstance(config, ErnieConfig):
        return "the network has none of their layers"
    if on_gpu:
        return "they are for CPUs: give --use_cuda false"
    if half:
        return "they compute in float32: leave out --use_bf16"
    if recompute:
        return "they keep little by themselves: leave out --use_recompute"
    if config.hidden_act not in operators.ACTIVATIONS:
        return f"they know {' and '.join(operators.ACTIVATIONS)}, and the network has hidden_act {config.hidden_act!r}"
    return None


class Packing(NamedTuple):
    """Where a batch's tokens are. places: int64 [tokens], of each token in the padded batch, flat; starts: int64
    [batch + 1], of each row among the tokens; back: int64 [batch * seq], 0 for padding, else the token's number + 1."""

    places: paddle.Tensor
    starts: paddle.Tensor
    back: paddle.Tensor


def packing_of(input_mask: paddle.Tensor) -> Packing:
    """input_mask: float32 [batch, seq], 1 for tokens and 0 for padding."""
    is_token = input_mask.astype("int64")
    flat = is_token.flatten()
    ends = paddle.cumsum(is_token.sum(axis=1))
    starts = paddle.concat([paddle.zeros([1], "int64"), ends])
    return Packing(paddle.nonzero(flat).flatten(), starts, paddle.cumsum(flat) * flat)


def pick(array: paddle.Tensor, packing: Packing) -> paddle.Tensor:
    """[batch, seq] -> [tokens]."""
    return paddle.gather(array.flatten(), packing.places)


def put_back(x: paddle.Tensor, packing: Packing, shape: Any) -> paddle.Tensor:
    """[tokens, hidden] -> [batch, seq, hidden], padding 0; shape: [batch, seq]."""
    zero = paddle.zeros([1, x.shape[-1]], x.dtype)
    return paddle.gather(paddle.concat([zero, x]), packing.back).reshape([*shape, x.shape[-1]])


def last_states(encoder: ErnieEncoder, features: Mapping[str, paddle.Tensor], shape: Any) -> paddle.Tensor:
    """Like ``ErnieEncoder.forward``, with 0 where there is padding; the other layers' states are not put back."""
    states, packing = _encode(encoder, features)
    return put_back(states[-1], packing, shape)


def all_states(encoder: ErnieEncoder, features: Mapping[str, paddle.Tensor], shape: Any) -> list[paddle.Tensor]:
    """Like ``ErnieEncoder.all_states``, with 0 where there is padding."""
    states, packing = _encode(encoder, features)
    return [put_back(state, packing, shape) for state in states]


def _encode(encoder, features):
    """The states [tokens, hidden] of the embeddings and of each layer, and the ``Packing``.

    Dropout inside the layers draws from a generator of its own, which one number of Paddle's seeds.
    """
    packing = packing_of(features["input_mask"])
    ids = {name: pick(features[name], packing) for name in encoder.embeddings.tables}
    states = [encoder.embeddings(ids)]  # [tokens, hidden]
    # Drawn after the embeddings' dropout and before the head's, each time: operators that draw and do not depend on
    # each other run in any order.
    one = paddle.clip(paddle.shape(states[0])[:1], 1, 1)
    seed = paddle.randint(0, 2**31 - 1, one, "int64")
    for number, layer in enumerate(encoder.layers):
        states.append(_layer(layer, states[-1], packing.starts, seed, number, encoder.config))
    return states, packing


def weights_of(layer: EncoderLayer) -> list[paddle.Tensor]:
    """The parameters of a layer in the order of ``operators.encoder_layer``."""
    attention = layer.attention
    dense = (attention.query, attention.key, attention.value, attention.output)
    return [
        *(tensor for each in dense for tensor in (each.weight, each.bias)),
        layer.attention_norm.scale, layer.attention_norm.bias,
        layer.ffn_in.weight, layer.ffn_in.bias, layer.ffn_out.weight, layer.ffn_out.bias,
        layer.ffn_norm.scale, layer.ffn_norm.bias,
    ]  # fmt: skip


def _layer(layer, x, starts, seed, number, config):
    rates = (config.attention_probs_dropout_prob, config.hidden_dropout_prob) if layer.training else (0.0, 0.0)
    heads, epsilon = config.num_attention_heads, config.layer_norm_eps
    return operators.encoder_layer(
        x, starts, seed, weights_of(layer), number, heads, config.hidden_act, *rates, epsilon
    )
