"""Rows a second of tokenise + batch + pad, against plain Python; and memory on a file of 1 GB.

    python benchmark/reader.py                      # SST-2 from ../shared if it is there, else text made on the spot
    python benchmark/reader.py --data train.tsv --vocab vocab.txt --minutes 10

The plain reader below does what a fine-tuning script of 2019 did: BasicTokenizer pass by pass over the characters,
greedy longest match, lists padded in loops; "one pass" is the same, tuned within plain Python, and shown for
comparison. All give the same batches, which is checked first. A round is: the plain readers and "one core", one epoch
with a new tokenizer, on one core; "two workers", EPOCHS epochs, the start of the processes included; "token cache",
one later epoch, on one core. Targets: 4 times the plain reader on one core, 7 with two workers, 20 from the token
cache, and under 400 MB of growth on the large file.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
import unicodedata
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmark.parts.common import Bench, arguments, say  # noqa: E402
from benchmark.parts.process_memory import resident  # noqa: E402
from reader.task_reader import TaskReader  # noqa: E402
from tokenization import build_tokenizer, load_vocab  # noqa: E402

SHARED = ROOT.parent / "shared"
MAX_SEQ_LEN, BATCH, EPOCHS = 128, 32, 4
TARGETS = {"one core": 4, "two workers": 7, "token cache": 20}
PLAIN_LEAST = 4000  # rows/s the plain reader must reach, or it is no fair measure (2019: 3,500 to 6,000)
LARGE_BYTES, LARGE_BATCHES, LARGE_MB = 1 << 30, 3000, 400


def is_space(char):
    return char in " \t\n\r" or unicodedata.category(char) == "Zs"


def is_control(char):
    return char not in "\t\n\r" and unicodedata.category(char) in ("Cc", "Cf")


def is_punctuation(char):
    code = ord(char)
    if 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126:
        return True
    return unicodedata.category(char).startswith("P")


def is_chinese(char):
    code = ord(char)
    return 0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF or 0x20000 <= code <= 0x2CEAF


class PlainReader:
    """BasicTokenizer and WordPiece (Devlin et al. 2019) in plain Python, and batches padded from lists."""

    def __init__(self, vocab_file):
        self.vocab = load_vocab(vocab_file)

    def words(self, text):
        kept = [char for char in text if not (char in "\0\ufffd" or is_control(char))]
        text = "".join(" " if is_space(char) else char for char in kept)
        text = "".join(f" {char} " if is_chinese(char) else char for char in text)
        for word in text.strip().split():
            decomposed = unicodedata.normalize("NFD", word.lower())
            word = "".join(char for char in decomposed if unicodedata.category(char) != "Mn")
            parts, new = [], True
            for char in word:
                if is_punctuation(char):
                    parts.append([char])
                    new = True
                else:
                    if new:
                        parts.append([])
                    new = False
                    parts[-1].append(char)
            yield from map("".join, parts)

    def pieces(self, word):
        found, start = [], 0
        if len(word) > 100:
            return [self.vocab["[UNK]"]]
        while start < len(word):
            end = len(word)
            while end > start:
                piece = word[start:end] if start == 0 else "##" + word[start:end]
                if piece in self.vocab:
                    break
                end -= 1
            if end == start:
                return [self.vocab["[UNK]"]]
            found.append(self.vocab[piece])
            start = end
        return found

    def batches(self, path):
        with open(path, encoding="utf-8") as file:
            next(file)
            rows = []
            for line in file:
                text, label = line.rstrip("\n").split("\t")
                ids = [piece for word in self.words(text) for piece in self.pieces(word)][: MAX_SEQ_LEN - 2]
                rows.append(([self.vocab["[CLS]"], *ids, self.vocab["[SEP]"]], int(label)))
                if len(rows) == BATCH:
                    yield self.pad(rows)
                    rows = []
            if rows:
                yield self.pad(rows)

    def pad(self, rows):
        longest, pad = max(len(ids) for ids, _ in rows), self.vocab["[PAD]"]
        return {
            "src_ids": np.array([ids + [pad] * (longest - len(ids)) for ids, _ in rows], np.int64),
            "sent_ids": np.array([[0] * longest for _ in rows], np.int64),
            "pos_ids": np.array([[*range(len(ids))] + [0] * (longest - len(ids)) for ids, _ in rows], np.int64),
            "task_ids": np.zeros((len(rows), longest), np.int64),
            "input_mask": np.array([[1.0] * len(i) + [0.0] * (longest - len(i)) for i, _ in rows], np.float32),
            "labels": np.array([[label] for _, label in rows], np.int64),
        }


class OnePassReader(PlainReader):
    """The same with everything about a character decided where it is met."""

    def words(self, text):
        cleaned = []
        for char in text:
            code = ord(char)
            if code == 0 or code == 0xFFFD or (char not in "\t\n\r" and unicodedata.category(char) in ("Cc", "Cf")):
                continue
            if 0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF or 0xF900 <= code <= 0xFAFF:
                cleaned += [" ", char, " "]
            else:
                cleaned.append(" " if char.isspace() else char)
        for word in "".join(cleaned).lower().split():
            current = ""
            for char in unicodedata.normalize("NFD", word):
                category = unicodedata.category(char)
                if category == "Mn":
                    continue
                code = ord(char)
                symbol = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
                if symbol or category[0] == "P":
                    if current:
                        yield current
                    yield char
                    current = ""
                else:
                    current += char
            if current:
                yield current


def ours(path, vocab, **flags):
    """A TaskReader with a tokenizer of its own, its cache of words empty."""
    tokenizer = build_tokenizer("FullTokenizer", vocab, for_cn=False)
    return TaskReader(path, tokenizer, max_seq_len=MAX_SEQ_LEN, batch_size=BATCH, **flags)


@contextlib.contextmanager
def one_core():
    """This process, and what it starts meanwhile, on one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def rate(batches):
    """Rows a second of reading `batches()` to the end, of making it too."""
    begin = time.perf_counter()
    rows = sum(len(batch["labels"]) for batch in batches())
    return rows / (time.perf_counter() - begin)


