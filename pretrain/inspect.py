"""Shows what is in a shard, and how it would be masked.

    python -m pretrain.inspect output/shards/shards/news-00000.gz --vocab_path vocab.txt --number 3 --units entity

    python -m pretrain.inspect OUT/capitalization/filelist --vocab_path vocab.txt      # every shard of the list

An instance is its pieces, words parted by blanks and the pieces of a word by a middle dot, its units (p: phrase, e:
entity), whether the second text is the next, and the text once more as the network would see it: [MASK] or another
piece in place of what it has to tell, marked by ‹›. --seed draws other masks. Of a task with classes or numbers: its
class or number, or the class of every token after a slash. Task and names are taken from the record that the build left
beside the shard (NAME.json); --task says it where there is none.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pretrain import DEFAULT_TASK, TASKS, declared
from pretrain.declaration import Declaration
from propeller.errors import UserError, exit_on_user_error
from propeller.flags import FlagParser, boolean
from reader.pretraining.masking import LEVELS, MASK_DRAWS, Draws, SpecialIds, bits_at, mark_special, mask_tokens
from reader.pretraining.shard_check import record_of
from reader.pretraining.shard_files import GZIP, read_filelist, read_shard
from reader.pretraining.shards import TOKEN_CLASSES_MOST, Instances, Limits, of_kind, parse_lines
from tokenization import TOKENIZERS, build_tokenizer

if TYPE_CHECKING:
    from tokenization_base import BaseTokenizer

CLASSES_MOST = 1 << 15  # shown whatever the number of classes


def instances(
    path: str | Path, limits: Limits, start: int = 0, number: int | None = None, on_bad: str = "error"
) -> Iterator[tuple[int, Any, Instances | None]]:
    """(line number from 1, its fields as text, Instances of one row) of a shard. Raises UserError: file, line, remedy.

    on_bad: "skip" gives (line number, what is wrong, None) for a bad line.
    """
    found = ((first + place, line) for first, lines in read_shard(path, start) for place, line in enumerate(lines))
    for place, line in itertools.islice(found, number):
        row, problems = parse_lines([line], limits)
        if problems and on_bad == "error":
            raise UserError(f"{path}, line {place + 1}: {problems[0][1]}")
        yield place + 1, problems[0][1] if problems else line.decode().strip().split(";"), None if problems else row


def words_line(tokens: Sequence[str], begins: Sequence[bool]) -> str:
    """The tokens as text: blanks between words, a middle dot between pieces of one."""
    text = ""
    for token, begin in zip(tokens, begins):
        text += (" " if begin and text else "·" if text else "") + token
    return text


def shown(tokenizer: BaseTokenizer, fields: list[str], row: Instances) -> str:
    """Lines about an instance: its texts, words and units."""
    tokens = tokenizer.convert_ids_to_tokens(row.ids.tolist())
    segs = [int(seg) for seg in fields[3].split(" ")]
    second = int(row.sents.argmax()) if row.sents.any() else len(tokens)
    begins = [seg != 1 for seg in segs]
    text = [f"  A  {words_line(tokens[:second], begins[:second])}"]
    if second < len(tokens):
        text.append(f"  B  {words_line(tokens[second:], begins[second:])}")
    units = []
    for unit in fields[5].split(" ") if len(fields) > 5 and fields[5] else []:
        start, end, kind = unit.split("-")
        units.append(f"{kind}:{'·'.join(tokens[int(start) : int(end)])}")
    text.append(f"  units  {'  '.join(units) or 'words only'}")
    return "\n".join(text)


def masked(tokenizer: BaseTokenizer, row: Instances, level: str, mask_draw: str, bits: np.random.Philox) -> str:
    """The instance as the network would see it; bits: of reader.pretraining.masking.bits_at."""
    special = SpecialIds(tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id)
    row.knowledge[:] = True
    mark_special(row, special)
    draws = Draws(bits, len(tokenizer.vocab))
    ids, chosen = mask_tokens(row, draws, level=level, mask_id=special.mask, mask_draw=mask_draw, at_least_one=True)
    tokens = tokenizer.convert_ids_to_tokens(ids.tolist())
    for place in chosen.tolist():
        tokens[place] = f"‹{tokens[place]}›"
    return " ".join(tokens)


def labels_shown(tokenizer: BaseTokenizer, kind: str, names: dict[int, str], fields: list[str], row: Instances) -> str:
    """The instance of a task whose labels are classes or numbers: its texts, and what is to be predicted."""
    tokens = tokenizer.convert_ids_to_tokens(row.ids.tolist())
    if kind == "number":
        head = f"number {fields[4]}"
    elif kind == "token":
        tokens = [token if told == "-1" else f"{token}/{told}" for token, told in zip(tokens, fields[3].split(" "))]
        head = ", ".join(f"/{number} {name}" for number, name in names.items())
    else:
        label = int(row.labels[0])
        head = f"class {label}" + (f" ({names[label]})" if label in names else "")
    texts = " ".join(tokens).replace("[SEP] ", "[SEP]\n  ")
    return f"{len(tokens)} tokens, {head}\n  {texts}\n"


def task_of(shard: str, asked: str | None) -> tuple[type[Declaration], dict[int, str]]:
    """(the Declaration of the task whose shard it is, {class: name}, {} where there are none or no record).

    Raises:
        UserError: it is not of the task that was asked for.
    """
    path, record = record_of(shard)
    known = record.get("task")
    if asked and known and asked != known:
        raise UserError(f"{path}: the shard is of {known}, not of {asked}; leave --task out")
    return declared(asked or known or DEFAULT_TASK), dict(enumerate(record.get("classes") or ()))


def shards_of(path: str) -> list[str]:
    """The shard, or those that a list of shards names. Raises UserError: it is a file of another kind."""
    file = Path(path)
    if file.suffix == ".gz" or not file.is_file():
        return [path]
    with file.open("rb") as opened:
        if opened.read(len(GZIP)) == GZIP:
            return [path]
    return [str(shard.path) for shard in read_filelist(path)]


def arguments() -> argparse.ArgumentParser:
    """The flags."""
    parser = FlagParser(
        prog="python -m pretrain.inspect", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shards", nargs="+", metavar="SHARD", help="a .gz shard, or the filelist of a build")
    parser.add_argument("--vocab_path", required=True, help="vocab.txt it was built with")
    parser.add_argument(
        "--tokenizer", default="FullTokenizer", choices=tuple(TOKENIZERS), help="what it was built with"
    )
    parser.add_argument("--do_lower_case", type=boolean, default=True, help="as it was built (default true)")
    parser.add_argument("--sp_model", help="sentencepiece model it was built with (default: the *.model beside vocab)")
    default = f"what its build says, else {DEFAULT_TASK}"
    parser.add_argument("--task", choices=tuple(TASKS), help=f"what it is of (default: {default})")
    parser.add_argument("--start", type=int, default=1, help="first line shown of a shard, from 1")
    parser.add_argument("--number", type=int, default=5, help="lines shown of a shard; 0: all (default 5)")
    parser.add_argument(
        "--units", default="entity", choices=tuple(LEVELS), help="what is masked whole (default entity)"
    )
    parser.add_argument(
        "--mask_draw", default="piece", choices=MASK_DRAWS, help="see reader/pretraining/masking.py (default piece)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the masks (default 0)")
    parser.add_argument("--on_bad", default="error", choices=("error", "skip"), help="of bad lines (default error)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Print the instances."""
    args = arguments().parse_args(argv)
    if args.start < 1 or args.number < 0 or args.seed < 0:
        raise UserError("--start is 1 or more, --number and --seed 0 or more")
    tokenizer = build_tokenizer(args.tokenizer, args.vocab_path, args.do_lower_case, False, args.sp_model)
    shards = [shard for path in args.shards for shard in shards_of(path)]
    for shard in shards:
        if len(shards) > 1:
            print(f"{shard}:")
        _print_shard(shard, tokenizer, args)


