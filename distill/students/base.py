"""What makes a task of fine-tuning one of a student: its network instead of the encoder.

class Student(StudentNetworks, Classifier): ...
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.students.config import StudentConfig, student_config
from distill.students.first_token import pooled_first
from distill.students.networks import PREFIXES, make_network
from ernie.config import ErnieConfig
from finetune.spec import ModelSpec
from finetune.task import FinetuneTask


class StudentNetworks(FinetuneTask):
    """A task whose ``ernie_config.json`` may name a student network; without one the network is an ERNIE encoder.

    ``--init_pretraining_params`` of a teacher gives a student network its word embedding: the vocabulary is then the
    teacher's, and ``embedding_size`` its hidden size.
    """

    head_prefix: tuple[str, ...] = ("_cls_out", "distill_fc", *PREFIXES)

    @classmethod
    def read_config(
        cls, path_or_dict: str | Path | Mapping[str, Any], source: str = "config", vocab_path: str | None = None
    ) -> StudentConfig | ErnieConfig:
        """A ``StudentConfig`` or an ``ErnieConfig``, see ``distill.students.config.student_config``."""
        return student_config(path_or_dict, source, vocab_path)

    def make_encoder(self, config: Any) -> Any:
        """The student network, or an ``ErnieEncoder``."""
        return make_network(config) if isinstance(config, StudentConfig) else super().make_encoder(config)

    def pooled(self, features: dict[str, Any]) -> Any:
        """The vector of each example, float32 [batch, hidden]."""
        if isinstance(self.config, StudentConfig):
            return self.encoder.pooled(features)
        return super().pooled(features) if self.training_mode else pooled_first(self.encoder, features)

    @classmethod
    def memory_line(cls, config: Any, spec: ModelSpec, **setting: Any) -> str | None:
        """None but for Transformer students: nothing of the others is worth a forecast."""
        return None if isinstance(config, StudentConfig) else super().memory_line(config, spec, **setting)
