"""What turns one input file into shards, in this process or with blocks of it in others.

    records = build_file("news.txt", "news", plan, "out", run=map)      # {task: record}; run: results in order

A build that was stopped within a file goes on from its last milestone (milestone.py).
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter, deque
from collections.abc import Iterable
from pathlib import Path
from typing import Callable

from pretrain import declared
from pretrain.corpus import milestone
from pretrain.corpus.builder import Built, Plan, build_block
from pretrain.corpus.documents import blocks, stem
from pretrain.corpus.shard_folder import Folder, ShardWriter, write_record, writing
from propeller.errors import UserError
from reader.survey import MOST_UNKNOWN

UNLISTABLE = re.compile("[\t\n\r\v\f\x1c-\x1e\x85\u2028\u2029\ud800-\udfff]")  # in a list of shards


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
    found: Iterable = blocks(path, plan.source, plan.block_chars, plan.on_bad == "skip")
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
