"""How much memory a model takes: a table for a configuration and a batch.

    python -m ernie.memory --ernie_config_path config/ernie_config.json --batch_size 32 --max_seq_len 128
    python -m ernie.memory --ernie_config_path ... --batch_size 32 --max_seq_len 128 --use_fp16 true --device gpu

Counted is what ``ernie.modeling`` and Paddle 3.3 keep, tensor by tensor; not counted are Paddle itself and its compiled
Programs (some 400 MiB on a CPU), the batches that wait in the queue and the workspace of matrix kernels.
``benchmark/memory.py`` measures beside it. A GPU has not been measured.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from ernie.config import ErnieConfig, sequence_length
from ernie.foreign import encoder_shapes
from propeller.errors import UserError, exit_on_user_error
from propeller.flags import FlagParser, add_flags, check_least, flag, read_flags

MIB = 2**20
MAX_SEQ_LEN = 128  # without the flag
SPREAD = 0.2  # what was measured lies that far from the estimate at most
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
        fused: whether layers and update are those of ``ernie/operators``.
        masked: tokens of a batch that a masked-LM head predicts over the whole vocabulary; 0 without one.
    """

    batch_size: int
    max_seq_len: int
    half: bool = False
    on_gpu: bool = False
    optimizer: str = "adamw"
    accumulate: bool = False
    recompute: bool = False
    fused: bool = False
    masked: int = 0


def parameters(config: ErnieConfig) -> int:
    """Number of weights of the encoder with its pooler."""
    return sum(math.prod(shape) for shape in encoder_shapes(config).values())


def layer_activations(config: ErnieConfig, setting: Setting) -> int:
    """Bytes that one layer keeps for its backward pass (fp32: all 4; in half precision the factors of products 2)."""
    tokens = setting.batch_size * setting.max_seq_len
    hidden, inner = config.hidden_size, config.intermediate_size
    if setting.fused:  # query, key, value, context, both normed sums, the output; before the activation; the norms
        return tokens * 4 * (7 * hidden + inner + config.num_attention_heads + 2)
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
    kept += tokens * inner * (between + factor)  # before and after the activation function
    kept += scores * (4 + (1 + factor if drops_scores else factor if setting.half else 0))  # softmax, mask, dropped
    kept += 3 * hidden * hidden * factor  # the weights of query, key and value, put side by side
    if setting.half:
        kept += (hidden * hidden + 2 * hidden * inner) * factor  # half copies of the other weights
    return kept


def activations(config: ErnieConfig, setting: Setting) -> int:
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
    if setting.fused:  # the backward pass of a layer has all its gradients at once, and no scores
        embeddings, scores, feed_forward = tokens * hidden * (4 + 4 + 1), 0, tokens * (7 * hidden + 2 * inner) * 4
    attention = max(2 * scores * 4 - tokens * (2 * hidden + 2 * inner) * 4, 0)  # when those are gone
    logits = setting.masked * (3 * config.vocab_size + 6 * hidden) * 4  # logits, softmax, gradient; what is before them
    return layers + embeddings + logits + max(feed_forward, attention)


def inference_activations(config: ErnieConfig, setting: Setting) -> int:
    """Bytes at the widest place of a forward pass that keeps nothing."""
    tokens = setting.batch_size * setting.max_seq_len
    hidden, inner = config.hidden_size, config.intermediate_size
    scores = tokens * setting.max_seq_len * config.num_attention_heads
    mask = setting.batch_size * setting.max_seq_len**2 * 4
    widest = max(tokens * 6 * hidden, tokens * 3 * hidden + 2 * scores, tokens * 3 * inner)  # product, sum, activation
    return (tokens * hidden + widest) * 4 + mask + config.num_hidden_layers * 3 * hidden * hidden * 4


