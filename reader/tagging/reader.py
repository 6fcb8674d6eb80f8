"""The streaming reader of sequence labelling: rows of tokens and a tag each -> word pieces and a class each.

    reader = TaggingReader("train.tsv", tokenizer, tags=TagSet(label_map, "IOB"), max_seq_len=256, batch_size=16)
    for batch, position in reader.batches():        # batch["labels"]: int64 [batch, seq]
        ...

A row is `text_a<TAB>label`: tokens and tags parted by the byte 0x02, or by blanks. A file with a 0x02 anywhere is of
the first form in all its rows, and blanks in it belong to the tokens; a file without is of the second.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from propeller.errors import UserError
from reader.batching import EncodedRows, all_cuts, encode_rows, offsets_of, pad_flat
from reader.row_encoder import LabelRule, RowEncoder, empty
from reader.row_stream import RowStream
from reader.sources import CHUNK_ROWS
from reader.tagging.joined import joint_of
from reader.tagging.tags import TagSet
from reader.task_reader import ReaderPosition, TaskReader
from reader.tsv import TsvFile
from tokenization_basic import patterns

if TYPE_CHECKING:
    from reader.row_file import RowFile
    from reader.survey import Survey
    from reader.tokenizer import Tokenizer


log = logging.getLogger("ernie.reader")

SEPARATOR = "\x02"
BLANK = " "
WHOLE = 2**31 - 1  # a length no row reaches


def find_separator(table: RowFile) -> str:
    """`SEPARATOR` if the byte is anywhere in the file or its texts, else `BLANK`."""
    if not isinstance(table, TsvFile):
        return SEPARATOR if any(SEPARATOR in text for text in _texts(table)) else BLANK
    with table.open() as fd, open(fd, "rb", closefd=False) as file:
        while block := file.read(1 << 22):
            if SEPARATOR.encode() in block:
                return SEPARATOR
    return BLANK


def _texts(table):
    place = table.columns.index("text_a")
    for _, record in table.records():
        with contextlib.suppress(ValueError):
            yield table.layout.fields(record)[place]


class Sentence:
    """A row of a file: text, its tokens, where they are in the original text (int begins), and word pieces of each.

    The original text is the column as it is with blanks; 0x02 is not of the text, see `joint_of` for what is instead.
    """

    def __init__(self, text: str, separator: str) -> None:
        self.text, self.separator = text, separator
        self.tokens = split_tokens(text, separator)
        joint = "" if separator == BLANK else joint_of(self.tokens)
        self.original = text if separator == BLANK else joint.join(self.tokens)
        self.begins, at = [], 0
        for token in self.tokens:
            at = self.original.index(token, at) if separator == BLANK else at
            self.begins.append(at)
            at += len(token) + len(joint)
        self.pieces: list[int] = []

    @classmethod
    def of_words(cls, text: str, tokenizer: Any) -> Sentence:
        """Of running text, which is the original: its tokens are words, punctuation marks and CJK characters.

        An added token of the tokenizer, if it knows such, is one token.
        """
        sentence = cls("", BLANK)
        added = getattr(tokenizer, "added_tokens", None)
        for part, at, token in added.cut(text) if added else [(text, 0, None)]:
            if token is not None:
                found = [(part, at)]
            else:
                found = [(word.group(), at + word.start()) for word in patterns().pieces.finditer(part)]
            sentence.tokens += [word for word, _ in found]
            sentence.begins += [begin for _, begin in found]
        sentence.text = sentence.original = text
        return sentence


def split_tokens(text: str, separator: str) -> list[str]:
    """The tokens or tags of a field. Several blanks count as one; between two 0x02 side by side is an empty token."""
    if separator == BLANK:
        return [part for part in text.split(BLANK) if part]
    return text.split(separator) if text else []


def word_pieces(tokenizer: Tokenizer, tokens: Iterable[str]) -> dict[str, list[int]]:
    """token -> ids of its word pieces, each different token tokenised once."""
    different = list(dict.fromkeys(tokens))
    return dict(zip(different, tokenizer.encode_batch(different))) if different else {}


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
        self.max_seq_len = WHOLE if whole else max_seq_len
        self.cache_facts = [tags.padding, self.separator]
        self.tagged = labels.kind is not None

    def encode(self, lines: list[bytes], rows: np.ndarray) -> EncodedRows:
        """EncodedRows of the lines up to the first bad one. Args: as RowEncoder.encode."""
        parsed, error = [], None
        for line, row in zip(lines, rows):
            try:
                values = self._fields(line)
                tokens = split_tokens(values[self.text_a], self.separator)
                parsed.append((tokens, self._classes(values, len(tokens)) if self.tagged else tokens))
            except ValueError as problem:
                error = f"{self.layout.where(int(row))}: {problem}"
                break
        pieces = self.pieces(token for tokens, _ in parsed for token in tokens)
        ids, classes = [], []
        for (tokens, tags), row in zip(parsed, rows):
            try:
                classes.append(self._spread(tokens, tags, pieces) if self.tagged else ())
            except ValueError as problem:
                error = f"{self.layout.where(int(row))}: {problem}"
                break
            ids.append([piece for token in tokens for piece in pieces[token]])
        encoded = encode_rows(ids, None, self.max_seq_len, self.tokenizer.cls_id, self.tokenizer.sep_id)
        if self.tagged:  # cut and framed as the ids are
            padding = self.tags.padding
            encoded.tags = encode_rows(classes[: len(ids)], None, self.max_seq_len, padding, padding).ids
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

    def _spread(self, tokens, classes, pieces):
        spread = []
        for token, number in zip(tokens, classes):
            count = len(pieces[token])
            if count == 1:
                spread.append(number)
            elif count:
                spread += self.tags.spread(number, count)
        return spread


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
        self.told = False

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

    def _count_misplaced(self, rows):
        """Tags that cannot follow the one before; behind the last token of a cut sentence anything may follow."""
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
                self.stats["long"] += int((rows.lengths > self.max_seq_len).sum())
                self.stats["windows"] += len(parts) - int((rows.lengths <= self.max_seq_len).sum())
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
        if self.told:
            return
        self.told = True
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


@dataclasses.dataclass
class Parts(EncodedRows):
    """Rows that are sentences or windows of them. keep: int64 [rows, 2], the places begin..end - 1 of each that count;
    last: bool [rows], whether the sentence ends with the row."""

    keep: np.ndarray | None = None
    last: np.ndarray | None = None

    @staticmethod
    def of(rows: EncodedRows, keep: np.ndarray | None = None, last: np.ndarray | None = None) -> Parts:
        """Rows with what counts of them; by default sentences of which all counts, [CLS] and [SEP] too, as in 2019."""
        if keep is None:
            keep = np.stack([np.zeros(len(rows), np.int64), rows.lengths], axis=1)
            last = np.ones(len(rows), bool)
        return Parts(**{field.name: getattr(rows, field.name) for field in dataclasses.fields(EncodedRows)},
                     keep=keep, last=last)  # fmt: skip

    def slice(self, start: int, stop: int) -> Parts:
        """Rows start..stop - 1."""
        return Parts.of(
            super().slice(start, stop), np.asarray(self.keep)[start:stop], np.asarray(self.last)[start:stop]
        )

    @staticmethod
    def windows(rows: EncodedRows, max_seq_len: int) -> Parts:
        """Each sentence in windows of max_seq_len ids, [CLS] and [SEP] counted, half a window further each time.

        Of two windows the first keeps the first half of what both see. [CLS] counts in the first, [SEP] in the last.
        """
        if (rows.lengths <= max_seq_len).all():
            return Parts.of(rows)
        index, lengths, keep, last = [], [], [], []
        room, stride = max_seq_len - 2, max((max_seq_len - 2) // 2, 1)
        for start, length in zip(rows.offsets[:-1].tolist(), rows.lengths.tolist()):
            pieces = length - 2
            size = min(room, pieces)
            count = -(-(pieces - size) // stride) + 1
            begins = np.minimum(np.arange(count) * stride, pieces - size)
            borders = (begins[1:] + begins[:-1] + size) // 2  # the piece from which on the next window counts
            ends = np.full((count, 1), start)  # [CLS]
            inside = start + 1 + begins[:, None] + np.arange(size)
            index.append(np.concatenate([ends, inside, ends + length - 1], axis=1).ravel())
            lengths += [size + 2] * count
            low = np.concatenate([[0], borders + 1 - begins[1:]])
            high = np.concatenate([borders + 1 - begins[:-1], [size + 2]])
            keep.append(np.stack([low, high], axis=1))
            last += [False] * (count - 1) + [True]
        of_rows, sizes = np.concatenate(index), np.array(lengths, np.int32)
        tags = None if rows.tags is None else rows.tags[of_rows]
        cut = np.zeros(len(sizes), bool)
        parted = EncodedRows(rows.ids[of_rows], offsets_of(sizes), sizes, sizes, cut, tags=tags)
        return Parts.of(parted, np.concatenate(keep), np.array(last))
