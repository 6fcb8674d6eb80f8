"""Files of predictions, made of decoded predictions (``FinetuneTask.decode``) by code that knows no task.

    tsv = TableFormat(task, spec, ["qid", "text_a", "label"])
    tsv.line({"text_a": "a fine film"}, {"label": "good", "probabilities": {"bad": 0.1, "good": 0.9}})
    # text_a<TAB>label<TAB>prob_bad<TAB>prob_good        (a header precedes the first row)
    # a fine film<TAB>good<TAB>0.1<TAB>0.9

tsv     a header and one line per row: qid, text_a, text_b as in the input, then the prediction: one column per number
        or word, one per entry of ``probabilities`` (``prob_<label>``), other lists and objects as JSON
jsonl   one JSON object per row: the copied columns and the prediction
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from reader.row_file import RowFile

if TYPE_CHECKING:
    from finetune.spec import ModelSpec
    from finetune.task import FinetuneTask


COPIED = ("qid", "text_a", "text_b")
BLANKS = str.maketrans("\t\n\r", "   ")


def table_rows(table: RowFile) -> Iterator[dict[str, str]]:
    """The fields of every row of a file: column -> text. The rows are known to be valid."""
    for _, record in table.records():
        yield dict(zip(table.columns, table.layout.fields(record)))


def on_one_line(text: str) -> str:
    """A text as a cell of a TSV: each tab and line end in it is a blank, so that places in it stay."""
    return text.translate(BLANKS)


class TableFormat:
    """TSV with a header.

    Args:
        task: the ``FinetuneTask`` class.
        spec: its ``ModelSpec``.
        columns: names of the input's columns; of them qid, text_a and text_b are copied.
        copy_columns: whether they are.
    """

    def __init__(
        self, task: type[FinetuneTask], spec: ModelSpec, columns: Iterable[str], copy_columns: bool = True
    ) -> None:
        self.task, self.spec, self._begun = task, spec, False
        self.copied = [column for column in columns if column in COPIED] if copy_columns else []

    def line(self, row: Mapping[str, str], decoded: Mapping[str, Any]) -> str:
        """The text of one row, the header before the first one.

        Args:
            row: column -> text of the input.
            decoded: what ``FinetuneTask.decode`` gave.
        """
        cells = dict(self._cells(decoded))
        text = "\t".join([*(on_one_line(row[name]) for name in self.copied), *cells.values()]) + "\n"
        if self._begun:
            return text
        self._begun = True
        return "\t".join([*self.copied, *cells]) + "\n" + text

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
        copied = {name: int(row[name]) if name == "qid" else row[name] for name in self.copied}
        return json.dumps({**copied, **decoded}, ensure_ascii=False) + "\n"