def _print_shard(shard: str, tokenizer: BaseTokenizer, args: argparse.Namespace) -> None:
    """Its instances, as the flags say."""
    bad, seen = 0, 0
    task, names = task_of(shard, args.task)
    most = TOKEN_CLASSES_MOST if task.kind == "token" else CLASSES_MOST
    limits = Limits(vocab_size=len(tokenizer.vocab), **of_kind(task.kind, most))
    found = instances(shard, limits, args.start - 1, args.number or None, args.on_bad)
    for line, fields, row in found:
        if row is None:
            print(f"line {line}: {fields}")
            bad += 1
            continue
        seen += 1
        if task.kind != "masking":
            print(f"line {line}: {labels_shown(tokenizer, task.kind, names, fields, row)}")
            continue
        label = "B follows A" if row.labels[0] else "B is from elsewhere"
        pair = f", next_sentence_label {row.labels[0]} ({label})" if task.pairs_of_texts else ""
        print(f"line {line}: {row.lengths[0]} tokens{pair}")
        print(shown(tokenizer, fields, row))
        bits = bits_at(args.seed, line)
        print(f"  masked by {args.units}  {masked(tokenizer, row, args.units, args.mask_draw, bits)}\n")
    if bad:
        print(f"{bad} bad lines")
    if not seen and not bad:
        raise UserError(f"{shard}: no line {args.start}; give a smaller --start, or a shard with instances")


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
