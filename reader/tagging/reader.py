"""The streaming reader of sequence labelling: rows of tokens and a tag each -> word pieces and a class each.

    reader = TaggingReader("train.tsv", tokenizer, tags=TagSet(label_map, "IOB"), max_seq_len=256, batch_size=16)
    for batch, position in reader.batches():        # batch["labels"]: int64 [batch, seq]
        ...

A row is `text_a<TAB>label`: tokens and tags separated by the byte 0x02, or by blanks. A file with a 0x02 anywhere is of
the first form in all its rows, and blanks in it belong to the tokens; a file without is of the second.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from propeller.errors import UserError
from reader.batch_reader import ReaderPosition
from reader.batching import NO_LIMIT, EncodedRows, all_cuts, encode_rows, pad_flat
from reader.row_encoder import LabelRule, RowEncoder, empty
from reader.row_stream import RowStream
from reader.sources import CHUNK_ROWS
from reader.tagging.parts import Parts
from reader.tagging.sentence import BLANK, SEPARATOR, Sentence, find_separator, split_tokens, word_pieces
from reader.tagging.tags import TagSet
from reader.task_reader import TaskReader

if TYPE_CHECKING:
    from reader.row_file import RowFile
    from reader.survey import Survey
    from reader.tokenizer import Tokenizer

log = logging.getLogger("ernie.reader")


class TaggingEncoder(RowEncoder):
    """Turns lines into EncodedRows with `tags`, a class for every id. Args: as RowEncoder; tags: a TagSet.

    A token of several pieces spreads its tag over them as in 2019 (`TagSet.spread`); a token without a piece, such as
    a control character, is left out with its tag. [CLS] and [SEP] get the padding label.
    """

    def __init__(
        self, table: RowFile, tokenizer: Tokenizer, max_seq_len: int, labels: LabelRule, tags: TagSet, whole: bool
    ) -> None:
        super().__init__(table.path, table.columns, tokenizer, max_seq_len, labels, table.layout)
        self.tags, self.separator = tags, find_separator(table)
        self.max_seq_len = NO_LIMIT if whole else max_seq_len
        self.cache_facts = [tags.padding, self.separator]
        self.tagged = labels.kind is not None

    def encode(self, lines: list[bytes], rows: np.ndarray) -> EncodedRows:
        """EncodedRows of the lines up to the first bad one. Args: as RowEncoder.encode."""
        sentences: list[list[str]] = []
        labels: list[list[int]] = []  # empty lists in prediction
        error = None
        for line, row in zip(lines, rows):
            try:
                values = self._fields(line)
                tokens = split_tokens(values[self.text_a], self.separator)
                labels.append(self._classes(values, len(tokens)) if self.tagged else [])
                sentences.append(tokens)
            except ValueError as problem:
                error = f"{self.layout.where(int(row))}: {problem}"
                break
        pieces = self.pieces(token for tokens in sentences for token in tokens)
        ids, classes = [], []
        for tokens, tags, row in zip(sentences, labels, rows):
            try:
                classes.append(self.tags.classes_of_pieces(tags, (len(pieces[token]) for token in tokens)))
            except ValueError as problem:
                error = f"{self.layout.where(int(row))}: {problem}"
                break
            ids.append([piece for token in tokens for piece in pieces[token]])
        encoded = encode_rows(ids, None, self.max_seq_len, self.tokenizer.cls_id, self.tokenizer.sep_id)
        if self.tagged:  # cut and framed as the ids are
            padding = self.tags.padding
            encoded.tags = encode_rows(classes, None, self.max_seq_len, padding, padding).ids
        encoded.error = error
        return encoded

    def examine(self, line: bytes, found: Survey, allow_blank: bool = False) -> list[str]:
        """Read a line's fields, tokens and tags; see RowEncoder.examine."""
        values = self._fields(line)
        self._examine_text(values, allow_blank)
        if self.tagged:
            classes = self._classes(values, len(split_tokens(values[self.text_a], self.separator)))
            found.tags += len(classes)
            found.outside += classes.count(self.tags.outside)
        return values

    def _examine_text(self, values, allow_blank):
        if not allow_blank and not self._has_tokens(values[self.text_a]):
            raise ValueError(empty(self.layout.name_of("text_a"), "its text"))

    def _has_tokens(self, text):
        """A sentence whose tokens are all blanks has tokens, where the byte 0x02 parts them."""
        return bool(split_tokens(text, self.separator))

    def sentence(self, line: bytes) -> Sentence:
        """The tokens of a line that `encode` took."""
        return Sentence(self._fields(line)[self.text_a], self.separator)

    def pieces(self, tokens: Iterable[str]) -> dict[str, list[int]]:
        """See `word_pieces`."""
        return word_pieces(self.tokenizer, tokens)

    def _classes(self, values, count):
        tags = split_tokens(values[self.label], self.separator)
        if len(tags) != count:
            form = "the byte 0x02" if self.separator == SEPARATOR else "blanks"
            if self.separator == BLANK and 3 * BLANK in values[self.text_a]:
                form += "; where a token is a blank itself, put the byte 0x02 between tokens"
            raise ValueError(f"{count} tokens but {len(tags)} tags (separated by {form}); give every token one tag")
        return [self.labels.read(tag.strip(BLANK)) for tag in tags]


