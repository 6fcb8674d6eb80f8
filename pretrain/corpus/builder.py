"""What turns one input file into shards, in this process or with blocks of it in others.

    plan = Plan(vocab_path="vocab.txt", segmenter="jieba")
    records = build_file("news.txt", "news", plan, "out", run=map)      # {task: record}; run: results in order

A block (documents.py) is the unit of work: its lines depend on the plan, on the input's name and on the block alone. It
is cut into sentences and word pieces once, whatever the number of tasks that instances are made of.
"""

from __future__ import annotations

import functools
import hashlib
import random
import re
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Callable, NamedTuple

from pretrain import DEFAULT_TASK, TASKS, declared
from pretrain.corpus import milestone
from pretrain.corpus.documents import Block, Source, blocks, stem
from pretrain.corpus.instances import PAIRS
from pretrain.corpus.pieces import maker_for
from pretrain.corpus.segment import build_segmenter
from pretrain.corpus.shard_folder import Folder, ShardWriter, compress, write_record, writing
from pretrain.declaration import Declaration
from propeller.errors import UserError
from reader.survey import MOST_UNKNOWN
from tokenization import build_tokenizer

VERSION = 1  # of what a build makes of the same input; raised when that changes
OF_TASKS = ("tasks", "max_segments", "connectives", "stop_words")  # fields of Plan that a build without --tasks lacks
FILES = ("vocab_path", "sp_model", "connectives", "stop_words")  # those that are paths
UNLISTABLE = re.compile("[\t\n\r\v\f\x1c-\x1e\x85\u2028\u2029\ud800-\udfff]")  # in a list of shards


class Text(NamedTuple):
    """A document in sentences.

    Attributes:
        number: in its file, from 0.
        title: "" where it has none; it is among the sentences too but for --title ignore.
        sentences: Tokens, none empty.
        words: the Sentence (pretrain/corpus/segment.py) of each, as it was written.
        paragraphs: of each sentence the number of its paragraph.
    """

    number: int
    title: str
    sentences: list
    words: list
    paragraphs: list


@dataclass(frozen=True)
class Plan:
    """All that decides the shards; see the flags of pretrain/build_data.py."""

    vocab_path: str
    tokenizer: str = "FullTokenizer"
    do_lower_case: bool = True
    sp_model: str | None = None
    segmenter: str = "lac"
    format: str = "auto"
    text_field: str = "text"
    title: str = "first"
    line_break: str = "paragraph"
    pairs: str = "mixed"
    max_seq_len: int = 512
    short_seq_prob: float = 0.1
    seed: int = 0
    instances_per_shard: int = 100_000
    block_chars: int = 1 << 18
    on_bad: str = "error"
    allow_unk: bool = False
    tasks: tuple = ()
    max_segments: int = 3
    connectives: str | None = None
    stop_words: str | None = None

    def check(self) -> None:
        """Raises UserError for a value out of its range."""
        for task in self.tasks:
            if task not in TASKS:
                raise UserError(f"--tasks: task {task!r} is unknown; give names out of {', '.join(TASKS)}")
            if self.tasks.count(task) > 1:
                raise UserError(f"--tasks: {task} is there twice; give it once")
        if not 2 <= self.max_segments <= 5:
            raise UserError(f"--max_segments {self.max_segments}: give 2 to 5")
        if self.pairs not in PAIRS:
            raise UserError(f"--pairs {self.pairs}: give one of {', '.join(PAIRS)}")
        for name, low in (("max_seq_len", 8), ("instances_per_shard", 1), ("block_chars", 1), ("seed", 0)):
            if getattr(self, name) < low:
                raise UserError(f"--{name} {getattr(self, name)}: give {low} or more")
        if not 0 <= self.short_seq_prob <= 1:
            raise UserError(f"--short_seq_prob {self.short_seq_prob}: give a number from 0 to 1")

    def settings(self) -> dict:
        """JSON-able; the vocabulary by its content, not its place."""
        builder = build(self)
        settings = {**asdict(self), "version": VERSION, "tokenizer_sha256": builder.maker.tokenizer.fingerprint}
        for name in ("vocab_path", "sp_model", "on_bad", "allow_unk", *(() if self.tasks else OF_TASKS)):
            del settings[name]
        if self.text_field == Source.text_field:  # builds of before have no such setting
            del settings["text_field"]
        if self.tasks:
            settings["tasks"] = list(self.tasks)
            settings.update(connectives=None, stop_words=None)
            for task in self.tasks:
                settings.update(declared(task).fingerprints(self))
        return settings

    @property
    def built(self) -> tuple[str, ...]:
        """Names of the tasks that the build makes instances of."""
        return self.tasks or (DEFAULT_TASK,)


