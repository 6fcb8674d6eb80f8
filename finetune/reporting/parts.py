"""What a report is made of, and how a labelled file is read and predicted for one.

report = Report("classify", "data/dev.tsv")
report.tables.append(Table("Classes", "precision, recall", ["class", "f1"], [["bad", 0.5]]))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reader.ordered import in_file_order, ordered_batches
from reader.windows import WindowReader, plan

if TYPE_CHECKING:
    from finetune.prediction.model import InferenceModel
    from reader.batch_reader import BatchReader
    from reader.task_reader import TaskReader

BANDS = 4  # groups of like length


class Table(NamedTuple):
    """title; about: a sentence on what it shows; header; rows of texts and numbers."""

    title: str
    about: str
    header: list[str]
    rows: list[list[Any]]


class Matrix(NamedTuple):
    """labels; counts: int64 [labels, labels], row the label that is given, column the one that is predicted; none: a
    label that stands for nothing, so that nothing can be counted where it meets itself."""

    labels: list[str]
    counts: np.ndarray
    none: str | None = None


@dataclass
class Report:
    """A report of one file.

    Attributes:
        task: its name.
        source: the file.
        facts: name -> number or text, as ``report.json`` has them.
        tables: in the order they are shown.
        matrix: of classes, or None.
        wrong: the rows that the model gets wrong, the surest first.
        suspects: the rows whose label is probably wrong, or None where there is no such notion.
    """

    task: str
    source: str
    facts: dict[str, Any] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    matrix: Matrix | None = None
    wrong: Table = Table("", "", [], [])
    suspects: Table | None = None


class Texts(NamedTuple):
    """Of each row: lengths int32 [rows], tokens with special ones, before it is cut into windows; cut bool [rows],
    whether something of it was left out; unknown and pieces int64 [rows], how many of its pieces are [UNK], and how
    many there are; windows int64 [rows], how many the network saw, or None where rows are not read in windows."""

    lengths: np.ndarray
    cut: np.ndarray
    unknown: np.ndarray
    pieces: np.ndarray
    windows: np.ndarray | None = None


def predicted(
    reader: BatchReader, model: InferenceModel, items_of: Callable[[dict[str, np.ndarray], int], Any]
) -> Iterator[Any]:
    """An item per row, in the file's order.

    Args:
        reader: of the file, without shuffling.
        model: what predicts.
        items_of: called with the outputs of a batch and the place of a row in it.
    """

    def results():
        for item in ordered_batches(reader):
            outputs = model.task.by_example(model.run(item.batch), item.batch, reader)
            yield item.rows, [items_of(outputs, number) for number in range(len(item.rows))]

    return in_file_order(results(), reader.num_examples)


def count_texts(reader: TaskReader) -> Texts:
    """Lengths and unknown pieces of the rows of a table."""
    tokenizer, parts = reader.tokenizer, []
    special, unknown = (tokenizer.cls_id, tokenizer.sep_id), tokenizer.unk_id
    with reader.open_source() as source:
        for rows in source.rows(np.arange(reader.num_examples), 0):
            starts = rows.offsets[:-1]
            own = np.add.reduceat((rows.ids == unknown).astype(np.int64), starts)
            framed = np.add.reduceat(np.isin(rows.ids, special).astype(np.int64), starts)
            column: tuple = (*reader.as_read(rows), own, rows.lengths - framed)
            if isinstance(reader, WindowReader):
                found = plan(rows, reader.max_seq_len, reader.windows_of_texts)
                column = (rows.lengths, found.cut, *column[2:], found.counts)
            parts.append(column)
    return Texts(*(np.concatenate(column) for column in zip(*parts)))


def text_tables(texts: Texts, right: np.ndarray, limit: int, what: str = "rows right") -> tuple[dict[str, Any], list]:
    """Facts and tables on [UNK], lengths and what was cut.

    Args:
        texts: of the rows.
        right: float [rows]: 1 where the model is right, 0 where it is wrong, or a share.
        limit: ``max_seq_len``.
        what: what ``right`` counts, in words.
    """
    share = texts.unknown.sum() / max(int(texts.pieces.sum()), 1)
    facts = {"unknown_share": float(share), "cut": int(texts.cut.sum()), "longest": int(texts.lengths.max())}
    rows = [_group("all", np.ones(len(right), bool), texts, right)]
    rows += [_group(name, own, texts, right) for name, own in bands(texts.lengths, "tokens")]
    for name, own in (("cut", texts.cut), ("not cut", ~texts.cut)):
        if own.any():
            rows.append(_group(name, own, texts, right))
    for name, own in (("with [UNK]", texts.unknown > 0), ("without [UNK]", texts.unknown == 0)):
        if own.any():
            rows.append(_group(name, own, texts, right))
    about = f"Lengths count tokens, special ones too; rows longer than {limit} are cut, or read in windows."
    if texts.windows is not None:
        facts["windows"] = int(texts.windows.sum())
        several = texts.windows > 1
        groups = (("in one window", ~several), ("in several windows", several))
        rows += [_group(name, own, texts, right) for name, own in groups if own.any()]
        about = (
            f"Lengths count all tokens of a text, special ones too; texts longer than {limit} are read in windows, and "
            "cut only after the last of them."
        )
    return facts, [Table("Lengths and unknown pieces", about, ["rows", "count", what, "[UNK] of pieces"], rows)]


def _group(name, own, texts, right):
    unknown = texts.unknown[own].sum() / max(int(texts.pieces[own].sum()), 1)
    return [name, int(own.sum()), float(right[own].mean()), float(unknown)]


def bands(lengths: np.ndarray, unit: str) -> list[tuple[str, np.ndarray]]:
    """("5-9 tokens", bool [rows]) of groups of like length and about equal size, the shortest first."""
    borders = np.unique(np.quantile(lengths, np.linspace(0, 1, BANDS + 1)).astype(np.int64))
    found = []
    for number, low in enumerate(borders[:-1]):
        high = borders[number + 1]
        last = number + 2 == len(borders)
        own = (lengths >= low) & ((lengths <= high) if last else (lengths < high))
        if own.any():
            found.append((_band(int(low), int(high if last else high - 1), unit), own))
    return found or [(_band(int(borders[0]), int(borders[0]), unit), np.ones(len(lengths), bool))]


def _band(low, high, unit):
    """A group's name: "5-9 tokens", "5 tokens", "1 token"."""
    if low < high:
        return f"{low}-{high} {unit}"
    first, *rest = unit.split(" ")
    return " ".join([str(low), first.removesuffix("s") if low == 1 else first, *rest])


def by_confidence(order: Any) -> list[int]:
    """Places of values (float [n]), the highest first; of equal ones the first."""
    return np.argsort(-np.asarray(order), kind="stable").tolist()


def as_sure_as_right(odd: np.ndarray, right: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """The odd rows of which the model is as sure as, on average, of right ones: int, the surest first.

    Args:
        odd, right: bool [rows].
        sure: float [rows]: how sure the model is.
    """
    usual = float(sure[right].mean()) if right.any() else np.inf
    found = np.flatnonzero(odd & (sure >= usual))
    return found[by_confidence(sure[found])]
