"""Tokens a second from pre-segmented text to shards, beside a plain loop over every token.

    python benchmark/build_data.py                     # text made on the spot, its vocabulary built from it
    python benchmark/build_data.py --data words.txt --vocab vocab.txt --minutes 10

The plain loop does what scripts around BERT do: BasicTokenizer pass by pass and greedy longest match in plain Python
for every word, lists of numbers, a line formatted from them; "one pass" is the same, tuned within plain Python, shown
for comparison (benchmark/reader.py has both). They write the same lines, which is checked first. Rounds interleave,
all on one core, compression included; "two workers" is ours with two processes, their start included. Target: 5 times
the plain loop on one core.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
FAST = 4  # of gzip, in the plain loop: five times as fast as its default
sys.path.insert(0, str(ROOT))

from benchmark.parts.common import Bench, arguments, say  # noqa: E402
from benchmark.reader import OnePassReader, PlainReader, one_core  # noqa: E402
from pretrain.build_vocab import build, count_words  # noqa: E402
from pretrain.corpus.builder import Plan  # noqa: E402
from pretrain.corpus.engines import Processes  # noqa: E402
from pretrain.corpus.input_file import build_file  # noqa: E402
from pretrain.corpus.pieces import LONGEST_WORD  # noqa: E402
from pretrain.corpus.sentences import split  # noqa: E402
from propeller.files import write_file  # noqa: E402

MAX_SEQ_LEN, SHORT, SEED, TARGET = 128, 0.1, 0, 5
DOCUMENTS, WORDS, TEXT_SEED = 1500, 12_000, 3
MARKS = "，，，、；：。。。！？"


def make_text(path):
    """Words with blanks between: Chinese ones of one to four characters by Zipf's law, some names and numbers."""
    rs = np.random.RandomState(TEXT_SEED)
    chars = [chr(0x4E00 + place) for place in rs.choice(6000, 3000, replace=False)]
    share = 1 / np.arange(1, len(chars) + 1)
    share /= share.sum()
    words = [
        "".join(rs.choice(chars, rs.choice([1, 2, 3, 4], p=[0.2, 0.6, 0.15, 0.05]), p=share)) for _ in range(WORDS)
    ]
    for place in range(200, WORDS, 40):
        words[place] = "".join(rs.choice(list("abcdefghijklmnop0123456789"), rs.randint(2, 9)))
    share = 1 / np.arange(1, WORDS + 1)
    share /= share.sum()
    lines = []
    for _ in range(DOCUMENTS):
        for _ in range(rs.randint(1, 6)):
            found = []
            for word in rs.choice(WORDS, rs.randint(20, 120), p=share):
                found.append(words[word])
                if rs.rand() < 0.12:
                    found.append(MARKS[rs.randint(len(MARKS))])
            lines.append(" ".join([*found, "。"]))
        lines.append("")
    write_file(path, "\n".join(lines).encode())


class PlainBuilder:
    """The same shards with a loop over every token; pairs positive, words without tags."""

    def __init__(self, vocab_file, reader=PlainReader):
        self.plain = reader(vocab_file)
        self.cls, self.sep = self.plain.vocab["[CLS]"], self.plain.vocab["[SEP]"]
        self.most = MAX_SEQ_LEN - 3

    def build(self, path, target, name):
        """Returns the number of tokens."""
        count = 0
        with open(path, encoding="utf-8") as file, gzip.open(target, "wt", compresslevel=FAST) as shard:
            groups = (
                list(lines) for full, lines in itertools.groupby(file, key=lambda line: bool(line.strip())) if full
            )
            for number, lines in enumerate(groups):
                sentences = [part for line in lines for words in self.sentences(line) for part in self.fitting(words)]
                draw = random.Random(f"{SEED}/{name}/{number}").random
                for first, second in self.pairs(sentences, draw):
                    line, length = self.line(first, second)
                    shard.write(line)
                    count += length
        return count

    def sentences(self, line):
        """Of each sentence its words as lists of ids."""
        words, latin = [], False
        for word in line.split():
            begins = word[0].isascii() and word[0].isalnum()
            if latin and begins:
                words.append(" ")
            words.append(word)
            latin = word[-1].isascii() and word[-1].isalnum()
        ends, place = set(), 0
        for piece in split("".join(words)):
            place += len(piece)
            ends.add(place)
        place, found = 0, []
        for word in words:
            ids = []
            for part in self.plain.words(word):
                for piece in self.plain.pieces(part):
                    ids.append(piece)
            while ids:
                found.append(ids[:LONGEST_WORD])
                ids = ids[LONGEST_WORD:]
            place += len(word)
            if place in ends:
                if found:
                    yield found
                found = []

    def fitting(self, words):
        """A sentence in parts that fit."""
        part, count = [], 0
        for word in words:
            if count + len(word) > self.most:
                yield part
                part, count = [], 0
            part.append(word)
            count += len(word)
        yield part

    def pairs(self, sentences, draw):
        """Two texts, lists of words."""
        sizes = [sum(len(word) for word in words) for words in sentences]
        place = 0
        while place < len(sentences):
            target = self.most if draw() >= SHORT else 2 + int(draw() * (self.most - 1))
            end, count = place + 1, sizes[place]
            while end < len(sentences):
                count += sizes[end]
                if count > (self.most if end == place + 1 else target):
                    break
                end += 1
            chunk = sentences[place:end]
            if len(chunk) == 1:
                chunk = self.in_two(chunk[0], sizes[place])
            border = 1 + int(draw() * (len(chunk) - 1))
            if len(chunk) > 1:
                yield [w for words in chunk[:border] for w in words], [w for words in chunk[border:] for w in words]
            place = end

    @staticmethod
    def in_two(words, size):
        """A sentence cut nearest to its middle."""
        best, at, count = None, 0, 0
        for number, word in enumerate(words):
            if number and (best is None or abs(2 * count - size) < best):
                best, at = abs(2 * count - size), number
            count += len(word)
        return [words[:at], words[at:]] if at else [words]

    def line(self, first, second):
        """A line of the shard, and how many tokens it has."""
        ids, sents, segs = [self.cls], [0], [-1]
        for kind, words in enumerate((first, second)):
            for word in words:
                for number, piece in enumerate(word):
                    ids.append(piece)
                    sents.append(kind)
                    segs.append(1 if number else 0)
            ids.append(self.sep)
            sents.append(kind)
            segs.append(-1)
        fields = (ids, sents, range(len(ids)), segs)
        return ";".join(" ".join(str(number) for number in field) for field in fields) + ";1\n", len(ids)


