"""How much memory a model takes: a table for a configuration and a batch.

    python -m ernie.memory --ernie_config_path config/ernie_config.json --batch_size 32 --max_seq_len 128
    python -m ernie.memory --ernie_config_path ... --batch_size 32 --max_seq_len 128 --use_fp16 true --device gpu

Counted is what ``ernie.modeling`` and Paddle 3.3 keep, tensor by tensor; not counted are Paddle itself and its compiled
Programs (some 400 MiB on a CPU), the batches that wait in the queue and the workspace of matrix kernels.
``benchmark/memory.py`` measures beside it. A GPU has not been measured.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

from ernie.config import ErnieConfig
from ernie.foreign import encoder_shapes
from propeller.errors import UserError, exit_on_user_error
from propeller.flags import FlagParser, add_flags, flag, read_flags

MIB = 2**20
OPTIMIZERS = {"adamw": 2, "none": 0}  # float32 moments a parameter


@dataclass(frozen=True)
class Setting:
    """What the memory depends on besides the configuration.

    Args:
        batch_size, max_seq_len: the batch, padding included.
        half: whether products are in fp16 or bf16.
        on_gpu: in half precision, what lies between products is half too; on a CPU it is float32.
        optimizer: a key of ``OPTIMIZERS``.
        accumulate: whether gradients are summed over several batches.
        recompute: whether the inside of layers is computed again, all but what dropout gave.
    """

    batch_size: int
    max_seq_len: int
    half: bool = False
    on_gpu: bool = False
    optimizer: str = "adamw"
    accumulate: bool = False
    recompute: bool = False


def parameters(config):
    """Number of weights of the encoder with its pooler."""
    return sum(math.prod(shape) for shape in encoder_shapes(config).values())


def layer_activations(config, setting):
    """Bytes that one layer keeps for its backward pass (fp32: all 4; in half precision the factors of products 2)."""
    tokens = setting.batch_size * setting.max_seq_len
    hidden, inner = config.hidden_size, config.intermediate_size
    scores = tokens * setting.max_seq_len * config.num_attention_heads
    factor = 2 if setting.half else 4
    between = 2 if setting.half and setting.on_gpu else 4
    drops = config.hidden_dropout_prob > 0
    drops_scores = config.attention_probs_dropout_prob > 0
    kept = tokens * hidden * (
        3 * factor  # query, key, value
        + factor  # context, the output layer's input
        + 2 * 4  # what the two layer norms saw
        + 2 * factor  # what the next products see of them: the feed-forward layer's and the next layer's input
        + (2 if drops else 0)  # masks of dropout, a byte each
    )  # fmt: skip
    kept += tokens * inner * (between + factor)  # before and behind the activation function
    kept += scores * (4 + (1 + factor if drops_scores else factor if setting.half else 0))  # softmax, mask, dropped
    kept += 3 * hidden * hidden * factor  # the weights of query, key and value, put side by side
    if setting.half:
        kept += (hidden * hidden + 2 * hidden * inner) * factor  # half copies of the other weights
    return kept


def activations(config, setting):
    """Bytes at the end of a forward pass of training, with what the first steps of the backward pass add."""
    tokens = setting.batch_size * setting.max_seq_len
    hidden, inner = config.hidden_size, config.intermediate_size
    scores = tokens * setting.max_seq_len * config.num_attention_heads
    layers = config.num_hidden_layers * layer_activations(config, setting)
    if setting.recompute:  # the input of each layer and what dropout gave with its mask; one layer is whole
        dropped = tokens * hidden * 2 * 5 if config.hidden_dropout_prob > 0 else 0
        dropped += scores * 5 if config.attention_probs_dropout_prob > 0 else 0
        layers = config.num_hidden_layers * (tokens * hidden * 4 + dropped) + layer_activations(config, setting)
    embeddings = tokens * hidden * (4 + 4 + 1) + setting.batch_size * setting.max_seq_len**2 * 4
    feed_forward = tokens * (2 * hidden + 2 * inner) * 4
    attention = max(2 * scores * 4 - tokens * (2 * hidden + 2 * inner) * 4, 0)  # when those are gone
    return layers + embeddings + max(feed_forward, attention)


def inference_activations(config, setting):
    """Bytes at the widest place of a forward pass that keeps nothing."""
    tokens = setting.batch_size * setting.max_seq_len
    hidden, inner = config.hidden_size, config.intermediate_size
    scores = tokens * setting.max_seq_len * config.num_attention_heads
    mask = setting.batch_size * setting.max_seq_len**2 * 4
    widest = max(tokens * 6 * hidden, tokens * 3 * hidden + 2 * scores, tokens * 3 * inner)  # product, sum, activation
    return (tokens * hidden + widest) * 4 + mask + config.num_hidden_layers * 3 * hidden * hidden * 4


def estimate(config, setting):
    """Rows of the table, name -> (bytes in training, bytes in inference).

    The total of training is that of its fullest moment: the beginning of the backward pass, when all activations are
    there and no gradient is, or the update, when it is the other way round.

    Raises:
        UserError: the optimiser is unknown.
    """
    if setting.optimizer not in OPTIMIZERS:
        raise UserError(f"--optimizer {setting.optimizer!r} is unknown: choose one of {', '.join(OPTIMIZERS)}")
    weights = parameters(config) * 4
    state = OPTIMIZERS[setting.optimizer] * weights
    sums = weights if setting.accumulate else 0
    kept, forward = activations(config, setting), inference_activations(config, setting)
    rows = {
        "parameters": (weights, weights),
        "gradients": (weights + sums, 0),
        "optimiser state": (state, 0),
        "activations": (kept, forward),
    }
    largest = max(math.prod(shape) for shape in encoder_shapes(config).values()) * 4
    update = weights + 2 * largest  # the clipped gradients take the place of the others one by one
    rows["total"] = (weights + state + sums + max(kept, update), weights + forward)
    return rows


def table(config, setting):
    """The table as lines of text."""
    rows = estimate(config, setting)
    products = "fp16 or bf16" if setting.half else "fp32"
    return [
        f"{parameters(config):,} parameters, batch {setting.batch_size} x {setting.max_seq_len} tokens, "
        f"products in {products}; MiB",
        f"{'':<16}{'training':>12}{'inference':>12}",
        *(f"{name:<16}{train / MIB:>12,.1f}{infer / MIB:>12,.1f}" for name, (train, infer) in rows.items()),
        "gradients and activations are not there at once: the total of training counts the larger of them",
    ]


@dataclass(frozen=True)
class MemoryArgs:
    """memory: what it depends on"""

    ernie_config_path: str = flag(None, "ernie_config.json of the model", required=True)
    batch_size: int = flag(32, "examples a batch on one device")
    max_seq_len: int = flag(128, "tokens of the longest example")
    use_fp16: bool = flag(False, "matrix products in fp16, on a GPU", bare=True)
    use_bf16: bool = flag(False, "matrix products in bf16", bare=True)
    use_recompute: bool = flag(False, "the inside of layers is computed twice", bare=True)
    gradient_accumulation_steps: int = flag(1, "batches whose gradients make one step")
    optimizer: str = flag("adamw", "none: gradients are made, and no update", choices=tuple(OPTIMIZERS))
    device: str = flag("gpu", "of importance with --use_bf16 only", choices=("gpu", "cpu"))


def main(argv):
    """The command; returns its exit status."""
    parser = FlagParser(
        prog="python -m ernie.memory", description=__doc__.split("\n", maxsplit=1)[0], allow_abbrev=False
    )
    add_flags(parser, MemoryArgs)
    args = MemoryArgs(**read_flags(parser, argv))
    for name in ("batch_size", "max_seq_len", "gradient_accumulation_steps"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name} must be at least 1, not {getattr(args, name)}")
    config = ErnieConfig(args.ernie_config_path)
    if args.max_seq_len > config.max_position_embeddings:
        raise UserError(
            f"--max_seq_len {args.max_seq_len} is above the {config.max_position_embeddings} positions of "
            f"{args.ernie_config_path}: give that or less"
        )
    setting = Setting(
        batch_size=args.batch_size,
        max_seq_len=args.max_seq_len,
        half=args.use_fp16 or args.use_bf16,
        on_gpu=args.device == "gpu",
        optimizer=args.optimizer,
        accumulate=args.gradient_accumulation_steps > 1,
        recompute=args.use_recompute,
    )
    print("\n".join(table(config, setting)))
    return 0


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
