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

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pretrain.corpus.texts import Texts
from pretrain.declaration import Declaration, Lines, RngOf

if TYPE_CHECKING:
    from pretrain.corpus.builder import Plan, Text


class WholeWordMasking(Declaration):
    """One text; the masked pieces of whole words."""

    name = "whole_word_masking"
    kind = "masking"
    model = "pretrain.masking_model:MaskingModel"
    mask_units = "word"
    pairs_of_texts = False

    def __init__(self, plan: Plan, tokenizer: Any) -> None:
        super().__init__(plan, tokenizer)
        self.texts = Texts(plan.max_seq_len, tokenizer.cls_id, tokenizer.sep_id)

    def lines(self, documents: Sequence[Text], rng_of: RngOf) -> tuple[Lines, Counter]:
        """See ``Declaration``. Nothing is drawn."""
        return self.texts.lines([document.sentences for document in documents])

    @classmethod
    def head_settings(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """None can be given; stored is what ``pretrain.masking_model`` reads."""
        if given and dict(given) != {"next_sentence": False}:
            raise cls.wrong_head(given, "{}")
        return {"next_sentence": False}
