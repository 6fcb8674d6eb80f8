"""What turns a block of documents into lines of shards.

    plan = Plan(vocab_path="vocab.txt", segmenter="jieba")
    build(plan)("news.txt", "news", block).parts        # lines of each task, compressed

A block (documents.py) is the unit of work: its lines depend on the plan, on the input's name and on the block alone. It
is cut into sentences and word pieces once, whatever the number of tasks that instances are made of.
"""

from __future__ import annotations

import functools
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from pretrain import DEFAULT_TASK, TASKS, declared
from pretrain.corpus.documents import Block, Source
from pretrain.corpus.instances import PAIRS
from pretrain.corpus.pieces import maker_for
from pretrain.corpus.segment import build_segmenter
from pretrain.corpus.shard_folder import compress
from pretrain.declaration import Declaration
from propeller.errors import UserError
from tokenization import build_tokenizer

VERSION = 2  # of what a build makes of the same input; raised when that changes
ONE_VARIANT = 2  # the version from which on one variant of Chinese is kept of a wiki's
OF_TASKS = ("tasks", "max_segments", "connectives", "stop_words")  # fields of Plan that a build without --tasks lacks
FILES = ("vocab_path", "sp_model", "connectives", "stop_words")  # those that are paths


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
    version: int = VERSION

    def for_folder(self, settings: Mapping[str, Any]) -> Plan:
        """The plan with which a folder goes on: by the version that began it, so that all its shards are made alike.

        Args:
            settings: those that the folder was begun with, {} for a new one.
        """
        begun: Any = settings.get("version")
        return replace(self, version=begun) if begun in range(1, VERSION) else self

    @property
    def source(self) -> Source:
        """How the input files are read."""
        return Source(self.format, self.title, self.line_break, self.text_field, self.version >= ONE_VARIANT)

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
        settings = {**asdict(self), "tokenizer_sha256": builder.maker.tokenizer.fingerprint}
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
