"""Dynamic whole-word masking: words are masked whole, other ones in every epoch.

    python -m pretrain.build_data --tasks whole_word_masking --segmenter jieba ...

Liu et al. 2019 (RoBERTa, arXiv 1907.11692, sections 4.1 and 4.2) draw masks when an instance is read, not when it is
made, and leave out the next sentence; Cui et al. 2019 (arXiv 1906.08101) mask all pieces of a word together, which for
Chinese means the characters of a word that a segmenter found. A shard holds no masks: the reader draws them anew for
every epoch (reader/pretraining/masking.py), here always of words, whatever --mask_units says of other tasks. In a file
whose mask_word_prob is 0 pieces are masked.

An instance is one text: sentences of a document that follow each other, as many as fit. The network is that of
knowledge masking without the next sentence, and has the same parameters: a run with both tasks trains one head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pretrain.masked_text import MaskedText


class WholeWordMasking(MaskedText):
    """One text; the masked pieces of whole words."""

    name = "whole_word_masking"
    model = "pretrain.masking_model:MaskingModel"
    mask_units = "word"

    @classmethod
    def head_settings(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """None can be given; stored is what ``pretrain.masking_model`` reads."""
        if given and dict(given) != {"next_sentence": False}:
            raise cls.wrong_head(given, "{}")
        return {"next_sentence": False}
