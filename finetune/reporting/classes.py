"""The report of a classifier: by class, the confusion matrix, rows it gets wrong, labels that are probably wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.metrics import best_class, softmax
from finetune.reporting.parts import Matrix, Report, Table, by_confidence, count_texts, predicted, text_tables
from finetune.reporting.rows import ShownRows

if TYPE_CHECKING:
    from finetune.prediction.model import InferenceModel
    from reader.batch_reader import BatchReader

SHOWN_NEVER = 10  # classes that are never predicted, named in a sentence


def report(model: InferenceModel, reader: BatchReader, path: str) -> Report:
    """The report of a labelled file.

    Args:
        model: a classifier.
        reader: of the file, with labels.
        path: named in the report.
    """
    return _report(model, reader, path, lambda outputs, row: outputs["probs"][row].copy())


def report_of_scores(model: InferenceModel, reader: BatchReader, path: str) -> Report:
    """The same for a model whose outputs are ``scores``, logits of the classes."""
    return _report(model, reader, path, lambda outputs, row: softmax(outputs["scores"][row]))


def _report(model, reader, path, probs_of):
    labels = model.spec.labels
    probs = np.stack(list(predicted(reader, model, probs_of)))
    given = labels_of(reader, model)
    guesses = np.asarray(best_class(probs))
    made = Report(model.task.name, path)
    made.matrix = Matrix(labels, confusion(given, guesses, len(labels)))
    table, made.facts = class_table(made.matrix)
    right = (given == guesses).astype(float)
    facts, tables = text_tables(count_texts(reader), right, reader.max_seq_len)
    made.facts.update(facts)
    made.tables = [table, confused(made.matrix), *tables]
    odd = suspects(probs, given, guesses)
    made.facts.update(wrong=int((right == 0).sum()), suspects=int((odd >= 0).sum()))
    rows = ShownRows(reader.table)

    def entry(row, other):
        return row, [labels[given[row]], labels[other], float(probs[row, other]), float(probs[row, given[row]])]

    wrong = np.flatnonzero(given != guesses)
    made.wrong = rows.table(
        "Wrong rows",
        "The rows whose label the model does not predict, the surest first.",
        ["label", "predicted", "confidence", "probability_of_label"],
        [entry(row, guesses[row]) for row in wrong[by_confidence(probs[wrong, guesses[wrong]])].tolist()],
    )
    found = np.flatnonzero(odd >= 0)
    gap = probs[found, odd[found]] - probs[found, given[found]]
    made.suspects = rows.table(
        "Likely label errors",
        "Rows to which the model gives another class with at least the probability that it gives that class, on "
        "average, in the rows labelled with it (confident learning, Northcutt et al. 2021). That class is suggested; "
        "one that the model never predicts in this file is not. Use rows that the model was not trained on.",
        ["label", "suggested", "probability_of_suggested", "probability_of_label"],
        [entry(row, odd[row]) for row in found[by_confidence(gap)].tolist()],
    )
    return made


def labels_of(reader: BatchReader, model: InferenceModel) -> np.ndarray:
    """int64 [rows]: the class of each row, in the file's order."""
    found = []
    with reader.open_source() as source:
        for rows in source.rows(np.arange(reader.num_examples), 0):
            found.append(np.asarray(rows.labels).ravel())
    return np.concatenate(found)


def confusion(given: np.ndarray, guesses: np.ndarray, classes: int) -> np.ndarray:
    """int64 [classes, classes]: rows by given class, columns by predicted class."""
    return np.bincount(given * classes + guesses, minlength=classes * classes).reshape(classes, classes)


def class_table(matrix: Matrix) -> tuple[Table, dict[str, Any]]:
    """Precision, recall, F1 and support of each class and their means; and the same as facts.

    A class that is never predicted has precision 0, one without rows recall 0, as in scikit-learn's report.
    """
    counts = matrix.counts
    hits, support, chosen = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    precision = hits / np.maximum(chosen, 1)
    recall = hits / np.maximum(support, 1)
    both = precision + recall
    f1 = np.where(both > 0, 2 * precision * recall / np.where(both > 0, both, 1), 0.0)
    columns = np.stack([precision, recall, f1], axis=1)
    rows: list[list[Any]] = [[label, *values, int(count)]
                             for label, values, count in zip(matrix.labels, columns.tolist(), support)]  # fmt: skip
    there = (support > 0) | (chosen > 0)
    total = int(support.sum())
    accuracy = float(hits.sum() / max(total, 1))
    macro = columns[there].mean(axis=0).tolist()
    weighted = (columns * support[:, None]).sum(axis=0) / max(total, 1)
    rows += [["mean of classes", *macro, total], ["mean by rows", *weighted.tolist(), total]]
    facts = {
        "rows": total,
        "accuracy": accuracy,
        "macro_f1": macro[2],
        "weighted_f1": float(weighted[2]),
        "classes": {row[0]: dict(zip(("precision", "recall", "f1", "support"), row[1:])) for row in rows[:-2]},
    }
    about = f"Accuracy {accuracy:.4f} of {total} rows.{never_predicted(matrix.labels, support, chosen)}"
    return Table("Classes", about, ["class", "precision", "recall", "f1", "rows"], rows), facts


def never_predicted(names: Sequence[str], support: np.ndarray, chosen: np.ndarray, what: str = "rows") -> str:
    """A sentence on each class that the file has and the model never predicts in it; "" where there is none.

    Args:
        names: of the classes.
        support: int [classes]: how often each is the label.
        chosen: int [classes]: how often each is predicted.
        what: what is counted.
    """
    never = np.flatnonzero((support > 0) & (chosen == 0)).tolist()
    said = [f"{names[place]}: never predicted; {support[place]} {what} have it" for place in never[:SHOWN_NEVER]]
    more = f" {len(never) - SHOWN_NEVER} more classes are never predicted." if len(never) > SHOWN_NEVER else ""
    return "".join(f" {sentence}." for sentence in said) + more


def confused(matrix: Matrix, most: int = 20) -> Table:
    """The pairs of classes that are taken for each other most often."""
    counts = matrix.counts - np.diag(np.diag(matrix.counts))
    order = np.argsort(-counts.ravel(), kind="stable")[:most].tolist()
    size, support = len(matrix.labels), matrix.counts.sum(axis=1)
    rows: list[list[Any]] = []
    for place in order:
        one, other = divmod(place, size)
        if counts[one, other]:
            share = float(counts[one, other] / support[one])
            rows.append([matrix.labels[one], matrix.labels[other], int(counts[one, other]), share])
    header = ["label", "predicted", "rows", "of the label's"]
    return Table("Most confused", "Which class is taken for which.", header, rows)


def suspects(probs: np.ndarray, given: np.ndarray, guesses: np.ndarray) -> np.ndarray:
    """int64 [rows]: the class that a row probably is of, -1 where its own label is as likely.

    A row is counted for the likeliest class whose probability reaches the mean that this class has over the rows that
    are labelled with it (Northcutt et al. 2021, section 3.1). A class that is never predicted was not learnt: its mean
    is low, and any row would reach it.

    Args:
        probs: float [rows, classes].
        given: int [rows].
        guesses: int [rows]: the classes that are predicted.
    """
    means = np.full(probs.shape[1], np.inf)
    for label in np.intersect1d(given, guesses).tolist():
        means[label] = probs[given == label, label].mean()
    reached = np.where(probs >= means, probs, -1.0)
    other = reached.argmax(axis=1)
    return np.where((reached.max(axis=1) > 0) & (other != given), other, -1)