def estimate(config: ErnieConfig, setting: Setting) -> dict[str, tuple[int, int]]:
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
    # The clipped gradients take the place of the others one by one, or there are none.
    update = weights if setting.fused else weights + 2 * largest
    rows["total"] = (weights + state + sums + max(kept, update), weights + forward)
    return rows


def training_line(
    config: ErnieConfig,
    *,
    batch_size: int,
    max_seq_len: int,
    in_tokens: bool = False,
    half: bool = False,
    on_gpu: bool = False,
    accumulate: bool = False,
    recompute: bool = False,
    fused: bool = False,
    masked_share: float = 0.0,
    most_windows: int = 1,
) -> str:
    """The line of 2019's logs on the memory of a training process, in MiB, which 2019 calls MB.

    The range is a fifth below and above the estimate: what was measured on CPUs lies within it. Heads are left out, but
    for that of masked words.

    Args:
        config: of the encoder.
        batch_size: examples a batch of one process, or tokens.
        max_seq_len: tokens of the longest example, which all are taken to have.
        in_tokens: whether batch_size counts tokens, padding too.
        half, on_gpu, accumulate, recompute, fused: see ``Setting``.
        masked_share: part of the tokens that a masked-LM head predicts.
        most_windows: rows that an example may be read in; the range is then from one row each to so many.
    """
    rows = max(batch_size // max_seq_len, 1) if in_tokens else batch_size
    setting = Setting(
        batch_size=rows,
        max_seq_len=max_seq_len,
        half=half,
        on_gpu=on_gpu,
        accumulate=accumulate,
        recompute=recompute,
        fused=fused,
        masked=round(masked_share * rows * max_seq_len),
    )
    most = dataclasses.replace(setting, batch_size=rows * most_windows)
    low, high = (estimate(config, each)["total"][0] / MIB for each in (setting, most))
    line = f"Theoretical memory usage in training: {low * (1 - SPREAD):.3f} - {high * (1 + SPREAD):.3f} MB"
    if most_windows == 1:
        return line
    return f"{line}, from batches of texts of one window to batches whose texts all have {most_windows} (--max_windows)"


def table(config: ErnieConfig, setting: Setting) -> list[str]:
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
    batch_size: int = flag(32, "examples per batch and device")
    max_seq_len: int | None = flag(None, "tokens of the longest example [128, or the positions if fewer]")
    use_fp16: bool = flag(False, "matrix products in fp16, on a GPU", bare=True)
    use_bf16: bool = flag(False, "matrix products in bf16", bare=True)
    use_recompute: bool = flag(False, "the inside of layers is computed twice", bare=True)
    fused_encoder: bool = flag(False, "layers and update compiled for the machine, on a CPU", bare=True)
    gradient_accumulation_steps: int = flag(1, "batches whose gradients make one step")
    optimizer: str = flag("adamw", "none: gradients are made, and no update", choices=tuple(OPTIMIZERS))
    device: str = flag("gpu", "of importance with --use_bf16 only", choices=("gpu", "cpu"))


def main(argv: Sequence[str]) -> int:
    """The command; returns its exit status."""
    parser = FlagParser(
        prog="python -m ernie.memory", description=__doc__.split("\n", maxsplit=1)[0], allow_abbrev=False
    )
    add_flags(parser, MemoryArgs)
    args = MemoryArgs(**read_flags(parser, argv))
    check_least(args, batch_size=1, max_seq_len=1, gradient_accumulation_steps=1)
    config = ErnieConfig(args.ernie_config_path)
    length = sequence_length(args.max_seq_len, MAX_SEQ_LEN, config)
    config.check_positions(length)
    setting = Setting(
        batch_size=args.batch_size,
        max_seq_len=length,
        half=args.use_fp16 or args.use_bf16,
        on_gpu=args.device == "gpu",
        optimizer=args.optimizer,
        accumulate=args.gradient_accumulation_steps > 1,
        recompute=args.use_recompute,
        fused=args.fused_encoder,
    )
    print("\n".join(table(config, setting)))
    return 0


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
