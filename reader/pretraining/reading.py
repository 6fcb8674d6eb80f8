"""How the shards of a list are read: the arguments of ``PretrainingReader``, in two groups.

reading = ShardReading(max_seq_len=512, batch_size=8192, shuffle=True, seed=1, epochs=100)
PretrainingReader("filelist", tokenizer, reading, masking=Masking(units="basic:0,phrase:100000,entity:200000"))
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from propeller.errors import UserError
from reader.pretraining.masking import MASK_DRAWS, Schedule


@dataclass(frozen=True)
class ShardReading:
    """Which instances are read, in which order, and how they become batches.

    Attributes:
        max_seq_len: longer instances are left out as in 2019, and counted in ``stats``.
        batch_size: instances, or with ``in_tokens`` the most that rows * longest row may reach.
        in_tokens: whether ``batch_size`` counts tokens.
        shuffle: whether files, and instances within the buffer, come in random order; False: as they stand.
        shuffle_buffer: instances.
        seed: of the order and of the masks.
        epochs: how often every instance is read.
        rank, world_size: of each group of ``world_size`` batches, batch ``rank`` is given out here. All ranks read all
            lines: files need not be as many as ranks, all ranks are given equally many batches except in the last group
            of an epoch, and a run can go on with another number of them.
        even: where a rank has no batch, give out None in its place: for training.
        on_bad: "error": a bad line or file raises UserError; "skip": it is counted, reported and left out.
    """

    max_seq_len: int
    batch_size: int
    in_tokens: bool = True
    shuffle: bool = False
    shuffle_buffer: int = 10_000
    seed: int = 0
    epochs: int = 1
    rank: int = 0
    world_size: int = 1
    even: bool = False
    on_bad: str = "error"

    def check(self) -> None:
        """Raises UserError for a value out of its range."""
        check_integers(
            self, {"max_seq_len": 3, "batch_size": 1, "shuffle_buffer": 1, "seed": 0, "epochs": 1, "rank": 0}
        )
        check_integers(self, {"world_size": 1})
        if self.rank >= self.world_size:
            raise UserError(f"rank {self.rank} of {self.world_size} processes; ranks count from 0")
        if self.in_tokens and self.batch_size < self.max_seq_len:
            raise UserError(
                f"in_tokens with batch_size {self.batch_size} tokens, less than max_seq_len {self.max_seq_len}: "
                "a long instance would fit no batch; raise batch_size or turn in_tokens off"
            )
        check_choice(self, "on_bad", ("error", "skip"))


@dataclass(frozen=True)
class Masking:
    """What is masked, and how. Shards that are not masked take none of it.

    Attributes:
        units: what is masked where a file masks whole units: a level, or levels by steps, see ``masking.Schedule``; a
            step is a batch of every rank. None: entities.
        mask_draw: "piece": each piece of a chosen unit becomes [MASK], another or itself on its own (2019); "unit":
            all alike.
        generate_neg_sample: to each buffer add as many pairs of sentences that do not follow each other; shards must
            hold only pairs that do.
        draws_of_2019: draw everything from one RandomState(mask_seed) in the order of the 2019 code: per file which
            units, per buffer of one file its order, per batch its masks; batches go over the ends of epochs. The same
            seeds give the same batches. For comparison: continuing means reading again from the beginning. One rank
            only.
        mask_seed: see there.
    """

    units: str | None = None
    mask_draw: str = "piece"
    generate_neg_sample: bool = False
    draws_of_2019: bool = False
    mask_seed: int = 0

    def check(self) -> None:
        """Raises UserError for a value out of its range."""
        check_integers(self, {"mask_seed": 0})
        check_choice(self, "mask_draw", MASK_DRAWS)
        _ = self.schedule

    @property
    def schedule(self) -> Schedule:
        """Which units are masked from which step on. Raises UserError."""
        return Schedule.parse("entity" if self.units is None else self.units)

    def changed(self) -> list[str]:
        """Names of the arguments that are not at their default."""
        return [each.name for each in dataclasses.fields(self) if getattr(self, each.name) != each.default]


def check_integers(group: object, least: dict[str, int]) -> None:
    """Raises UserError where an attribute is not an integer from its lowest value on."""
    for name, low in least.items():
        value = getattr(group, name)
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value < 2**32:
            raise UserError(f"{name} is {value!r}; give an integer from {low} on, below 2**32")


def check_choice(group: object, name: str, values: tuple[str, ...]) -> None:
    """Raises UserError where an attribute is none of these."""
    if getattr(group, name) not in values:
        raise UserError(f"{name} is {getattr(group, name)!r}; give {' or '.join(values)}")
