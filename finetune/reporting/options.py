"""The report of multiple choice: by place of the right option, by number and length of options, the wrong rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.metrics import best_class, softmax
from finetune.multiple_choice.task import choices_of
from finetune.reporting.classes import class_table, confusion, labels_of
from finetune.reporting.parts import (
    Matrix,
    Report,
    Table,
    as_sure_as_right,
    by_confidence,
    count_texts,
    predicted,
    text_tables,
)
from finetune.reporting.rows import ShownRows
from reader.choices import Choices

if TYPE_CHECKING:
    from finetune.prediction.model import InferenceModel
    from reader.task_reader import TaskReader


def report(model: InferenceModel, reader: TaskReader, path: str) -> Report:
    """The report of a labelled file, see ``finetune.reporting.classes.report``."""
    choices, given = choices_of(model.spec), labels_of(reader, model)
    rows = ShownRows(reader.table)
    options = [choices.options(row["choices"]) for row in rows.rows]
    scores = predicted(reader, model, lambda outputs, row: outputs["scores"][row].copy())
    probs = [softmax(found[: len(own)]) for found, own in zip(scores, options)]
    guesses = np.array([int(best_class(own)) for own in probs])
    right = guesses == given
    made = Report(model.task.name, path)
    made.matrix = Matrix(place_names(choices, options), confusion(given, guesses, max(map(len, options))))
    table, facts = class_table(made.matrix)
    sure = np.array([own[guess] for own, guess in zip(probs, guesses)])
    counts = np.array([len(own) for own in options])
    about = f"{table.about} A place is that of an option in its row; a good model prefers none."
    texts, tables = text_tables(count_texts(reader), right.astype(float), reader.max_seq_len)
    made.facts = {"rows": facts["rows"], "accuracy": facts["accuracy"], "by_chance": float((1 / counts).mean()),
                  **texts, "wrong": int((~right).sum()), "places": facts["classes"]}  # fmt: skip
    made.tables = [
        Table("Places", about, ["place", *table.header[1:]], table.rows),
        by_count(counts, right, sure),
        by_length([[len(option) for option in own] for own in options], given, guesses),
        *tables,
    ]

    def entry(row):
        label, guess, own = given[row], guesses[row], options[row]
        shown = [str(choices.written(place, own)) for place in (label, guess)]
        return row, [*shown, float(probs[row][guess]), float(probs[row][label]), own[label], own[guess]]

    header = ["label", "predicted", "confidence", "probability_of_label", "right option", "chosen option"]
    wrong = np.flatnonzero(~right)
    made.wrong = rows.table(
        "Wrong rows",
        "The rows whose right option the model does not choose, the surest first.",
        header,
        [entry(row) for row in wrong[by_confidence(sure[wrong])].tolist()],
    )
    odd = as_sure_as_right(~right, right, sure)
    made.suspects = rows.table(
        "Likely label errors",
        "Rows for which the model is as sure of another option as it is, on average, of right ones. Use rows that the "
        "model was not trained on.",
        header,
        [entry(row) for row in odd.tolist()],
    )
    made.facts["suspects"] = len(odd)
    return made


def place_names(choices: Choices, options: list[list[str]]) -> list[str]:
    """What the places of options are called: as labels call them, or by number where these are texts."""
    longest = max(options, key=len)
    if choices.form == "text":
        return [f"option {place + 1}" for place in range(len(longest))]
    return [str(choices.written(place, longest)) for place in range(len(longest))]


def by_count(counts: np.ndarray, right: np.ndarray, sure: np.ndarray) -> Table:
    """Accuracy by the number of options.

    Args:
        counts: int [rows]: options of each.
        right: bool [rows].
        sure: float [rows]: the probability of the option that is chosen.
    """
    groups = [
        ("all", np.ones(len(counts), bool)),
        *((f"{count} options", counts == count) for count in np.unique(counts)),
    ]
    rows: list[list[Any]] = [
        [name, int(own.sum()), float(right[own].mean()), float((1 / counts[own]).mean()), float(sure[own].mean())]
        for name, own in groups
    ]
    header = ["rows", "count", "rows right", "by chance", "mean confidence"]
    return Table("Number of options", "By chance: the share that guessing would get right.", header, rows)


def by_length(lengths: list[list[int]], given: np.ndarray, guesses: np.ndarray) -> Table:
    """How often the longest and the shortest option of a row is right, and how often it is chosen.

    Args:
        lengths: characters of the options of each row.
        given: int [rows]: the right option.
        guesses: int [rows]: the one that is chosen.
    """
    rows: list[list[Any]] = []
    for name, pick in (("the longest", max), ("the shortest", min)):
        hits = [[own[place] == pick(own) for own, place in zip(lengths, places)] for places in (given, guesses)]
        rows.append([name, *(float(np.mean(each)) for each in hits)])
    about = "Shares of rows. If the second is far above the first, the model chooses by length."
    return Table("Length of options", about, ["option of its row", "is right", "is chosen"], rows)
