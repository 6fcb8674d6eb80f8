"""Tasks that are scored as ``--metric`` says."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from finetune import metrics
from finetune.answers import Answers

if TYPE_CHECKING:
    from finetune.spec import ModelSpec


def score_of(spec: ModelSpec) -> metrics.Score:
    """The score that ``--metric`` names, its F1 as ``--f1_average`` says."""
    score = metrics.METRICS[str(spec.metric)]
    if spec.metric not in metrics.WITH_F1:
        return score
    return score._replace(compute=functools.partial(score.compute, average=getattr(spec.settings, "f1_average", None)))


class ByMetric(Answers):
    """Has the score that ``--metric`` names."""

    @classmethod
    def best_by(cls, spec: ModelSpec) -> str:
        return score_of(spec).best_by

    @classmethod
    def score_names(cls, spec: ModelSpec) -> tuple[str, ...]:
        return ("loss", *score_of(spec).names)
