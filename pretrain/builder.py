"""What turns one input file into shards, in this process or with blocks of it in others.

    plan = Plan(vocab_path="vocab.txt", segmenter="jieba")
    record = build_file("news.txt", "news", plan, "out/shards", run=map)       # run(function, items): results in order

A block (documents.py) is the unit of work: its lines depend on the plan, on the input's name and on the block alone.
"""

from __future__ import annotations

import functools
import hashlib
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from pretrain.documents import Source, blocks, stem
from pretrain.instances import PAIRS, Pairs
from pretrain.pieces import LONGEST_WORD, PieceMaker
from pretrain.segment import build_segmenter
from pretrain.shards import ShardWriter, compress, write_record
from propeller.errors import UserError
from tokenization import build_tokenizer

VERSION = 1  # of what a build makes of the same input; raised when that changes


@dataclass(frozen=True)
class Plan:
    """All that decides the shards; see the flags of pretrain/build_data.py."""

    vocab_path: str
    tokenizer: str = "FullTokenizer"
    do_lower_case: bool = True
    sp_model: str | None = None
    segmenter: str = "lac"
    format: str = "auto"
    title: str = "first"
    line_break: str = "paragraph"
    pairs: str = "mixed"
    max_seq_len: int = 512
    short_seq_prob: float = 0.1
    seed: int = 0
    instances_per_shard: int = 100_000
    block_chars: int = 1 << 18
    on_bad: str = "error"

    def check(self):
        """Raises UserError for a value out of its range."""
        if self.pairs not in PAIRS:
            raise UserError(f"--pairs {self.pairs}: give one of {', '.join(PAIRS)}")
        for name, low in (("max_seq_len", 8), ("instances_per_shard", 1), ("block_chars", 1), ("seed", 0)):
            if getattr(self, name) < low:
                raise UserError(f"--{name} {getattr(self, name)}: give {low} or more")
        if not 0 <= self.short_seq_prob <= 1:
            raise UserError(f"--short_seq_prob {self.short_seq_prob}: give a number from 0 to 1")

    def settings(self) -> dict:
        """JSON-able; the vocabulary by its content, not its place."""
        settings = {**asdict(self), "version": VERSION, "tokenizer_sha256": build(self).maker.tokenizer.fingerprint}
        for name in ("vocab_path", "sp_model", "on_bad"):
            del settings[name]
        return settings


class Built(NamedTuple):
    """Of a block: a gzip member, how many instances it has, counts, (line, what is wrong) of what was left out."""

    member: bytes
    instances: int
    stats: Counter
    problems: list


@functools.lru_cache(maxsize=2)
def build(plan: Plan) -> BlockBuilder:
    """The builder of this process for a plan: models and vocabularies are loaded once."""
    return BlockBuilder(plan)


