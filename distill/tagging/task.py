"""Students of sequence labelling, one tag per token: CNN, BiLSTM, small Transformer.

    python -m finetune student_sequence_label --ernie_config_path config/student/bilstm.json --vocab_path vocab.txt \
        --label_map_config data/msra_ner/label_map.json --train_set data/msra_ner/train.tsv ...
"""

from __future__ import annotations

from typing import Any

from distill.students.base import StudentNetworks
from distill.students.config import StudentConfig
from distill.tagging.flags import StudentTaggingArgs
from finetune.spec import ModelSpec
from finetune.tagging.task import SequenceLabel
from propeller.errors import UserError


class StudentSequenceLabel(StudentNetworks, SequenceLabel):
    """One tag per token by a small, fast network: softmax over the vector of every word piece."""

    name = "student_sequence_label"
    head_prefix = ("cls_seq_label_out", *StudentNetworks.head_prefix)
    flags: type = StudentTaggingArgs
    script = "python -m finetune.prediction"

    @classmethod
    def check(cls, spec: ModelSpec) -> None:
        """The tags and their scheme; a network that sees more of a token than itself."""
        super().check(spec)
        config: Any = None if spec.network is None else cls.read_config(spec.network)
        if isinstance(config, StudentConfig) and config.network == "bow":
            raise UserError("a bag of words has no places to tag: give the configuration of a cnn or a bilstm")
        if isinstance(config, StudentConfig) and config.pairs:
            raise UserError("'pairs' compares two texts, and tagged text is one: remove it from the configuration")
