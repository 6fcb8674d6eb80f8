"""How long training takes on a processor: the products of its steps, and how many of them are computed in a second.

    seconds = training_seconds(config, tokens=8192, max_seq_len=512, steps=1_000_000, masked_share=0.15)
    in_words(seconds)                                   # "about 420 days"

An estimate within a factor of two, for a word of warning before a run that nobody would wait for.
"""

from __future__ import annotations

import time

import numpy as np

from ernie.config import ErnieConfig

# Of the speed of bare products. A step has elementwise work too: half is what the compiled layers come to.
SHARE = 0.5
SIZE = 1024  # of the matrices that are timed
UNITS = (("years", 365 * 86400), ("days", 86400), ("hours", 3600), ("minutes", 60))


def training_flops(config: ErnieConfig, tokens: int, max_seq_len: int, masked_share: float = 0.0) -> float:
    """Floating-point operations of the products of a step; a backward pass has twice those of a forward pass.

    Args:
        config: of the encoder.
        tokens: of a step, padding included.
        max_seq_len: the length of an instance, for the products of attention.
        masked_share: part of the tokens that a masked-LM head predicts.
    """
    hidden, inner = config.hidden_size, config.intermediate_size
    layer = 2 * (4 * hidden * hidden + 2 * hidden * inner) + 4 * hidden * max_seq_len
    head = masked_share * 2 * (hidden * hidden + hidden * config.vocab_size)
    return 3.0 * tokens * (config.num_hidden_layers * layer + head)


def product_speed() -> float:
    """Floating-point operations that this process computes in a second, measured on products of matrices."""
    factor, best = np.ones((SIZE, SIZE), np.float32), float("inf")
    for _ in range(3):
        begun = time.perf_counter()
        factor @ factor
        best = min(best, time.perf_counter() - begun)
    return 2.0 * SIZE**3 / max(best, 1e-9)


def training_seconds(
    config: ErnieConfig,
    *,
    tokens: int,
    max_seq_len: int,
    steps: int,
    masked_share: float = 0.0,
    speed: float | None = None,
) -> float:
    """Seconds that so many steps take on this processor.

    Args:
        config, tokens, max_seq_len, masked_share: see ``training_flops``.
        steps: number of steps.
        speed: see ``product_speed``, which is asked where it is None.
    """
    return steps * training_flops(config, tokens, max_seq_len, masked_share) / (SHARE * (speed or product_speed()))


def in_words(seconds: float) -> str:
    """A duration in its largest unit: ``about 3 hours``."""
    name, size = next((unit for unit in UNITS if seconds >= 2 * unit[1]), UNITS[-1])
    return f"about {max(round(seconds / size), 1):,} {name}"
