"""Tokens a second of masking, and of the whole pre-training reader, against plain Python loops over tokens.

    python benchmark/pretraining_reader.py                      # a shard made on the spot
    python benchmark/pretraining_reader.py --data part-0.gz --vocab_size 18000 --minutes 5

The plain loops below are what a pre-training script of 2019 did: numbers read with int(), a loop over the tokens of
each row that chooses words and masks pieces, lists padded in loops. With the draws of 2019 the reader gives the same
batches, which is checked first; measured are its own draws. A round is every instance of the shard once, in one
thread, in batches of 128 rows; seconds are of processor time, so that other processes count little. Target: masking
(numbers drawn, tokens masked, labels and places collected) at 10 times the plain loop. As in the reader, the rows of
several batches are masked at once. Masking in small batches of 32 rows, and the whole reader (gz to padded batches), of
which inflating and finding numbers in text take most, are shown beside it. Then an epoch is read by --ranks simulated
ranks, without a network: their batches have to be those of one process, in order, and every instance has to come once.
"""

from __future__ import annotations

import gzip
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmark.parts.common import Bench, arguments, shown  # noqa: E402
from benchmark.parts.many_ranks import simulate  # noqa: E402
from reader.pretraining.blocks import Block, Stretch  # noqa: E402
from reader.pretraining.masking import Draws, bits_at, mask_positions, mask_tokens  # noqa: E402
from reader.pretraining.reader import PretrainingReader  # noqa: E402
from reader.pretraining.reading import Masking, ShardReading  # noqa: E402
from reader.pretraining.shard_files import read_shard  # noqa: E402
from reader.pretraining.shards import Instances, Limits, parse_lines  # noqa: E402

TARGET = 10
ROWS, MAX_SEQ_LEN, BATCH, SMALL = 3000, 128, 128, 32
TARGETED = f"masking words, {BATCH} rows a batch"
CLS, SEP, MASK = 1, 2, 3


def plain_mask(tokens, segs, probs, replacements):
    """The loop over tokens: masks `tokens` (a list of lists) in place. Returns labels and places."""
    longest = max(map(len, tokens))
    labels, places = [], []
    before = 0
    for row, (ids, words) in enumerate(zip(tokens, segs)):
        chosen = False
        for at, token in enumerate(ids):
            prob = probs[before + at]
            if words[at] == 0:
                chosen, part = prob <= 0.15, 0.15
            elif words[at] == 1:
                part = 1.0
            else:
                chosen = False
            if chosen:
                labels.append(token)
                places.append(row * longest + at)
                if prob > 0.2 * part:
                    ids[at] = MASK
                elif prob > 0.1 * part:
                    ids[at] = replacements[before + at]
        before += len(ids)
    return labels, places


def draw(random, tokens, vocab_size):
    """As 2019: a number and an id for every token."""
    return random.random_sample(tokens).tolist(), random.randint(1, vocab_size, tokens).tolist()


def plain_rows(path):
    """(token ids, sentence types, positions, seg labels, label) of every line, as lists."""
    with gzip.open(path, "rt") as file:
        for line in file:
            fields = line.strip().split(";")
            yield (*([int(number) for number in field.split(" ")] for field in fields[:4]), int(fields[4]))


def plain_batches(path, seed, vocab_size):
    """Padded, masked batches of the file, in its order."""
    rows, random = [], np.random.RandomState(seed)
    random.random_sample()  # whether words or pieces are masked in the file
    for row in plain_rows(path):
        if len(row[0]) <= MAX_SEQ_LEN:
            rows.append(row)
        if len(rows) == BATCH:
            yield plain_batch(rows, random, vocab_size)
            rows = []
    if rows:
        yield plain_batch(rows, random, vocab_size)


