"""A vocabulary of word pieces from raw text.

    python -m pretrain.build_vocab --input 'corpus/*.txt' --output output/vocab.txt --size 8000

Its first lines are [PAD], [CLS], [SEP], [MASK], [UNK], as released ERNIE vocabularies begin; then the characters that
text has at least --min_count times, by falling count, each as a word and (other than Chinese ones and punctuation,
which always stand alone) as ## inside of one; then longer pieces, up to --size, each made of the two that stand
beside each other most often in words (Sennrich et al. 2016, which is how BERT-like vocabularies are commonly trained;
the `tokenizers` library does the same, but breaks ties differently in every process). Text is read as
pretrain.build_data reads it; give --segmenter pre-segmented where words stand apart and may have tags, which are then
no text. The same input gives the same vocabulary, however many processes count. Memory grows with the number of
different words, at most --max_words: rare ones are forgotten beyond it. A line of the log every ten seconds says how
far it is. Stopped midway, the same command goes on with the counts of OUTPUT.counts, which it writes every minute.
"""

from __future__ import annotations

import argparse
import heapq
import logging
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pretrain.build_data import input_files
from pretrain.corpus.counting import SavedCounts, count_words
from pretrain.corpus.documents import FORMATS, Source
from pretrain.corpus.progress import EVERY
from propeller.errors import UserError, exit_on_user_error
from propeller.files import write_file
from propeller.flags import FlagParser, boolean
from propeller.runtime import cores
from tokenization_basic import char_kind

SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]")
MERGED_WORDS = 200_000
SMALL = 1 << 21  # bytes that one process counts
LONGEST = 100  # characters of a word; longer ones are [UNK] to the tokenizer
log = logging.getLogger("ernie.pretrain")


def build(counts: Counter, size: int, min_count: int = 2, paths: Sequence[str] = ()) -> list:
    """The vocabulary: at most `size` tokens. counts: word -> how often; paths: of the text, for messages.

    Raises:
        UserError: no words, a small size.
    """
    if size <= len(SPECIAL):
        raise UserError(f"--size {size}: give more than the {len(SPECIAL)} special tokens")
    chars: Counter = Counter()
    inside: set[str] = set()
    for word, count in counts.items():
        if len(word) <= LONGEST:
            for char in word:
                chars[char] += count
            inside.update(word[1:])
    kept = sorted((char for char in chars if chars[char] >= min_count), key=lambda char: (-chars[char], char))
    if not kept:
        remedy = "give text that has some" if not chars else "give more text, or a smaller --min_count"
        what = f"no character occurs {min_count} times" if chars else "there are no words"
        raise UserError(f"{', '.join(paths) or 'the text'}: {what}; {remedy}")
    tokens = [token for char in kept for token in ((char, f"##{char}") if char in inside else (char,))]
    tokens = tokens[: size - len(SPECIAL)]
    room = size - len(SPECIAL) - len(tokens)
    return [*SPECIAL, *tokens, *(_longer_pieces(counts, set(kept), room, min_count) if room > 0 else [])]


def _longer_pieces(counts, kept, room, min_count) -> list:
    """Up to `room` pieces of two characters or more: again and again the most frequent pair of neighbours becomes one.

    Of the MERGED_WORDS most frequent words; among pairs of one count the first in the order of characters.
    """
    words = [
        (word, count)
        for word, count in counts.items()
        if 1 < len(word) <= LONGEST and count >= min_count and all(char in kept for char in word)
    ]
    words = sorted(words, key=lambda item: (-item[1], item[0]))[:MERGED_WORDS]
    merges = _Merges([word for word, _ in words], [count for _, count in words])
    found: dict[str, None] = {}
    told = time.monotonic()
    while len(found) < room:
        if time.monotonic() - told > EVERY:
            told = time.monotonic()
            log.info("pieces: %d of %d", len(found), room)
        pair, count = merges.best()
        if count < min_count:
            break
        found.setdefault(merges.merge(pair))
    return list(found)


