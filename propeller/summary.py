"""Tensors of a training Program to be logged: ``scalar`` and ``histogram``, called while a model is built.

    def loss(self, predictions, label):
        propeller.summary.histogram("logits", predictions)

They are fetched every ``log_steps`` steps, printed in the log line and written to the event files in
``model_dir/train_history``. In an evaluation or prediction Program the calls do nothing.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from propeller.errors import UserError

_collected: contextvars.ContextVar = contextvars.ContextVar("summaries", default=None)


@dataclass
class SummaryRecord:
    """What a training Program wants logged: name -> tensor."""

    scalar: dict = field(default_factory=dict)
    histogram: dict = field(default_factory=dict)


def scalar(name: str, tensor: Any) -> None:
    """Log a number.

    Args:
        name: its name in log lines and curves.
        tensor: of one element.
    """
    _add("scalar", name, tensor)


def histogram(name: str, tensor: Any) -> None:
    """Log how the values of a tensor are distributed.

    Args:
        name: its name.
        tensor: of any shape.
    """
    _add("histogram", name, tensor)


def _add(kind, name, tensor):
    record = _collected.get()
    if record is None:
        return
    if name in record.scalar or name in record.histogram:
        raise UserError(f"summary {name!r} is there twice: give each a name of its own")
    getattr(record, kind)[name] = tensor


@contextlib.contextmanager
def collecting(record: SummaryRecord) -> Iterator[SummaryRecord]:
    """Collect into a record what is called meanwhile."""
    token = _collected.set(record)
    try:
        yield record
    finally:
        _collected.reset(token)