class Part(NamedTuple):
    """Of a block and a task: a gzip member, how many instances it has, counts."""

    member: bytes
    instances: int
    stats: Counter


class Built(NamedTuple):
    """Of a block: a Part for each task, counts of its text, (line, what is wrong) of what was left out."""

    parts: list
    stats: Counter
    problems: list


@functools.lru_cache(maxsize=2)
def build(plan: Plan) -> BlockBuilder:
    """The builder of this process for a plan: models and vocabularies are loaded once."""
    return BlockBuilder(plan)


class BlockBuilder:
    """Tokenizer, segmenter and tasks of a plan.

    Raises:
        UserError: of the plan, of the vocabulary (every special token is looked for), of the segmenter.
    """

    def __init__(self, plan: Plan) -> None:
        plan.check()
        tokenizer = build_tokenizer(plan.tokenizer, plan.vocab_path, plan.do_lower_case, False, plan.sp_model)
        _ = tokenizer.mask_id  # train.py needs it, whatever the task
        self.plan = plan
        self.segmenter = build_segmenter(plan.segmenter)
        self.maker = maker_for(tokenizer, plan.max_seq_len)
        self.tasks: list[Declaration] = [declared(task)(plan, tokenizer) for task in plan.built]

    def __call__(self, path: str, name: str, block: Block) -> Built:
        """The instances of a block. Raises UserError: file, line, remedy."""
        stats = Counter(bad_lines=len(block.problems))
        problems: list[tuple[int, str]] = []
        texts = []
        for document, paragraphs in zip(block.documents, self._segmented(path, block, problems)):
            if paragraphs is None:
                continue
            text = Text(document.number, document.title, [], [], [])
            for number, paragraph in enumerate(paragraphs):
                for sentence in paragraph:
                    tokens = self.maker.tokens(sentence)
                    if tokens.count:
                        text.sentences.append(tokens)
                        text.words.append(sentence)
                        text.paragraphs.append(number)
            if not text.sentences:
                self._bad(path, problems, document.line, "a document without a sentence; leave it out")
                continue
            texts.append(text)
            stats["documents"] += 1
            stats["paragraphs"] += len(paragraphs)
            self._count(text.sentences, stats)
        stats["bad_documents"] += len(problems)
        parts = []
        for task in self.tasks:
            lines, more = self._instances(task, name, texts)
            parts.append(Part(compress(lines), len(lines), more))
        return Built(parts, stats, block.problems + problems)

    def _instances(self, task, name, texts):
        """(lines, Counter)."""
        of_task = f"/{task.name}" if task.named_seeds else ""
        seeds = [f"{self.plan.seed}/{name}/{text.number}{of_task}" for text in texts]
        return task.lines(texts, lambda place: random.Random(seeds[place]))

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


def build_block(task: tuple[str, str, Plan, Block]) -> Built:
    """A block, given as (path, name, plan, block): a function of its own so that other processes can be sent it."""
    path, name, plan, block = task
    return build(plan)(path, name, block)


