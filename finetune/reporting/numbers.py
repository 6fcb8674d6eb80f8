"""The report of a regression: how far the numbers are off, and where most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from finetune.reporting.classes import labels_of
from finetune.reporting.parts import Report, Table, bands, by_confidence, count_texts, predicted
from finetune.reporting.rows import ShownRows

if TYPE_CHECKING:
    from finetune.prediction.model import InferenceModel
    from reader.task_reader import TaskReader


def report(model: InferenceModel, reader: TaskReader, path: str) -> Report:
    """The report of a labelled file, see ``finetune.reporting.classes.report``."""
    guesses = np.array(list(predicted(reader, model, lambda outputs, row: float(outputs["logits"][row, 0]))))
    given = labels_of(reader, model).astype(np.float64)
    off, texts = guesses - given, count_texts(reader)
    made = Report(model.task.name, path)
    share = float(texts.unknown.sum() / max(int(texts.pieces.sum()), 1))
    made.facts = {"rows": len(given), "mean_error": float(np.abs(off).mean()), "bias": float(off.mean()),
                  "unknown_share": share, "cut": int(texts.cut.sum())}  # fmt: skip
    groups = [("all", np.ones(len(off), bool)), *bands(texts.lengths, "tokens"), *quarters(given)]
    rows = [[name, int(own.sum()), float(np.abs(off[own]).mean()), float(off[own].mean())] for name, own in groups]
    about = "How far predictions are from labels, by length and by label."
    made.tables = [Table("Errors", about, ["rows", "count", "mean distance", "mean difference"], rows)]
    made.wrong = ShownRows(reader.table).table(
        "Rows by error",
        "All rows, those farthest off first.",
        ["label", "predicted", "difference"],
        [(row, [given[row], guesses[row], off[row]]) for row in by_confidence(np.abs(off))],
    )
    return made


def quarters(given: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Groups of like label, the lowest first."""
    borders = np.unique(np.quantile(given, np.linspace(0, 1, 5)))
    found = []
    for low, high in zip(borders, borders[1:]):
        own = (given >= low) & ((given <= high) if high == borders[-1] else (given < high))
        if own.any():
            found.append((f"labels {low:g} to {high:g}", own))
    return found
