"""Records of a file -> rows of ids, labels and qids; strict about every field.

    encoder = RowEncoder("train.tsv", ["text_a", "label"], tokenizer, max_seq_len=128, labels=LabelRule("class"))
    rows = encoder.encode([b"a fine film\\t1"], np.array([0]))

The first bad line ends the rows and is told in `rows.error`, so that the rows before it are still delivered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from propeller.errors import UserError
from propeller.json_file import read_json
from reader.batching import EncodedRows, encode_rows
from reader.row_file import LIST_PART, Layout, has_blank_end, labels_in, shorten
from reader.tsv import TsvLayout

if TYPE_CHECKING:
    from reader.survey import Survey
    from reader.tokenizer import Tokenizer


INT64_LIMIT = 2**63
# Where the labels that are known come from: a label map, the rows of the training file, or a trained model.
MAP, ROWS, MODEL = "map", "rows", "model"
UNKNOWN = {
    MAP: "is not in the label map ({known}){hint}; correct it, or give a --label_map_config that has it",
    ROWS: "is in no training row (there: {known}){hint}; correct it, or add rows with it to the training file",
    MODEL: "is unknown to the model, which has {known}{hint}; correct it",
}


@dataclass(frozen=True)
class LabelRule:
    """How the label column is read.

    Attributes:
        kind: "class" (int64), "float" (float32), "set" (float32 [num_labels], 1 for each class in the field, which
            holds labels separated by ``separator``, or none), "choice" (int64, which of the row's options, see
            reader.choices), or None (not read).
        mapping: name -> class number, or None where the column holds the numbers.
        num_labels: classes are 0..num_labels - 1; None: unknown.
        separator: between the labels of a set.
        origin: MAP, ROWS or MODEL, for messages.

    Raises:
        UserError: they disagree.
    """

    kind: str | None = "class"
    mapping: dict[str, int] | None = None
    num_labels: int | None = None
    separator: str = ","
    origin: str = MAP

    def __post_init__(self) -> None:
        if self.kind not in ("class", "float", "set", "choice", None):
            raise UserError(f"label_kind is {self.kind!r}; it is 'class', 'float', 'set', 'choice' or None")
        if self.kind == "set" and not self.num_labels:
            raise UserError("label_kind 'set' needs num_labels, the number of classes")
        if self.kind == "float" and self.mapping is not None:
            raise UserError("a label map was given for a regression label; leave it out, the label is a number")
        for name, number in (self.mapping or {}).items():
            if isinstance(number, bool) or not isinstance(number, int) or number < 0:
                raise UserError(f"label map: {shorten(name)} is mapped to {number!r}; give integers from 0 on")
            if self.num_labels is not None and number >= self.num_labels:
                raise UserError(
                    f"label map: {shorten(name)} is class {number}, but there are {self.num_labels} classes "
                    f"(0..{self.num_labels - 1}); correct the map or num_labels"
                )

    @property
    def dtype(self) -> type[np.generic] | None:
        """numpy dtype of the labels, None where they are not read."""
        kinds = {"class": np.int64, "float": np.float32, "set": np.float32, "choice": np.int64, None: None}
        return kinds[self.kind]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row's label: () for a number, [num_labels] for a set."""
        return (self.num_labels,) if self.kind == "set" and self.num_labels else ()

    def array(self, labels: list) -> np.ndarray:
        """The labels of rows as one array, [rows] or, of sets, [rows, num_labels]."""
        return np.array(labels, self.dtype).reshape(len(labels), *self.shape)

    def read(self, text: str, column: str = "label") -> int | float | np.ndarray:
        """The label a field says; of a set, float32 [num_labels]. Raises ValueError: what is wrong, and the remedy.

        Args:
            text: the field.
            column: its column, as messages call it.
        """
        if self.kind != "set" and not text.strip() and text not in (self.mapping or ()):
            raise ValueError(empty(column, "a label"))
        if self.kind != "set" and LIST_PART in text:
            raise ValueError("label is a list; a row has one label here: give that alone, or --multi_label true")
        if self.kind == "float":
            return self._read_float(text)
        if self.kind == "set":
            members = np.zeros(self.shape, np.float32)
            for part in labels_in(text, self.separator):
                members[self._read_class(part)] = 1
            return members
        return self._read_class(text)

    def _read_class(self, text):
        if self.mapping is not None:
            if text not in self.mapping:
                self._check_blanks(text, text.strip() in self.mapping)
                known = ", ".join(sorted(self.mapping, key=self.mapping.__getitem__)[:10])
                letter = "O" if text == "0" and "O" in self.mapping else None  # of a tag, the zero is a slip
                near = next((name for name in self.mapping if alike(name) == alike(text)), letter)
                hint = f"; did you mean {shorten(near)}?" if near is not None else ""
                raise ValueError(f"label {shorten(text)} {UNKNOWN[self.origin].format(known=known, hint=hint)}")
            return self.mapping[text]
        try:
            number = read_int(text)
        except ValueError:
            self._check_blanks(text)
            remedy = "" if self.origin == MODEL else ", or give a --label_map_config"
            raise ValueError(f"label {shorten(text)} is not an integer; correct it{remedy}") from None
        if number < 0 or (self.num_labels is not None and number >= self.num_labels):
            allowed = "not negative" if self.num_labels is None else f"from 0 to {self.num_labels - 1}"
            remedy = "" if self.origin == MODEL else " or --num_labels"
            raise ValueError(f"label {number} is out of range; labels are {allowed}: correct it{remedy}")
        return number

    def _check_blanks(self, text, known=True):
        """Raise ValueError for a label with a blank at its end."""
        if known and text.strip() and has_blank_end(text):
            remedy = "" if self.origin == MODEL else ", or name it so in --label_map_config"
            raise ValueError(f"label {shorten(text)} begins or ends with a blank: take it out{remedy}")

    @staticmethod
    def _read_float(text):
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"label {shorten(text)} is not a finite number; a regression label is one like 3.25")
        return number


