"""Knowledge masking: whole units are chosen and their pieces masked (ERNIE 1.0, arXiv 1904.09223, section 3.2).

    mark_special(rows, special)
    ids, tokens = mask_tokens(rows, Draws(bits_at(0), vocab_size=18000), level="entity", mask_id=special.mask)
    schedule = Schedule.parse("basic:0,phrase:100000,entity:200000")      # the paper's three stages
    schedule.level(150000)                                                # "phrase"

A unit is a piece, a word, a phrase or an entity. 15% of the units are chosen; of the chosen pieces 80% become [MASK],
10% another piece, 10% stay. All is numpy over the tokens of a batch. For the same draws the result is that of 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from propeller.errors import UserError
from reader.batching import ragged_arange
from reader.pretraining.shards import ENTITY, PHRASE, SPECIAL, WORD, Instances

# Level -> the bit of a token that goes on with the unit of the token before it. "basic": no token does.
# word: what seg_labels say, as in 2019; phrase: phrases, and words outside of them; entity: entities, phrases that hold
# none, and words outside of both. In shards without a sixth field the three are one.
LEVELS = {"basic": 0, "word": WORD, "phrase": PHRASE, "entity": ENTITY}
MASK_DRAWS = ("piece", "unit")
CHOSEN, REPLACED, KEPT = 0.15, 0.2, 0.1  # share of units; below these parts of a piece's draw: not masked; kept


@dataclass(frozen=True)
class SpecialIds:
    """Ids of [PAD], [CLS], [SEP] and [MASK]."""

    pad: int
    cls: int
    sep: int
    mask: int


@dataclass(frozen=True)
class Schedule:
    """Which units are masked from which step on. stages: (first step, level), the first from step 0."""

    stages: tuple[tuple[int, str], ...]

    @staticmethod
    def parse(text: str) -> Schedule:
        """From a level ("entity"), or levels with their first steps ("basic:0,phrase:1000,entity:2000").

        Raises UserError.
        """
        wanted = f"give one of {', '.join(LEVELS)}, or several with the steps they begin at, as basic:0,phrase:1000"
        stages = []
        for part in text.split(","):
            level, colon, step = part.strip().partition(":")
            if level not in LEVELS or (colon and not step.isdecimal()) or not (colon or "," not in text):
                raise UserError(f"mask schedule {text!r}: {part.strip()!r} is not understood; {wanted}")
            stages.append((int(step or 0), level))
        steps = [step for step, _ in stages]
        if steps[0] != 0 or steps != sorted(set(steps)):
            raise UserError(f"mask schedule {text!r}: steps begin with 0 and rise; {wanted}")
        return Schedule(tuple(stages))

    def level(self, step: int) -> str:
        """The level at `step`, which counts from 0."""
        return [level for first, level in self.stages if first <= step][-1]


def bits_at(seed: int, *place: int) -> np.random.Philox:
    """Random bits of a place (up to three integers) of a run, whatever was drawn elsewhere; cheap to make.

    Philox (Salmon et al. 2011), a counter-based generator: seed is its key, the place the upper words of its counter.
    """
    counter = np.zeros(4, np.uint64)
    counter[1 : len(place) + 1] = place
    return np.random.Philox(key=np.array([seed, 0], np.uint64), counter=counter)


class Draws:
    """The random numbers for one call of `mask_tokens`, drawn as they are needed.

    Args:
        bits: of `bits_at`.
        vocab_size: of ids.

    Attributes:
        chosen: the highest number of a unit that is chosen.
    """

    chosen = np.uint32(CHOSEN * 2**32)

    def __init__(self, bits: np.random.Philox, vocab_size: int) -> None:
        self.bits, self.vocab_size = bits, vocab_size

    def _numbers(self, count):
        """uint32 [count]."""
        return self.bits.random_raw((count + 1) // 2).view(np.uint32)[:count]

    def units(self, begins: np.ndarray) -> np.ndarray:
        """A number for each unit; begins: int64 [units], its first tokens."""
        return self._numbers(len(begins))

    def actions(self, tokens: np.ndarray, numbers: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """A number in [0, 1) for each token of the chosen units, which says what becomes of it, float64 [tokens].

        Args:
            tokens: int64 [tokens].
            numbers: [units], those of `units`.
            sizes: int64 [units], tokens of each.
        """
        return self._numbers(len(tokens)) * 2.0**-32

    def others(self, tokens: np.ndarray) -> np.ndarray:
        """An id from 1 to vocab_size - 1 for each of some tokens."""
        return 1 + (self._numbers(len(tokens)) * ((self.vocab_size - 1) * 2.0**-32)).astype(np.int32)


class DrawsOf2019:
    """The random numbers of 2019: a number and an id for every token of a batch, chosen or not.

    probs: float64 [tokens] in [0, 1); replacements: int64 [tokens]. A unit goes by the number of its first token, which
    also, as a part of 0.15, says what becomes of that token.
    """

    chosen = CHOSEN

    def __init__(self, probs: np.ndarray, replacements: np.ndarray) -> None:
        self.probs, self.replacements = probs, replacements

    @classmethod
    def of(cls, random: np.random.RandomState, tokens: int, vocab_size: int) -> DrawsOf2019:
        """Drawn in the order of 2019."""
        return cls(random.random_sample(tokens), random.randint(1, vocab_size, tokens, dtype=np.int64))

    def units(self, begins: np.ndarray) -> np.ndarray:
        """See Draws."""
        return self.probs[begins]

    def actions(self, tokens: np.ndarray, numbers: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """See Draws. Only the first token of a unit has the number of the unit itself."""
        own = self.probs[tokens]
        return np.where(own == np.repeat(numbers, sizes), own / CHOSEN, own)

    def others(self, tokens: np.ndarray) -> np.ndarray:
        """See Draws."""
        return self.replacements[tokens]


def mark_special(rows: Instances, special: SpecialIds) -> None:
    """Sees to it that [CLS], [SEP] and [PAD] are special whatever their seg_labels say, in place.

    A word that goes on after one has no beginning then, and is let alone, as in 2019.
    """
    ids = rows.ids
    few = np.flatnonzero((ids == special.cls) | (ids == special.sep) | (ids == special.pad))  # faster than the booleans
    rows.units[few] = SPECIAL


def unit_starts(units: np.ndarray, level: str) -> np.ndarray:
    """bool [tokens]: whether a unit of the level begins at the token; each special token begins one of its own."""
    return units & LEVELS[level] == 0


def mask_tokens(
    rows: Instances,
    draws: Draws | DrawsOf2019,
    *,
    level: str,
    mask_id: int,
    mask_draw: str = "piece",
    at_least_one: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """What the network gets to see, and which tokens it has to tell.

    A unit is chosen where its number is at most `draws.chosen`; its special tokens never are. A chosen piece becomes
    [MASK] where its own number is above 0.2, another piece where it is above 0.1, else it stays; with mask_draw "unit"
    all pieces of a unit share the number of the first.

    Args:
        rows: after `mark_special`; where `knowledge` is False, pieces are masked whatever the level.
        draws: Draws or DrawsOf2019.
        at_least_one: choose the unit with the lowest number where none is chosen, since a loss over nothing is not a
            number; 2019 did not.

    Returns:
        (int32 [tokens], int64 [masked]: the tokens to tell, counted through all rows).
    """
    starts = np.empty(len(rows.ids) + 1, bool)
    starts[:-1], starts[-1] = unit_starts(rows.units, level), True
    if not rows.knowledge.all():
        starts[:-1] |= np.repeat(~rows.knowledge, rows.lengths)
    starts[0] = True
    (borders,) = starts.nonzero()  # of units: [units + 1]
    numbers = draws.units(borders[:-1])
    units = _ordinary(rows, borders, (numbers <= draws.chosen).nonzero()[0])
    if at_least_one and not len(units):
        units = _ordinary(rows, borders, np.arange(len(numbers)))
        units = units[numbers[units].argmin(keepdims=True)] if len(units) else units
    begins, sizes = borders[units], borders[units + 1] - borders[units]
    tokens = ragged_arange(begins, sizes) if len(borders) <= len(rows.ids) else begins
    if mask_draw == "unit":
        own = np.repeat(draws.actions(begins, numbers[units], np.ones_like(begins)), sizes)
    else:
        own = draws.actions(tokens, numbers[units], sizes)
    seen = rows.ids.copy()
    changed = own > KEPT
    seen[tokens[changed]] = mask_id
    other = tokens[changed & (own <= REPLACED)]
    seen[other] = draws.others(other)
    return seen, tokens


def _ordinary(rows, borders, units):
    """Those of the units that do not begin with a special token."""
    return units[rows.units[borders[units]] & SPECIAL == 0]


def mask_positions(tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """int64 [masked, 1]: where tokens, counted through all rows, stand in the padded batch as one array.

    Args:
        tokens: int64 [masked].
        mask: bool [batch, seq], True where a token is.
    """
    return mask.reshape(-1).nonzero()[0][tokens].reshape(-1, 1)
