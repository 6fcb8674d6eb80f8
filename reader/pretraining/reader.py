"""The streaming reader of pre-training shards: batches in an order that can be taken up anywhere.

    reading = ShardReading(max_seq_len=512, batch_size=8192, in_tokens=True, shuffle=True, seed=1, epochs=100)
    reader = PretrainingReader("train_filelist", tokenizer, reading, masking=Masking(units="basic:0,phrase:100000"))
    for batch, position in PyReader(reader.batches):    # batch["src_ids"]: int64 [batch, seq]
        ...                                             # position.to_dict() goes into the checkpoint
    reader.batches(start=position)                      # the batches that follow
    PretrainingReader("filelist", tokenizer, reading, kind="token", classes=2)  # nothing masked; tokens have classes

An epoch is the files of the list in an order of its own, read one after the other; as many instances as the shuffle
buffer holds are a block, and a block's instances come in random order. What is drawn depends on the place alone: on
(seed, epoch) for the files, (seed, epoch, number of the block) for a block and its masks. So a position is a few
numbers, however large the buffer: where the block begins, and how many of it were given out.
"""

from __future__ import annotations

import dataclasses
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from propeller.errors import UserError
from reader.batching import all_cuts
from reader.pretraining.batches import CLASS_KINDS, KINDS, BatchMaker, PretrainingPosition
from reader.pretraining.blocks import Block, Stretch
from reader.pretraining.masking import (
    Draws,
    DrawsOf2019,
    SpecialIds,
    bits_at,
    mark_special,
    mask_tokens,
)
from reader.pretraining.negatives import negative_pairs
from reader.pretraining.reading import Masking, ShardReading, check_integers
from reader.pretraining.shard_files import read_blocks, read_filelist
from reader.pretraining.shards import SPECIAL, TOKEN_CLASSES_MOST, Instances, Limits, of_kind, parse_block

if TYPE_CHECKING:
    from reader.tokenizer import Tokenizer


log = logging.getLogger("ernie.reader")

FILE, BLOCK, MASK, ONE = 1, 2, 3, 4  # what random bits are for: none are seeded like others
TOLD = 5  # bad lines told one by one
BUFFER_OF_2019 = 1000