def alike(label: str) -> str:
    """A label without what no eye sees or a hand gets wrong: its case, and blanks that are doubled or at its ends."""
    return " ".join(label.split()).casefold()


def empty(column: str, what: str) -> str:
    """What is wrong with an empty field, and the remedy.

    Args:
        column: as messages call it, see ``Layout.name_of``.
        what: belongs there.
    """
    return f"{column} is empty; put {what} there or remove the row"


def read_int(text: str) -> int:
    """The integer a field says, spaces around it allowed; it fits int64. Raises ValueError."""
    number = int(text)
    if "_" in text or not -INT64_LIMIT <= number < INT64_LIMIT:
        raise ValueError(text)
    return number


def load_label_map(path: str | Path) -> dict[str, int]:
    """The JSON object `{"name": class number, ...}` of --label_map_config. Raises UserError."""
    mapping = read_json(
        path, absent="check the path", remedy='write {"name": number, ...}', name=f"{path}, the label map"
    )
    numbers = mapping.values() if isinstance(mapping, dict) else [None]
    if not mapping or not all(type(number) is int and number >= 0 for number in numbers):
        raise UserError(f'{path}: the label map is not {{"name": number, ...}} with numbers from 0 on; correct it')
    return mapping


class RowEncoder:
    """Turns lines into EncodedRows. Can be pickled, so that a worker process gets a copy.

    Args:
        path: named in messages.
        columns: names in file order.
        tokenizer: has encode_batch, cls_id, sep_id.
        max_seq_len: longest row in ids, special tokens counted.
        labels: a LabelRule (kind None: a label column is ignored).
        layout: how records become fields, None: as those of a TSV.

    Attributes:
        tagged: whether rows have `tags`.
        cache_facts: what else decides the ids and tags of a row, JSON-able.

    Raises:
        UserError: max_seq_len leaves no room for a token.
    """

    tagged = False
    cache_facts: list[Any] | None = None

    @property
    def labels_rows(self) -> bool:
        """Whether a row has one label, rather than none or one per id."""
        return self.label is not None and not self.tagged

    def __init__(
        self,
        path: str,
        columns: list[str],
        tokenizer: Tokenizer,
        max_seq_len: int,
        labels: LabelRule,
        layout: Layout | None = None,
    ) -> None:
        self.path = path
        self.layout = layout or TsvLayout(path, columns)
        self.tokenizer, self.max_seq_len, self.labels = tokenizer, max_seq_len, labels
        at = {name: columns.index(name) for name in columns}
        self.text_a, self.text_b = at["text_a"], at.get("text_b")
        self.label = at.get("label") if labels.kind is not None else None
        self.qid = at.get("qid")
        least = 3 if self.text_b is None else 4
        if max_seq_len < least:
            what = "[CLS], a token and [SEP]" if least == 3 else "[CLS], a token and two [SEP]"
            raise UserError(
                f"max_seq_len {max_seq_len} is too small for {path}: a row needs {least} ({what}); raise it"
            )

    def encode(self, lines: list[bytes], rows: np.ndarray) -> EncodedRows:
        """EncodedRows of the lines up to the first bad one.

        Args:
            lines: records as ``layout.read`` gives them.
            rows: int [n], the number of each in the file, for messages.
        """
        fields, labels, qids, error = [], [], [], None
        for line, row in zip(lines, rows):
            try:
                values = self._fields(line)
                if self.label is not None:
                    labels.append(self._read_label(values))
                if self.qid is not None:
                    qids.append(self._read_qid(values[self.qid]))
            except ValueError as problem:
                error = f"{self.layout.where(int(row))}: {problem}"
                break
            fields.append(values)
        good = len(fields)
        encoded = self._tokenise(fields)
        encoded.error = error
        if self.label is not None:
            encoded.labels = self.labels.array(labels[:good])
        if self.qid is not None:
            encoded.qids = np.array(qids[:good], np.int64)
        return encoded

    def examine(self, line: bytes, found: Survey, allow_blank: bool = False) -> list[str]:
        """Read a line's fields, labels and qid; no text becomes ids. Returns the fields.

        Args:
            line: without its line end.
            found: where labels are noted.
            allow_blank: whether ``text_a`` may be blank.

        Raises:
            ValueError: what is wrong, and the remedy.
        """
        values = self._fields(line)
        self._examine_text(values, allow_blank)
        if self.label is not None:
            self._read_label(values)
            self._note_label(values[self.label], found)
        if self.qid is not None:
            self._read_qid(values[self.qid])
        return values

    def _examine_text(self, values, allow_blank):
        if not allow_blank and not values[self.text_a].strip():
            raise ValueError(empty(self.layout.name_of("text_a"), "its text"))

    @staticmethod
    def _note_label(word, found):
        if len(found.labels) < 2:
            found.labels.add(word)

    def texts(self, line: bytes) -> list[str]:
        """The texts of a line, [] where it cannot be read."""
        try:
            values = self._fields(line)
        except ValueError:
            return []
        return [values[place] for place in (self.text_a, self.text_b) if place is not None]

    def _fields(self, line):
        return self.layout.fields(line)

    def _read_label(self, values):
        return self.labels.read(values[self.label], self.layout.name_of("label"))

    @staticmethod
    def _read_qid(text):
        try:
            return read_int(text)
        except ValueError:
            raise ValueError(f"qid {shorten(text)} is not an integer; give every row one, or drop the column") from None

    def _tokenise(self, fields) -> EncodedRows:
        texts = [values[self.text_a] for values in fields]
        ids_a, ids_b = texts, None
        if self.text_b is not None:
            texts += [values[self.text_b] for values in fields]
        ids = self.tokenizer.encode_batch(texts) if texts else []
        ids_a = ids[: len(fields)]
        if self.text_b is not None:
            ids_b = ids[len(fields) :]
        return encode_rows(ids_a, ids_b, self.max_seq_len, self.tokenizer.cls_id, self.tokenizer.sep_id)
