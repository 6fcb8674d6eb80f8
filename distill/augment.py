"""More text for a teacher to label, made of a training set (after arXiv 1903.12136, section 3.2).

    python -m distill.augment train.tsv unlabelled.tsv --copies 10 --segmenter english
    python -m distill.augment train.tsv unlabelled.tsv --copies 10 --segmenter jieba --num_workers 2
    python -m distill.augment ner/train.tsv ner/more.tsv --tags true

Each copy of a row is changed in three ways, in this order:

    unknown     a word becomes one that no vocabulary holds, with --p_unk
    same kind   a word becomes another one of the same part of speech, as often as the data have it, with --p_pos
    piece       the text becomes a contiguous piece of it, from one word to all of them, with --p_piece

Both texts of a pair are changed, each by itself. Tagged text (``--tags true``: text_a and label hold tokens and their
tags) keeps its tags: a token becomes another one of the same tag, and no piece is taken. A file that is a dev or test
set by its name is refused; rows whose text is in one that lies beside, or in --held_out, are left out and counted.
The output has no labels (but tags): ``text_a`` and ``text_b``; with ``--segmented true`` words are separated by
blanks there, and ``teacher_a`` and ``teacher_b`` have the text as it was written. The same seed gives the same file,
however many processes find the words.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
import tempfile
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import accumulate
from pathlib import Path
from typing import IO, Any

import numpy as np

from distill.rows import open_table, rows_of
from finetune.prediction.formats import on_one_line
from finetune.tables import LabelledTableFlags
from pretrain.corpus.engines import Processes
from pretrain.corpus.segment import Segmenter, build_segmenter
from propeller import log as log_setup
from propeller.errors import UserError, exit_on_user_error
from propeller.files import atomic_text
from propeller.flags import FlagParser, add_flags, check_least, flag, read_flags, split
from reader.tables.form import PLAIN, TableForm
from reader.tagging.sentence import find_separator, split_tokens

log = logging.getLogger("ernie.distill")

# APL's "quad question": in no vocabulary of a model, kept by all tokenizers, and a word by itself.
UNKNOWN = "\u2370"
HELD_OUT = re.compile(r"(dev|test|valid|validation|eval)(?![a-z]).*", re.IGNORECASE)
HELD_OUT_FOLDER = re.compile(r"dev|test|valid|validation|eval", re.IGNORECASE)
BATCH = 256  # rows that a segmenter gets at once


@dataclass(frozen=True)
class AugmentArgs(LabelledTableFlags):
    """augmentation: how often, and in which ways"""

    copies: int = flag(10, "changed copies of each row")
    p_unk: float = flag(0.1, "probability of a word to become an unknown one")
    p_pos: float = flag(0.1, "probability of a word to become another one of its part of speech, or of its tag")
    p_piece: float = flag(0.25, "probability of a copy to become a piece of itself")
    segmenter: str = flag(
        "english", "what cuts text into words and names their kind: english, jieba, lac or module:class"
    )
    segmented: bool = flag(False, "write words separated by blanks, and the text as it was for the teacher")
    tags: bool = flag(False, "text_a holds tokens and label their tags, which stay")
    original: bool = flag(False, "write each row as it is, too, before its copies")
    held_out: str | None = flag(None, "dev and test sets, separated by commas: none of their rows is used")
    seed: int = flag(1, "of the choices")
    num_workers: int = flag(0, "processes that find the words; 0: this one")


class Pool:
    """Words of each kind, drawn as often as the data have them.

    Args:
        counts: kind -> word -> how often.
    """

    def __init__(self, counts: dict[str, Counter]) -> None:
        self._words = {kind: sorted(words) for kind, words in counts.items()}
        self._ends = {
            kind: list(accumulate(counts[kind][word] for word in words)) for kind, words in self._words.items()
        }

    def draw(self, kind: str, share: float) -> str:
        """The word at a share (0 to below 1) of the occurrences of a kind."""
        ends = self._ends[kind]
        return self._words[kind][bisect_right(ends, share * ends[-1])]


class Changer:
    """Makes changed copies of texts; counts what it did, by kind.

    Args:
        pool: ``Pool``.
        args: ``AugmentArgs``.
    """

    def __init__(self, pool: Pool, args: AugmentArgs) -> None:
        self.pool, self.args, self.random = pool, args, np.random.default_rng(args.seed)
        self.counts: Counter = Counter()

    def copies(self, words: Sequence[str], kinds: Sequence[str], cut: bool = True) -> Iterator[list[str]]:
        """The words of each copy of one text.

        Args:
            words: white space among them stays as it is.
            kinds: the part of speech of each.
            cut: whether pieces are taken.
        """
        args = self.args
        places = [at for at, word in enumerate(words) if not word.isspace()]
        chances = self.random.random((args.copies, len(places)))
        pieces = self.random.random((args.copies, 3)).tolist()
        copy_numbers, numbers = np.nonzero(chances < args.p_unk + args.p_pos)
        unknown = (chances < args.p_unk)[copy_numbers, numbers].tolist()
        shares = self.random.random(len(numbers)).tolist()
        self.counts["unknown"] += sum(unknown)
        self.counts["same kind"] += len(unknown) - sum(unknown)
        copies = [list(words) for _ in range(args.copies)]
        for which, number, is_unknown, share in zip(copy_numbers.tolist(), numbers.tolist(), unknown, shares):
            at = places[number]
            copies[which][at] = UNKNOWN if is_unknown else self.pool.draw(kinds[at], share)
        for copy, piece in zip(copies, pieces):
            if cut and piece[0] < args.p_piece and len(places) > 1:
                size = 1 + int(piece[1] * len(places))
                begin = int(piece[2] * (len(places) - size + 1))
                copy = copy[places[begin] : places[begin + size - 1] + 1]
                self.counts["pieces"] += 1
            yield copy


def is_held_out(path: Path) -> bool:
    """Whether a file is a dev or test set by its name, or by the folder that it is in, as 2019 lays them."""
    return bool(HELD_OUT.fullmatch(path.name) or HELD_OUT_FOLDER.fullmatch(path.parent.name))


def held_out_beside(path: Path) -> list[Path]:
    """The dev and test sets beside a training set: dev.tsv, and dev/*.tsv or, for train/part.0, ../dev/*."""
    around = [path.parent, path.parent.parent] if path.parent.name.lower().startswith("train") else [path.parent]
    found: list[Path] = []
    for folder in around:
        for entry in sorted(folder.iterdir()):
            if entry.is_dir() and HELD_OUT_FOLDER.fullmatch(entry.name):
                found += sorted(entry.iterdir())
            elif HELD_OUT.fullmatch(entry.name):
                found.append(entry)
    tables = ("", ".tsv", ".txt", path.suffix)
    return [entry for entry in found if entry.is_file() and (entry.suffix in tables or entry.suffix[1:].isdigit())]


def held_out_rows(
    paths: Sequence[Path], columns: Sequence[str], form: TableForm = PLAIN, lists: bool = False
) -> set[int]:
    """What is remembered of the rows that must not be used: a hash of their texts each, 8 bytes.

    Raises:
        UserError: a file cannot be read.
    """
    seen: set[int] = set()
    for path in paths:
        table = open_table(str(path), form=form, lists=lists)
        places = [table.columns.index(name) for name in columns if name in table.columns]
        seen.update(_key([fields[place] for place in places]) for _, fields in rows_of(table))
    return seen


def _key(texts):
    return hash(tuple("".join(text.split()) for text in texts))


@lru_cache(maxsize=1)
def _segmenter(name: str) -> Segmenter:
    """That of this process: a worker makes it once."""
    return build_segmenter(name)


def tagged_rows(name: str, rows: Sequence[Sequence[str]]) -> list[list[tuple[list[str], list[str]]]]:
    """Of each row, for each of its texts, its words and their kinds.

    Args:
        name: of the segmenter.
        rows: the texts of each.
    """
    found = iter(_segmenter(name).tagged([text for texts in rows for text in texts]))
    tagged = [[next(found) for _ in texts] for texts in rows]
    return [[([word for word, _ in each], [kind for _, kind in each]) for each in pairs] for pairs in tagged]


class Augmenter:
    """One run: reads rows, has them segmented, and writes their copies.

    Args:
        path: the training set.
        args: ``AugmentArgs``.

    Raises:
        UserError: it is a dev or test set, or cannot be read; flags do not go together.
    """

    def __init__(self, path: str, args: AugmentArgs) -> None:
        source = Path(path)
        if is_held_out(source.resolve()):
            raise UserError(
                f"{path}: is a dev or test set by its name: give the training set, or rename it if it is one"
            )
        self.path, self.args = path, args
        required = ("text_a", "label") if args.tags or args.label_column else ("text_a",)
        self.table = open_table(path, required, args.form(), args.tags)
        self.columns = [name for name in ("text_a", "text_b") if name in self.table.columns]
        self.places = [self.table.columns.index(name) for name in self.columns]
        if args.tags and len(self.columns) > 1:
            raise UserError(f"{path}: has text_b: tagged text has one column of tokens: give --tags false")
        if not args.tags:
            _segmenter(args.segmenter)  # what is wrong with it is told before anything is read
        others = [*held_out_beside(source.resolve()), *map(Path, split(args.held_out))]
        self.held_out = held_out_rows(others, self.columns, args.form(), args.tags)
        for other in others:
            log.info("%s: its rows are not used", other)
        self.rows = self.left_out = 0

    def run(self, output: str) -> Counter:
        """Write the copies; returns how often each kind of change was made, and ``rows``, the rows written."""
        begun = time.monotonic()
        with tempfile.TemporaryFile("w+", encoding="utf8") as kept:
            pool = self._read(kept)
            read = time.monotonic()
            changer = Changer(pool, self.args)
            kept.seek(0)
            with atomic_text(output) as file:
                file.write("\t".join(self._header()) + "\n")
                for line in kept:
                    for row in self._copies(json.loads(line), changer):
                        file.write("\t".join(row) + "\n")
                        changer.counts["rows"] += 1
        counts, done = changer.counts, time.monotonic()
        log.info("%s: %d rows of %d, %d of them left out: they are in a dev or test set", output, counts["rows"],
                 self.rows, self.left_out)  # fmt: skip
        log.info("%d words unknown, %d of the same kind, %d pieces; words found in %.1f s, copies made in %.1f s, %.0f "
                 "rows/s", counts["unknown"], counts["same kind"], counts["pieces"], read - begun, done - read,
                 counts["rows"] / max(done - read, 1e-9))  # fmt: skip
        return counts

    def _header(self):
        if self.args.tags:
            return ["text_a", "label"]
        return [*self.columns, *(name.replace("text", "teacher") for name in self.columns if self.args.segmented)]

    def _read(self, kept: IO[str]) -> Pool:
        """Write the words and kinds of each row that may be used, one JSON line each; returns their ``Pool``."""
        counts: dict[str, Counter] = {}
        for parts in self._words():
            kept.write(json.dumps(parts, ensure_ascii=False) + "\n")
            for words, kinds in parts:
                for word, kind in zip(words, kinds):
                    if not word.isspace():
                        counts.setdefault(kind, Counter())[word] += 1
        if not counts:
            raise UserError(f"{self.path}: no row of it may be used: all of them are in a dev or test set")
        if self.args.p_pos and set(counts) == {""}:
            raise UserError(
                f"--segmenter {self.args.segmenter}: names no parts of speech, which --p_pos needs: give --p_pos 0, or "
                "another segmenter"
            )
        return Pool(counts)

    def _words(self) -> Iterator[list[tuple[list[str], list[str]]]]:
        """Of each row, for each of its texts, its words and their kinds."""
        if self.args.tags:
            yield from self._tokens()
            return
        find = partial(tagged_rows, self.args.segmenter)
        with Processes(self.args.num_workers) as run, contextlib.closing(run(find, self._batches())) as found:
            for rows in found:
                yield from rows

    def _batches(self) -> Iterator[list[list[str]]]:
        """The texts of the rows that may be used, some rows at a time: how many does not depend on the processes."""
        waiting: list[list[str]] = []
        for _, fields in rows_of(self.table):
            texts = [on_one_line(fields[place]) for place in self.places]
            self.rows += 1
            if _key(texts) in self.held_out:
                self.left_out += 1
                continue
            waiting.append(texts)
            if len(waiting) == BATCH:
                yield waiting
                waiting = []
        if waiting:
            yield waiting

    def _tokens(self):
        separator, tag = find_separator(self.table), self.table.columns.index("label")
        self.separator = separator
        for number, fields in rows_of(self.table):
            words, tags = (split_tokens(on_one_line(fields[place]), separator) for place in (self.places[0], tag))
            self.rows += 1
            if len(words) != len(tags):
                raise UserError(
                    f"{self.table.layout.where(number)}: {len(words)} tokens and {len(tags)} tags: mend the row"
                )
            if _key([fields[self.places[0]]]) in self.held_out:
                self.left_out += 1
                continue
            yield [(words, tags)]

    def _copies(self, parts, changer) -> Iterator[list[str]]:
        """The fields of each row to write, made of one that was read."""
        if self.args.original:
            yield self._fields([words for words, _ in parts], parts)
        copies = zip(*(changer.copies(words, kinds, cut=not self.args.tags) for words, kinds in parts))
        for copy in copies:
            yield self._fields(copy, parts)

    def _fields(self, texts: Sequence[list[str]], parts: Any) -> list[str]:
        if self.args.tags:
            return [self.separator.join(texts[0]), self.separator.join(parts[0][1])]
        plain = ["".join(words).strip() for words in texts]
        if not self.args.segmented:
            return plain
        return [*(" ".join(word for word in words if not word.isspace()) for words in texts), *plain]


def main(argv: Sequence[str]) -> int:
    """The command; returns its exit status."""
    parser = FlagParser(
        prog="python -m distill.augment", description=__doc__.split("\n", maxsplit=1)[0], allow_abbrev=False
    )
    parser.add_argument("file", metavar="TRAIN", help="rows with a column text_a, and text_b if it has one")
    parser.add_argument("output", metavar="OUTPUT", help="the TSV to write")
    add_flags(parser, AugmentArgs)
    values = read_flags(parser, argv)
    path, output = values.pop("file"), values.pop("output")
    args = AugmentArgs(**values)
    check_least(args, copies=1)
    for name in ("p_unk", "p_pos", "p_piece"):
        if not 0 <= getattr(args, name) <= 1:
            raise UserError(f"--{name} must be from 0 to 1, not {getattr(args, name):g}")
    if args.p_unk + args.p_pos > 1:
        raise UserError(
            f"--p_unk and --p_pos are {args.p_unk + args.p_pos:g} together: a word changes once, give 1 at most"
        )
    for name in ("seed", "num_workers"):
        if getattr(args, name) < 0:
            raise UserError(f"--{name} must be 0 or more, not {getattr(args, name)}")
    if args.tags and args.segmented:
        raise UserError("--segmented with --tags: tokens are as they are: leave one of them out")
    if Path(output).resolve() == Path(path).resolve():
        raise UserError(f"{output}: is the training set: name another file")
    log_setup.setup(None)
    Augmenter(path, args).run(output)
    log.info("next: python -m distill.label TEACHER %s", output)
    return 0


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
