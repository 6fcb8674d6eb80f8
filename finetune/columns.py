"""The columns that flags name, looked for before a model is loaded, which takes seconds.

check_columns("tickets.csv", args.tables.form(), "classify")
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from finetune import TASKS, flags_of
from propeller.errors import UserError
from reader.choices import COLUMNS
from reader.tables.form import TableForm
from reader.tables.header import check_columns as check_header


def check_columns(path: str | Path, form: TableForm, task: str | None, labelled: bool = False) -> None:
    """Raise UserError where a file lacks its text, its label or a column that a flag names.

    Args:
        path: the file.
        form: how it is stored, and which columns count.
        task: of the model; None: not known yet.
        labelled: whether rows need a label.

    Raises:
        UserError: see above; the task reads no columns, and a flag names one.
    """
    if task in TASKS and not flags_of(task).has_columns:
        if not form.is_default:
            raise UserError(
                f"models of the task {task!r} read JSON in SQuAD's layout: leave --format and the columns' flags out"
            )
        return
    check_header(path, form, ("text_a", "label") if labelled else ("text_a",), COLUMNS, lists=True)


def check_label_column(paths: Sequence[str], form: TableForm, task: str) -> None:
    """Raise UserError where --label_column names a column that none of several files has.

    Args:
        paths: the files, of which some may be without labels.
        form, task: see ``check_columns``.
    """
    problems = []
    for path in paths if form.label else ():
        try:
            check_columns(path, form, task, labelled=True)
        except UserError as problem:
            problems.append(problem)
    if problems and len(problems) == len(paths):
        raise problems[0]
