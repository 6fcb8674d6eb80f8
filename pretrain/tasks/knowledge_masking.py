"""Knowledge masking and next sentence: ERNIE 1.0 (arXiv 1904.09223, section 3.2; Devlin et al. 2018, section 3.1).

    python -m pretrain.build_data --input 'corpus/*.txt' --output OUT --vocab_path vocab.txt
    python train.py --train_filelist OUT/filelist ...

An instance is a pair of texts (pretrain/corpus/instances.py) with its words, phrases and entities. The reader masks
pieces, words, phrases or entities of it (reader/pretraining/masking.py); the network (pretrain/masking_model.py)
predicts the masked pieces, and whether the second text follows the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pretrain.corpus.instances import Pairs
from pretrain.declaration import Declaration, Lines, RngOf

if TYPE_CHECKING:
    from pretrain.corpus.builder import Plan, Text
    from tokenization_base import BaseTokenizer


class KnowledgeMasking(Declaration):
    """Masked pieces of units, and the next sentence."""

    name = "knowledge_masking"
    kind = "masking"
    model = "pretrain.masking_model:MaskingModel"
    named_seeds = False

    def __init__(self, plan: Plan, tokenizer: BaseTokenizer) -> None:
        super().__init__(plan, tokenizer)
        self.pairs = Pairs(plan.max_seq_len, plan.pairs, tokenizer.cls_id, tokenizer.sep_id, plan.short_seq_prob)

    def lines(self, documents: Sequence[Text], rng_of: RngOf) -> tuple[Lines, Counter]:
        """See ``Declaration``; ``next`` counts pairs whose second text follows the first."""
        return self.pairs.lines([document.sentences for document in documents], rng_of)

    @classmethod
    def statistics(cls, total: Mapping, names: Sequence[str] | None) -> dict[str, Any]:
        """See ``Declaration``; with how many pairs follow each other."""
        return {
            "instances": total["instances"],
            "instances_next": total["next"],
            "tokens": total["tokens"],
            "negatives_of_own_document": total["negatives_of_own_document"],
        }

    @classmethod
    def report(cls, stats: Mapping[str, Any]) -> str:
        """See ``Declaration``."""
        return f"{stats['instances_next']} of them with the next text"

    @classmethod
    def head_settings(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """``next_sentence``: whether the head predicts the next sentence too."""
        next_sentence = given.get("next_sentence", True)
        if set(given) - {"next_sentence"} or not isinstance(next_sentence, bool):
            raise cls.wrong_head(given, '"next_sentence": true or false')
        return {"next_sentence": next_sentence}
