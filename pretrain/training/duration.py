"""A warning before pre-training that a CPU would take days or years for.

warn_of_duration(args, config, steps=1_000_000, masks=True)
"""

from __future__ import annotations

import logging

from ernie.config import ErnieConfig
from ernie.duration import in_words, training_seconds
from pretrain.training.args import Args

log = logging.getLogger("ernie.pretrain")

MASKED_SHARE = 0.15  # of the tokens, where a filelist does not say otherwise; for estimates
WORTH_SAYING = 86400.0  # seconds


def warn_of_duration(args: Args, config: ErnieConfig, steps: int, masks: bool) -> None:
    """Log how long the run takes on this processor, and what takes less, if it is more than a day.

    Args:
        args: the flags.
        config: the network.
        steps: of the run.
        masks: whether masked words are learnt.
    """
    train, length = args.train, args.model.longest(config)
    tokens = train.batch_size if train.in_tokens else train.batch_size * length
    seconds = training_seconds(
        config,
        tokens=tokens * train.gradient_accumulation_steps,
        max_seq_len=length,
        steps=steps,
        masked_share=MASKED_SHARE if masks else 0.0,
    )
    if seconds < WORTH_SAYING:
        return
    log.warning(
        "%s steps of a network with %.0f million weights take %s on this processor, if instances have %d tokens: use a "
        "GPU, a smaller network (config/ernie_mini_en.json, config/ernie_mini_zh.json), fewer steps, or a smaller "
        "--batch_size or --max_seq_len; pre-training that begins with released weights (--model) needs fewer "
        "steps",
        f"{steps:,}",
        config.num_parameters / 1e6,
        in_words(seconds),
        length,
    )