def plain_batch(rows, random, vocab_size):
    tokens, sents, positions, segs, labels = zip(*rows)
    probs, replacements = draw(random, sum(map(len, tokens)), vocab_size)
    mask_label, mask_pos = plain_mask(tokens, segs, probs, replacements)
    longest = max(map(len, tokens))
    return {
        "src_ids": np.array([ids + [0] * (longest - len(ids)) for ids in tokens], np.int64),
        "sent_ids": np.array([ids + [0] * (longest - len(ids)) for ids in sents], np.int64),
        "pos_ids": np.array([ids + [0] * (longest - len(ids)) for ids in positions], np.int64),
        "task_ids": np.zeros((len(rows), longest), np.int64),
        "input_mask": np.array([[1.0] * len(i) + [0.0] * (longest - len(i)) for i in tokens], np.float32),
        "labels": np.array(labels, np.int64).reshape(-1, 1),
        "mask_label": np.array(mask_label, np.int64).reshape(-1, 1),
        "mask_pos": np.array(mask_pos, np.int64).reshape(-1, 1),
    }


def make_shard(path, vocab_size):
    """Rows of two sentences, 40 to MAX_SEQ_LEN tokens, words of one to four pieces."""
    random = np.random.RandomState(0)
    with gzip.open(path, "wt", compresslevel=6) as file:
        for _ in range(ROWS):
            length = int(random.randint(40, MAX_SEQ_LEN + 1))
            cut = int(random.randint(5, length - 5))
            ids = random.randint(4, vocab_size, length)
            segs = (random.random_sample(length) < 0.44).astype(int)
            ids[0], ids[cut], ids[-1] = CLS, SEP, SEP
            segs[1] = segs[cut + 1] = 0
            segs[[0, cut, -1]] = -1
            sents = (np.arange(length) > cut).astype(int)
            fields = [" ".join(map(str, field.tolist())) for field in (ids, sents, np.arange(length), segs)]
            file.write(";".join(fields) + f";{random.randint(2)}\n")


class Work:
    """The instances of one shard, and a round of each candidate over them: tokens a second."""

    def __init__(self, folder, shard, vocab_size):
        self.shard, self.vocab_size = shard, vocab_size
        vocab = dict.fromkeys(range(vocab_size))
        self.tokenizer = SimpleNamespace(pad_id=0, cls_id=CLS, sep_id=SEP, mask_id=MASK, vocab=vocab)
        self.filelist = folder / "filelist"
        self.filelist.write_text(f"{Path(shard).resolve()}\t1.0\n")
        parts = []
        for _, lines in read_shard(shard):
            rows, problems = parse_lines(lines, Limits(vocab_size))
            if problems:
                raise SystemExit(f"{shard}: {problems[0][1]}")
            parts.append(rows)
        rows = Instances.join(parts)
        rows.knowledge[:] = True
        self.rows = rows.take(np.flatnonzero(rows.lengths <= MAX_SEQ_LEN))
        self.plain = [row for row in plain_rows(shard) if len(row[0]) <= MAX_SEQ_LEN]
        self.tokens = len(self.rows.ids)

    def reader(self, **masking):
        reading = ShardReading(MAX_SEQ_LEN, BATCH, in_tokens=False)
        return PretrainingReader(self.filelist, self.tokenizer, reading, masking=Masking(units="word", **masking))

    def check(self):
        """Both readers give the same batches."""
        ours = [batch for batch, _ in self.reader(draws_of_2019=True).batches()]
        plain = list(plain_batches(self.shard, 0, self.vocab_size))
        if len(ours) != len(plain):
            raise SystemExit(f"{len(ours)} batches here, {len(plain)} by the plain loop")
        for own, other in zip(ours, plain):
            if own.keys() != other.keys() or any((own[name] != other[name]).any() for name in own):
                raise SystemExit("the plain loop and the reader do not give the same batches")

    def mask_ours(self, size=BATCH):
        count, block = len(self.rows), Block(self.rows, None, self._mask_piece)
        batches = [Stretch([(block, at, min(at + size, count))]) for at in range(0, count, size)]
        begin = time.process_time()
        for stretch in batches:
            rows, (_, tokens) = stretch.take("word")
            mask = np.arange(rows.lengths.max(), dtype=np.int32) < rows.lengths[:, None]
            rows.ids[tokens].astype(np.int64), mask_positions(tokens, mask)
        return self.tokens / (time.process_time() - begin)

    def _mask_piece(self, rows, number, level):
        return mask_tokens(rows, Draws(bits_at(1, number), self.vocab_size), level=level, mask_id=MASK)

    def mask_plain(self, size=BATCH):
        batches = [self.plain[at : at + size] for at in range(0, len(self.plain), size)]
        lists = [([list(row[0]) for row in rows], [row[3] for row in rows]) for rows in batches]
        random, begin = np.random.RandomState(1), time.process_time()
        for tokens, segs in lists:
            probs, replacements = draw(random, sum(map(len, tokens)), self.vocab_size)
            labels, places = plain_mask(tokens, segs, probs, replacements)
            np.array(labels, np.int64).reshape(-1, 1), np.array(places, np.int64).reshape(-1, 1)
        return self.tokens / (time.process_time() - begin)

    def read_ours(self):
        return self._read(self.reader().batches())

    def read_plain(self):
        return self._read(plain_batches(self.shard, 0, self.vocab_size))

    def _read(self, batches):
        begin = time.process_time()
        for _ in batches:
            pass
        return self.tokens / (time.process_time() - begin)