def speed(bench, path, vocab, folder):
    """The interleaved rounds of the four readers."""
    cache = str(folder / "cache")

    def batches_of(**flags):
        return lambda: (batch for batch, _ in ours(path, vocab, **flags).batches())

    def on_one_core(batches):
        with one_core():
            return rate(batches)

    plain = zip(PlainReader(vocab).batches(path), OnePassReader(vocab).batches(path))
    for (batch, again), (other, _) in zip(plain, ours(path, vocab, token_cache_dir=cache).batches()):
        assert batch.keys() == other.keys()
        assert all(batch[name].dtype == other[name].dtype for name in batch)
        for name in batch:
            assert np.array_equal(batch[name], other[name]), f"the readers differ in {name}"
            assert np.array_equal(batch[name], again[name]), f"the plain readers differ in {name}"
    shuffled = {"shuffle": True, "seed": 1}
    cached = ours(path, vocab, **shuffled, token_cache_dir=cache)  # filled by the comparison above
    candidates = {
        "plain Python": lambda: on_one_core(lambda: PlainReader(vocab).batches(path)),
        "one pass": lambda: on_one_core(lambda: OnePassReader(vocab).batches(path)),
        "one core": lambda: on_one_core(batches_of(**shuffled)),
        "two workers": lambda: rate(batches_of(**shuffled, num_workers=2, epochs=EPOCHS)),
        "token cache": lambda: on_one_core(lambda: (batch for batch, _ in cached.batches())),
    }
    return bench.rounds("rows a second", candidates)


MEMORY_CASES = {
    "shuffled": {},
    "bucketed": {"bucket_window": 8192},
    "two workers": {"num_workers": 2},
    "from the token cache": {"token_cache_dir": "cache", "epochs": 2},
}


def make_large(path, source, size):
    """A TSV of `size` bytes of rows drawn from `source`, some of them joined, in seed's order."""
    with open(source, "rb") as file:
        header, *rows = file.read().splitlines(keepends=True)
    random.seed(0)
    with open(path, "wb") as file:
        file.write(header)
        while file.tell() < size:
            file.write(b"".join(random.choices(rows, k=20_000)))


def measure_memory(case, path, vocab):
    """In a process of its own: MB of growth, at most, from before the reader is made; workers are counted in full."""
    flags = dict(MEMORY_CASES[case])
    if "token_cache_dir" in flags:
        flags["token_cache_dir"] = str(Path(path).parent / flags["token_cache_dir"])
    build_tokenizer("FullTokenizer", vocab, for_cn=False).encode_batch(["warm"])
    before = resident()
    begin = time.perf_counter()
    reader = ours(path, vocab, shuffle=True, seed=1, **flags)
    opened = time.perf_counter() - begin
    read, workers = 0, 0
    for _, position in reader.batches():
        read += position.epoch + 1 == reader.epochs  # a cache has to see an epoch whole before it is read from
        if read == LARGE_BATCHES:
            workers = sum(resident(child.pid, "VmHWM") for child in multiprocessing.active_children())
            break
    return {
        "rows": reader.num_examples,
        "batches": read,
        "seconds until the reader is made": round(opened, 2),
        "growth MB": round((resident(field="VmHWM") - before) / 2**20),
        "worker processes MB": round(workers / 2**20),
    }