def lines_of(folder, name):
    """All lines of the shards of an input."""
    found = []
    for path in sorted(Path(folder).glob(f"{name}*.gz")):
        with gzip.open(path, "rt") as file:
            found += file.readlines()
    return found


def check(plan, path, folder):
    """The two write the same lines; returns the number of tokens."""
    (folder / "shards").mkdir()
    record = build_file(path, "ours", plan, folder)["knowledge_masking"]
    tokens = PlainBuilder(plan.vocab_path).build(path, folder / "plain.gz", "ours")
    ours, plain = lines_of(folder / "shards", "ours"), lines_of(folder, "plain")
    different = next((number for number, (a, b) in enumerate(zip(ours, plain)) if a != b), None)
    if ours != plain:
        at = "the count" if different is None else f"line {different + 1}"
        raise SystemExit(f"the plain loop writes other lines ({len(plain)} and {len(ours)}): see {at}")
    say(f"both write the same {len(ours)} lines of {tokens} tokens")
    return record["stats"]["tokens"]


def measure(bench, plan, path, folder):
    """Interleaved rounds, in tokens a second."""
    tokens = bench.cell("tokens", lambda: check(plan, path, folder))
    if tokens is None:
        return {}
    (folder / "shards").mkdir(exist_ok=True)

    def timed(work, cores):
        with cores():
            begin = time.perf_counter()
            work()
            return tokens / (time.perf_counter() - begin)

    def plain(reader):
        return PlainBuilder(plan.vocab_path, reader).build(path, folder / "plain.gz", "plain")

    def processes():
        with Processes(2) as run:
            build_file(path, "two", plan, folder, run)

    return bench.rounds(
        "speed",
        {
            "plain loop": lambda: timed(lambda: plain(PlainReader), one_core),
            "one pass": lambda: timed(lambda: plain(OnePassReader), one_core),
            "one core": lambda: timed(lambda: build_file(path, "one", plan, folder), one_core),
            "two workers": lambda: timed(processes, contextlib.nullcontext),
        },
    )


def main():
    """Measure and report; the exit status is 0 when the target is met."""
    parser = arguments(__doc__)
    parser.add_argument("--data", help="text with blanks between words, without tags (default: made on the spot)")
    parser.add_argument("--vocab", help="vocab.txt (default: built from the text)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        path, vocab = args.data or folder / "text.txt", args.vocab or folder / "vocab.txt"
        if not args.data:
            make_text(path)
        if not args.vocab:
            write_file(vocab, "\n".join(build(count_words([path]), 8000)).encode())
        plan = Plan(
            str(vocab),
            segmenter="pre-segmented",
            pairs="positive",
            max_seq_len=MAX_SEQ_LEN,
            short_seq_prob=SHORT,
            seed=SEED,
        )
        settings = {"text": args.data or [DOCUMENTS, WORDS], "vocab": args.vocab, "max_seq_len": MAX_SEQ_LEN}
        bench = Bench("build_data", args, settings)
        found = measure(bench, plan, path, folder)
    for name, rounds in found.items():
        print(f"{name:12} {rounds} tokens/s")
    if len(found) < 4:
        return 1
    ratio = found["one core"].median / found["plain loop"].median
    print(f"one core: {ratio:.1f} times the plain loop (target {TARGET})")
    return 0 if ratio >= TARGET and all(rounds.complete for rounds in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