class PretrainingReader:
    """Batches of the instances of all shards in a list, each instance once an epoch.

    Args:
        filelist: file with lines `path<TAB>mask_word_prob`, see reader.pretraining.shard_files.read_filelist.
        tokenizer: pad_id, cls_id, sep_id, mask_id; vocab (for its size, without vocab_size).
        reading: see ShardReading.
        kind: one of batches.KINDS.
        classes: of the kinds "sentence" and "token", how many there are; of tokens TOKEN_CLASSES_MOST at most.
        masking: of the kind "masking"; see Masking.
        vocab_size: ids an embedding has; replacements are drawn below it.
        limits: of positions and sentence types; the rest of it is replaced by the other arguments.
        task_id: of every token, for the task embedding.

    Raises:
        UserError: for a bad list or argument here, for bad shards when they are read.
    """

    def __init__(
        self,
        filelist: str | Path,
        tokenizer: Tokenizer,
        reading: ShardReading,
        *,
        kind: str = "masking",
        classes: int | None = None,
        masking: Masking = Masking(),  # noqa: B008  (frozen)
        vocab_size: int | None = None,
        limits: Limits = Limits(),  # noqa: B008  (frozen)
        task_id: int = 0,
    ) -> None:
        self.filelist, self.shards = filelist, read_filelist(filelist)
        self.special = SpecialIds(tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id)
        self.vocab_size = len(tokenizer.vocab) if vocab_size is None else vocab_size
        self.reading, self.masking, self.kind, self.classes = reading, masking, kind, classes
        self._check()
        self._check_kind()
        self.schedule = masking.schedule
        self.shuffle_buffer = BUFFER_OF_2019 if masking.draws_of_2019 else reading.shuffle_buffer
        self.limits = dataclasses.replace(limits, vocab_size=self.vocab_size, **of_kind(kind, classes))
        self.maker = BatchMaker(kind, self.special.pad, task_id)
        counted = ("rows", "tokens", "padding", "masked", "too_long", "bad_lines", "bad_files", "negatives", "missed")
        self.stats = dict.fromkeys((*counted, "no_class"), 0)
        # Of each file, the lines counted so far; those that cannot be read.
        self._seen: dict[int, int] = {}
        self._bad_files: set[str] = set()
        self._one: np.random.RandomState | None = None  # that of 2019

    def _check(self):
        self.reading.check()
        self.masking.check()
        check_integers(self, {"vocab_size": 2})
        if self.masking.generate_neg_sample and not self.reading.shuffle:
            raise UserError("generate_neg_sample pairs shuffled instances; turn shuffle on")
        for shard in self.shards if self.reading.on_bad == "error" else ():
            if not Path(shard.path).is_file():  # rather now than after hours
                raise UserError(
                    f"{self.filelist}, line {shard.line}: there is no file {shard.path}; correct the path (from the "
                    "working folder, or from that of the list) or take it out of the list"
                )
        if self.masking.draws_of_2019 and self.reading.world_size > 1:
            raise UserError("the draws of 2019 are those of one process; read with one rank")

    def _check_kind(self):
        if self.kind not in KINDS:
            raise UserError(f"kind is {self.kind!r}; give one of {', '.join(KINDS)}")
        of_masking = self.masking.changed() if self.kind != "masking" else []
        if of_masking:
            raise UserError(f"{of_masking[0]} belongs to masking, not to shards of kind {self.kind}; leave it out")
        if self.kind not in CLASS_KINDS:
            if self.classes is not None:
                raise UserError(f"classes is {self.classes!r}, but shards of kind {self.kind} have none; leave it out")
            return
        most = TOKEN_CLASSES_MOST if self.kind == "token" else 2**31
        if type(self.classes) is not int or not 2 <= self.classes <= most:
            raise UserError(f"classes is {self.classes!r}; give how many a {self.kind} may have, 2 to {most}")

    @property
    def num_files(self) -> int:
        """Shards in the list: progress is (position.progress + 1) / num_files."""
        return len(self.shards)

    def fingerprint(self) -> dict:
        """Of each shard path, size, mask_word_prob and a CRC-32 of its last 64 KiB, where gzip has that of the text."""
        return {"path": str(self.filelist), "files": [self._shard_facts(shard) for shard in self.shards]}

    def _shard_facts(self, shard):
        facts = {"path": shard.path, "mask_word_prob": shard.mask_word_prob}
        try:
            with open(shard.path, "rb") as file:
                facts["size"] = Path(shard.path).stat().st_size
                file.seek(max(facts["size"] - (1 << 16), 0))
                facts["crc32"] = zlib.crc32(file.read())
        except OSError as error:
            if self.reading.on_bad == "error":
                raise UserError(f"{self.filelist}: {shard.path}: {error.strerror}; take it out of the list") from error
        return facts

    def batches(
        self, start: PretrainingPosition | dict[str, Any] | None = None
    ) -> Iterator[tuple[dict[str, np.ndarray], PretrainingPosition]]:
        """(batch, position after it) for every batch from `start` (None, a position or its dict) on, over all epochs.

        See reader/pretraining/batches.py for what a batch holds. A batch without any word has nothing masked. With
        several ranks the position is that after the whole group, and the batch None where the run's last group has none
        for this rank.
        """
        place = PretrainingPosition.of(start, self.num_files)
        if not self.masking.draws_of_2019:
            return self._share(self._all_batches(place), place.steps, place.groups)
        self._one = np.random.RandomState(self.masking.mask_seed)
        again = self._share(self._all_batches(PretrainingPosition()), 0, 0)
        return (pair for pair in again if pair[1].steps > place.steps)

    def _share(self, batches, steps, groups):
        """Of each group of world_size batches this rank's own, masked, with the place after the group.

        A last group of an epoch that is not full gives its batches to the first ranks and none to the others, so that
        every instance is read once; with `even` the others get None, since all must take the same number of steps.
        """
        group = []
        for batch in batches:
            group.append(batch)
            after = batch[1]
            if len(group) < self.reading.world_size and not after.ended:
                continue
            level = self.schedule.level(steps // self.reading.world_size)
            steps, groups = steps + len(group), groups + 1
            mask_type = "mask_char" if level == "basic" and self.kind == "masking" else after.mask_type
            after = dataclasses.replace(after, steps=steps, groups=groups, mask_type=mask_type)
            if len(group) > self.reading.rank:
                yield self._finish(*group[self.reading.rank], level), after
            elif self.reading.even:
                yield None, after
            group = []

    def _all_batches(self, place):
        """(stretch, place after it) of all ranks' batches."""
        held = Stretch([])
        for epoch in range(place.epoch + place.ended, self.reading.epochs):
            at = place if epoch == place.epoch else PretrainingPosition(epoch)
            order = self._file_order(epoch)
            for block, here, last in self._blocks(order, at):
                rows, before = held + Stretch([(block, here.done, len(block))]), len(held)
                borders, files = self._cut(rows.lengths, last), int(block.rows.files.max()) + 1 - here.file
                for begin, end in zip(borders, borders[1:]):
                    done = here.done + end - before
                    progress = here.file + max(done - 1, 0) * files // len(block)
                    at = dataclasses.replace(
                        at, rows=at.rows + end - begin, batches=at.batches + 1, ended=last and end == len(rows),
                        file=here.file, line=here.line, block=here.block, done=done, progress=progress,
                        path=self.shards[order[progress]].path, mask_type=self._mask_type(rows, end - 1),
                    )  # fmt: skip
                    yield rows.slice(begin, end), at
                held = rows.slice(borders[-1], len(rows))
            if at.rows == 0 and len(held) == 0:
                found = f"{self.stats['too_long']} longer than max_seq_len {self.reading.max_seq_len}, "
                found += f"{self.stats['no_class']} without a class, " * (self.kind == "token")
                raise UserError(
                    f"{self.filelist}: not one instance for an epoch ({found}{self.stats['bad_lines']} bad lines); "
                    "give shards with instances"
                )
            self._tell(epoch)
        if len(held):
            yield held, dataclasses.replace(at, rows=at.rows + len(held), batches=at.batches + 1, ended=True)

    def _cut(self, lengths, last):
        """Borders of the batches. In 2019 a batch was known to be full only by the instance after it."""
        borders = all_cuts(
            lengths, self.reading.batch_size, self.reading.in_tokens, last and not self.masking.draws_of_2019
        )
        if self.masking.draws_of_2019 and len(borders) > 1 and borders[-1] == len(lengths):
            borders.pop()
        return borders

    def _mask_type(self, rows, number):
        rows, number = rows.find(number)
        masked = "mask_word" if rows.knowledge[number] else "mask_char"
        return masked if self.kind == "masking" else self.kind

    def _file_order(self, epoch):
        """As in 2019: one RandomState shuffles the order of the epoch before once more."""
        order, random = np.arange(self.num_files), np.random.RandomState(self.reading.seed)
        for _ in range(epoch + 1 if self.reading.shuffle else 0):
            random.shuffle(order)
        return order

    def _random(self, *place):
        """The RandomState for a place."""
        return self._one or np.random.RandomState(bits_at(self.reading.seed, *place))

    def _blocks(self, order, at):
        """(block in the order it is given out, where it begins, whether the epoch ends with it)."""
        files = range(at.file, self.num_files)
        for run in [[file] for file in files] if self.masking.draws_of_2019 else [files]:
            chunks, held = self._chunks(order, run, at), Instances.none()
            here, more = at, True
            if run[0] != at.file:
                here = PretrainingPosition(at.epoch, file=run[0])
            while more:
                parts, count = [held], len(held)
                while count <= self.shuffle_buffer and (chunk := next(chunks, None)) is not None:
                    parts.append(chunk)
                    count += len(chunk)
                rows = Instances.join(parts)
                size = min(self.shuffle_buffer, len(rows))
                block, held = rows.slice(0, size), rows.slice(size, len(rows))
                more = len(held) > 0
                if len(block):
                    yield self._block(*self._ordered(block, here), here), here, not more
                if more:
                    file, line = int(held.files[0]), int(held.lines[0])
                    here = dataclasses.replace(here, file=file, line=line, block=here.block + 1, done=0)

    def _chunks(self, order, files, at):
        """Instances of the files at these places of the order, from where `at` is, some hundred at a time."""
        for place in files:
            number = int(order[place])
            shard = self.shards[number]
            drawn = self._random(FILE, at.epoch, number).random_sample()
            lines = self._lines(shard, at.line if place == at.file else 0)
            for first, text in lines:
                rows, problems = parse_block(text, self.limits)
                rows.lines += first
                seen = self._seen.get(number, 0)  # lines before it are counted already: an epoch reads them all again
                self._bad_lines(shard, first, problems, seen)
                new = rows.lines >= seen
                last = [*rows.lines[-1:].tolist(), *(first + at for at, _ in problems[-1:])]
                self._seen[number] = max([seen, *(line + 1 for line in last)])
                rows.files[:] = place
                rows.knowledge[:] = drawn < shard.mask_word_prob
                mark_special(rows, self.special)
                if self.masking.generate_neg_sample and not rows.labels.all():
                    line = int(rows.lines[rows.labels.argmin()]) + 1
                    raise UserError(
                        f"{shard.path}, line {line}: next_sentence_label is 0, but generate_neg_sample makes such "
                        "pairs itself; build shards with positive pairs only, or turn it off"
                    )
                fit = rows.lengths <= self.reading.max_seq_len
                self.stats["too_long"] += int((new & ~fit).sum())
                if self.kind == "token" and len(rows):  # a mean over no token is not a number
                    told = np.logical_or.reduceat(rows.units != SPECIAL, rows.offsets[:-1])
                    self.stats["no_class"] += int((new & fit & ~told).sum())
                    fit &= told
                yield rows if fit.all() else rows.take(np.flatnonzero(fit))

    def _lines(self, shard, skip):
        try:
            yield from read_blocks(shard.path, skip)
        except UserError as problem:
            if self.reading.on_bad == "error":
                raise UserError(f"{problem} ({self.filelist})") from problem
            if shard.path not in self._bad_files:
                self._bad_files.add(shard.path)
                self.stats["bad_files"] += 1
                log.warning("%s: left out", problem)

    def _bad_lines(self, shard, first, problems, seen):
        for number, problem in problems:
            told = f"{shard.path}, line {first + number + 1}: {problem}"
            if self.reading.on_bad == "error":
                raise UserError(f"{told}; or leave such lines out with --on_bad skip")
            if first + number < seen:
                continue
            self.stats["bad_lines"] += 1
            if self.stats["bad_lines"] <= TOLD:
                log.warning("%s: left out%s", told, ", as others will be" * (self.stats["bad_lines"] == TOLD))

    def _block(self, rows, order, here):
        def mask(piece, number, level):
            bits = bits_at(self.reading.seed, MASK, here.epoch, here.block << 32 | number)
            return self._mask(piece, Draws(bits, self.vocab_size), level)

        return Block(rows, order, mask)

    def _mask(self, rows, draws, level, at_least_one=False):
        return mask_tokens(
            rows,
            draws,
            level=level,
            mask_id=self.special.mask,
            mask_draw=self.masking.mask_draw,
            at_least_one=at_least_one,
        )

    def _ordered(self, block, here):
        """(instances of a block, the order in which they are given out; None: as they stand)."""
        random = self._random(BLOCK, here.epoch, here.block)
        if self.masking.generate_neg_sample and len(block) > 1:
            block = block.take(random.permutation(len(block)))
            made, missed = negative_pairs(block, self.reading.max_seq_len, self.special.cls, self.special.sep)
            self.stats["negatives"] += len(made)
            self.stats["missed"] += missed
            block = Instances.join([block, made])
        return block, random.permutation(len(block)) if self.reading.shuffle else None

    def _finish(self, stretch, after, level):
        """The batch of a stretch, the last before the place `after`."""
        masked = self.kind == "masking" and not self.masking.draws_of_2019
        rows, masks = stretch.take(level if masked else None)
        if self.masking.draws_of_2019:
            masks = self._mask(rows, DrawsOf2019.of(self._one, len(rows.ids), self.vocab_size), level)
        elif masked and not len(masks[1]):  # a loss over nothing is not a number
            draws = Draws(bits_at(self.reading.seed, ONE, after.epoch, after.batches), self.vocab_size)
            masks = self._mask(rows, draws, level, at_least_one=True)
        batch, told = self.maker.make(rows, masks)
        padding = batch["src_ids"].size - len(rows.ids)
        for name, count in zip(("rows", "tokens", "padding", "masked"), (len(rows), len(rows.ids), padding, told)):
            self.stats[name] += count
        return batch

    def _tell(self, epoch):
        log.debug("%s: epoch %d read, so far %s", self.filelist, epoch, self.stats)
        if epoch == 0:
            for name, what in (("too_long", "instances longer than max_seq_len"), ("bad_lines", "bad lines"),
                               ("no_class", "instances without a class"),
                               ("bad_files", "files not to be read to their end")):  # fmt: skip
                if self.stats[name]:
                    log.warning("%s: %d %s left out", self.filelist, self.stats[name], what)
