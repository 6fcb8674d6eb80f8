"""What errors call the settings of a run.

RunConfig(names=SettingNames(learning_rate="the flag -l"))      # a program with flags says which flag a setting is
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SettingNames:
    """The words for each setting in the remedies of errors and warnings; the defaults are for users of the library."""

    learning_rate: str = "the learning rate"
    warmup: str = "the warm-up"
    fp16: str = "fp16"
    bf16: str = "bf16"
    initial_loss_scale: str = "the initial loss scale"
    dynamic_loss_scale: str = "a dynamic loss scale"
    incr_every_n_steps: str = "incr_every_n_steps"
    decr_every_n_nan_or_inf: str = "decr_every_n_nan_or_inf"
    incr_ratio: str = "incr_ratio"
    decr_ratio: str = "decr_ratio"
    weights: str = "the weights of a checkpoint"
    folder: str = "folder"
    overwrite: str = "overwrite=True"
    keep: str = "number of checkpoints to keep"
    best_by: str = "best_by"
    hang_timeout: str = "the hang timeout"


DEFAULT_NAMES = SettingNames()
