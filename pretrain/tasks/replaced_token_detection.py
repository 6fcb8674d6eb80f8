"""Replaced-token detection: of every token, whether a small generator put it there (ELECTRA, arXiv 2003.10555).

    python -m pretrain.build_data --tasks replaced_token_detection --segmenter english ...

Clark et al. 2020, section 2: a generator fills masked places with samples of what it expects there; the encoder sees
the filled text and tells of each token whether it is the original one. So every token teaches the encoder something,
not 15% of them alone, and it never sees a [MASK]. A place that the generator filled with the right token is original.

An instance is one text, as of whole-word masking; --mask_units says what is masked. The network is in
pretrain/replaced_model.py. Settings of the head in the task list:

    "generator_layers": 3       layers of the generator; 0, as without it: a quarter of the encoder's, at least one
    "detection_weight": 50      what the loss of the detection is multiplied by, beside that of the generator
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pretrain.masked_text import MaskedText


class ReplacedTokenDetection(MaskedText):
    """One text; of each token, whether it was replaced."""

    name = "replaced_token_detection"
    model = "pretrain.replaced_model:ReplacedModel"

    @classmethod
    def head_settings(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """``generator_layers`` and ``detection_weight``, see above."""
        layers, weight = given.get("generator_layers", 0), given.get("detection_weight", 50)
        good = type(layers) is int and layers >= 0 and type(weight) in (int, float) and 0 < weight < math.inf
        if set(given) - {"generator_layers", "detection_weight"} or not good:
            wanted = '"generator_layers": a whole number from 0 on, "detection_weight": a number above 0'
            raise cls.wrong_head(given, wanted)
        return {"generator_layers": layers, "detection_weight": weight}