class TaggingReader(TaskReader):
    """Named batches of a file of tagged sentences; order, restarting, workers and cache as in TaskReader.

    Beside what `make_batch` gives, a batch has labels int64 [batch, seq] (not in prediction), filled up with the
    padding label; seq_lens int64 [batch, 1]; keep int64 [batch, 2]: the places begin..end - 1 of the row that count;
    and last_part int64 [batch, 1]: 1 where the sentence ends with this row.

    Args:
        tags: TagSet.
        labelled: whether the label column is read.
        windows: give a sentence too long for max_seq_len as several overlapping rows, of which each keeps the tokens it
            sees with most context (as Devlin et al. 2019 do for SQuAD); else cut it, as in 2019. Only in the file's
            order, without bucketing.
        the others: as TaskReader.
    """

    known_columns: tuple[str, ...] = ("text_a", "label")
    lists = True
    encoder: TaggingEncoder

    def __init__(
        self,
        path: str | Path,
        tokenizer: Tokenizer,
        *,
        tags: TagSet,
        labelled: bool = True,
        windows: bool = False,
        **others: Any,
    ) -> None:
        self.tags, self.windows = tags, windows
        kind = "class" if labelled else None
        super().__init__(path, tokenizer, label_map=tags.mapping, num_labels=tags.num_labels, label_kind=kind, **others)
        if self.form.text_b is not None:
            raise UserError(f"--text_pair_column {self.form.text_b}: tagged sentences have one text; leave it out")
        if windows and (self.bucket_window or self.shuffle):
            raise UserError("windows over long sentences come in the file's order: turn shuffle and bucketing off")
        self.stats.update(long=0, windows=0, misplaced=0)
        self._reported = False

    def make_encoder(self, labels: LabelRule) -> TaggingEncoder:
        """What turns lines into rows; with windows they are whole, and are parted in `_epoch`."""
        return TaggingEncoder(self.table, self.tokenizer, self.max_seq_len, labels, self.tags, whole=self.windows)

    def make_batch(self, rows: EncodedRows) -> dict[str, np.ndarray]:
        """The named, padded batch of rows, or of Parts of rows."""
        parts = rows if isinstance(rows, Parts) else Parts.of(rows)
        batch = super().make_batch(parts)
        if parts.tags is not None:
            batch["labels"] = pad_flat(parts.tags, parts.lengths, self.tags.padding)[0]
        batch["seq_lens"] = parts.lengths.astype(np.int64).reshape(-1, 1)
        batch["keep"] = np.asarray(parts.keep)
        batch["last_part"] = np.asarray(parts.last).astype(np.int64).reshape(-1, 1)
        return batch

    def _finish(self, rows):
        """The batch, and what is to be counted; a sentence counts with its last part."""
        if isinstance(rows, Parts):
            self.stats["rows"] += int(rows.last.sum()) - len(rows)
            return super()._finish(rows)
        self.stats["long"] += int(rows.cut.sum())
        self._count_misplaced(rows)
        return super()._finish(rows)

    def count_long(self, rows: EncodedRows, parts: Parts) -> None:
        """Count the sentences that were cut or read in windows, and these windows.

        Args:
            rows: sentences.
            parts: those that were made of them.
        """
        fits = rows.lengths <= self.max_seq_len
        self.stats["long"] += int((~fits | rows.cut).sum())
        self.stats["windows"] += len(parts) - int(fits.sum())

    def _count_misplaced(self, rows):
        """Tags that cannot follow the one before; after the last token of a cut sentence anything may follow."""
        if rows.tags is None or not len(rows):
            return
        tags = rows.tags.copy()
        tags[rows.offsets[:-1]] = tags[rows.offsets[1:] - 1] = self.tags.outside
        wrong = ~self.tags.allowed[tags[:-1], tags[1:]]
        wrong[rows.offsets[1:][rows.cut] - 2] = False
        self.stats["misplaced"] += int(wrong.sum())

    def _epoch(self, order, place, source):
        if not self.windows:
            return super()._epoch(order, place, source)
        return self._in_windows(order, place, source)

    def _in_windows(self, order, place, source):
        """As many sentences as a batch has rows are parted together, into one batch or more; place.done are given out.

        Of several processes each takes whole sentences, so that the parts of one stay together.
        """
        size = max(self.batch_size // self.max_seq_len, 1) if self.in_tokens else self.batch_size
        stream, skip = RowStream(source.rows(order, place.row)), place.done
        for begin in range(place.row, len(order), size):
            end = min(begin + size, len(order))
            rows = stream.pull(end - begin)
            if begin // size % self.world_size != self.rank:
                continue
            before = ReaderPosition(place.epoch, rows=begin, row=begin)
            after = ReaderPosition(place.epoch, rows=end, row=end)
            parts = Parts.windows(rows, self.max_seq_len)
            borders = all_cuts(parts.lengths, self.batch_size, self.in_tokens, last=True)
            if skip == 0:
                self.count_long(rows, parts)
                self._count_misplaced(rows)
            for done in range(skip, len(borders) - 1):
                more = done + 2 < len(borders)
                yield (
                    parts.slice(borders[done], borders[done + 1]),
                    dataclasses.replace(before, done=done + 1) if more else after,
                )
            skip = 0

    def _rank_share(self, batches):
        return batches if self.windows else super()._rank_share(batches)

    def on_epoch_read(self, epoch: int) -> None:
        """Says once what of the file was not taken as it stands."""
        super().on_epoch_read(epoch)
        stats, path = self.stats, self.table.path
        if self._reported:
            return
        self._reported = True
        if stats["long"] and self.windows:
            log.info(
                "%s: %d of %d sentences are longer than max_seq_len %d: read in %d windows",
                path, stats["long"], stats["rows"], self.max_seq_len, stats["windows"],
            )  # fmt: skip
        elif stats["long"]:
            log.info(
                "%s: %d of %d sentences are longer than max_seq_len %d: cut",
                path, stats["long"], stats["rows"], self.max_seq_len,
            )  # fmt: skip
        if stats["misplaced"]:
            log.warning(
                "%s: %d tags stand where %s has none (an I- after O and the like): kept in training; scores read an "
                "entity from where its tags begin", path, stats["misplaced"], self.tags.scheme,
            )  # fmt: skip

    def sentences(self) -> Iterator[Sentence]:
        """Every row of the file in its order, as it stands there, with the word pieces of its tokens."""
        encoder, rows = self.encoder, np.arange(self.num_examples)
        with self.table.open() as fd:
            for begin in range(0, len(rows), CHUNK_ROWS):
                lines = self.table.read(fd, rows[begin : begin + CHUNK_ROWS])
                found = [encoder.sentence(line) for line in lines]
                pieces = encoder.pieces(token for sentence in found for token in sentence.tokens)
                for sentence in found:
                    sentence.pieces = [len(pieces[token]) for token in sentence.tokens]
                    yield sentence
