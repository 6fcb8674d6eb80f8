"""The flags of students that tag tokens: those of sequence labelling."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.tagging.flags import SequenceLabelArgs, TaggingArgs
from propeller.flags import flag
from reader.tagging.tags import SCHEMES


@dataclass(frozen=True)
class StudentTaggingArgs(SequenceLabelArgs):
    """students of sequence labelling: tags and long sentences"""

    chunk_scheme: str = flag("IOB", "how tags make entities", choices=tuple(SCHEMES))


FLAGS, PREDICTION = StudentTaggingArgs, TaggingArgs
