"""The flags of students that tag tokens: those of sequence labelling, and of learning from a teacher."""

from __future__ import annotations

from dataclasses import dataclass

from distill.students.flags import TeachingFlags
from finetune.tagging.flags import SequenceLabelArgs, TaggingArgs
from propeller.flags import flag
from reader.tagging.tags import SCHEMES


@dataclass(frozen=True)
class StudentTaggingArgs(SequenceLabelArgs, TeachingFlags):
    """students of sequence labelling: tags, long sentences, and what a teacher says of tokens"""

    chunk_scheme: str = flag("IOB", "how tags make entities", choices=tuple(SCHEMES))


FLAGS, PREDICTION = StudentTaggingArgs, TaggingArgs
EXAMPLE = (
    "--ernie_config_path config/student/cnn.json --vocab_path student_vocab.txt --tokenizer WholeWordTokenizer "
    "--train_set train.tsv --dev_set dev.tsv --learning_rate 1e-3 --checkpoints output/student"
)
