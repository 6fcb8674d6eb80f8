"""The flags of sentence vectors. No Paddle here: entry scripts read them before they load it.

from finetune.vectors.flags import FLAGS
"""

from __future__ import annotations

from dataclasses import dataclass

from ernie.pooling import MEAN
from finetune.embedding.pooled import CHOICES
from propeller.flags import flag

SIMCSE, PAIRS, TRIPLETS, COSINE, TEACHER = OBJECTIVES = ("simcse", "pairs", "triplets", "cosine", "teacher")
CONTRASTIVE = (SIMCSE, PAIRS, TRIPLETS)
TEXTS = {SIMCSE: 1, PAIRS: 2, TRIPLETS: 3, COSINE: 2, TEACHER: 1}  # of a row of a training file


@dataclass(frozen=True)
class SentenceVectorFlags:
    """sentence vectors: what they learn from, and how a text's tokens become one vector"""

    objective: str = flag(
        SIMCSE,
        "simcse: each text twice, with dropout of its own; pairs: text_a is near text_b; triplets: and far from "
        "negative; cosine: label says how near; teacher: each text has the vector in --teacher_vectors",
        choices=OBJECTIVES,
    )
    pooling: str | None = flag(
        None,
        "the vector of a text: mean or max over its tokens; cls, the pooled [CLS]; first, the state of [CLS]; "
        "first_last, the mean over the first and the last layer [as --init_checkpoint, else mean]",
        choices=CHOICES,
        facts={"model_default": MEAN},
    )
    temperature: float = flag(
        0.05,
        "what cosines are divided by before the softmax over the batch (simcse, pairs, triplets)",
        facts={"stored": False},
    )
    projection: bool = flag(
        False,
        "a dense layer with tanh over the vector, in training alone (simcse, pairs, triplets)",
        facts={"stored": False},
    )
    largest_score: float = flag(5.0, "the label that a cosine of 1 stands for, in training with cosine and dev sets")
    teacher_vectors: str | None = flag(
        None,
        "vectors of the rows of --train_set, in their order: a .npy, a .npz with one array, or the directory that "
        "ernie_encoder.py wrote; or a model (checkpoint, inference model) that makes them",
        facts={"stored": False, "place": True},
    )


FLAGS = SentenceVectorFlags
EXAMPLE = "--model MODEL --objective simcse --train_set texts.tsv --dev_set sts.tsv --checkpoints output/vectors"