def memory(bench, source, vocab, folder):
    """Growth of every memory case on the large file, which is made only if one of them is not stored yet."""
    large = folder / "large.tsv"
    found = {}
    for case in MEMORY_CASES:

        def measure(case=case):
            if not large.exists():
                say(f"writing {LARGE_BYTES >> 20} MB")
                make_large(large, source, LARGE_BYTES)
            command = [sys.executable, __file__, "--memory_case", case, "--data", str(large), "--vocab", str(vocab)]
            return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)

        found[case] = bench.cell(f"memory, {case}", measure)
        say(f"memory, {case}: {found[case]}")
    return found


def sst2_or_made(args, folder):
    """Paths of a TSV with the columns text_a and label and of a vocabulary: the given, SST-2's, or made here."""
    vocab = args.vocab or SHARED / "vocab/vocab_en.txt"
    given, sst2 = args.data, SHARED / "data/glue/SST-2/train.tsv"
    if given is None and sst2.is_file() and Path(vocab).is_file():
        path = folder / "sst2.tsv"
        path.write_text("text_a\tlabel\n" + sst2.read_text(encoding="utf-8").split("\n", 1)[1], encoding="utf-8")
        return path, vocab, "SST-2 train"
    if given is not None and args.vocab is not None:
        return Path(given), Path(vocab), str(given)
    if given is not None or args.vocab is not None:
        raise SystemExit("--data and --vocab go together")
    draw = random.Random(0)
    syllables = [a + b for a in "bcdfghlmnprstvw" for b in ("a", "e", "i", "o", "u", "an", "er", "ist")]
    words = ["".join(draw.choices(syllables, k=draw.randint(1, 4))) for _ in range(20_000)]
    weights = [1 / (rank + 3) for rank in range(len(words))]
    lines = [
        f"{' '.join(draw.choices(words, weights, k=draw.randint(3, 25)))} .\t{draw.randint(0, 1)}"
        for _ in range(67_000)
    ]
    pieces = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", ".", *dict.fromkeys(words[:8000])]
    pieces += ["##" + syllable for syllable in syllables] + [s for s in syllables if s not in set(words[:8000])]
    (folder / "made.tsv").write_text("text_a\tlabel\n" + "\n".join(lines) + "\n", encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    return folder / "made.tsv", folder / "vocab.txt", "made text"


def report(rates, found, name):
    """Prints the figures; whether all of them are there and meet their targets."""
    print(f"tokenise + batch + pad, {name}, rows a second, median of interleaved rounds (spread):")
    plain = rates.get("plain Python")
    good = plain is not None and plain.median >= PLAIN_LEAST and TARGETS.keys() <= rates.keys()
    for reader, rounds in rates.items():
        verdict = f"target: {PLAIN_LEAST:,}" if reader == "plain Python" else ""
        if reader != "plain Python" and plain is not None:
            ratio = rounds.median / plain.median
            good &= ratio >= TARGETS.get(reader, 0) and rounds.complete
            verdict = f"{ratio:.1f} times the plain one"
            verdict += f", target: {TARGETS[reader]}" if reader in TARGETS else ""
        print(f"  {reader:14} {rounds}  {verdict}")
    print(f"growth of memory, {LARGE_BATCHES} batches of a shuffled file of {LARGE_BYTES >> 20} MB, target {LARGE_MB}:")
    for case, result in found.items():
        if result is None:
            good = False
            continue
        good &= result["growth MB"] < LARGE_MB
        more = f", and worker processes of {result['worker processes MB']} MB" if result["worker processes MB"] else ""
        print(f"  {case:22} {result['growth MB']} MB{more} ({result['rows']:,} rows)")
    print("every target is met" if good else "NOT every target is met, or not everything was measured")
    return good


def main(args):
    """Exit status: 0 if everything was measured and meets its target."""
    if args.memory_case:
        print(json.dumps(measure_memory(args.memory_case, args.data, args.vocab)))
        return 0
    with tempfile.TemporaryDirectory(prefix="reader-benchmark-") as folder:
        path, vocab, name = sst2_or_made(args, Path(folder))
        settings = {
            "data": name,
            "bytes": path.stat().st_size,
            "max_seq_len": MAX_SEQ_LEN,
            "batch": BATCH,
            "epochs": EPOCHS,
        }
        bench = Bench("reader", args, settings)
        rates = speed(bench, path, vocab, Path(folder))
        found = memory(bench, path, vocab, Path(folder))
    return 0 if report(rates, found, name) else 1


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--data", help="a TSV with the columns text_a and label, in this order")
    parser.add_argument("--vocab", help="its vocabulary")
    parser.add_argument("--memory_case", choices=list(MEMORY_CASES), help="only this memory case, on --data, as JSON")
    sys.exit(main(parser.parse_args()))
