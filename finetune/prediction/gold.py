"""Labels in a file to predict: the predictions are scored against them, as an evaluation scores them.

    gold = RowGold.of(task, spec, reader)               # None where the file has no column of labels
    gold.add({"probs": probs}, {"text_a": "a fine film", "label": "good"})
    gold.tell()                                         # the log: scores of 1 labelled row: acc: 1.000000

No label ends a prediction: a row without one, or with one that the model does not know, is predicted and not scored.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from reader.row_encoder import LabelRule
from reader.survey import is_placeholder

if TYPE_CHECKING:
    from finetune.spec import ModelSpec
    from finetune.task import FinetuneTask
    from reader.batch_reader import BatchReader

log = logging.getLogger("ernie.finetune")

LABEL, QID = "label", "qid"


class Gold:
    """What is counted of the labels of a file.

    Attributes:
        what: what a row is called, in the plural.
        read: rows whose label could be read; sure: whether one of them is more than a placeholder.
        problem: what is wrong with the first label that could not be read, or None; unread: how many there are.
    """

    what = "rows"

    def __init__(self) -> None:
        self.read = self.unread = 0
        self.sure = False
        self.problem: str | None = None

    def refuse(self, where: str, problem: Exception) -> None:
        """Count a label that cannot be read."""
        self.unread += 1
        self.problem = self.problem or f"{where}: {problem}"

    def scores(self) -> Mapping[str, float] | None:
        """Name -> score of what was added; None: the task has no scores of it."""
        raise NotImplementedError

    def tell(self) -> None:
        """Write the scores, and why labels were not compared, to the log."""
        if self.unread:
            log.warning("%d labels are kept and not compared, the first: %s", self.unread, self.problem)
        if not self.read or not self.sure:
            return
        scores = self.scores()
        if scores is None:
            log.info("labels are kept as gold_label; this task has no scores of them")
            return
        log.info("scores of %d labelled %s: %s", self.read, self.what, shown_scores(scores))


def shown_scores(scores: Mapping[str, float]) -> str:
    """Scores on one line."""
    parts = (f"{name}: {value:d}" if isinstance(value, int) else f"{name}: {value:f}" for name, value in scores.items())
    return ", ".join(parts)


class RowGold(Gold):
    """Labels of the rows of a table: a class, a set of classes or a number each.

    Args:
        task: the ``FinetuneTask`` class.
        spec: its ``ModelSpec``.
        reader: of the file.
    """

    def __init__(self, task: type[FinetuneTask], spec: ModelSpec, reader: BatchReader) -> None:
        super().__init__()
        self.task, self.spec, self.table = task, spec, reader.table
        separator = getattr(spec.settings, "label_separator", ",")
        label_map = None if spec.label_map is None else dict(spec.label_map)
        self.rule = LabelRule(task.label_kind, label_map, spec.num_labels, separator, spec.label_origin)
        self.rows = 0
        self._labels: list[Any] = []
        self._qids: list[int] = []
        self._outputs: dict[str, np.ndarray] = {}

    @classmethod
    def of(cls, task: type[FinetuneTask], spec: ModelSpec, reader: BatchReader) -> RowGold | None:
        """The labels of a file that is to be predicted; None where it has no column of them, or the task has none."""
        return cls(task, spec, reader) if task.label_kind and LABEL in reader.table.columns else None

    def add(self, outputs: Mapping[str, np.ndarray], row: Mapping[str, str]) -> None:
        """The next row of the file.

        Args:
            outputs: name -> array of what was predicted for it.
            row: column -> text.
        """
        number, word = self.rows, row[LABEL]
        self.rows += 1
        sure = not is_placeholder(word, self.spec.label_map or ())
        try:
            label = self.task.gold_label(row, self.rule, self.spec)
        except ValueError as problem:
            if sure:
                self.refuse(self.table.layout.where(number), problem)
            return
        self.sure = self.sure or sure
        if QID in row:
            self._qids.append(int(row[QID]))
        self._labels.append(label)
        for name, array in self.task.scored_outputs(outputs).items():
            if name not in self._outputs:
                self._outputs[name] = np.empty((self.table.num_rows, *array.shape), array.dtype)
            self._outputs[name][self.read] = array
        self.read += 1

    def scores(self) -> Mapping[str, float] | None:
        outputs = {name: array[: self.read] for name, array in self._outputs.items()}
        qids = np.array(self._qids, np.int64) if self._qids else None
        return self.task.score_rows(outputs, self.rule.array(self._labels), qids, self.spec)