class _Merges:
    """Words as lists of pieces, and how often each pair of neighbouring pieces occurs."""

    def __init__(self, words, counts) -> None:
        self.words = [[word[0], *(f"##{char}" for char in word[1:])] for word in words]
        self.counts = counts
        self.pairs: Counter[tuple[str, str]] = Counter()
        self.places: dict[tuple[str, str], set[int]] = {}
        for number, pieces in enumerate(self.words):
            self._add(number, pieces, 1)
        self.heap = [(-count, pair) for pair, count in self.pairs.items()]
        heapq.heapify(self.heap)

    def _add(self, number, pieces, sign):
        for pair in zip(pieces, pieces[1:]):
            self.pairs[pair] += sign * self.counts[number]
            if sign > 0:
                self.places.setdefault(pair, set()).add(number)

    def best(self):
        """(the most frequent pair, its count); count 0: there is none."""
        while self.heap:
            count, pair = self.heap[0]
            if -count == self.pairs[pair]:
                return pair, -count
            heapq.heappop(self.heap)  # the count has changed since; its new one is in the heap too
        return None, 0

    def merge(self, pair) -> str:
        """Make one piece of the pair wherever it stands; returns the piece."""
        first, second = pair
        piece = first + second[2:]
        touched: set[tuple[str, str]] = set()
        for number in self.places.pop(pair):
            old = self.words[number]
            new: list[str] = []
            for part in old:
                if new and new[-1] == first and part == second:
                    new[-1] = piece
                else:
                    new.append(part)
            if len(new) < len(old):
                self._add(number, old, -1)
                self._add(number, new, 1)
                touched.update(zip(old, old[1:]), zip(new, new[1:]))
                self.words[number] = new
        for each in touched:
            if self.pairs[each] > 0:
                heapq.heappush(self.heap, (-self.pairs[each], each))
        return piece


def arguments() -> argparse.ArgumentParser:
    """The flags."""
    parser = FlagParser(
        prog="python -m pretrain.build_vocab",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--input", nargs="+", required=True, metavar="FILE", help="files or patterns")
    parser.add_argument("--output", required=True, help="vocab.txt to write")
    parser.add_argument("--size", type=int, default=8000, help="most tokens (default 8000)")
    parser.add_argument("--min_count", type=int, default=2, help="rarer characters and words are left out (default 2)")
    parser.add_argument("--max_words", type=int, default=4_000_000, help="most words counted (default 4000000)")
    parser.add_argument("--do_lower_case", type=boolean, default=True, help="lower-case the text (default true)")
    parser.add_argument("--format", default="auto", choices=FORMATS, help="as in pretrain.build_data")
    parser.add_argument("--text_field", default="text", help="as in pretrain.build_data (default text)")
    parser.add_argument(
        "--segmenter", default="none", choices=("none", "pre-segmented"), help="whether words have tags (default none)"
    )
    parser.add_argument(
        "--num_workers", type=int, default=cores(), help="processes; 0: this one alone (default: cores)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Write the vocabulary."""
    args = arguments().parse_args(argv)
    if args.num_workers < 0:
        raise UserError(f"--num_workers {args.num_workers}: give 0 or more")
    source, paths = Source(format=args.format, text_field=args.text_field), input_files(args.input)
    # Processes take a second to begin, in which this one counts as much.
    workers = args.num_workers if sum(Path(path).stat().st_size for path in paths) > SMALL else 0
    Path(args.output).parent.mkdir(parents=True, exist_ok=True)
    saved = SavedCounts(f"{args.output}.counts")
    counts = count_words(paths, source, args.do_lower_case, args.segmenter, args.max_words, workers, saved)
    tokens = build(counts, args.size, args.min_count, args.input)
    write_file(args.output, "".join(f"{token}\n" for token in tokens).encode())
    saved.remove()
    known = set(tokens)
    unknown = sum(count for word, count in counts.items() if not all(c in known or f"##{c}" in known for c in word))
    cjk = sum(len(token) == 1 and char_kind(token) == "cjk" for token in tokens)
    print(
        f"{args.output}: {len(tokens)} tokens, {cjk} of them Chinese characters, from {sum(counts.values())} words; "
        f"{100 * unknown / max(sum(counts.values()), 1):.2f}% of these will be [UNK]"
    )


def script() -> None:
    """As a program."""
    from propeller.log import setup

    setup()
    exit_on_user_error(main)


if __name__ == "__main__":
    script()
