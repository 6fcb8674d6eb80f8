"""Metrics over a data set: what to fetch from a Program, how to collect it batch by batch, and the resulting score.

    from propeller.metrics import Acc, ChunkF1, Collected
    metric = Acc(label, prediction)         # two tensors of a Program
    metric.update([labels, predictions])    # their arrays of one batch
    metric.eval()                           # 0.91

``Metric`` and ``Collected`` give several named scores at once; they are the form that the training loop takes. The
``Metrics`` give one number each. Nothing here imports Paddle: a tensor is anything the Program can fetch.
"""

from propeller.metrics.base import Collected, Metric
from propeller.metrics.chunks import ChunkF1
from propeller.metrics.ranking import BinaryPNRatio, Mrr, PNRatio, PrecisionAtK
from propeller.metrics.scores import (
    F1,
    MSE,
    Acc,
    Auc,
    Cosine,
    Mean,
    Metrics,
    Ppl,
    Precision,
    PrecisionAtThreshold,
    Recall,
    RecallAtPrecision,
)

__all__ = [
    "F1",
    "MSE",
    "Acc",
    "Auc",
    "BinaryPNRatio",
    "ChunkF1",
    "Collected",
    "Cosine",
    "Mean",
    "Metric",
    "Metrics",
    "Mrr",
    "PNRatio",
    "Ppl",
    "Precision",
    "PrecisionAtK",
    "PrecisionAtThreshold",
    "Recall",
    "RecallAtPrecision",
]