def facts_of(path: str | Path) -> dict:
    """What tells whether an input file is still the one it was. Raises UserError: it is not there."""
    try:
        status = Path(path).stat()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give the path of a text file") from error
    return {"path": str(path), "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def build_file(
    path: str | Path,
    name: str,
    plan: Plan,
    folder: str | Path,
    run: Callable[..., Iterable[Built]] = map,
    tell: Callable[[int, list], None] | None = None,
) -> dict:
    """The shards of one input file, and after them its records, which are returned: {task: record}.

    A build that was stopped within the file goes on from its last milestone (milestone.py).

    Args:
        path: the input file.
        name: its shards begin with it, and what is drawn depends on it.
        plan: the settings of the build.
        folder: OUT.
        run: like map, results in order.
        tell: called with (bytes of the file that are done, problems of a block).

    Raises:
        UserError: file, line, remedy; nothing but whole shards, without a record, is left then, or what belongs to a
            milestone.
    """
    facts, parts = facts_of(path), Folder(folder, plan.tasks).parts
    source = Source(plan.format, plan.title, plan.line_break, plan.text_field)
    found: Iterable = blocks(path, source, plan.block_chars, plan.on_bad == "skip")
    writers = [ShardWriter(part.shards, name, plan.instances_per_shard) for part in parts]
    mark = milestone.place(parts[0].shards, name)
    known = {**facts, "on_bad": plan.on_bad}
    begun = _begin(mark, known, writers) or milestone.Milestone(0, Counter(), [Counter() for _ in plan.built], [])
    stats, counts = begun.stats, begun.counts
    reached = _Milestones(mark, known, writers)
    ends: deque = deque()  # of the blocks that are worked on

    def blocks_to_do():
        for block in found:
            if block.number >= begun.blocks:
                ends.append(block.end)
                yield str(path), name, plan, block

    try:
        for done, built in enumerate(run(build_block, blocks_to_do()), begun.blocks + 1):
            stats.update(built.stats)
            _check_known(path, plan, stats)
            for writer, part, count in zip(writers, built.parts, counts):
                writer.write(part.member, part.instances)
                count.update(part.stats)
            end = ends.popleft()
            if tell:
                tell(end, built.problems)
            reached.note(done, stats, counts)
        _check_instances(path, plan, stats, counts)
        for writer in writers:
            writer.close()
    except BaseException:
        for writer in writers:
            writer.leave() if mark.exists() else writer.abandon()
        raise
    records = {}
    for task, part, writer, count in zip(plan.built, parts, writers, counts):
        classes = declared(task).class_names(plan)
        records[task] = write_record(part.shards, name, facts, writer.shards, stats + count, task, classes)
    mark.unlink(missing_ok=True)
    return records


class _Milestones:
    """Writes now and then how far a file is. Args: mark: where; known: what the file is known by; writers: of it."""

    def __init__(self, mark, known, writers) -> None:
        self.mark, self.known, self.writers = mark, known, writers
        self.last = time.monotonic()

    def note(self, done, stats, counts):
        """So many blocks are done; with what was counted in them."""
        if time.monotonic() - self.last >= milestone.EVERY:
            reached = milestone.Milestone(done, stats, counts, [writer.state() for writer in self.writers])
            with writing(self.mark):
                milestone.write(self.mark, self.known, reached)
            self.last = time.monotonic()


def _begin(mark, known, writers):
    """The milestone that the writers were set to, or None: from the beginning."""
    found = milestone.read(mark, known, len(writers))
    if found and all(writer.go_on(state) for writer, state in zip(writers, found.shards)):
        return found
    for writer in writers:  # nothing of what was left is of use
        writer.abandon()
        writer.shards = []
    mark.unlink(missing_ok=True)
    return None


def _check_instances(path, plan, stats, counts):
    nothing = not any(count["instances"] for count in counts)
    if plan.on_bad == "error" and nothing and (not plan.tasks or not stats["documents"]):  # of tasks: see shards.py
        raise UserError(f"{path}: no instance produced: {_why(stats)}; put text in it, or leave it out of --input")


def _check_known(path, plan, stats):
    """Raises UserError where the vocabulary knows little of the text."""
    pieces, unknown = stats["pieces"], stats["unknown"]
    if unknown > MOST_UNKNOWN * pieces and not plan.allow_unk:
        raise UserError(
            f"{path}: {100 * unknown / pieces:.1f}% of the first {pieces} pieces are [UNK]: give the --vocab_path, "
            "--tokenizer and --do_lower_case of the model that the text is for, or go on with --allow_unk true"
        )


def check_records(path: str | Path, plan: Plan, records: dict) -> None:
    """Raises UserError where records of an input file, {task: record}, are of a build with --on_bad skip that left
    something out, and this plan is to leave nothing out."""
    if plan.on_bad == "skip":
        return
    counts = [Counter(record["stats"]) for record in records.values()]
    stats = counts[0]
    if stats["bad_lines"] or stats["bad_documents"]:
        raise UserError(
            f"{path}: {stats['bad_lines']} bad lines and {stats['bad_documents']} bad documents of it were left out "
            "when its shards were built; give --on_bad skip to keep them so, or --overwrite to build anew"
        )
    _check_instances(path, plan, stats, counts)


def _why(stats):
    if not stats["documents"]:
        return "no document in it"
    return f"{stats['documents']} documents of one word"


def names_of(paths: Iterable[str]) -> dict:
    """path -> a name for its shards: that of the file, with a hash of the path where several have it, and with _ for
    what a list of shards cannot hold: tabs, line ends, bytes that are no UTF-8."""
    short = {path: UNLISTABLE.sub("_", stem(path)).lstrip(".") or "text" for path in paths}
    shared = Counter(short.values())
    names = {}
    for path, name in short.items():
        if shared[name] > 1:
            name += "-" + hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:8]
        names[path] = name
    return names
