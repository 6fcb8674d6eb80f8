"""How often each word is in raw text: by several processes, and going on where a count was stopped.

    counts = count_words(["news.txt"], num_workers=4, saved=SavedCounts("vocab.txt.counts"))
    counts["北"], counts["the"]

A block of a file is counted at once; blocks are added up in their order, so the counts and their order are the same
however many processes there are, and wherever a count was stopped and continued.
"""

from __future__ import annotations

import functools
import json
import logging
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from pretrain.corpus.documents import Block, Source, blocks
from pretrain.corpus.engines import Processes
from pretrain.corpus.input_file import facts_of
from pretrain.corpus.progress import Progress
from pretrain.corpus.segment import build_segmenter
from propeller.errors import UserError
from propeller.files import write_file
from tokenization import BasicTokenizer

BLOCK_CHARS = 1 << 19  # counted at once
SAVE_EVERY = 60.0  # seconds
FORMAT = 1
log = logging.getLogger("ernie.pretrain")


class Place(NamedTuple):
    """What is counted. file: number of the file, from 0; blocks: how many of it; counts: of all until there."""

    file: int
    blocks: int
    counts: Counter


class SavedCounts:
    """Counts on the disk, to go on from.

    Args:
        path: the file, written every ``SAVE_EVERY`` seconds.
    """

    def __init__(self, path: str | Path) -> None:
        self.path, self.last = Path(path), time.monotonic()

    def read(self, known: dict[str, Any]) -> Place | None:
        """Where a count of the same input by the same settings, ``known``, was stopped; None: there is none."""
        try:
            with open(self.path, encoding="utf-8") as file:
                head = json.loads(file.readline())
                if head["format"] != FORMAT or head["known"] != known:
                    return None
                return Place(head["file"], head["blocks"], Counter(dict(map(tuple, json.loads(file.readline())))))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, known: dict[str, Any], place: Place) -> None:
        """Write a place, if the last one is long enough ago.

        Raises:
            UserError: it cannot be written.
        """
        if time.monotonic() - self.last < SAVE_EVERY:
            return
        head = {"format": FORMAT, "known": known, "file": place.file, "blocks": place.blocks}
        text = f"{json.dumps(head)}\n{json.dumps(list(place.counts.items()))}\n"
        try:
            write_file(self.path, text.encode())
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot be written ({error.strerror}); make room, or choose another --output"
            ) from None
        self.last = time.monotonic()

    def remove(self) -> None:
        """Nothing is left to go on from."""
        self.path.unlink(missing_ok=True)


def count_words(
    paths: Sequence[str | Path],
    source: Source = Source(),  # noqa: B008  (frozen)
    do_lower_case: bool = True,
    segmenter: str = "none",
    max_words: int = 4_000_000,
    num_workers: int = 0,
    saved: SavedCounts | None = None,
) -> Counter:
    """How often each word of BasicTokenizer is in the files.

    Args:
        paths: the files.
        source: how they are read.
        do_lower_case: whether words are lower-cased.
        segmenter: a name for ``build_segmenter`` where words have tags, which do not count; ``none``: they have none.
        max_words: the most different words that are kept in mind.
        num_workers: processes that count; 0: this one alone. The counts do not depend on it.
        saved: where counts are kept in case of a stop; None: nowhere.

    Raises:
        UserError: file, line, remedy.
    """
    facts = [facts_of(path) for path in paths]
    settings = {"source": asdict(source), "lower": do_lower_case, "segmenter": segmenter, "most": max_words}
    known = {"files": facts, "block_chars": BLOCK_CHARS, **settings}
    begun = (saved.read(known) if saved else None) or Place(0, 0, Counter())
    counts, sizes = begun.counts, [each["bytes"] for each in facts]
    progress = Progress(sum(sizes), log)
    if begun.counts:
        log.info("%s: going on after %d blocks", paths[begun.file], begun.blocks)
    with Processes(num_workers) as run:
        for number in range(begun.file, len(paths)):
            path, before = paths[number], sum(sizes[:number])
            first = begun.blocks if number == begun.file else 0
            ends: deque = deque()  # of the blocks that are worked on

            def tasks(path=path, first=first, ends=ends):
                for block in blocks(path, source, BLOCK_CHARS):
                    if block.number >= first:
                        ends.append(block.end)
                        yield str(path), do_lower_case, segmenter, block

            for done, found in enumerate(run(count_block, tasks()), first + 1):
                counts.update(found)
                if len(counts) > max_words:
                    forget(counts, max_words)
                progress.at(before + ends.popleft(), str(path))
                if saved:
                    saved.write(known, Place(number, done, counts))
    return counts


def count_block(task: tuple[str, bool, str, Block]) -> Counter:
    """The words of a block, given as (path, do_lower_case, segmenter, block): of its own for other processes."""
    path, do_lower_case, segmenter, block = task
    basic, tagged = _basic(do_lower_case), _segmenter(segmenter) if segmenter != "none" else None
    counts: Counter = Counter()
    for document in block.documents:
        texts = document.paragraphs
        if tagged:
            try:
                found = tagged.paragraphs(texts)
            except UserError as error:
                raise UserError(f"{path}, line {document.line}: document: {error}") from error
            texts = ["".join(sentence.words) for paragraph in found for sentence in paragraph]
        for text in texts:
            counts.update(basic.tokenize(text))
    return counts


@functools.lru_cache(maxsize=2)
def _basic(do_lower_case):
    return BasicTokenizer(do_lower_case)


@functools.lru_cache(maxsize=2)
def _segmenter(name):
    return build_segmenter(name)


def forget(counts: Counter, most: int) -> None:
    """Half of ``most`` words stay, the more frequent ones, of equal ones the earlier."""
    kept = counts.most_common(most // 2)
    counts.clear()
    counts.update(dict(kept))