def report(results, name):
    """Prints the figures; whether all are there and masking meets its target."""
    print(f"{name}, tokens a second of one thread, median of interleaved rounds (spread):")
    good = True
    for what, rates in results.items():
        ours, plain = rates.get("ours"), rates.get("plain loop")
        good &= all(rounds is not None and rounds.complete for rounds in (ours, plain))
        if ours is None or plain is None:
            continue
        ratio = ours.median / plain.median
        good &= what != TARGETED or ratio >= TARGET
        target = f", target {TARGET}" if what == TARGETED else ""
        print(f"  {what}\n    plain loop  {plain}\n    ours        {ours}  {ratio:.1f} times{target}")
    print("the target is met" if good else "the target is NOT met, or not everything was measured")
    return good


def report_ranks(found):
    """Prints what the simulated ranks found; whether their batches are those of one process, every instance once."""
    if found is None:
        return False
    good = found["same_order"] and found["once_each"]
    print(
        f"{found['ranks']} simulated ranks, {found['instances']:,} instances in {found['turns']} turns: "
        f"{'the batches of one process, each instance once' if good else 'NOT the batches of one process'}\n"
        f"  tokens a second that pass a rank, its own share of them made into batches  {shown(found['rank'])}\n"
        f"  one process, which makes all of them into batches                          {shown(found['alone'])}\n"
        f"  memory of a rank's reader at its fullest                                   {found['mib']:.0f} MiB"
    )
    return good


def main(args):
    """Exit status: 0 if everything was measured and meets its target."""
    with tempfile.TemporaryDirectory(prefix="pretraining-benchmark-") as folder:
        shard = args.data
        if shard is None:
            shard = Path(folder) / "made.gz"
            make_shard(shard, args.vocab_size)
        work = Work(Path(folder), shard, args.vocab_size)
        work.check()
        name = "made instances" if args.data is None else str(args.data)
        sizes = {"tokens": work.tokens, "batch": BATCH, "max_seq_len": MAX_SEQ_LEN, "vocab_size": args.vocab_size}
        bench = Bench("pretraining_reader", args, {"data": name, **sizes})
        candidates = {
            TARGETED: {"ours": work.mask_ours, "plain loop": work.mask_plain},
            f"masking words, {SMALL} rows a batch": {
                "ours": lambda: work.mask_ours(SMALL),
                "plain loop": lambda: work.mask_plain(SMALL),
            },
            "the whole reader": {"ours": work.read_ours, "plain loop": work.read_plain},
        }
        results = {what: bench.rounds(what, pair) for what, pair in candidates.items()}
        flags = {"ranks": args.ranks, "max_seq_len": MAX_SEQ_LEN, "batch_size": SMALL, "in_tokens": False}
        flags.update(shuffle=True, seed=1)
        ranks = bench.cell(f"{args.ranks} ranks", lambda: simulate(work.filelist, work.tokenizer, flags))
    good = report(results, f"{name}, {sizes['tokens']:,} tokens")
    return 0 if report_ranks(ranks) and good else 1


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--data", help="a shard whose instances have five fields")
    parser.add_argument("--ranks", type=int, default=64, help="simulated ranks [64]")
    parser.add_argument("--vocab_size", type=int, default=18000, help="ids in its vocabulary")
    sys.exit(main(parser.parse_args()))
