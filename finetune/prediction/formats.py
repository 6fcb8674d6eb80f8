"""Files of predictions, made of decoded predictions (``FinetuneTask.decode``) by code that knows no task.

    tsv = TableFormat(task, spec, ["qid", "text_a", "label"])
    tsv.line({"text_a": "a fine film"}, {"label": "good", "probabilities": {"bad": 0.1, "good": 0.9}})
    # text_a<TAB>label<TAB>prob_bad<TAB>prob_good        (a header precedes the first row)
    # a fine film<TAB>good<TAB>0.1<TAB>0.9

tsv     a header and one line per row: the columns of the input, then the prediction: one column per number or word, one
        per entry of ``probabilities`` (``prob_<label>``), other lists and objects as JSON
jsonl   one JSON object per row: the columns of the input and the prediction

A label of the input is called ``gold_label``. A column whose name predictions have, or ours, gets ``input_`` before it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from reader.row_file import LIST_PART, RowFile
from reader.tables.form import bare_name, is_copied
from reader.tables.json_table import JOINT, LISTS

if TYPE_CHECKING:
    from finetune.spec import ModelSpec
    from finetune.task import FinetuneTask


COPIED = ("qid", "text_a", "text_b")
LABEL, GOLD, INPUT = "label", "gold_label", "input_"
# Names under which predictions are read (``finetune.score``): no column of the input may have one.
TAKEN = {*COPIED, GOLD, LABEL, "labels", "prediction", "predictions", "score", "probabilities", "tags", "tokens",
         "entities", "text"}  # fmt: skip
LISTED = (LIST_PART, JOINT)  # what stands in a label that was a list
BLANKS = str.maketrans("\t\n\r", "   ")


def table_rows(table: RowFile) -> Iterator[dict[str, str]]:
    """The fields of every row of a file: column -> text. The rows are known to be valid."""
    for _, record in table.records():
        yield dict(zip(table.columns, table.layout.fields(record)))


class CopiedColumns:
    """The columns of the input that stand before each prediction.

    Args:
        columns: of the input, as a ``RowFile`` names them.
        known: of those with a meaning the ones to copy.
    """

    def __init__(self, columns: Iterable[str], known: Collection[str] = (*COPIED, LABEL)) -> None:
        self.columns = [name for name in columns if is_copied(name) or name in known]
        self._shown: dict[str, str] = {}

    def shown(self, taken: Collection[str] = ()) -> dict[str, str]:
        """Column -> its name in the output.

        Args:
            taken: names that the prediction has; the first call decides.
        """
        if not self._shown:
            for name in self.columns:
                own = GOLD if name == LABEL else name
                if is_copied(name):
                    own = bare_name(name)
                    while own in TAKEN or own in taken or own.startswith("prob_") or own in self._shown.values():
                        own = INPUT + own
                self._shown[name] = own
        return self._shown

    @staticmethod
    def value(name: str, text: str) -> Any:
        """The value of a field, for JSON."""
        if is_copied(name):
            return json.loads(text)
        if name in LISTS and any(mark in text for mark in LISTED):
            return [part for mark in LISTED if mark in text for part in text.split(mark) if part]
        return int(text) if name == "qid" else text

    def cell(self, name: str, text: str, separator: str = ",") -> str:
        """A field as a cell of a TSV; the parts of a list of labels have the separator between them."""
        value = self.value(name, text) if is_copied(name) or name in LISTS else text
        if value is None:
            return ""
        if name == LABEL and isinstance(value, list):
            return on_one_line(separator.join(value))
        return on_one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def on_one_line(text: str) -> str:
    """A text as a cell of a TSV: each tab and line end in it is a blank, so that places in it stay."""
    return text.translate(BLANKS)


class TableFormat:
    """TSV with a header.

    Args:
        task: the ``FinetuneTask`` class.
        spec: its ``ModelSpec``.
        columns: names of the input's columns.
        copy_columns: whether they are copied.
        keep_label: whether the label of the input is, too, and what else the task reads.
    """

    def __init__(
        self,
        task: type[FinetuneTask],
        spec: ModelSpec,
        columns: Iterable[str],
        copy_columns: bool = True,
        keep_label: bool = False,
    ) -> None:
        self.task, self.spec, self._begun = task, spec, False
        known = (*COPIED, *task.more_columns, LABEL) if keep_label else COPIED
        self.copied = CopiedColumns(columns if copy_columns else (), known)

    def line(self, row: Mapping[str, str], decoded: Mapping[str, Any]) -> str:
        """The text of one row, the header before the first one.

        Args:
            row: column -> text of the input.
            decoded: what ``FinetuneTask.decode`` gave.
        """
        cells = dict(self._cells(decoded))
        shown, separator = self.copied.shown(cells), getattr(self.spec.settings, "label_separator", ",")
        copied = [self.copied.cell(name, row[name], separator) for name in shown]
        text = "\t".join([*copied, *cells.values()]) + "\n"
        if self._begun:
            return text
        self._begun = True
        header = [*map(on_one_line, shown.values()), *cells]
        return "\t".join(header) + "\n" + text

    def _cells(self, decoded):
        for key, value in self.task.table_cells(decoded, self.spec).items():
            if key == "probabilities" and isinstance(value, dict):
                for label, share in value.items():
                    yield "prob_" + " ".join(label.split()), f"{share:.7g}"  # a tab in a label would make a column
            elif isinstance(value, float):
                yield key, f"{value:.7g}"
            elif isinstance(value, str):
                yield key, " ".join(value.split())
            else:
                yield key, json.dumps(value, ensure_ascii=False)


class JsonLines(TableFormat):
    """One JSON object per row."""

    def line(self, row: Mapping[str, str], decoded: Mapping[str, Any]) -> str:
        shown = self.copied.shown(decoded)
        copied = {own: self.copied.value(name, row[name]) for name, own in shown.items()}
        return json.dumps({**copied, **decoded}, ensure_ascii=False) + "\n"
