"""The builder half of a pre-training task of one text with masked pieces.

    class WholeWordMasking(MaskedText):
        name = "whole_word_masking"
        model = "pretrain.masking_model:MaskingModel"

An instance is one text: sentences of a document that follow each other, as many as fit. The reader masks pieces of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pretrain.corpus.texts import Texts
from pretrain.declaration import Declaration, Lines, RngOf

if TYPE_CHECKING:
    from pretrain.corpus.builder import Plan, Text
    from tokenization_base import BaseTokenizer


class MaskedText(Declaration):
    """A task whose instances are one text each."""

    kind = "masking"
    pairs_of_texts = False

    def __init__(self, plan: Plan, tokenizer: BaseTokenizer) -> None:
        super().__init__(plan, tokenizer)
        self.texts = Texts(plan.max_seq_len, tokenizer.cls_id, tokenizer.sep_id)

    @classmethod
    def report(cls, stats: Mapping[str, Any]) -> str:
        """See ``Declaration``."""
        return "one text each"

    def lines(self, documents: Sequence[Text], rng_of: RngOf) -> tuple[Lines, Counter]:
        """See ``Declaration``. Nothing is drawn."""
        return self.texts.lines([document.sentences for document in documents])
