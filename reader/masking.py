"""Knowledge masking: whole units are chosen and their pieces masked (ERNIE 1.0, arXiv 1904.09223, section 3.2).

    probs, replacements = draw(np.random.RandomState(0), tokens=len(rows.ids), vocab_size=18000)
    ids, chosen = mask_tokens(rows, level="entity", probs=probs, replacements=replacements, special=special)
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
from reader.shards import ENTITY, PHRASE, SPECIAL, WORD, Instances

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


def draw(random: np.random.RandomState, tokens: int, vocab_size: int):
    """A number in [0, 1) for every token, float64, and an id in 1..vocab_size - 1, int64: in the order of 2019."""
    return random.random_sample(tokens), random.randint(1, vocab_size, tokens, dtype=np.int64)


def unit_starts(units: np.ndarray, level: str) -> np.ndarray:
    """bool [tokens]: whether a unit of the level begins at the token; each special token is one of its own."""
    return (units & LEVELS[level] == 0) | (units & SPECIAL != 0)


def mask_tokens(
    rows: Instances,
    *,
    level: str,
    probs: np.ndarray,
    replacements: np.ndarray,
    special: SpecialIds,
    mask_draw: str = "piece",
    at_least_one: bool = False,
):
    """What the network gets to see, and which tokens it has to tell.

    A unit is chosen where the number drawn for its first token is at most 0.15. The same number, as a part of 0.15,
    says what becomes of that piece: above 0.2 [MASK], above 0.1 another piece, else it stays. Each further piece has
    its own number for that (2019), or with mask_draw "unit" shares its unit's. [CLS], [SEP], [PAD] are never chosen.

    Args: rows: where `knowledge` is False, pieces are masked whatever the level; probs: float [tokens]; replacements:
        int [tokens]; at_least_one: choose the unit with the lowest number where none is at most 0.15, since a loss over
        nothing is not a number; 2019 did not.
    Returns: (int32 [tokens], bool [tokens]).
    """
    ids = rows.ids
    # 2019 went by ids among pieces and by seg_labels among words; instances agree in both.
    open_to = (rows.units & SPECIAL == 0) & (ids != special.cls) & (ids != special.sep) & (ids != special.pad)
    starts = unit_starts(rows.units, level) | ~np.repeat(rows.knowledge, rows.lengths)
    if len(starts):
        starts[0] = True
    first = np.maximum.accumulate(np.where(starts, np.arange(len(ids)), 0))  # [tokens], the first of each one's unit
    of_unit = probs[first]
    # A word may go on behind [CLS] where a text was cut: it has no beginning, and is left alone as in 2019.
    open_to &= rows.units[first] & SPECIAL == 0
    bound = CHOSEN
    if at_least_one and open_to.any():
        bound = max(bound, of_unit[open_to].min())
    chosen = open_to & (of_unit <= bound)
    own, whole = (of_unit, np.full(len(ids), CHOSEN)) if mask_draw == "unit" else (probs, np.where(starts, CHOSEN, 1.0))
    seen = ids.copy()
    put = chosen & (own > KEPT * whole)
    seen[put] = np.where(own[put] > REPLACED * whole[put], special.mask, replacements[put])
    return seen, chosen


def mask_positions(chosen: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """int64 [masked, 1]: where chosen tokens stand in the padded batch seen as one array of rows * longest tokens."""
    longest = int(lengths.max(initial=0))
    flat = ragged_arange(np.arange(len(lengths)) * longest, lengths)
    return flat[chosen].reshape(-1, 1)
