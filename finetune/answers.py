"""What the outputs of a task's network come to: predictions, their files, scores and lines of the log.

    class MultipleChoice(ByAccuracy, FinetuneTask):
        @classmethod
        def decode(cls, outputs, row, spec): ...            # one prediction: what files, answers and the page show

``FinetuneTask`` has all of it; a task overrides what is its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.prediction.formats import table_rows

if TYPE_CHECKING:
    from finetune.spec import ModelSpec
    from reader.batch_reader import BatchReader
    from reader.row_encoder import LabelRule


class Answers:
    """The half of ``FinetuneTask`` that works on arrays: all of it are class methods.

    Attributes:
        answer_outputs: names of the outputs of ``forward`` that ``decode`` needs; (): all.
        not_in_table: keys of ``decode`` that TSV files leave out.
    """

    answer_outputs: tuple[str, ...] = ()
    not_in_table: tuple[str, ...] = ()

    @classmethod
    def by_example(
        cls, outputs: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray], reader: BatchReader
    ) -> Mapping[str, np.ndarray]:
        """The outputs of the rows of a file, name -> array [rows, ...], where a batch holds parts of them.

        Args:
            outputs: name -> array [batch, ...] of what ``forward`` predicted.
            batch: what they were computed from.
            reader: where it comes from.
        """
        return outputs

    @classmethod
    def examples(cls, outputs: Iterable, reader: BatchReader) -> Iterator[tuple[dict[str, Any], Any]]:
        """(arrays of one example without the batch axis, its row) in the order of the file.

        Args:
            outputs: pairs (name -> array [batch, ...], batch) in the order of the file.
            reader: the reader that the batches come from. A row of its table is a dict of column -> text.
        """
        rows = table_rows(reader.table)
        for predicted, batch in outputs:
            found = cls.by_example(predicted, batch, reader)
            for number in range(len(next(iter(found.values())))):
                yield {name: array[number] for name, array in found.items()}, next(rows)

    @classmethod
    def decode(cls, outputs: Mapping[str, np.ndarray], row: Any, spec: ModelSpec) -> dict[str, Any]:
        """The prediction of one example, JSON-able: what files, answers, the page and the Python API show.

        Args:
            outputs: name -> array of what ``forward`` predicted, without the batch axis.
            row: the example: column -> text for rows of a table.
            spec: the record of the model.
        """
        raise NotImplementedError

    @classmethod
    def gold_label(cls, row: Mapping[str, str], rule: LabelRule, spec: ModelSpec) -> Any:
        """The label of a row that is predicted.

        Args:
            row: column -> text.
            rule: of the task's ``label_kind``.
            spec: the record of the model.

        Raises:
            ValueError: it cannot be read.
        """
        return rule.read(row["label"])

    @classmethod
    def scored_outputs(cls, outputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """What ``score_rows`` needs of an example's outputs: arrays of the same shape for every example."""
        return outputs

    @classmethod
    def score_rows(
        cls, outputs: Mapping[str, np.ndarray], labels: np.ndarray, qids: np.ndarray | None, spec: ModelSpec
    ) -> Mapping[str, float] | None:
        """The scores of an evaluation for rows that were predicted, by name; None: the task has none.

        Args:
            outputs: name -> array [rows, ...] of ``scored_outputs``.
            labels: [rows], as ``label_kind`` says; of sets [rows, num_labels].
            qids: int64 [rows], or None where the file has none.
            spec: the record of the model.
        """
        return None

    @classmethod
    def table_cells(cls, decoded: Mapping[str, Any], spec: ModelSpec) -> Mapping[str, Any]:
        """What a TSV has of a prediction: column -> value; ``probabilities`` become a column per label.

        Args:
            decoded: what ``decode`` gave.
            spec: the record of the model.
        """
        return {key: value for key, value in decoded.items() if key not in cls.not_in_table}

    @classmethod
    def answers_changed(
        cls,
        exact: Mapping[str, np.ndarray],
        rough: Mapping[str, np.ndarray],
        batch: Mapping[str, np.ndarray],
        spec: ModelSpec,
    ) -> np.ndarray:
        """How much of each answer of a batch a less exact computation changes: float [answers], 0 nothing, 1 all.

        Here 1 minus the cosine between the outputs of a row. A task whose answers are choices tells which are others.

        Args:
            exact, rough: name -> array [batch, ...] of what ``forward`` predicted.
            batch: what they were computed from.
            spec: the record of the model.
        """
        names = [name for name in cls.answer_outputs or exact if exact[name].ndim == 2]
        one, other = (np.concatenate([outputs[name] for name in names], axis=1) for outputs in (exact, rough))
        norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        return np.clip(1.0 - (one * other).sum(axis=1) / np.maximum(norms, 1e-12), 0.0, 1.0)

    @classmethod
    def legacy_line(cls, outputs: Mapping[str, np.ndarray], row: Any, spec: ModelSpec) -> str | None:
        """The line of the 2019 scripts for one example, see ``decode``; None for a task that they did not have."""
        return None

    @classmethod
    def best_by(cls, spec: ModelSpec) -> str:
        """The name of the score that picks the best checkpoint where ``--best_metric`` names none.

        The higher, the better, but for losses and errors, see ``propeller.train.evaluating.lower_is_better``.
        """
        raise NotImplementedError

    @classmethod
    def score_names(cls, spec: ModelSpec) -> tuple[str, ...]:
        """The names of the scores of an evaluation; (): they are not known before the first one."""
        return ()

    @classmethod
    def evaluation_line(cls, spec: ModelSpec, scores: Mapping[str, Any], elapsed: float) -> str:
        """One line of the log for an evaluation, from the loss to the elapsed time.

        Args:
            spec: the record of the model.
            scores: ``loss``, ``data_num`` and the task's own scores.
            elapsed: seconds.
        """
        facts = {"loss", "data_num", "event", "file", "step", "epoch", "stem", "elapsed", "checkpoint"}
        text = ", ".join(f"{name}: {value:f}" for name, value in scores.items()
                         if name not in facts and isinstance(value, float))  # fmt: skip
        return f"ave loss: {scores['loss']:f}, {text}, data_num: {scores['data_num']:d}, elapsed time: {elapsed:f} s"

    @classmethod
    def training_line(cls, record: Mapping[str, Any]) -> str:
        """The losses and scores of a training line: ``ave loss`` and what the task adds."""
        return f"ave loss: {record['loss']:f}"


class ByAccuracy(Answers):
    """A task whose one score is ``acc``."""

    @classmethod
    def best_by(cls, spec: ModelSpec) -> str:
        return "acc"

    @classmethod
    def score_names(cls, spec: ModelSpec) -> tuple[str, ...]:
        return ("loss", "acc")

    @classmethod
    def training_line(cls, record: Mapping[str, Any]) -> str:
        return f"{super().training_line(record)}, ave acc: {record['acc']:f}"