class BlockBuilder:
    """Tokenizer, segmenter and pairs of a plan."""

    def __init__(self, plan: Plan):
        plan.check()
        tokenizer = build_tokenizer(plan.tokenizer, plan.vocab_path, plan.do_lower_case, False, plan.sp_model)
        self.plan = plan
        self.segmenter = build_segmenter(plan.segmenter)
        self.maker = PieceMaker(tokenizer, max(min(LONGEST_WORD, (plan.max_seq_len - 3) // 2), 1))
        self.pairs = Pairs(plan.max_seq_len, plan.pairs, tokenizer.cls_id, tokenizer.sep_id, plan.short_seq_prob)

    def __call__(self, path, name, block) -> Built:
        """The instances of a block. Raises UserError: file, line, remedy."""
        stats, problems = Counter(bad_lines=len(block.problems)), []
        documents, numbers = [], []
        for document, paragraphs in zip(block.documents, self._segmented(path, block, problems)):
            if paragraphs is None:
                continue
            sentences = [sentence for paragraph in paragraphs for sentence in paragraph]
            found = [tokens for tokens in map(self.maker.tokens, sentences) if tokens.count]
            if not found:
                self._bad(path, problems, document.line, "a document without a sentence; leave it out")
                continue
            documents.append(found)
            numbers.append(document.number)
            stats["documents"] += 1
            stats["paragraphs"] += len(paragraphs)
            self._count(found, stats)
        stats["bad_documents"] += len(problems)
        seed = f"{self.plan.seed}/{name}/"
        lines, more = self.pairs.lines(documents, lambda place: random.Random(f"{seed}{numbers[place]}"))
        stats.update(more)
        return Built(compress(lines), len(lines), stats, block.problems + problems)

    def _segmented(self, path, block, problems):
        """Of every document its paragraphs as lists of Sentence; None for a bad one."""
        if getattr(self.segmenter, "together", False):
            texts = [document.paragraphs for document in block.documents]
            try:
                found = iter(self.segmenter.paragraphs([paragraph for document in texts for paragraph in document]))
                yield from [[next(found) for _ in document] for document in texts]
                return
            except UserError:
                pass  # one of them is bad: which one is found below
        for document in block.documents:
            try:
                found = self.segmenter.paragraphs(document.paragraphs)
            except UserError as error:
                self._bad(path, problems, document.line, f"document: {error}")
                found = None
            yield found

    def _bad(self, path, problems, line, text):
        if self.plan.on_bad == "error":
            raise UserError(f"{path}, line {line}: {text}, or give --on_bad skip")
        problems.append((line, text))

    @staticmethod
    def _count(sentences, stats):
        stats["sentences"] += len(sentences)
        stats["words"] += sum([tokens.text.count(b" ") for tokens in sentences]) + len(sentences)
        stats["pieces"] += sum([tokens.count for tokens in sentences])
        stats["unknown"] += sum([tokens.unknown for tokens in sentences])
        for tokens in sentences:
            for unit in tokens.units:
                stats["entities" if unit[2] == "e" else "phrases"] += 1


def build_block(task) -> Built:
    """A block, given as (path, name, plan, block): a function of its own so that other processes can be sent it."""
    path, name, plan, block = task
    return build(plan)(path, name, block)


def facts_of(path) -> dict:
    """What tells whether an input file is still the one it was. Raises UserError: it is not there."""
    try:
        status = Path(path).stat()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give the path of a text file") from error
    return {"path": str(path), "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def build_file(path, name: str, plan: Plan, folder, run=map, tell=None) -> dict:
    """The shards of one input file, and behind them its record, which is returned.

    Args: name: its shards begin with it, and what is drawn depends on it; folder: of the shards; run: like map, results
        in order; tell: called with (instances so far, problems of a block).
    Raises UserError: file, line, remedy; nothing but whole shards, without a record, is left then.
    """
    facts, stats = facts_of(path), Counter()
    source = Source(plan.format, plan.title, plan.line_break)
    found: Iterable = blocks(path, source, plan.block_chars, plan.on_bad == "skip")
    writer = ShardWriter(folder, name, plan.instances_per_shard)
    try:
        for built in run(build_block, ((str(path), name, plan, block) for block in found)):
            writer.write(built.member, built.instances)
            stats.update(built.stats)
            if tell:
                tell(stats["instances"], built.problems)
        if not stats["instances"] and plan.on_bad == "error":
            raise UserError(f"{path}: no instance produced: {_why(stats)}; give text, or --on_bad skip")
        writer.close()
    except BaseException:
        writer.abandon()
        raise
    return write_record(folder, name, facts, writer.shards, stats)


def _why(stats):
    if not stats["documents"]:
        return "no document in it"
    return f"{stats['documents']} documents of one word"


def names_of(paths) -> dict:
    """path -> a name for its shards: that of the file, with a hash of the path where several have it."""
    stems = Counter(stem(path) for path in paths)
    names = {}
    for path in paths:
        name = stem(path).lstrip(".") or "text"
        if stems[stem(path)] > 1:
            name += "-" + hashlib.sha256(str(path).encode()).hexdigest()[:8]
        names[path] = name
    return names
