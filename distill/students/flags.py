"""The flags of students, beside those of every task."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.metrics import F1_AVERAGES, METRICS, RANKING
from propeller.flags import flag

RUN = {"stored": False, "prediction": False}
PLACE = {**RUN, "place": True}


@dataclass(frozen=True)
class TeachingFlags:
    """students: small networks that learn alone, or from a teacher too"""

    unlabelled_set: str | None = flag(None, "rows that a teacher labels: a TSV without labels", facts=PLACE)
    teacher: str | None = flag(
        None, "who is asked while training: http://host:port, an inference model or a checkpoint", facts=PLACE
    )
    teacher_labels: str | None = flag(
        None, "folder of the teacher's logits, of python -m distill.label or of --teacher [FILE.teacher]", facts=PLACE
    )
    teacher_retries: int = flag(5, "how often a teacher that does not answer is asked again", facts=PLACE)
    teach_labelled: bool = flag(False, "the teacher's word counts for the rows of --train_set too", facts=RUN)
    unlabelled_ratio: int = flag(1, "batches of --unlabelled_set for each batch of --train_set", facts=RUN)
    gold_weight: float = flag(1.0, "weight of the loss on labels", facts=RUN)
    soft_weight: float | None = flag(
        None, "weight of the divergence from the teacher's softened probabilities [1; of numbers 0]", facts=RUN
    )
    mse_weight: float | None = flag(
        None, "weight of the squared distance from the teacher's logits [0; of numbers 1]", facts=RUN
    )
    hard_weight: float = flag(0.0, "weight of the cross entropy with the teacher's best class", facts=RUN)
    temperature: float = flag(1.0, "temperature of --soft_weight", facts=RUN)

    layer_teacher: str | None = flag(
        None, "checkpoint or model directory whose layers a Transformer student learns from", facts=PLACE
    )
    hidden_weight: float = flag(0.0, "weight of the squared distance from its hidden states", facts=RUN)
    relation_weight: float = flag(
        0.0, "weight of the divergence from the attention relations of its last layer", facts=RUN
    )
    relation_heads: int | None = flag(None, "heads of these relations [as many as the teacher has]", facts=RUN)

    @property
    def distils(self) -> bool:
        """Whether a teacher has a say."""
        return bool(self.unlabelled_set or self.teach_labelled)


@dataclass(frozen=True)
class StudentFlags(TeachingFlags):
    """students: small networks that learn alone, or from a teacher too"""

    metric: str | None = flag(
        None,
        "score of an evaluation [simple_accuracy; of numbers pearson_and_spearman]",
        choices=tuple(name for name in METRICS if name not in RANKING),
        facts=RUN,
    )
    f1_average: str | None = flag(
        None,
        "F1 of --metric acc_and_f1: binary, macro, micro or weighted [binary for two classes, macro for more]",
        choices=F1_AVERAGES,
        facts=RUN,
    )


FLAGS = StudentFlags
EXAMPLE = (
    "--ernie_config_path config/student/bow.json --vocab_path student_vocab.txt --tokenizer WholeWordTokenizer "
    "--train_set train.tsv --dev_set dev.tsv --learning_rate 1e-3 --checkpoints output/student"
)
