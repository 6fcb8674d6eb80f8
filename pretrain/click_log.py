"""Shards of IR relevance from a click log.

    python -m pretrain.click_log --input clicks.tsv --output OUT/ir_relevance --vocab_path vocab.txt

clicks.tsv (UTF-8, .gz and .zst too) has the columns `query`, `title` and `clicked`, in any order, with a header: a
row for every title shown, clicked 1 or 0. Its classes are 0, clicked, and 1, shown and not clicked; a random title for
every second row is class 2: one of the same block of rows that was not shown for the query there. A log should be in
the order of time or shuffled, so that a block has many queries. See pretrain/tasks/ir_relevance.py for the task.

It takes the place of ir_relevance in `python -m pretrain.build_data --tasks`, and writes what that would: filelist,
shards/, stats.json. A bad row stops it, with file, line and remedy; --on_bad skip leaves it out and counts it.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Callable

from pretrain.build_data import input_files
from pretrain.corpus.builder import Plan
from pretrain.corpus.compression import unpacking
from pretrain.corpus.documents import lines as lines_of
from pretrain.corpus.input_file import facts_of, names_of
from pretrain.corpus.shard_folder import Folder, ShardWriter, compress, write_record
from pretrain.declaration import Lines
from pretrain.tasks.ir_relevance import CLASSES, CLICKED, RANDOM, SHOWN, IrRelevance, drawn_other
from propeller.encoding import remedy
from propeller.errors import UserError, exit_on_user_error
from propeller.flags import FlagParser, boolean
from tokenization import TOKENIZERS, build_tokenizer

COLUMNS = ("query", "title", "clicked")
ROWS = 4096  # of a block


def rows(path: str | Path, problems: list | None = None) -> Iterator[tuple[str, str, bool]]:
    """(query, title, whether clicked) of each row. problems: a list that takes (line, text) of bad rows; None: raise.

    Raises:
        UserError: file, line, remedy.
    """
    order, count = None, 0
    for number, line in lines_of(path):
        try:
            fields = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n").split("\t")
            if order is None:
                order = _columns(path, fields)
                continue
            found = _row(fields, order)
        except UnicodeDecodeError as error:
            found = f"not UTF-8; {remedy(path, error.object, unpacking(path))}"
            if order is None:
                raise UserError(f"{path}, line 1: {found}") from None
        if not isinstance(found, str):
            count += 1
            yield found
        elif problems is None:
            raise UserError(f"{path}, line {number}: {found}, or give --on_bad skip")
        else:
            problems.append((number, found))
    if order is None or not (count or problems):
        raise UserError(f"{path}: no rows; give a header query<TAB>title<TAB>clicked and a row for every title shown")


def _columns(path, fields):
    if sorted(fields) != sorted(COLUMNS):
        raise UserError(f"{path}, line 1: the columns are {fields!r}; give query, title and clicked, tabs between")
    return [fields.index(name) for name in COLUMNS]


def _row(fields, order):
    """The row, or what is wrong with it."""
    if len(fields) != len(COLUMNS):
        return f"{len(fields)} columns instead of 3; put one tab between columns and none in a text"
    query, title, clicked = (fields[place].strip() for place in order)
    if not query or not title:
        return f"the {'title' if query else 'query'} is empty; leave the row out"
    if clicked not in ("0", "1"):
        return f"clicked is {clicked!r}; give 1 for clicked, 0 for shown and not clicked"
    return query, title, clicked == "1"


def block_lines(
    task: IrRelevance, block: list[tuple[str, str, bool]], draw: Callable[[], float]
) -> tuple[Lines, Counter]:
    """(lines, Counter) of a block of rows. draw: random() of a generator of its own."""
    texts = task.tokenized([text for query, title, _ in block for text in (query, title)])
    pairs = list(zip(texts[::2], texts[1::2], (clicked for _, _, clicked in block)))
    shown: dict[bytes, set[bytes]] = {}
    for query, title, _ in pairs:
        shown.setdefault(query.text, set()).add(title.text)
    titles = [title for _, title, _ in pairs]
    found = []
    stats: Counter = Counter()
    for number, (query, title, clicked) in enumerate(pairs):
        if not query.count or not title.count:
            stats["left_over"] += 1
            continue
        found.append(task.line(query, title, CLICKED if clicked else SHOWN, stats))
        other = drawn_other(titles, shown[query.text] | {b""}, draw) if number % 2 else None
        if other:
            found.append(task.line(query, other, RANDOM, stats))
    return found, stats


def build(path: str | Path, name: str, plan: Plan, task: IrRelevance, folder: str | Path) -> dict:
    """The shards of one log; returns its record. Raises UserError: file, line, remedy."""
    facts = facts_of(path)
    stats: Counter = Counter()
    problems: list | None = [] if plan.on_bad == "skip" else None
    writer, found, number = ShardWriter(folder, name, plan.instances_per_shard), rows(path, problems), 0
    try:
        while block := list(islice(found, ROWS)):
            made, more = block_lines(task, block, random.Random(f"{plan.seed}/{name}/{number}").random)
            writer.write(compress(made), len(made))
            stats.update(more)
            number += 1
        stats["bad_lines"] = len(problems or ())
        writer.close()
    except BaseException:
        writer.abandon()
        raise
    return write_record(folder, name, facts, writer.shards, stats, IrRelevance.name, CLASSES)


def arguments() -> argparse.ArgumentParser:
    """The flags: those of build_data that matter here."""
    parser = FlagParser(
        prog="python -m pretrain.click_log", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    plan = Plan("")
    parser.add_argument("--input", nargs="+", required=True, metavar="FILE", help="click logs, or patterns")
    parser.add_argument("--output", required=True, help="folder of the shards, their list and the statistics")
    parser.add_argument("--vocab_path", required=True, help="vocab.txt of the model")
    parser.add_argument("--tokenizer", default=plan.tokenizer, choices=tuple(TOKENIZERS), help="default %(default)s")
    parser.add_argument("--do_lower_case", default=True, type=boolean, help="for uncased vocabularies (default true)")
    parser.add_argument("--sp_model", help="sentencepiece model (default: the *.model beside vocab.txt)")
    parser.add_argument("--max_seq_len", default=plan.max_seq_len, type=int, help="default %(default)s")
    parser.add_argument("--seed", default=0, type=int, help="of the random titles (default 0)")
    parser.add_argument("--instances_per_shard", default=plan.instances_per_shard, type=int, help="default %(default)s")
    parser.add_argument("--on_bad", default="error", choices=("error", "skip"), help="what a bad row does")
    parser.add_argument("--overwrite", action="store_true", help="build anew what --output holds of another build")
    return parser


def main(argv: Sequence[str] | None = None) -> dict:
    """Build; returns the statistics."""
    args = vars(arguments().parse_args(argv))
    plan = Plan(segmenter="char", **{name: args[name] for name in Plan.__dataclass_fields__ if name in args})
    folder = Folder(args["output"])
    plan = plan.for_folder(folder.begun_with(args["overwrite"]))
    tokenizer = build_tokenizer(plan.tokenizer, plan.vocab_path, plan.do_lower_case, False, plan.sp_model)
    task = IrRelevance(plan, tokenizer)
    paths = input_files(args["input"])
    names, records = names_of(paths), {}
    with folder.claimed({"rows": ROWS, **plan.settings()}, args["overwrite"]):
        for path in paths:
            done = folder.record(names[path], facts_of(path))
            records[names[path]] = done or build(path, names[path], plan, task, folder.shards)
        stats = folder.finish(records, 1.0, lambda total: IrRelevance.statistics(total, CLASSES), IrRelevance.name)
    told = ", ".join(f"{name}: {count}" for name, count in stats["classes"].items())
    print(f"{folder.path / 'filelist'}: {stats['instances']} instances ({told})")
    return stats


def _run():
    """``main`` as a program: the statistics are no exit status."""
    main()


if __name__ == "__main__":
    exit_on_user_error(_run)
