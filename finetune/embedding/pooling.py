"""Which vector a text gets where nobody asks for one: the one that the model was trained with.

    settled(read_facts("MODEL/params"), has_pooler=True, otherwise=MEAN)       # Pooling("mean", normalize=False)

A model that was trained to give vectors stores its pooling. A head over the pooled [CLS] trains that one. Of any other
encoder nobody trained the pooled [CLS] for vectors, and it is nearly alike for all texts.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ernie.pooling import CLS, MEAN, Pooling, trained_pooling
from finetune import TASKS, task_class

log = logging.getLogger("ernie.finetune")


def settled(record: Mapping[str, Any], has_pooler: bool, otherwise: str, source: str | Path) -> Pooling:
    """The pooling of a model where no flag gives one; a line of the log says which and why.

    Args:
        record: what the model says of itself, see ``ernie.facts.read_facts``.
        has_pooler: whether the layer asked for has a pooled [CLS] or, below the top, a state of [CLS].
        otherwise: the pooling of a model that does not say how it was trained.
        source: the model, for the log.
    """
    trained = trained_pooling(record)
    if trained is not None:
        length = ", length 1" if trained.normalize else ""
        log.info("%s: pooling %s%s: what the model was trained with", source, trained.name, length)
        return trained
    task = record.get("task")
    if not has_pooler:
        log.info("%s: pooling %s: the weights have no pooled [CLS]", source, MEAN)
        return Pooling(MEAN)
    if task in TASKS and task_class(task).pools_cls:
        log.info("%s: pooling %s: the task %s trained the pooled [CLS]", source, CLS, task)
        return Pooling(CLS)
    if otherwise == CLS:
        log.warning(
            "%s: pooling %s, as in 2019: the model's record does not name the vector that was trained; an untrained %s "
            "is nearly the same for all texts; --pooling %s is the better start", source, CLS, CLS, MEAN)  # fmt: skip
    else:
        log.info("%s: pooling %s: the model does not say which vector was trained", source, otherwise)
    return Pooling(otherwise)
