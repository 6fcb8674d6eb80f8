"""The report of multi-label classification: by label, rows whose set is wrong, labels that are probably wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.classification.multi_label import thresholds_of
from finetune.classification.thresholds import set_scores
from finetune.reporting.classes import never_predicted
from finetune.reporting.parts import Report, Table, by_confidence, count_texts, predicted, text_tables
from finetune.reporting.rows import ShownRows

if TYPE_CHECKING:
    from finetune.prediction.model import InferenceModel
    from reader.task_reader import TaskReader

MOST_PAIRS = 20


def report(model: InferenceModel, reader: TaskReader, path: str) -> Report:
    """The report of a labelled file, see ``finetune.reporting.classes.report``."""
    spec, names = model.spec, model.spec.labels
    probs = np.stack(list(predicted(reader, model, lambda outputs, row: outputs["probs"][row].copy())))
    given = sets_of(reader)
    chosen = probs >= thresholds_of(spec)
    made = Report(model.task.name, path)
    made.facts = {"rows": len(given), **set_scores(chosen, given)}
    table, by_label = label_table(names, given, chosen)
    right = (given == chosen).all(axis=1)
    facts, tables = text_tables(count_texts(reader), right.astype(float), reader.max_seq_len, "whole sets right")
    made.facts.update(labels=by_label, **facts, wrong=int((~right).sum()))
    made.tables = [table, missed_for(names, given, chosen), *tables]
    rows = ShownRows(reader.table)
    between = spec.settings.label_separator

    def joined(row):
        return between.join(name for name, is_there in zip(names, row) if is_there)

    # How far the surest wrong decision of a row is from its threshold.
    off = np.where(given != chosen, np.abs(probs - thresholds_of(spec)), 0.0).max(axis=1)
    wrong = np.flatnonzero(~right)
    made.wrong = rows.table(
        "Wrong rows",
        "The rows whose set of labels the model does not predict, the surest wrong decision first.",
        ["label", "predicted", "missing", "too many", "distance"],
        [
            (row, [joined(given[row]), joined(chosen[row]), joined(given[row] & ~chosen[row]),
                   joined(chosen[row] & ~given[row]), float(off[row])])
            for row in wrong[by_confidence(off[wrong])].tolist()
        ],
    )  # fmt: skip
    places, numbers, gaps = suspects(probs, given, chosen)
    made.facts["suspects"] = len(places)
    made.suspects = rows.table(
        "Likely label errors",
        "Decisions on one label for which the model is as sure of the opposite as it is, on average, for rows "
        "labelled so (confident learning per label, Northcutt et al. 2021). A label that the model never predicts in "
        "this file is not suggested. Use rows that the model was not trained on.",
        ["label", "in the file", "probability"],
        [
            (row, [names[label], "yes" if given[row, label] else "no", float(probs[row, label])])
            for row, label in ((int(places[at]), int(numbers[at])) for at in by_confidence(gaps))
        ],
    )
    return made


def sets_of(reader: TaskReader) -> np.ndarray:
    """bool [rows, labels]: the labels of each row, in the file's order."""
    found = []
    with reader.open_source() as source:
        for rows in source.rows(np.arange(reader.num_examples), 0):
            found.append(np.asarray(rows.labels) > 0.5)
    return np.concatenate(found)


def label_table(names: list[str], given: np.ndarray, chosen: np.ndarray) -> tuple[Table, dict[str, Any]]:
    """Precision, recall, F1 and support of each label, and the same as facts; 0 where there is nothing to divide by.

    Args:
        names: of the labels.
        given, chosen: bool [rows, labels].
    """
    hits, support, guessed = ((part).sum(axis=0) for part in (given & chosen, given, chosen))
    precision, recall = hits / np.maximum(guessed, 1), hits / np.maximum(support, 1)
    f1 = 2 * hits / np.maximum(support + guessed, 1)
    columns = zip(names, precision.tolist(), recall.tolist(), f1.tolist(), support.tolist(), guessed.tolist())
    rows: list[list[Any]] = [list(values) for values in columns]
    facts = {row[0]: dict(zip(("precision", "recall", "f1", "support", "predicted"), row[1:])) for row in rows}
    about = f"{int(support.sum())} labels in {len(given)} rows, {int((support == 0).sum())} labels without a row."
    about += never_predicted(names, support, guessed)
    return Table("Labels", about, ["label", "precision", "recall", "f1", "rows", "predicted"], rows), facts


def missed_for(names: list[str], given: np.ndarray, chosen: np.ndarray) -> Table:
    """Which label is predicted where which one is missed, most often first."""
    missed, added = given & ~chosen, chosen & ~given
    counts = missed.astype(np.int64).T @ added.astype(np.int64)  # [missed, added]
    rows: list[list[Any]] = []
    for place in np.argsort(-counts.ravel(), kind="stable")[:MOST_PAIRS].tolist():
        one, other = divmod(place, len(names))
        if counts[one, other]:
            rows.append([names[one], names[other], int(counts[one, other]), int(given[:, one].sum())])
    about = "Rows that lack the first label and have the second one too many."
    return Table("Taken for each other", about, ["missing", "too many", "rows", "rows with it"], rows)


def suspects(probs: np.ndarray, given: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rows, labels, how much surer of the opposite): decisions of the file that are probably wrong.

    A decision counts whose opposite is as probable as it is, in the mean, for rows that are labelled so. A label that
    is never predicted was not learnt, and no row probably lacks it.

    Args:
        probs: float [rows, labels].
        given: bool [rows, labels].
        chosen: bool [rows, labels]: what is predicted.
    """
    odd = np.zeros(given.shape, bool)
    for label in range(given.shape[1]):
        has, own = given[:, label], probs[:, label]
        if has.any() and not has.all():
            odd[:, label] = np.where(has, 1 - own >= (1 - own[~has]).mean(), own >= own[has].mean())
            odd[:, label] &= np.where(has, own < 0.5, (own > 0.5) & chosen[:, label].any())
    rows, labels = np.nonzero(odd)
    return rows, labels, np.abs(2 * probs[rows, labels] - 1)
