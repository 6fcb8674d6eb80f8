"""Students of sequence labelling, one tag per token: CNN, BiLSTM, small Transformer.

    python -m finetune student_sequence_label --ernie_config_path config/student/bilstm.json --vocab_path vocab.txt \
        --label_map_config data/msra_ner/label_map.json --train_set data/msra_ner/train.tsv ...
    ... --unlabelled_set unlabelled.tsv                                # with what a teacher has said of its tokens
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from distill.losses import tagging_inputs, tagging_loss
from distill.students.base import StudentNetworks
from distill.students.config import StudentConfig
from distill.students.flags import TeachingFlags
from distill.students.teaching import Teaching
from distill.tagging.flags import StudentTaggingArgs
from distill.tagging.reader import TaughtTaggingReader
from distill.teacher import TAGS
from finetune.spec import ModelSpec, Reading
from finetune.tagging.task import SequenceLabel
from propeller.errors import UserError
from propeller.train.model import Input


class StudentSequenceLabel(Teaching, StudentNetworks, SequenceLabel):
    """One tag per token by a small, fast network: softmax over the vector of every word piece."""

    name = "student_sequence_label"
    head_prefix = ("cls_seq_label_out", *StudentNetworks.head_prefix)
    flags: type = StudentTaggingArgs
    learns = TAGS
    loss_flags = SequenceLabel.loss_flags
    taught_reader = TaughtTaggingReader
    job = SequenceLabel.job
    former_flags = {entry.name: entry.default for entry in fields(TeachingFlags)}  # its first runs had no teacher

    def loss(self, predictions: dict[str, Any], label: dict[str, Any]) -> Any:
        """That of ``SequenceLabel``; while training with a teacher the mean of ``tagging_loss`` over the places."""
        if not self.distils:
            return super().loss(predictions, label) + self.layer_loss()
        logits = predictions["logits"]
        losses = tagging_loss(logits, self.token_losses(logits, label), label, self.weights(self.spec))
        return losses.mean() + self.layer_loss()

    @classmethod
    def teaching_inputs(cls, columns: int) -> tuple[Input, ...]:
        return tagging_inputs(columns)

    @classmethod
    def taught_arguments(cls, spec: ModelSpec, reading: Reading, is_labelled: bool) -> dict[str, Any]:
        return {**cls.reader_arguments(spec, reading), "labelled": is_labelled}

    @classmethod
    def check_teacher(cls, facts: Mapping[str, Any], where: str, spec: ModelSpec) -> None:
        """Tags have to make entities alike, too."""
        super().check_teacher(facts, where, spec)
        for name in ("chunk_scheme", "o_label"):
            if facts[name] != getattr(spec.settings, name):
                raise UserError(
                    f"{where}: the teacher's --{name} is {facts[name]}, the student's {getattr(spec.settings, name)}: "
                    "give the student the teacher's"
                )

    @classmethod
    def check(cls, spec: ModelSpec) -> None:
        """The tags and their scheme; a network that sees more of a token than itself; a teacher."""
        super().check(spec)
        config: Any = None if spec.network is None else cls.read_config(spec.network)
        if isinstance(config, StudentConfig) and config.network == "bow":
            raise UserError("a bag of words has no places to tag: give the configuration of a cnn or a bilstm")
        if isinstance(config, StudentConfig) and config.pairs:
            raise UserError("'pairs' compares two texts, and tagged text is one: remove it from the configuration")
        cls.check_teaching(spec)
