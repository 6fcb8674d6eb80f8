"""The vocabulary of a student, from the texts that it will learn from.

    python -m distill.vocab --output student/vocab.txt student/train.tsv unlabelled.tsv               # words
    python -m distill.vocab --output student/vocab.txt --segmenter jieba train.tsv                    # Chinese words
    python -m distill.vocab --output student/vocab.txt --pieces teacher/vocab.txt train.tsv           # pieces

Words go with ``--tokenizer WholeWordTokenizer``: those of BasicTokenizer, and of Chinese what stands between blanks, or
what a segmenter says. Each Chinese character that occurs is a word too, so that hardly anything is [UNK]. Pieces are
those of the teacher's vocabulary that the texts are cut into; they go with the teacher's tokenizer. The first lines are
the special tokens, then words by falling count.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.rows import open_table, rows_of
from finetune.tables import TableFlags
from pretrain.corpus.segment import Segmenter, build_segmenter
from propeller import log as log_setup
from propeller.errors import UserError, exit_on_user_error
from propeller.files import write_file
from propeller.flags import FlagParser, add_flags, flag, read_flags
from reader.tables.form import PLAIN, TableForm
from tokenization import BasicTokenizer, build_tokenizer
from tokenization_basic import char_kind

log = logging.getLogger("ernie.distill")

SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]")
LONGEST_WORD = 100  # characters; longer ones are addresses and the like, which are never met twice
BLANKS = "blanks"


@dataclass(frozen=True)
class VocabArgs(TableFlags):
    """vocabulary: what it holds"""

    output: str = flag(None, "the vocabulary to write", required=True)
    segmenter: str = flag(
        BLANKS, "what cuts Chinese into words: lac, jieba, char or module:class; blanks: text that comes with blanks"
    )
    pieces: str | None = flag(None, "vocabulary of the teacher: take its pieces that occur, not words")
    do_lower_case: bool = flag(True, "lower-case the text and strip accents")
    max_words: int = flag(35000, "most entries, special ones counted; 35,000 is 2019's")
    min_count: int = flag(1, "how often a word has to occur; single Chinese characters are kept all the same")


def _texts(path: str, form: TableForm) -> Iterator[str]:
    table = open_table(path, form=form)
    places = [table.columns.index(name) for name in ("text_a", "text_b") if name in table.columns]
    for _, fields in rows_of(table):
        for place in places:
            yield fields[place]


def count_words(
    paths: Sequence[str], segmenter: Segmenter | None = None, do_lower_case: bool = True, form: TableForm = PLAIN
) -> Counter:
    """How often each word is in the texts; Chinese characters count as words too.

    Args:
        paths: files of rows.
        segmenter: what cuts Chinese; None: blanks do.
        do_lower_case: see ``BasicTokenizer``.
        form: how the files are stored, and which columns count.
    """
    basic = BasicTokenizer(do_lower_case)
    counts: Counter = Counter()
    chinese: Counter = Counter()
    for path in paths:
        for text in _texts(path, form):
            for word in segmenter.batch([text])[0].words if segmenter else text.split():
                parts = basic.tokenize(word)
                cjk = [part for part in parts if char_kind(part[0]) == "cjk"]
                chinese.update(cjk)
                if len(cjk) == len(parts) > 1:
                    counts["".join(parts)] += 1
                else:
                    counts.update(parts)
    counts = Counter({word: count for word, count in counts.items() if len(word) <= LONGEST_WORD})
    for char, count in chinese.items():
        counts[char] = max(counts[char], count)
    return counts


def count_pieces(paths: Sequence[str], vocab_path: str, do_lower_case: bool = True, form: TableForm = PLAIN) -> Counter:
    """How often each piece of a vocabulary is in the texts."""
    tokenizer = build_tokenizer("FullTokenizer", vocab_path, do_lower_case, for_cn=False)
    counts: Counter = Counter()
    for path in paths:
        for text in _texts(path, form):
            counts.update(tokenizer.tokenize(text))
    return counts


def vocabulary(counts: Counter, most: int = 35000, least: int = 1) -> list[str]:
    """Special tokens, then words by falling count, equal ones in the order of their characters.

    Args:
        counts: word -> how often.
        most: entries, special ones counted.
        least: how often a word has to occur; Chinese characters always stay.
    """
    kept = [word for word, count in counts.items()
            if word not in SPECIAL and (count >= least or (len(word) == 1 and char_kind(word) == "cjk"))]  # fmt: skip
    kept.sort(key=lambda word: (-counts[word], word))
    return [*SPECIAL, *kept[: most - len(SPECIAL)]]


def main(argv: Sequence[str]) -> int:
    """The command; returns its exit status."""
    parser = FlagParser(
        prog="python -m distill.vocab", description=__doc__.split("\n", maxsplit=1)[0], allow_abbrev=False
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="rows with a column text_a, and text_b if it has one")
    add_flags(parser, VocabArgs)
    values = read_flags(parser, argv)
    files = values.pop("files")
    args = VocabArgs(**values)
    log_setup.setup(None)
    if args.max_words <= len(SPECIAL):
        raise UserError(f"--max_words must be above {len(SPECIAL)}, the special tokens, not {args.max_words}")
    if args.pieces:
        if args.segmenter != BLANKS:
            raise UserError(
                "--pieces with --segmenter: pieces are cut by the teacher's vocabulary: leave one of them out"
            )
        counts = count_pieces(files, args.pieces, args.do_lower_case, args.form().beside())
    else:
        segmenter = None if args.segmenter == BLANKS else build_segmenter(args.segmenter)
        counts = count_words(files, segmenter, args.do_lower_case, args.form().beside())
    words = vocabulary(counts, args.max_words, args.min_count)
    seen = sum(counts.values())
    known = sum(counts[word] for word in words)
    Path(args.output).resolve().parent.mkdir(parents=True, exist_ok=True)
    write_file(Path(args.output), "".join(f"{word}\n" for word in words).encode("utf8"))
    log.info("%s: %d entries of %d found, %.2f%% of the text", args.output, len(words), len(counts) + len(SPECIAL),
             100.0 * known / max(seen, 1))  # fmt: skip
    return 0


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
