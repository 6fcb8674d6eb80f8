"""Split a file of rows into train, dev and test.

    python -m finetune.split reviews.csv --text_column review --label_column stars
    python -m finetune.split rows.jsonl --output_dir data --dev 1000 --test 1000 --seed 2

Rows of one text go into one part, so that no text is trained on and tested on. Each label has its share in every part.
The parts have the form of the file, all of its columns, and its rows in their order.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finetune.tables import LabelledTableFlags
from propeller import log as log_setup
from propeller.errors import UserError, exit_on_user_error
from propeller.flags import FlagParser, add_flags, flag, read_flags
from reader.choices import COLUMNS
from reader.row_file import RowFile
from reader.tables.opening import open_table
from reader.tables.writing import write_parts

log = logging.getLogger("ernie.finetune")

PARTS = ("train", "dev", "test")
FEW = 20  # labels that may be those of most rows


@dataclass(frozen=True)
class SplitArgs(LabelledTableFlags):
    """parts: how large, and where they go"""

    output_dir: str | None = flag(None, "folder of train, dev and test [FILE without its ending]")
    dev: float = flag(0.1, "rows of the dev set: a share below 1, else a number; 0: none")
    test: float = flag(0.1, "rows of the test set: a share below 1, else a number; 0: none")
    seed: int = flag(0, "which rows go where")
    stratify: bool = flag(True, "give each label its share in every part, where there are labels")
    overwrite: bool = flag(False, "replace parts that are there", bare=True)


@dataclass
class Rows:
    """What decides where a row goes.

    Attributes:
        groups: int64 [rows], the same for rows of one text.
        labels: int64 [rows], a number per label, -1 for none.
        names: the label of each number.
    """

    groups: np.ndarray
    labels: np.ndarray
    names: list[str]


def read_rows(table: RowFile, stratify: bool) -> Rows:
    """Texts and labels of a file. Two texts are one where they differ in blanks alone.

    Where most rows have a label of their own, as tagged sentences and numbers have, labels are not looked at.

    Raises:
        UserError: a row cannot be read.
    """
    texts = [table.columns.index(name) for name in ("text_a", "text_b") if name in table.columns]
    label = table.columns.index("label") if stratify and "label" in table.columns else None
    groups: dict[bytes, int] = {}
    names: dict[str, int] = {}
    group_of, label_of = np.zeros(table.num_rows, np.int64), np.full(table.num_rows, -1, np.int64)
    for number, record in table.records():
        try:
            fields = table.layout.fields(record)
        except ValueError as problem:
            raise UserError(f"{table.layout.where(number)}: {problem}") from None
        words = "\0".join(" ".join(fields[place].split()) for place in texts)
        key = hashlib.blake2b(words.encode("utf8"), digest_size=16).digest()
        group_of[number] = groups.setdefault(key, len(groups))
        if label is not None:
            label_of[number] = names.setdefault(fields[label], len(names))
    if len(names) * 2 > table.num_rows and len(names) > FEW:
        label_of[:], names = -1, {}
    return Rows(group_of, label_of, list(names))


def assign(rows: Rows, sizes: Sequence[int], seed: int) -> np.ndarray:
    """int64 [rows]: 0 for train, 1 for dev, 2 for test.

    Texts are taken in an order that the seed draws until a part has its share of their label's rows, where one row of
    each label stays in train. A text is of the label that its first row has.

    Args:
        rows: of the file.
        sizes: rows of dev and of test.
        seed: of the order.
    """
    total = len(rows.groups)
    heads, first, count = np.unique(rows.groups, return_index=True, return_counts=True)
    random = np.random.RandomState(seed)
    order = random.permutation(len(heads))
    part_of = np.zeros(len(heads), np.int64)
    counts = np.bincount(rows.labels[first] + 1, count).astype(np.int64)  # of each label, of none the first
    left = np.maximum(counts - 1, 0)
    left[0] = counts[0]
    for number, size in enumerate(sizes, 1):
        wanted = np.minimum(shares(counts, size, total, random), left)
        taken = np.zeros(len(wanted), np.int64)
        for group in order.tolist():
            label = rows.labels[first[group]] + 1
            if part_of[group] == 0 and taken[label] + count[group] <= wanted[label]:
                part_of[group] = number
                taken[label] += count[group]
        left -= taken
    return part_of[rows.groups]


def shares(counts: np.ndarray, size: int, total: int, random: np.random.RandomState) -> np.ndarray:
    """``size`` rows dealt out to labels by how many rows each has, int64 [labels]; the last ones to the largest rests.

    Args:
        counts: rows of each label.
        size: rows of the part.
        total: rows of the file.
        random: decides between equal rests.
    """
    exact = counts * size / max(total, 1)
    whole = np.floor(exact).astype(np.int64)
    mixed = random.permutation(len(counts))
    rest = mixed[np.argsort(whole[mixed] - exact[mixed], kind="stable")]
    whole[rest[: size - int(whole.sum())]] += 1
    return whole


def split_file(path: str, args: SplitArgs) -> dict[str, Path]:
    """Split a file; returns the parts.

    Raises:
        UserError: the file cannot be read; a part would be empty, or exists already.
    """
    required = ("text_a", "label") if args.label_column else ("text_a",)
    table = open_table(path, required, COLUMNS, args.form(), lists=True)
    if args.stratify and "label" not in table.columns:
        log.info("%s: no column 'label': rows are drawn whatever their labels; --label_column names it", path)
    rows = read_rows(table, args.stratify)
    sizes = [_size(name, getattr(args, name), table.num_rows) for name in PARTS[1:]]
    if sum(sizes) >= table.num_rows:
        raise UserError(f"--dev and --test take {sum(sizes)} of {table.num_rows} rows: leave some to train on")
    parts = assign(rows, sizes, args.seed)
    counts = np.bincount(parts, minlength=len(PARTS)).tolist()
    for name, size, count in zip(PARTS[1:], sizes, counts[1:]):
        if size and not count:
            given = f"--{name} {getattr(args, name):g}: too few of the {table.num_rows} rows"
            if rows.names and len(rows.names) * 2 > table.num_rows:
                raise UserError(f"{given}, of which one of each label stays in train: give --stratify false")
            texts = "1 text" if not rows.groups.any() else f"{rows.groups.max() + 1} texts"
            raise UserError(
                f"{given}: they have {texts} in all, and rows of one text stay together; give a larger --{name}, or "
                "rows with other texts"
            )
    if not counts[0]:
        raise UserError(f"{path}: nothing is left to train on: its rows have one text")
    folder = Path(args.output_dir or Path(path).with_suffix(""))
    names = [name for name, count in zip(PARTS, counts) if count]
    targets = {name: folder / f"{name}{Path(path).suffix}" for name in names}
    _check_targets(Path(path), folder, targets.values(), args.overwrite)
    write_parts(table, parts, [targets.get(name) for name in PARTS])
    _tell(table, rows, parts, targets)
    return targets


def _size(name, given, total):
    if given < 0:
        raise UserError(f"--{name} must be 0 or more, not {given:g}")
    if given >= 1 and given != int(given):
        raise UserError(f"--{name} {given:g}: give a share below 1, or a whole number of rows")
    return int(given) if given >= 1 else round(given * total)


def _check_targets(path, folder, targets, overwrite):
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file: give --output_dir")
    for target in targets:
        if target.resolve() == path.resolve():
            raise UserError(f"{target}: would replace the file that is split: give another --output_dir")
        if target.exists() and not overwrite:
            raise UserError(f"{target}: exists already; give another --output_dir, or --overwrite")


def _tell(table, rows, parts, targets):
    doubles = table.num_rows - len(np.unique(rows.groups))
    if doubles:
        log.info("%s: %d rows have a text that was there before: each is in the part of the first", table.path, doubles)
    for number, name in enumerate(PARTS):
        if name not in targets:
            continue
        labels = Counter(rows.labels[parts == number].tolist())
        said = ", ".join(
            f"{_shown(rows.names[label])} {count}" for label, count in sorted(labels.items()) if label >= 0
        )
        said = f" ({said})" if said and len(rows.names) <= FEW else ""
        log.info("%s: %d rows%s", targets[name], int((parts == number).sum()), said)


def _shown(label):
    """A label, or several of a row, for the log."""
    return "+".join(label.split("\x02")) or "(none)"


def main(argv: Sequence[str]) -> int:
    """The command; returns its exit status."""
    parser = FlagParser(
        prog="python -m finetune.split",
        description=__doc__.split("\n", maxsplit=1)[0],
        example="reviews.csv --text_column review --label_column stars --output_dir output/reviews_data",
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help="rows in any of the forms that training reads")
    add_flags(parser, SplitArgs)
    values = read_flags(parser, argv)
    path = values.pop("file")
    args = SplitArgs(**values)
    if not 0 <= args.seed < 2**32:
        raise UserError(f"--seed must be from 0 to below 2**32, not {args.seed}")
    log_setup.setup(None, bar=False)
    split_file(path, args)
    return 0


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
